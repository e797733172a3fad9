"""Percentages of amounts that are named, and of means."""

import pytest

from audits import audited, failing, one_wrong


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("- Free for the cache: 50.0 GB\n- Held by sessions: 12.5 GB, {} of the cache", "25 %", "35 %", "is 25.0%"),
        ("- Network budget: 8.0 ms\n\nThe exchange takes 3.0 ms, {} of the budget.", "37.5 %", "53.7 %", "is 37.5%"),
        ("- KV 池:64.0 GB\n- 长会话占用 16.0 GB,占 KV 池的 {}", "25%", "45%", "is 25.0%"),
        ("- Puffer: 20.0 GB\n\nEin Auftrag belegt 5.0 GB, {} des Puffers.", "25 %", "52 %", "is 25.0%"),
    ],
)
def test_of_an_amount_by_its_name(text, right, wrong, why):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "share"
    assert why in claim.why


@pytest.mark.parametrize(
    "text",
    [
        # of another figure of the document
        "- Cache: 50.0 GB\n- Card: 141.0 GB\n\nSessions hold 14.1 GB, 10 % of the cache of a card.",
        # named nowhere, named only below, or with no amount of its kind
        "Sessions hold 12.5 GB, 35 % of the reservoir.",
        "Sessions hold 12.5 GB, 35 % of the reservoir.\n\n- Reservoir: 50.0 GB",
        "- Reservoir: 50.0 ms\n\nSessions hold 12.5 GB, 35 % of the reservoir.",
        # a change, a limit, a range, and something else in between
        "- Cache: 50.0 GB\n\nSessions hold 12.5 GB, 35 % less than the cache.",
        "- Cache: 50.0 GB\n\nSessions hold 12.5 GB, at most 35 % of the cache.",
        "- Cache: 50.0 GB\n\nSessions hold 12.5 GB, 30 % to 40 % of the cache.",
        "- Cache: 50.0 GB\n\nWe calculate 12.5 GB for a session with 35 % of the cache.",
        # of a product
        "- Cache: 50.0 GB\n\nSessions hold 12.5 GB, 1.5 % of 32 × 26.0 GB.",
        # of powers of 1024, both
        "- Cache: 50.0 GiB\n\nSessions hold 12.5 GiB, 25 % of the cache.",
    ],
)
def test_what_is_no_share_of_a_named_amount(text):
    assert failing(text) == []


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("The mean load is 400 copies. The busiest card gets 500, {} above the mean.", "25 %", "20 %"),
        ("An expert sees 80.0 tokens per expert. The fullest has 120.0, {} over the average.", "50 %", "33 %"),
        ("平均每卡 400 份。最忙的卡收到 500 份,比平均高 {}。", "25%", "20%"),
        ("Im Mittel sind es 400 Kopien. Die vollste Karte hat 500, {} über dem Mittel.", "25 %", "20 %"),
    ],
)
def test_above_the_mean(text, right, wrong):
    claim = one_wrong(text, right, wrong)
    assert "above" in claim.why
    assert claim.computed == pytest.approx(float(right.strip(" %")) / 100)


def test_of_a_mean_that_is_not_told_there_is_no_verdict():
    assert [c for c in audited("The busiest card gets 500, 20 % above the mean.") if c.quantity == "share"] == []


def test_a_mean_is_near_what_is_above_it():
    """What is ten times as much is no mean of it."""
    assert failing("A copy of 50 tokens per expert is small. The busiest card gets 500, 20 % above the mean.") == []
