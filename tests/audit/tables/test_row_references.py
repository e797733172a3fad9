"""Rows that name others by their labels, as a spreadsheet does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits import audited, failing, one_wrong

SHEET = """| # | Item | Formula | Parameters |
|---|---|---|---|
| B1 | one expert | 3*A2*A5 | 31.46 M |
| B2 | experts, one layer | 128*B1 | 4.027 B |
| B3 | experts, model | 64*B2 | 257.7 B |
| B4 | attention, model | | 4.03 B |
| B5 | embeddings | | 1.34 B |
| B6 | total | B3+B4+B5 | {} |"""
NAMED = """| # | Item | Experts | Attention |
|---|---|---|---|
| D1 | weights | 1.01 GB | 0.50 GB |
| D2 | gradients | 2.01 GB | 1.01 GB |
| D3 | D1+D2 | 3.02 GB | 1.51 GB |
| D4 | D3/2 | {} | 0.755 GB |"""


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        (SHEET, "263.1 B", "253.1 B", "B3+B4+B5 is"),
        (NAMED, "1.51 GB", "6.04 GB", "D3/2 is 1.510 GB"),
    ],
)
def test_a_row_of_others(text, right, wrong, why):
    assert why in one_wrong(text, right, wrong, "Budget").why


def test_what_holds_is_told_with_its_operands():
    held = [c for c in audited(SHEET.format("263.1 B"), "Budget") if "with B2 = 4.027 B" in c.why]
    assert [str(c.verdict) for c in held] == ["holds"]


def test_one_formula_alone_convicts_nothing():
    rows = SHEET.replace("64*B2", "64 x B9").splitlines()
    alone = "\n".join(r.replace("128*B1", "").replace("64*B2", "").replace("3*A2*A5", "") for r in rows)
    assert [c for c in failing(alone.format("253.1 B"), "Budget") if "B3+B4" in c.why] == []


def test_a_label_that_stands_twice_is_of_neither():
    twice = SHEET + "\n| B3 | other | | 10.0 B |"
    assert [c for c in failing(twice.format("253.1 B"), "Budget") if "B3+B4" in c.why] == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1000, 9999), min_size=3, max_size=5))
def test_sums_that_were_rounded_hold(parts):
    rows = [f"| A{i} | part | | {x / 100:.2f} GB |" for i, x in enumerate(parts, 1)]
    names = "+".join(f"A{i}" for i in range(1, len(parts) + 1))
    total = f"| A9 | all | {names} | {sum(parts) / 100:.1f} GB |"
    sheet = "| # | Item | Formula | Size |\n|---|---|---|---|\n" + "\n".join([*rows, total])
    assert failing(sheet, "Budget") == []


def test_a_difference_of_nothing_is_no_error_of_the_audit():
    sheet = SHEET.replace("B3+B4+B5", "B4-B4").format("1.00 B")
    assert [c for c in failing(sheet, "Budget") if "B4-B4 is" in c.why] == []
