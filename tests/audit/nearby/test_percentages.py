"""A percentage is the share that the figures beside it make."""

import pytest

from audits import CLUSTER, MIXTRAL, audited, failing, one_wrong

EP8 = f"{MIXTRAL} with EP 8"


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("- Parameters in total: 1.026T\n- A token passes 32.9B active ({}).", "3.2%", "5.2%", "3.2% of 1.026T"),
        ("The cache takes 3.16 GB, or {} of 80 GB.", "3.95%", "4.95%", "3.16 GB of 80 GB is 3.95%"),
        ("The cache takes 3.16 GB, or {} of the 141 GB.", "2.24%", "3.95%", "3.16 GB of 141 GB is 2.24%"),
        ("All weights of a GPU come to 13.4 GB. That is {} of the 141 GB.", "9.5%", "19.5%", "is 9.5%"),
        ("Weights: 13.4 GB\n\nThat is {} of the 80 GB.", "16.8%", "6.8%", "13.4 GB of 80 GB is 16.8%"),
    ],
)
def test_of_a_figure_that_is_told(text, right, wrong, why):
    claim = one_wrong(text, right, wrong)
    assert (claim.quantity, claim.claimed) == ("share", pytest.approx(float(wrong[:-1]) / 100))
    assert why in claim.why


@pytest.mark.parametrize(
    ("title", "text", "right", "wrong", "why"),
    [
        (MIXTRAL, "The experts hold {} of all parameters.", "96.6%", "90.6%", "experts have 96.6%"),
        (MIXTRAL, "- Attention holds {} of the parameters.", "2.9%", "12.9%", "attention have 2.9%"),
        (EP8, "A GPU has 11.27 GB of experts.\n\nThe experts fill {} of the card.", "13.2%", "8.0%", "share of 141 GB"),
        (EP8, "A GPU has 11.27 GB of experts.\n\nThe experts fill {} of each GPU.", "13.2%", "1.32%", "too small"),
    ],
)
def test_of_all_parameters_or_of_a_card_by_its_subject(title, text, right, wrong, why):
    claim = one_wrong(text, right, wrong, title)
    assert claim.quantity == "share"
    assert why in claim.why


def test_the_share_of_another_figure_or_of_what_is_left_holds():
    """Of either total, and one minus the share."""
    text = "- Parameters in total: 1.026T\n- Parameters of the experts: 998B\n- Active: 32.9B ({})"
    for share in ("3.2%", "3.3%", "96.8%"):
        assert [str(c.verdict) for c in audited(text.format(share)) if c.quantity == "share"] == ["holds"]
    assert [c.quantity for c in failing(text.format("4.1%"))] == ["share"]


@pytest.mark.parametrize(
    "text",
    [
        "The cache takes 3.16 GB, 25% less than before.",
        "Of the card 3.16 GB (20%) are kept free.",
        "The cache takes 3.16 GB (at most 20%).",
        "- MFU: 989 TFLOPS, 40%",
        "The cache takes 3.16 GB, 20% to 30% of the card.",
        "All weights of a GPU come to 13.4 GB. In a year that is 19.5% of the 141 GB.",
    ],
)
def test_a_change_a_reserve_a_range_or_an_aim_is_no_share(text):
    assert failing(text) == []


def test_experts_are_no_part_of_the_model_whose_parameters_two_counts_tell():
    text = "The experts hold 90.6% of all parameters."
    assert failing(f"- Counted: 906B\n- Of: 1000B\n\n{text}", MIXTRAL) == []
    assert len(failing(text, MIXTRAL)) == 1


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("The MFU is 40%. A GPU gives {} TFLOPS.", "0.4 × 989 TFLOPS = 395.6", "40 × 989 TFLOPS = 39,560"),
        ("- MFU: 55%\n- Of it: {}", "0.55 × 989 TFLOPS = 543.95 TFLOPS", "989 TFLOPS × 55 = 54.4 PFLOPS"),
    ],
)
def test_a_percentage_is_no_plain_factor(text, right, wrong):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "share"
    assert "is a hundredth of that" in claim.why
    assert claim.computed == pytest.approx(claim.claimed / 100)


def test_a_figure_of_nothing_has_no_share():
    assert failing("Idle links move 0 GB/s. At 80% load the link gives 40.0 GB/s.", CLUSTER) == []


def test_a_number_of_things_is_a_factor():
    assert failing("The MFU is 40%. 40 GPUs have 40 GPUs × 989 TFLOPS = 39,560 TFLOPS.", CLUSTER) == []


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("The MFU is 45%, of 989 TFLOPS a GPU gives {}.", "445 TFLOPS", "44.5 PFLOPS"),
        ("The link has 50.0 GB/s. At 80% it gives {}.", "40.0 GB/s", "4000 GB/s"),
    ],
)
def test_nor_where_no_product_is_written(text, right, wrong):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "share"
    assert "the percentage is taken for a factor" in claim.why
    assert claim.computed == pytest.approx(claim.claimed / 100)
