"""The README is true: the output it shows is what the command prints, its Python runs, its links exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def timeless(text):
    """Without what differs from run to run: the search's seconds."""
    return re.sub(r"priced in .*? a second\)", "priced", text)


def output_of(*arguments):
    """What the command prints at its own width."""
    done = subprocess.run(
        [sys.executable, "-m", "moewright", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**{k: v for k, v in os.environ.items() if k != "COLUMNS"}, "PYTHONPATH": "src"},
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def printed():
    output = output_of("plan", "examples/paper.yaml")
    return timeless(output)


def test_the_output_shown_is_the_output(printed):
    shown = next(b for b in re.findall(r"```\n(Plan of.*?)```", README, re.S) if "Hardware" in b)
    assert timeless(shown).strip() == printed.strip()


def test_each_part_shown_first_is_in_the_output(printed):
    first = re.findall(r"```\n(Plan of.*?)```", README, re.S)[0]
    for part in first.strip().split("\n\n"):
        assert timeless(part) in printed


def test_the_served_output_is_the_output():
    (shown,) = re.findall(r"```\n(gpt-oss-120b served.*?)```", README, re.S)
    output = output_of("serve", "examples/serve-gpt-oss.yaml")
    assert shown.strip() == output.strip()


def test_the_scoreboard_is_the_output():
    (shown,) = re.findall(r"```\n(Predicted against measured.*?)\n…\n```", README, re.S)
    output = output_of("validate", "benchmarks/data/serving.csv")
    # the last digit of a percentage may differ from one processor to another
    assert shown.splitlines()[:4] == output.splitlines()[:4]
    assert [len(line) for line in shown.splitlines()] == [len(x) for x in output.splitlines()][: shown.count("\n") + 1]


def test_the_placement_is_the_output():
    (command,) = re.findall(r"```\nmoewright (place .*?)\n```", README)
    (shown,) = re.findall(r"```\n(Placement of.*?)```", README, re.S)
    output = output_of(*command.split())
    seconds = re.compile(r"^Seconds .*$", re.M)
    assert seconds.sub("", shown).strip() == seconds.sub("", output).strip()


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
