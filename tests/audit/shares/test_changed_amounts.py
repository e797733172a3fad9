"""Amounts with a percentage more or less."""

import pytest

from audits import failing, one_wrong


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("A rack lists at 90,000 dollars. We get 20 % off, so it costs {}.", "72,000", "18,000", "20 % less is 72,000"),
        ("The run takes 30.0 days. We add 10 % and plan {}.", "33.0 days", "3.0 days", "10 % more is"),
        ("Reserve 15 % of the 40 GB, which leaves {} usable.", "34.0 GB", "6.0 GB", "is 34.00 GB"),
        ("A hop takes 40.0 ms; a tuned kernel cuts it by 30 %, to {}.", "28.0 ms", "12.0 ms", "30 % less is 28.00 ms"),
        ("Peak: 50,000 tokens/s; plan for 20 % more: {}.", "60,000 tokens/s", "10,000 tokens/s", "20 % more"),
        (
            "Der Puffer hat 12,5 GB. Die Kiste kostet 9.000,00 €. Der Rabatt von 20 % bringt sie auf {}.",
            "7.200,00 €",
            "1.800,00 €",
            "is 7,200",
        ),
        ("全池 200,000 tok/s。若多接受 30%,可到 {}。", "260,000 tok/s", "60,000 tok/s", "30% more"),
    ],
)
def test_the_percentage_is_no_factor_of_what_is_left(text, right, wrong, why):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "share"
    assert why in claim.why


@pytest.mark.parametrize(
    "text",
    [
        # of the change itself, of half, and with nothing that says which way
        "A rack costs 90,000 dollars. We get 20 % off and it costs an additional 18,000 to move.",
        "A rack costs 90,000 dollars; 20 % off is a saving that brings a difference of 18,000.",
        "A rack costs 90,000 dollars. We get 51 % off, so it costs 45,900.",
        "A rack costs 90,000 dollars. At 20 % it comes to 18,000.",
        # of no figure told before
        "We get 20 % off, so it costs 18,000.",
        # what was there and what is left are both told
        "We keep 10 % of the 80 GB in reserve, which leaves 72 GB.",
    ],
)
def test_other_amounts_beside_a_percentage(text):
    assert failing(text) == []


def test_a_gain_is_the_whole_ratio():
    text = "Drafts gain 40 % on the 12.5 k tokens/s, so {} k tokens/s."
    claim = one_wrong(text, "12.5 × 1.40 = 17.5", "12.5 × 0.40 = 5.0")
    assert "40 % more is a factor of 1.4, not 0.40" in claim.why
    assert claim.computed == pytest.approx(17_500)
    assert failing("Drafts gain 40 %, that is an additional 12.5 × 0.40 = 5.0 k tokens/s.") == []
