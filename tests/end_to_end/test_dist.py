"""What is released: one version, all files in the wheel, and a wheel that works where nothing else is installed.

The last needs minutes and a package registry: ``make dist`` runs it.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from moewright.cli import app
from moewright.version import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DIST = os.environ.get("MOEWRIGHT_DIST")


def test_the_version_has_one_place():
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "moewright.version.__version__"}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


def test_the_changelog_begins_with_the_version():
    versions = re.findall(r"^## (\d+\.\d+\.\d+) \((.*?)\)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0][0] == __version__.split(".dev")[0]
    assert (versions[0][1] == "unreleased") == (".dev" in __version__)


def test_version_tells_what_is_known():
    shown = CliRunner().invoke(app, ["--version"]).stdout.splitlines()
    assert shown[0] == f"moewright {__version__}"
    assert any(line.startswith("aiconfigurator-core") for line in shown)
    assert re.search(r"vllm \d.*sglang \d.*trtllm \d.*megatron \d", shown[-1])


def test_every_file_of_the_package_is_in_the_wheel():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["moewright"]
    package = ROOT / "src" / "moewright"
    for file in package.rglob("*"):
        path = file.relative_to(package).as_posix()
        if file.is_file() and file.suffix not in (".py", ".pyc", ".nbi", ".nbc"):
            assert any(fnmatch(path, p.replace("**/", "*")) for p in patterns), path


def test_extras_are_described():
    text = (ROOT / "docs" / "release.md").read_text()
    for extra in PROJECT["project"]["optional-dependencies"]:
        assert f"| `{extra}` |" in text or extra == "place", extra


@pytest.mark.parametrize("name", ["test", "docs", "release"])
def test_workflows_run_what_the_makefile_has(name):
    steps = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    assert yaml.safe_load(steps)["jobs"]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    wanted = set(re.findall(r"make ([a-z]+)", steps))
    assert wanted
    assert wanted <= targets


@pytest.mark.dist
@pytest.mark.skipif(DIST is None, reason="make dist")
def test_the_wheel_works_alone(tmp_path):
    (wheel,) = (ROOT / DIST).glob("*.whl")
    assert list((ROOT / DIST).glob("*.tar.gz"))
    names = zipfile.ZipFile(wheel).namelist()
    assert "moewright/report/html/vega.js" in names
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/"))]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}  # it would find the sources
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True, env=environment)
    command = tmp_path / "venv" / "bin" / "moewright"
    spec = ROOT / "examples" / "paper.yaml"

    def run(*words):
        return subprocess.run(
            [command, *map(str, words)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert run("--version").startswith(f"moewright {__version__}\n")
    assert json.loads(run("plan", spec, "--json"))["best"]["name"].startswith("R32")
    run("plan", spec, "--output", "report.html")
    assert (tmp_path / "report.html").stat().st_size > 900_000
    listed = subprocess.run(
        [python, "-m", "pip", "list"], capture_output=True, text=True, check=True, env=environment
    ).stdout
    assert "torch" not in listed
    assert "pytest" not in listed
