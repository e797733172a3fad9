"""Tokens of an expert: those of the pass, times the experts of a token, over all experts."""

import pytest

from audits import MIXTRAL, failing, one_wrong

STEP = "A step has 2,048 tokens; 2,048 × 2 = 4,096 routed copies, on average {} tokens per expert."


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        (STEP, "512", "256"),
        ("- Batch: 2,048 tokens\n- Tokens per expert on average: {}", "512", "256"),
        ("Each expert gets {} tokens of the 2,048 tokens of a step on average.", "512", "256"),
        ("| Item | Value |\n|---|---|\n| Tokens in flight | 2,048 tokens |\n| Tokens per expert | {} |", "512", "256"),
        ("Of 2,048 tokens an expert sees {} tokens each step.", "2,048 × 2 / 8 = 512", "2,048 / 8 = 256"),
    ],
)
def test_top_k_counts(text, right, wrong):
    claim = one_wrong(text, right, wrong, MIXTRAL)
    assert "512" in claim.why


@pytest.mark.parametrize(
    "text",
    [
        "At least 256 tokens per expert are needed; a step has 2,048 tokens.",
        "A step has 2,048 tokens: 256 per expert and GPU.",
        "2,048 routed copies make 2,048 / 8 = 256 tokens per expert.",
        "A step has 2,048 tokens, on average 300 tokens per expert.",
    ],
)
def test_other_means(text):
    assert failing(text, MIXTRAL) == []
