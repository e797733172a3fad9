"""What is sent to the experts and what comes back, and a step of all layers."""

import pytest

from audits import DEEPSEEK, failing, one_wrong

PAIR = "- dispatch in FP8: {} per MoE layer\n- combine in BF16: 14.7 MB per MoE layer"
STEP = "- Per layer: dispatch 4.72 MB, combine 9.44 MB.\n- Over a whole decode step that adds up to {}."


def test_a_dispatch_of_one_copy():
    claim = one_wrong(PAIR, "7.34 MB", "0.92 MB", DEEPSEEK)
    assert "top 8 makes 7.360 MB" in claim.why


@pytest.mark.parametrize("text", [PAIR.format("14.7 MB"), PAIR.format("0.92 MB").replace("combine", "read")])
def test_other_ratios_are_not_wrong(text):
    assert failing(text, DEEPSEEK) == []


def test_a_step_that_is_one_layer():
    claim = one_wrong(STEP, "821 MB", "14.2 MB", DEEPSEEK)
    assert "58 layers send 823.6 MB" in claim.why


def test_a_layers_sum_is_one():
    assert failing("- Per layer: dispatch 4.72 MB, combine 9.44 MB.\n- A layer sends 14.2 MB.", DEEPSEEK) == []
