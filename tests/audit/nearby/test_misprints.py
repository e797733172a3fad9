"""A figure that is told again with two digits in each other's place."""

import pytest

from audits import failing, one_wrong
from moewright.audit.nearby.ledger import misprint
from moewright.audit.text.numbers import number_at

TABLE = "| variant | tok/s |\n|---|---|\n| A | 13,763 |\n| B | 10,449 |\n\nWe take A with {} tok/s."


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        (TABLE, "13,763", "13,673"),
        ("The cache holds 160 × 8,137 = 1,301,920 tokens.\n\nAlarm at 95 % of {} tokens.", "1,301,920", "1,031,920"),
    ],
)
def test_told_again(text, right, wrong):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "misprint"
    assert claim.verdict.value == "contradicted"


@pytest.mark.parametrize(
    "text",
    [
        TABLE.format("13,673") + "\n\nThe other one has 13,673 tok/s.",  # it stands twice
        TABLE.replace("10,449", "13,673").format("13,673"),  # both are in the table
        "One takes 4.56 GB.\n\nThe other takes 4.65 GB.",  # three digits are too few
    ],
)
def test_two_figures(text):
    assert failing(text) == []


@pytest.mark.parametrize(
    ("written", "right", "is_one"),
    [
        ("13.2 %", 0.123, True),
        ("13.2 %", 0.132, False),
        ("13.2 %", 0.133, False),
        ("52.56 GB", 56.52e9, True),
        ("521", 125.0, False),  # of three digits neighbours alone
        ("12", 21.0, False),
        ("6.92 GFLOP", 6.292e9, True),
    ],
)
def test_misprint(written, right, is_one):
    assert misprint(number_at(written, 0), right) is is_one


PREFIX = "The run needs {}.\n\nThat takes 398.4 EFLOP / 22.15 PFLOPS = 17,986 s."


def test_another_prefix_than_the_calculation_has():
    claim = one_wrong(PREFIX, "398.4 EFLOP", "398.4 PFLOP")
    assert (claim.quantity, claim.why) == ("misprint", "line 5 reckons with 398.4 EFLOP")


@pytest.mark.parametrize("told", ["398.2 PFLOP", "1 / 1000 of it, 398.4 PFLOP, and again 398.4 PFLOP"])
def test_other_digits_or_twice_are_none(told):
    assert failing(PREFIX.format(told)) == []
