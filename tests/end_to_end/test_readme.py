"""README and docs are true: the output they show is what the commands print, their Python runs, their links exist."""

import importlib.util
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from command import moewright

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
_spec = importlib.util.spec_from_file_location("outputs", ROOT / "docs" / "outputs.py")
outputs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(outputs)


@cache
def printed(command):
    """What ``moewright COMMAND`` prints, as ``outputs.printed``."""
    done = moewright(*command.split(), cwd=ROOT)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.strip() + "\n"


def timeless(text):
    """Without what differs from run to run, seconds of a search; and without the last digit of a percentage, which
    may differ from one processor to another."""
    text = re.sub(r"priced in .*? a second\)?", "priced", text)
    text = re.sub(r"^Seconds  .*$", "Seconds", text, flags=re.M)
    return re.sub(r"\.\d%", "%", text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [p for p in outputs.PAGES if outputs.BLOCK.search(p.read_text())], ids=lambda p: p.name
)
def test_the_output_shown_is_the_output(page):
    text = page.read_text()
    assert timeless(outputs.rewritten(text, printed)) == timeless(text)


def test_a_section_that_is_not_printed_is_an_error():
    with pytest.raises(ValueError, match="no section 'Nothing'; sections are Second"):
        outputs.kept("First\nline\n\nSecond\nline\n", "Nothing")
    assert outputs.kept("First\nline\n\nSecond\nline\n", "Second") == "First\nline\n\nSecond\nline\n"
    assert outputs.kept("First\nline\n\nSecond\nline\n", "head") == "First\nline\n"


def test_the_readme_is_short():
    assert README.count("\n") < 200


def test_the_python_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    environment = {**os.environ, "PYTHONPATH": "src"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True)


def test_the_spec_shown_is_read(tmp_path):
    from moewright.case.file.load import load

    (code,) = re.findall(r"```yaml\n(.*?)```", README, re.S)
    (tmp_path / "case.yaml").write_text(code)
    assert load(tmp_path / "case.yaml").model.name == "DeepSeek-V3"


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page):
    file = ROOT / page
    for link in re.findall(r"\]\(([^)#:]+)\)", file.read_text()):
        assert (file.parent / link).exists(), link


def test_the_model_of_the_docs_is_read(tmp_path):
    import yaml

    from moewright.case.file.load import case_of

    (code,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "spec.md").read_text(), re.S)
    raw = yaml.safe_load(code.replace(", …", ""))
    raw |= {"cluster": "h200-hgx", "workload": {"kind": "prefill", "batch": 8, "sequence": 128}}
    case = case_of(raw, str(tmp_path / "spec.yaml"))
    assert len(case.model.moe_layers()) == 30
