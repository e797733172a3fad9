"""Sequences that fit, percentages of amounts, and changes by a percentage."""

import pytest

from audits import CLUSTER, failing, one_wrong


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("One GPU has room for {} tokens, or 69 requests at our average of 8,000 tokens.", "558k", "358k", "are 44.75"),
        ("We plan with 70 % of 8 TB/s → {} of HBM.", "5.6 TB/s", "560 TB/s", "70 % of 8 TB/s is 5.6"),
        ("The output shall rise by 40 % within the year, from 410k to {} tokens/s.", "574k", "164k", "410k and 40 %"),
        ("Traffic falls by 25 % from 80 GB to {} a step.", "60 GB", "20 GB", "80 GB less 25 %"),
    ],
)
def test_what_follows(text, right, wrong, why):
    claims = failing(text.format(right))
    assert claims == []
    assert any(why in c.why for c in failing(text.format(wrong)))


@pytest.mark.parametrize(
    "text",
    [
        "Eight H100 at 45 % of 989 TFLOP/s give 3.56 PFLOP/s.",
        "The expert part shrinks from 13.59 to 6.79 GB, a saving of 39 % of the weights.",
        "One GPU would have room for 358k tokens, or 69 requests at our average of 8,000 tokens.",
        "A rate that rises by 10 % each month goes from 10 GB to 30 GB in a year.",
    ],
)
def test_what_does_not_follow_is_not_judged(text):
    assert [c for c in failing(text, CLUSTER) if c.quantity in ("share", "count.sequences")] == []


@pytest.mark.parametrize(
    ("text", "right", "wrong", "told"),
    [
        ("Layout E is 1.81 times as fast, that is {} more tokens.", "81 %", "181 %", "1.81 times is 81 % more"),
        ("C against A is 13,400 / 9,400 = 1.43, so {} faster.", "43 %", "143 %", "1.43 times is 43 % more"),
    ],
)
def test_more_by_is_less_than_times(text, right, wrong, told):
    assert one_wrong(text, right, wrong).why == told


def test_a_percentage_of_is_the_ratio_itself():
    assert failing("C is at 13,400 / 9,400 = 1.43, that is 143 % of A.") == []
