"""Documents with several configurations: each claim is judged against the one that it stands under."""

from collections.abc import Iterable

import pytest

from moewright.audit.audit_document import audit_document
from moewright.audit.audit_record import FAILING, Audit
from moewright.audit.text.document import parse

MODEL = """# Plan

Model: 32 layers, hidden size 4096, 32 heads, 8 KV heads, head dim 128, 64 experts per layer, top-4,
expert intermediate size 1536, SwiGLU experts. Weights in FP8. Hardware: H100 GPUs with 80 GB of HBM.

"""


def of(text: str) -> Audit:
    return audit_document(parse(text, "plan.md"), {}, None)


def verdicts(audit: Audit, quantity: str) -> list[tuple[str, str]]:
    return [(c.configuration, str(c.verdict)) for c in audit.claims if c.quantity.startswith(quantity)]


def failing(audit: Audit) -> Iterable[str]:
    return [f"{c.line} {c.quantity}: {c.why}" for c in audit.claims if c.verdict in FAILING]


def test_two_pools_are_judged_each_by_its_own_sizes() -> None:
    pools = """## Prefill pool
- GPUs: 16
- EP: 16
- Experts per GPU per layer: 4
- Expert weights per GPU: 2.416 GB

## Decode pool
- GPUs: 64
- EP: 64
- Experts per GPU per layer: 1
- Expert weights per GPU: 604 MB
"""
    audit = of(MODEL + pools)
    assert not failing(audit)
    assert verdicts(audit, "count.experts") == [("Prefill pool", "holds"), ("Decode pool", "holds")]
    assert verdicts(audit, "memory.experts") == [("Prefill pool", "holds"), ("Decode pool", "holds")]
    # the figure of the one is wrong under the other
    swapped = of(MODEL + pools.replace("2.416 GB", "604 MB"))
    assert verdicts(swapped, "memory.experts") == [("Prefill pool", "wrong"), ("Decode pool", "holds")]


def test_columns_and_rows_are_configurations() -> None:
    table = """| Field | Option 1 | Option 2 |
|---|---|---|
| GPUs | 8 | 32 |
| EP | 8 | 32 |
| Experts per GPU per layer | 8 | {} |
"""
    assert verdicts(of(MODEL + table.format(2)), "count.experts") == [("Option 1", "holds"), ("Option 2", "holds")]
    assert verdicts(of(MODEL + table.format(4)), "count.experts") == [("Option 1", "holds"), ("Option 2", "wrong")]
    rows = """| Plan | GPUs | EP | Experts per GPU per layer |
|---|---|---|---|
| A | 8 | 8 | 8 |
| B | 32 | 32 | {} |
"""
    assert verdicts(of(MODEL + rows.format(2)), "count.experts") == [("A", "holds"), ("B", "holds")]
    assert verdicts(of(MODEL + rows.format(4)), "count.experts") == [("A", "holds"), ("B", "wrong")]


def test_a_row_whose_sizes_do_not_make_its_gpus_is_contradicted_without_a_model() -> None:
    rows = """| Run | GPUs | TP | PP | DP |
|---|---|---|---|---|
| small | 64 | 4 | 2 | 8 |
| copies | 128 | 4 | 2 | 8 |
| large | 256 | 8 | 4 | {} |
"""
    for model in ("", MODEL):
        assert not failing(of(model + rows.format(8)))
        assert len(list(failing(of(model + rows.format(12))))) == 1


def test_parts_and_plain_columns_are_no_configurations() -> None:
    parts = """| Stage | Layers | GPUs |
|---|---|---|
| 0 | 16 | 4 |
| 1 | 16 | 4 |
"""
    values = """| Field | Value | Notes |
|---|---|---|
| GPUs | 8 | one node |
| EP | 8 | 8 experts each |
"""
    assert not of(MODEL + parts).configurations
    assert not of(MODEL + values).configurations


def test_figures_outside_contested_configurations_are_not_judged() -> None:
    text = "## Option A\n- GPUs: 16\n- EP: 16\n\n## Option B\n- GPUs: 64\n- EP: 64\n\n## Memory\n- Expert weights per GPU: 9 GB\n"
    assert verdicts(of(MODEL + text), "memory.experts") == [("", "not checked")]


def test_what_is_beyond_the_statements_that_are_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moewright.audit.text.document.MOST_STATEMENTS", 100)
    audit = of(MODEL + "\n".join(f"- item {i}" for i in range(105)))
    assert "beyond" in audit.unread[-1].reason
