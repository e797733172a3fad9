"""``moewright place`` as a command: what it refuses, what it writes and what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

import moewright
from moewright.cli import app
from moewright.errors import SpecError
from moewright.placement.files.placement_schema import schema

ROOT = Path(__file__).parents[2]
BY_NAME = ["lognormal:1.0", "--experts", "16"]
SIZES = ["--slots", "16", "--gpus", "4"]


def run(*arguments):
    return CliRunner().invoke(app, ["place", *map(str, arguments)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--moves", "3"], "--moves: does nothing without --previous"),
        (["--traffic", "1"], "traffic: does nothing without nodes and groups"),
        (["--groups", "4"], "groups: got 4; with one node"),
        (["--slack", "0.1"], "--slack: does nothing without --affinity"),
        (["--format", "vllm"], "--format: does nothing without --output"),
        (["--first-layer", "3"], "--first-layer: does nothing without --format tensorrt-llm"),
        (["--width", "2048"], "--width: does nothing without fewer slots than GPUs"),
        (["--seed", "99999999999999999999999"], "seed: got 99999999999999999999999"),
    ],
)
def test_options_that_do_nothing_are_refused(options, message):
    found = run(*BY_NAME, *SIZES, *options)
    assert isinstance(found.exception, SpecError)
    assert str(found.exception).startswith(message)


@pytest.mark.parametrize("option", ["--layers", "--experts", "--correlation"])
def test_a_file_has_sizes_of_its_own(tmp_path, option):
    np.save(tmp_path / "a.npy", np.ones((1, 16)))
    found = run(tmp_path / "a.npy", *SIZES, option, "1")
    assert str(found.exception).startswith(f"{option}: does nothing without loads by name")


def test_the_file_says_what_it_is_of(tmp_path):
    file = tmp_path / "p.json"
    sizes = ["lognormal:0.5", "--layers", 3, "--experts", 256, "--slots", 288, "--gpus", 32, "--nodes", 4]
    done = run(*sizes, "--groups", 8, "--model", "DeepSeek-V3", "--output", file)
    assert done.exit_code == 0
    assert done.stderr == f"moewright: wrote {file}: 3 layers of 288 slots on 32 GPUs, for moewright\n"
    assert done.stdout == ""
    content = json.loads(file.read_text())
    jsonschema.validate(content, schema())
    expected = {"slots": 288, "gpus": 32, "nodes": 4, "groups": 8, "model": "DeepSeek-V3", "seed": 0}
    assert {k: content[k] for k in expected} == expected
    assert content["moewright"] == moewright.__version__
    again = run(*sizes, "--model", "DeepSeek-V3", "--previous", file, "--json")
    content = json.loads(again.stdout)
    jsonschema.validate(content, schema())
    for name in ("balancedness", "straggler", "bound", "seconds", "moved", "moved_bytes", "cross_node_bytes"):
        assert len(content[f"layer_{name}"]) == 3, name
    for name in ("seconds", "moved", "moved_bytes", "cross_node_bytes"):
        assert sum(content[f"layer_{name}"]) == pytest.approx(content[name]), name


def test_slices_are_explained_and_kept(tmp_path):
    sizes = ["lognormal:0.5", "--experts", 64, "--slots", 64, "--gpus", 128]
    done = run(*sizes, "--width", 2048)
    assert "a slot is cut over 2 GPUs, each holding 1/2 of its expert" in done.stdout
    table = done.stdout[done.stdout.index("Slices of an expert") :]
    assert [line.split()[0] for line in table.splitlines() if "best" in line] == ["16"]
    assert [line.split()[0] for line in table.splitlines() if "as above" in line] == ["2"]
    assert "Cost: time of the fullest GPU" in " ".join(table.split())
    content = json.loads(run(*sizes, "--width", 2048, "--json").stdout)
    jsonschema.validate(content, schema())
    assert content["width"] == 2048
    rows = {row["slices"]: row for row in content["slices"]}
    assert set(rows) == {2, 4, 8, 16}
    assert [k for k, row in rows.items() if row["best"]] == [16]
    assert rows[2]["cost"] == pytest.approx(rows[2]["straggler"] * rows[2]["padding"])
    assert json.loads(run(*sizes, "--json").stdout)["slices"] is None
    refused = run(*sizes, "--format", "sglang", "--output", tmp_path / "x.json")
    assert "engines hold whole experts" in str(refused.exception)
    assert not (tmp_path / "x.json").exists()


def test_shares_that_an_engine_does_not_take_are_told(tmp_path):
    done = run(*BY_NAME, *SIZES, "--shares", "optimal", "--format", "vllm", "--output", tmp_path / "x.json")
    assert "the format of vllm has no shares" in done.stderr


def test_maps_say_what_they_show(tmp_path):
    np.save(tmp_path / "a.npy", np.concatenate([np.zeros((1, 16)), np.ones((57, 16))]))
    shown = run(tmp_path / "a.npy", *SIZES).stdout
    assert "Load of each GPU before (every expert once, in order), 24 of 58 layers\n" in shown
    assert "the mean over 58 layers" in shown
    assert "A mark is a GPU: ░ below 0.75 of the mean load" in shown
    rows = [line.split() for line in shown.splitlines() if line.split()[:1] == ["0"]]
    assert [row[1] for row in rows] == ["1.0000", "1.0000"]  # a layer without load, before and after
    assert "of one layer" in run(*BY_NAME, *SIZES).stdout
    np.save(tmp_path / "w.npy", np.random.default_rng(0).lognormal(size=(3, 2, 16)))
    assert "for the loads summed over windows" in " ".join(run(tmp_path / "w.npy", *SIZES).stdout.split())


@pytest.mark.parametrize("command", [["place", *BY_NAME, *SIZES], ["plan", "examples/paper.yaml"]])
def test_an_ascii_terminal_gets_what_it_can_show(command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "moewright", *command], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii")
    assert done.stderr == b""


@pytest.mark.parametrize("arguments", [["plan", "examples/paper.yaml", "--json"], ["place", "--help"], ["models"]])
def test_the_compiler_is_imported_by_searches_only(arguments):
    code = (
        "import sys\nfrom moewright.cli import main\n"
        f"sys.argv = ['moewright', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('numba' in sys.modules, file=sys.stderr)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=env, check=False)
    assert done.stderr.split()[-1] == "False", done.stderr
