"""A time is what the amount beside it takes at the rate beside it."""

import pytest

from audits import audited, failing, one_wrong


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        # one clause
        ("Dispatch moves 2.42 GB over a 50 GB/s NIC in {}.", "48.4 ms", "38.4 ms", "take 48.40 ms"),
        ("A step is 40.2 TFLOP at 400 TFLOP/s which takes {}.", "100.5 ms", "130.5 ms", "take 100.5 ms"),
        ("- Reading: 13.4 GB over 3.35 TB/s takes {}", "4.0 ms", "0.4 ms", "take 4.000 ms"),
        # two
        ("A GPU sends 7.34 MB. At 50 GB/s that takes {}.", "146.8 µs", "126.8 µs", "take 146.8 us"),
        ("A GPU sends 7.34 MB. At 50 GB/s that takes {}.", "146.8 µs", "1468 µs", "10 times too large"),
        ("A step needs 40.2 TFLOP. A GPU reaches 400 TFLOP/s, so it takes {}.", "100.5 ms", "1.005 s", "10 times too"),
        ("- Sent: 7.34 MB\n- At 50 GB/s: {}", "146.8 µs", "18.35 µs", "8 times too small"),
    ],
)
def test_time_of_an_amount_at_a_rate(text, right, wrong, why):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "time"
    assert why in claim.why
    assert [str(c.verdict) for c in audited(text.format(right)) if c.quantity == "time"] == ["holds"]


@pytest.mark.parametrize(
    "text",
    [
        # a part, of so many or of a share that is told; both of two
        "A GPU sends 7.34 MB to 8 others. At 50 GB/s that takes 1.174 ms.",
        "A GPU sends 7.34 MB, of which 25% leave the node. At 50 GB/s that takes 36.7 µs.",
        "- Dispatch: 7.34 MB\n- Combine: 14.68 MB\n- At 50 GB/s: 440.4 µs",
        "Half of the 2.42 GB pass a 50 GB/s NIC in 24.2 ms.",
        # what nothing leads to, with no usual slip, a paragraph and a figure away
        "A GPU sends 7.34 MB.\n\nOf 30 MB we say nothing.\n\nAt 50 GB/s that takes 126.8 µs.",
    ],
)
def test_a_part_or_another_amount_is_not_wrong(text):
    assert failing(text) == []


def test_half_of_an_amount_may_be_sent():
    text = "A micro-batch has 41.9 MB, {}, at 50 GB/s about 0.42 ms."
    assert failing(text.format("of which each GPU sends half")) == []
    assert failing(text.format("which each GPU sends"))


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("A prompt leaves 250.0 MB behind, over one NIC at 40 GB/s {}.", "6.25 ms", "0.90 ms"),
        ("A shard of 12.0 GB over PCIe at 60 GB/s is {}.", "200 ms", "100 ms"),
    ],
)
def test_right_behind_a_rate(text, right, wrong):
    assert "take" in one_wrong(text, right, wrong).why


def test_half_of_it_where_halves_are_spoken_of():
    assert failing("A shard of 12.0 GB, half of it over PCIe at 60 GB/s, is 100 ms.") == []
