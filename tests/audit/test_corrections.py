"""Premises as a user corrects them."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from moewright.audit.audit_document import audit
from moewright.audit.reading.corrections import doubtful, premises_yaml, read_premises
from moewright.cli import _bare, app
from moewright.errors import SpecError

PLAN = """# Mixtral-8x7B

- GPUs: 8
- GPU: H100
- EP: 8
- Batch size: 64
- Sequence length: 2048
- Expert weights per GPU: 11.27 GB
"""


def written(folder, text=PLAN, name="plan.md"):
    (folder / name).write_text(text)
    return folder / name


def field(found, name):
    return next((p.value for p in found.premises if p.field == name), None)


def test_an_assumption_takes_the_place_of_what_was_read(tmp_path):
    """Twice the GPUs and EP 8: each holds its experts as before; EP 4 of 8: twice as many."""
    path = written(tmp_path)
    assert field(audit(path), "strategy.ep") == 8
    other = audit(path, ["ep=4", "tp=1", "dp=8"])
    assert field(other, "strategy.ep") is None
    assert {a.field: a.value for a in other.assumptions}["strategy.ep"] == 4


def test_a_premise_that_no_case_has_does_not_end_the_audit(tmp_path):
    found = audit(written(tmp_path, PLAN + "- Hidden size: 30000000000\n- 4 × 5 = 21\n"))
    found = audit(
        written(tmp_path, PLAN.replace("# Mixtral-8x7B", "# A plan") + "- Hidden size: 30000000000\n- 4 × 5 = 21\n")
    )
    assert [u.line for u in found.unread] == [9]
    assert "expected a whole number from 1" in found.unread[0].reason
    assert any(c.quantity == "arithmetic" and str(c.verdict) == "wrong" for c in found.claims)
    assert json.loads(json.dumps(found.to_dict()))["unread"][0]["line"] == 9


def test_there_and_back(tmp_path):
    path = written(tmp_path)
    first = audit(path)
    (tmp_path / "p.yaml").write_text(premises_yaml(first))
    again = audit(path, premises=tmp_path / "p.yaml")
    assert {p.field: p.value for p in again.premises} == {p.field: p.value for p in first.premises}
    raw = yaml.safe_load((tmp_path / "p.yaml").read_text())
    raw["premises"] = [p | {"value": 16} if p["field"] == "workload.batch" else p for p in raw["premises"]]
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(raw))
    assert field(audit(path, premises=tmp_path / "p.yaml"), "workload.batch") == 16


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"field": "cluster.gpu", "value": 3}, "did you mean"),
        ({"field": "cluster.gpus"}, "expected a mapping with field, value"),
        ({"field": "cluster.gpus", "value": [1]}, "expected a plain value"),
        ({"field": "cluster.gpus", "value": 1, "line": 0}, "expected a line number"),
    ],
)
def test_a_file_of_premises_is_checked(tmp_path, entry, told):
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"premises": [entry]}))
    with pytest.raises(SpecError, match=told):
        read_premises(tmp_path / "p.yaml")


def test_the_command(tmp_path):
    path = written(tmp_path)
    assert _bare(["audit", str(path), "--premises"])[-2:] == ["--premises", "-"]
    assert _bare(["audit", "--premises", str(path)]) == ["audit", "--premises", "-", str(path)]
    assert _bare(["audit", "--premises", "p.yaml", "x.md"]) == ["audit", "--premises", "p.yaml", "x.md"]
    printed = CliRunner().invoke(app, ["audit", str(path), "--premises", "-"]).stdout
    assert "field: workload.batch" in printed
    found = audit(path)
    questions = doubtful(found)
    answers = "\n".join("" for _ in questions) + "\n"
    done = CliRunner().invoke(app, ["audit", str(path), "-i", "--json"], input=answers)
    assert done.exit_code in (0, 1)
