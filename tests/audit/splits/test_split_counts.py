"""Heads and experts that a GPU has are the model's, divided by the sizes that a statement gives."""

import pytest

from audits import DEEPSEEK, MIXTRAL, audited, failing, one_wrong

HEADS = (
    "| Option | A | B |\n|---|---|---|\n| TP | 4 | 8 |\n| Query heads per GPU | 8 | {} |\n| KV heads per GPU | 2 | {} |"
)
EXPERTS = "| | EP 32 | EP {} |\n|---|---|---|\n| Number of {} per GPU | 8 | {} |"


@pytest.mark.parametrize(
    ("title", "text", "right", "wrong", "quantity", "why"),
    [
        (MIXTRAL, "- TP 4: each GPU has 8 query heads\n- TP 8: each GPU has {} query heads", "4", "8", "heads", "32 / tp 8 is 4"),
        (MIXTRAL, "- TP 4: each GPU has 2 KV heads\n- TP 8: each GPU has {} KV heads", "1", "2", "heads", "8 / tp 8 is 1"),
        (MIXTRAL, "- TP 16: each GPU has {} KV heads", "1", "2", "heads", "8 / tp 16 is 1"),
        (DEEPSEEK, "- EP 32: 8 experts per layer per GPU\n- With EP 64 {} experts per layer per GPU", "4", "8", "experts", "256 / ep 64 is 4"),
        (DEEPSEEK, "- EP 32: 8 experts per layer per GPU\n- Mit EP 64 {} Experten je Schicht und GPU", "4", "2", "experts", "256 / ep 64 is 4"),
        (MIXTRAL, "There are 8 experts per layer, {} in all.", "256", "512", "experts", "8 × 32 layers is 256"),
        (MIXTRAL, "Es gibt 8 Experten je Schicht, insgesamt über alle Schichten {} Experten.", "256", "128", "experts", "is 256"),
    ],
)  # fmt: skip
def test_counts_of_a_split(title, text, right, wrong, quantity, why):
    claim = one_wrong(text, right, wrong, title)
    assert claim.quantity.startswith(f"count.{quantity}")
    assert why in claim.why


def test_what_divides_is_said_to_hold():
    found = [c for c in audited("- TP 4: each GPU has 2 KV heads\n- TP 8: each GPU has 1 KV head", MIXTRAL)]
    assert [str(c.verdict) for c in found if c.quantity.startswith("count.heads")] == ["holds", "holds"]


@pytest.mark.parametrize(
    ("title", "text"),
    [
        (MIXTRAL, "- TP 4: 2 KV heads a GPU\n- TP 8: a node has 8 KV heads, and each GPU its own"),
        (MIXTRAL, "- TP 4: 2 KV heads a GPU\n- With TP 8 instead a GPU would have 8 KV heads"),
        (MIXTRAL, "- TP 4: 2 KV heads a GPU\n- From TP 8 → less, and each GPU has 2 KV heads"),
        (DEEPSEEK, "- EP 32: 8 experts per layer per GPU\n- EP 64 with 64 redundant experts: 5 experts per layer per GPU"),
        (DEEPSEEK, "- EP 32: 8 experts per layer per GPU\n- EP 24: 11 experts per layer per GPU"),
        (DEEPSEEK, EXPERTS.format(64, "experts, all layers", 464)),
        (DEEPSEEK, EXPERTS.format("64, 64 redundant", "experts", 5)),
        (MIXTRAL, "There are 8 experts per layer, 128 in all on the 16 layers."),
    ],
)  # fmt: skip
def test_other_counts_are_not_wrong(title, text):
    assert [c for c in failing(text, title) if c.quantity.startswith("count.")] == []


@pytest.mark.parametrize(
    ("title", "table", "right", "wrong", "why"),
    [
        ("Mixtral-8x7B on H100 GPUs", HEADS.replace("{}", "4", 1), "1", "2", "8 KV heads over tp 8 are 1"),
        ("Mixtral-8x7B on H100 GPUs", HEADS.replace("2 | {}", "2 | 1"), "4", "8", "32 heads over tp 8 are 4"),
        (DEEPSEEK, EXPERTS.replace("{}", "64", 1).replace("{}", "experts", 1), "4", "8", "256 experts over ep 64 are 4"),
        (DEEPSEEK, "| Option | EP | Experts per GPU |\n|---|---|---|\n| A | 32 | 8 |\n| B | 64 | {} |", "4", "2", "ep 64 are 4"),
    ],
)  # fmt: skip
def test_counts_of_the_options_of_a_table(title, table, right, wrong, why):
    claim = one_wrong(table, right, wrong, title)
    assert claim.quantity.startswith("count.")
    assert why in claim.why


@pytest.mark.parametrize(
    ("title", "text", "right", "wrong", "why"),
    [
        ("Plan", "There are 64 GPUs. We split them into {} instances of 32 GPUs each.", "2", "4", "4 × 32 is 128"),
        ("Plan", "- GPUs: 64\n- Layout: expert grid EP 8, PP 2, expert-DP {}", "4", "8", "is 128; there are 64 GPUs"),
        (DEEPSEEK, "- EP 32\n- Each GPU owns {} routed experts per layer.", "8", "16", "256 / ep 32 is 8"),
        (DEEPSEEK, "- EP32\n- Jede GPU hält damit je Schicht {} Experten.", "8", "12", "256 / ep 32 is 8"),
    ],
)  # fmt: skip
def test_groups_and_what_each_gpu_owns(title, text, right, wrong, why):
    assert why in one_wrong(text, right, wrong, title).why


@pytest.mark.parametrize(
    "text",
    [
        "There are 64 GPUs. We use 2 instances of 16 GPUs each.",
        "If there were 64 GPUs, we could run 4 instances of 32 GPUs each.",
        "- GPUs: 64\n- Layout: expert grid EP 8, PP 2, expert-DP 8: 8 x 2 x 8 = 128 of two clusters",
        "TP 8 splits the 128 heads of each GPU's group.",
    ],
)
def test_other_groups_are_not_wrong(text):
    assert [c for c in failing(text, "Plan") if c.quantity.startswith(("strategy", "count"))] == []
