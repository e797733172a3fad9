"""Documents made for the purpose: correct ones come out clean, and each flaw of the others is found."""

from pathlib import Path

import pytest

from moewright.audit.audit_document import audit
from moewright.audit.audit_record import FAILING

DOCUMENTS = Path(__file__).parent / "documents"

#: correct document → claims it has at least (so that it is clean because it was checked)
CORRECT = {
    "correct-bullets.md": 34,
    "correct-chinese.md": 18,
    "correct-formulas.md": 30,
    "correct-german.md": 7,
    "correct-latex.md": 9,
    "correct-prose.md": 10,
    "correct-tables.md": 20,
}
#: flawed document → (line, quantity, verdict) of every claim that does not hold
FLAWED = {
    "flawed-pipeline.md": {(17, "throughput.most", "wrong"), (18, "words: communication", "wrong")},
    "flawed-serving.md": {
        (31, "time.total", "impossible"),
        (32, "throughput.tokens", "impossible"),
    },
    "flawed-node.md": {
        (19, "time.total", "impossible"),
        (19, "throughput.tokens", "impossible"),
        (20, "memory.utilization", "wrong"),
    },
    "flawed-decode.md": {(19, "time.total", "impossible"), (19, "throughput.tokens", "impossible")},
    "flawed-memo.md": {(16, "words: pipeline bubbles", "wrong")},
    "flawed-prose.md": {
        (6, "count.experts per layer per GPU", "wrong"),
        (6, "arithmetic", "wrong"),
        (6, "count.experts", "wrong"),
        (7, "memory.experts per expert", "wrong"),
        (8, "words: communication", "wrong"),
        (8, "words: balance", "unsupported"),
        (9, "time.total", "impossible"),
    },
    "flawed-chinese.md": {
        (10, "premise model.layers", "wrong"),
        (16, "memory.experts per GPU", "wrong"),
        (17, "slip", "wrong"),
        (18, "compute.total", "wrong"),
        (20, "time.communication", "unsupported"),
        (21, "words: communication", "wrong"),
        (22, "words: balance", "unsupported"),
    },
    "flawed-tables.md": {
        (30, "memory.kv_cache per GPU", "wrong"),
        (31, "memory.total per GPU", "wrong"),
        (31, "sum", "contradicted"),
        (35, "arithmetic", "wrong"),
        (35, "memory.experts per expert", "wrong"),
        (36, "arithmetic", "wrong"),
        (37, "split", "wrong"),
        (38, "words: pipeline bubbles", "wrong"),
    },
}


def failing(found):
    return {(c.line, c.quantity, str(c.verdict)) for c in found.claims if c.verdict in FAILING}


@pytest.mark.parametrize(("name", "least"), CORRECT.items())
def test_a_correct_document_is_clean(name, least):
    found = audit(DOCUMENTS / name)
    assert failing(found) == set()
    assert found.summary["holds"] >= least


@pytest.mark.parametrize(("name", "flaws"), FLAWED.items())
def test_every_flaw_is_found_and_nothing_else(name, flaws):
    assert failing(audit(DOCUMENTS / name)) == flaws


def test_what_is_missing_is_named_and_taken_from_the_user():
    found = audit(DOCUMENTS / "correct-latex.md")
    assert found.missing == ("workload.batch", "workload.sequence")
    given = audit(DOCUMENTS / "correct-latex.md", ["batch=64", "sequence=2048"])
    assert given.missing == ()
    assert {a.source for a in given.assumptions if a.field.startswith("workload.") and "default" not in a.source} == {
        "--assume"
    }


@pytest.mark.slow
def test_an_assumption_changes_what_leans_on_it():
    default = audit(DOCUMENTS.parents[2] / "examples" / "strategy-ep64-tp2.md")
    other = audit(DOCUMENTS.parents[2] / "examples" / "strategy-ep64-tp2.md", ["network.fabric.bandwidth=400 GB/s"])
    assert other.better.strategies[0].seconds < default.better.strategies[0].seconds


def test_claims_in_yaml():
    found = audit(DOCUMENTS / "claims.yaml")
    verdicts = [(c.line, str(c.verdict)) for c in found.claims]
    assert verdicts == [
        (3, "wrong"),
        (4, "holds"),
        (5, "holds"),
        (6, "holds"),
        (7, "impossible"),
        (8, "holds"),
        (9, "impossible"),
        (10, "holds"),
        (11, "holds"),
    ]
