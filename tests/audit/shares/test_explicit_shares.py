"""Percentages of which the text says of what they are."""

import pytest

from audits import failing, one_wrong

TITLE = "Mixtral-8x7B on 8 H200 (141 GB)"


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("Weights and cache: 58.67 GB of 96 GB ({}).", "61.1%", "38.9%", "58.67 GB of 96 GB is 61.11%"),
        ("- 小计：76.1 GB（占 96 GB 的 {}）", "79%", "89%", "76.1 GB of 96 GB is 79.27%"),
        ("The cache is 97.4 GB.\n\nTogether that is 30.8 GB, or {} of the card.", "22%", "32%", "of 141 GB is 21.84%"),
    ],
)
def test_a_share_of_what_is_named(text, right, wrong, why):
    claim = one_wrong(text, right, wrong, TITLE)
    assert claim.quantity == "share"
    assert why in claim.why


@pytest.mark.parametrize(
    "text",
    [
        "Weights take 58.67 GB of 96 GB (38.9% free).",
        "Of the 126.9 GB that an engine may use, weights have 30.8 GB, or 24.3% of the card.",
        "The target is 58.67 GB of 96 GB (70%).",
    ],
)
def test_the_rest_and_what_is_usable_are_no_errors(text):
    assert failing(text, TITLE) == []
