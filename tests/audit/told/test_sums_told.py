"""Sums, differences and quotations in running text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits import audited, failing, one_wrong


@pytest.mark.parametrize(
    ("text", "right", "wrong", "quantity"),
    [
        ("Attention 6.168 GB + shared experts 2.642 GB + dense FFN 0.396 GB = {} GB.", "9.206", "6.564", "sum"),
        ("- one sequence: 12 full layers 100.7 MB + 12 sliding layers 3.146 MB = {} MB", "103.8", "201.3", "sum"),
        ("每层注意力：投影 142.9 TFLOP，加上注意力分数 105.6 TFLOP，共 {} TFLOP", "248.5", "268.5", "sum"),
        ("- budget: 72 GB; minus 26.5 for weights, minus 4 for graphs -> {} GB", "41.5", "49.5", "difference"),
        (
            "Experts have 342.5 billion.\n\nThe rest is another 11.28 billion, which makes {} billion.",
            "353.8",
            "343.8",
            "sum",
        ),
    ],
)
def test_one_that_does_not_add_up(text, right, wrong, quantity):
    assert one_wrong(text, right, wrong).quantity == quantity


@pytest.mark.parametrize(
    "text",
    [
        "Weights 5 GB + KV 6 GB + buffers = 14 GB.",  # one of them without its amount
        "Weights 5 GB + KV 6 GB each = 29 GB.",
        "Weights ~4 GB + overhead ~8 GB, total ~40 GB.",
        "Prefill 5 GB/s + decode 6 GB/s = 12 GB/s.",
        "12 layers 10.1 MB + 12 layers 3.2 MB = 159.6 MB.",  # as often as the number before it says
    ],
)
def test_a_sum_that_is_not_told_in_full(text):
    assert not [c for c in failing(text) if c.quantity == "sum"]


@pytest.mark.slow
@given(st.lists(st.integers(100, 9999), min_size=2, max_size=6), st.integers(-90, 300))
def test_the_terms_of_a_named_sum_by_whole_numbers(terms, off):
    """In tenths of GB, which are added as whole numbers here."""
    text = " + ".join(f"part {'abcdefgh'[i]} {x / 10:.1f} GB" for i, x in enumerate(terms))
    claims = [c for c in audited(f"Here {text} = {(sum(terms) + off) / 10:.1f} GB.") if c.quantity == "sum"]
    room = (len(terms) + 1) / 2
    assert [str(c.verdict) for c in claims] == (["holds"] if abs(off) <= room else ["wrong"])


def test_a_quotation_with_another_number():
    text = "That holds 126 full-length chats of 8192.\n\n> {} full-length chats of 8192\n\nNice."
    claim = one_wrong(text, "126", "252")
    assert (claim.quantity, claim.claimed) == ("quotation", 252)
    assert "line 3" in claim.why


@pytest.mark.parametrize("quote", ["> 252 full chats", "> 252 short chats of 8192", "> 252 GB"])
def test_a_quotation_of_something_else(quote):
    assert failing(f"That holds 126 full-length chats of 8192.\n\n{quote}") == []
