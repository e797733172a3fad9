"""Verdicts of figures beside others, among those of the planner."""

import pytest

from audits import MIXTRAL, audited, failing

EP8 = f"{MIXTRAL} with EP 8"


def test_a_figure_that_the_planner_judges_has_one_verdict():
    text = "| Part | Bytes |\n|---|---|\n| Attention weights, per layer | 83.9 MB |\n| Attention weights, all layers | {} |"
    for size, verdict in (("2.68 GB", "holds"), ("26.8 GB", "wrong")):
        (claim,) = (c for c in audited(text.format(size), MIXTRAL) if c.line == 6)
        assert (claim.quantity, str(claim.verdict)) == ("memory.attention", verdict)


def test_a_figure_that_nothing_else_judges_is_told_once():
    found = audited("A GPU sends 7.34 MB. At 50 GB/s that takes 126.8 µs.", EP8)
    assert [str(c.verdict) for c in found if "126.8" in c.text and c.claimed < 1] == ["wrong"]


def test_figures_that_stand_together_are_judged_whatever_plan_they_are_of():
    slip = "A token's KV cache takes 512 KiB."
    time = "A GPU sends 7.34 MB. At 50 GB/s that takes 1468 µs."
    for text, elsewhere in ((slip, 0), (time, 1)):
        assert len(failing(text, MIXTRAL)) == 1
        assert len(failing(f"## Baseline\n\n{text}", MIXTRAL)) == elsewhere


def test_the_configuration_that_a_figure_stands_under():
    pools = "## Prefill pool\n\n- GPUs: 4\n- EP: 4\n\n## Decode pool\n\n- GPUs: 8\n- EP: 8\n- One layer: 1.41 GB\n- All 32 layers: {}"
    assert failing(pools.format("45.1 GB"), MIXTRAL) == []
    (claim,) = failing(pools.format("1.41 GB"), MIXTRAL)
    assert claim.configuration == "Decode pool"


@pytest.mark.parametrize(
    "text",
    [
        "8 nodes × 8 = 64 GPUs, TP 0 × PP 2",
        "Each GPU holds 0 query heads with TP 4.",
        "It has 3.02B parameters.\n\n- fp32 gradients, 0 bytes each: 12.1 GB",
        "A GPU sends 7.34 MB over 0 GB/s in 147 µs.",
        "A token takes 128 KiB. A context of 000 tokens takes 4.29 GB.",
        "At 40% of it, 40 × 0 × 8 = 0 TFLOPS, and 12 TFLOPS.",
        "16,384 tokens/s in all, 0 tokens/s per GPU.",
        "```\na = 8\nb = a * 0  # 0 bytes\n```",
    ],
)
def test_what_follows_from_nothing_is_no_traceback(text):
    audited(text, MIXTRAL)
