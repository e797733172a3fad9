"""What all layers, users or GPUs have is so many times what one has."""

import pytest

from audits import CLUSTER, MIXTRAL, audited, failing, one_wrong

ROWS = "| Part | Bytes |\n|---|---|\n| KV cache of a token, one layer | 4 KiB |\n| KV cache of a token, {} |"


@pytest.mark.parametrize(
    ("title", "text", "right", "wrong", "why"),
    [
        (CLUSTER, "- One layer: 1.41 GB\n- The 32 layers together hold {}.", "45.1 GB", "35.1 GB", "× 32 is 45.12 GB"),
        (CLUSTER, "- One layer: 1.41 GB\n- The 32 layers together hold {}.", "45.1 GB", "451 GB", "10 times too large"),
        (CLUSTER, "A token keeps 4 KiB in a layer; over 32 layers {}.", "128 KiB", "4 KiB", "the 32 times too small"),
        (CLUSTER, "A user has 1.342 GB and {} for 12 users.", "16.1 GB", "17.4 GB", "× 12 is 16.10 GB"),
        (CLUSTER, "- A token keeps 128 KiB. Times 8192: {}.", "1.07 GB", "2.07 GB", "× 8192 is 1.074 GB"),
        (
            MIXTRAL,
            "A token keeps 4 KiB in a layer and {} across the whole model.",
            "128 KiB",
            "4 KiB",
            "× 32 is 131.1 kB",
        ),
        (MIXTRAL, ROWS, "all layers | 128 KiB", "all layers | 1280 KiB", "× 32 is 131.1 kB: 10 times too large"),
        (CLUSTER, ROWS, "all 32 layers | 128 KiB", "all 32 layers | 12.8 KiB", "10 times too small"),
    ],
)
def test_all_of_what_one_has(title, text, right, wrong, why):
    claim = one_wrong(text, right, wrong, title)
    assert claim.quantity == "multiple"
    assert why in claim.why
    assert [str(c.verdict) for c in audited(text.format(right), title) if c.quantity == "multiple"] == ["holds"]


@pytest.mark.parametrize(
    "text",
    [
        # of both directions, of a sum, of another number of them, or a figure that is told elsewhere
        "A layer's dispatch and combine take 1.20 ms each; over all 32 layers both take 76.8 ms.",
        "A layer has 0.50 GB and 1.41 GB. The 32 layers together hold 61.1 GB.",
        "- One layer: 1.41 GB\n- The 8 experts of the 32 layers together hold 361 GB.",
        "- Everything: 35.1 GB\n\n## Layers\n\nOne layer has 1.41 GB. The 32 layers together hold 35.1 GB.",
        "- One layer: 1.41 GB\n- The 32 layers together hold 35.1 GB to 40.2 GB.",
        "- One layer: 1.41 GB\n- The 32 layers hold, by 16 × 2.2 GB, 35.2 GB.",
    ],
)
def test_what_follows_otherwise_is_not_wrong(text):
    assert failing(text) == []


def test_rows_of_different_things_are_not_held_together():
    text = "| Part | Bytes |\n|---|---|\n| Router, one layer | 4 KiB |\n| Norms, all 32 layers | 1280 KiB |"
    assert failing(text) == []


@pytest.mark.parametrize(
    ("one", "right", "wrong", "why"),
    [("1.41 GB", "45.1 GB", "1.41 GB", "1.41 GB × 32"), ("1.41 GB and 0.08 GB", "47.7 GB", "1.49 GB", "0.08 GB) × 32")],
)
def test_one_that_is_told_again_as_all(one, right, wrong, why):
    claim = one_wrong(f"- One layer: {one}\n- All 32 layers: {{}}", right, wrong)
    assert claim.quantity == "multiple"
    assert f"{why} is" in claim.why
    assert claim.why.endswith("the 32 times too small")


def test_two_of_a_layer_told_before_are_no_slip():
    text = "{}, each on 100.7 MB.\n\nOver the 56 layers that is 11.27 GB of payload."
    assert failing(text.format("There are two all-reduces a layer"), CLUSTER) == []
    assert failing(text.format("There is one all-reduce a layer"), CLUSTER)


def test_so_many_things_of_a_size_each():
    """The figure behind "of" is that of one."""
    assert failing("Per layer 25 MB are sent.\n\nOver 40 layers: 160 exchanges of 25 MB.") == []
    assert failing("One of them takes 25.0 MB. Over 80 layers, in all 320 exchanges of 25.0 MB, about 8.0 GB.") == []


def test_what_adds_up_over_the_layers():
    text = "Dispatch of a layer: 90.5 MB.\n\nFor the 6 layers of a stage it adds up to {} a micro-batch."
    assert "the 6 times too small" in one_wrong(text, "543 MB", "90.5 MB").why
