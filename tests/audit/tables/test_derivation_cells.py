"""Whole numbers beside the cell that says how they are worked out."""

import pytest

from audits import CLUSTER, failing, one_wrong

TABLE = """| Group | Size | Derivation |
|---|---|---|
| GPUs in all | 512 | 4 × 8 × 16 |
| GPUs of a stage | 64 | 512 / 8 |
| Experts per GPU and layer | {} | 64 experts / EP 16 |"""


def test_a_number_that_its_derivation_does_not_make():
    claim = one_wrong(TABLE, "4", "8", CLUSTER.replace("32", "512"))
    assert claim.why == "64 experts / EP 16 is 4"


@pytest.mark.parametrize(
    "table",
    [
        TABLE.replace("512 / 8", "a stage").format("8"),  # one row alone shows nothing
        TABLE.replace("Derivation", "Remark").format("8"),
        TABLE.replace("64 experts / EP 16", "64 experts, of which 16").format("8"),
    ],
)
def test_what_is_no_derivation_is_not_judged(table):
    assert [c for c in failing(table, CLUSTER) if c.quantity == "arithmetic"] == []
