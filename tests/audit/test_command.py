"""The verb: formats, exit statuses, annotation, and documents that are none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moewright.audit.annotate import annotated
from moewright.audit.audit_document import audit
from moewright.cli import app
from moewright.errors import SpecError

ROOT = Path(__file__).parents[2]
SEED = ROOT / "examples" / "strategy-ep64-tp2.md"
CORRECT = Path(__file__).parent / "documents" / "correct-bullets.md"


def run(*arguments):
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


@pytest.mark.slow
def test_json_has_what_it_promises():
    done = run(SEED, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert {"premises", "assumptions", "claims", "summary", "better"} <= set(found)
    keys = {"line", "text", "quantity", "claimed", "computed", "ratio", "verdict", "why"}
    assert all(keys <= set(c) for c in found["claims"])
    assert sum(found["summary"].values()) == len(found["claims"])
    assert found["better"]["plan"]["latency"]["seconds"] > 0
    lines = SEED.read_text(encoding="utf-8").splitlines()
    for c in found["claims"]:
        assert any(word in lines[c["line"] - 1] for word in c["text"].split()), c


@pytest.mark.slow
def test_exit_statuses():
    assert run(CORRECT).exit_code == 0
    assert run(SEED).exit_code == 1
    assert run(CORRECT, "--fail-on", "holds").exit_code == 1
    assert run(SEED, "--fail-on", "not-checked,impossible").exit_code == 1
    flawed = CORRECT.parent / "flawed-tables.md"
    assert run(flawed, "--fail-on", "impossible").exit_code == 0
    assert run(flawed, "--fail-on", "impossible,wrong").exit_code == 1


def test_markdown_and_terminal_tell_the_same_verdicts():
    terminal, markdown = run(CORRECT), run(CORRECT, "--format", "markdown")
    assert "34 holds" in terminal.stdout
    assert "34 holds" in markdown.stdout
    assert markdown.stdout.startswith("# Audit of")


@pytest.mark.slow
def test_annotation_keeps_every_line(tmp_path):
    file = tmp_path / "copy.md"
    assert run(SEED, "--annotate", file).exit_code == 1
    before, after = SEED.read_text(encoding="utf-8").splitlines(), file.read_text(encoding="utf-8").splitlines()
    assert len(before) == len(after)
    assert all(b.startswith(a.rstrip()) for a, b in zip(before, after, strict=True))
    marked = {i + 1 for i, (a, b) in enumerate(zip(before, after, strict=True)) if a.rstrip() != b}
    assert marked == {c.line for c in audit(SEED).claims}
    assert "✗ time.total impossible" in after[113]


def test_annotation_of_a_table_keeps_its_cells():
    file = CORRECT.parent / "flawed-tables.md"
    before, after = file.read_text(encoding="utf-8").splitlines(), annotated(file, audit(file)).splitlines()
    assert [line.count("|") for line in before] == [line.count("|") for line in after]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n\n ", "is empty"),
        (bytes(range(256)) * 20, "not text"),
        ("café".encode("latin-1"), "not text in UTF-8"),
        (b"text\0text", "NUL"),
        (b"a" * (50 << 20), "larger than"),
    ],
)
def test_what_is_no_document(tmp_path, content, says):
    file = tmp_path / "document.md"
    file.write_bytes(content)
    with pytest.raises(SpecError, match=says):
        audit(file)


@pytest.mark.parametrize("path", [ROOT, ROOT / "no-such-file.md"])
def test_what_is_no_file(path):
    with pytest.raises(SpecError):
        audit(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "Nothing here.\n",
        "# Recipe\n\n- Flour: 500 g\n- Time: 30 min\n\nBake at 180 degrees for 20 minutes.\n",
        "| year | rain |\n|---|---|\n| 2001 | 812 |\n| 2002 | 790 |\n",
        "The index rose by 3.5% to 4,812 points; 312 million shares were traded.\n" * 200,
        "(" * 3000 + "1" + ")" * 3000,
        "1 = " * 2000,
        "- " * 500 + "x",
        "9" * 5000 + " GB = 1 GB",
        "2^99999 = 5",
    ],
)
def test_unrelated_texts_end_well(tmp_path, text):
    file = tmp_path / "document.md"
    file.write_text(text, encoding="utf-8")
    found = audit(file)
    assert not [c for c in found.claims if c.quantity != "arithmetic" and c.verdict != "not checked"]
    assert run(file).exit_code in (0, 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--assume", "speed=3"], "--assume"),
        (["--assume", "bandwidth=3 GB/s"], "is cluster.network.node.bandwidth or"),
        (["--assume", "top_k="], "without a value"),
        (["--fail-on", "bad"], "--fail-on"),
        (["--spec", "none.yaml"], "no such file"),
    ],
)
def test_bad_options(arguments, says):
    done = run(SEED, *arguments)
    assert isinstance(done.exception, SpecError)
    assert says in str(done.exception)


@pytest.mark.slow
def test_a_spec_file_gives_what_the_document_lacks():
    found = json.loads(run(SEED, "--json", "--spec", ROOT / "examples" / "paper-ep64-tp2.yaml").stdout)
    assert found["missing"] == []
    (total,) = [c for c in found["claims"] if c["line"] == 114 and c["quantity"].startswith("time.total")]
    assert total["verdict"] == "impossible"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("claims: 3\n", "claims"),
        ("claims: [{quantity: memory.all, value: 3 MB}]\nspec: SPEC\n", "expected one of"),
        ("claims: [{quantity: memory.total, value: 3 ms}]\nspec: SPEC\n", "such as 69 MB"),
        (
            "claims: [{quantity: memory.total}]\nspec: SPEC\n",
            "expected a mapping with value, and quantity or expression",
        ),
        ("claims: [{quantity: memory.total, value: 3 MB, per: cow}]\nspec: SPEC\n", "expected some of"),
        ("claims: []\nmodle: 3\n", "unknown field"),
    ],
)
def test_bad_claims(tmp_path, text, says):
    file = tmp_path / "claims.yaml"
    file.write_text(text.replace("SPEC", str(ROOT / "examples" / "paper-ep64-tp2.yaml")))
    with pytest.raises(SpecError, match=says):
        audit(file)


def test_the_parser_is_imported_only_when_asked():
    code = "import sys, moewright, moewright.cli; sys.exit('markdown_it' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={"PYTHONPATH": "src"})
