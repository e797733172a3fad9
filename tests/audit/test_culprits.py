"""A relation that fails is told at the figure by which it fails, and not where it shows."""

import pytest

from audits import audited, failing

ROWS = "| per GPU | GB |\n|---|---|\n| experts | {} |\n| attention | {} |\n| embeddings | 0.62 |\n| sum | {} |\n\n"
#: both follow from the right sum
USES = "The sum is 40.5% of the 80 GB, and 80 GB - 32.4 GB = 47.6 GB are left for the cache.\n"


def test_a_part_is_wrong_where_the_total_is_used_as_it_is():
    assert failing(ROWS.format("28.4", "3.34", "32.4") + USES) == []
    (claim,) = failing(ROWS.format("28.4", "13.4", "32.4") + USES)
    assert (claim.line, claim.claimed) == (6, pytest.approx(13.4e9))
    assert claim.computed == pytest.approx(3.35e9, rel=0.01)


def test_a_total_is_wrong_where_nothing_bears_it_out():
    (claim,) = failing(ROWS.format("28.4", "3.34", "42.4"))
    assert (claim.line, claim.claimed) == (8, pytest.approx(42.4e9))


def test_what_is_cleared_says_by_what():
    claims = audited(ROWS.format("28.4", "13.4", "32.4") + USES)
    (total,) = [c for c in claims if c.line == 8 and c.quantity == "sum"]
    assert str(total.verdict) == "not checked"
    assert total.why.startswith("it agrees once line 6 has 3.350 GB")


def test_a_part_that_no_slip_makes_right_is_not_accused():
    (claim,) = failing(ROWS.format("28.4", "5.21", "32.4") + USES)
    assert claim.line == 8
