"""Active parameters that are the total, more than it, or what no way of counting makes."""

import pytest

from audits import failing, one_wrong

DEEPSEEK = "DeepSeek-V3 on 32 H800"


@pytest.mark.parametrize(
    ("title", "text", "right", "wrong", "why"),
    [
        (
            DEEPSEEK,
            "The total is 671 B parameters, active per token about {}.",
            "37.6 B",
            "671 B",
            "the total of line 3",
        ),
        (
            DEEPSEEK,
            "It has 671 B parameters. A token uses {} active ones.\n\nactive: {}",
            "37.6 B",
            "167.8 B",
            "36.63 B",
        ),
        ("A model on 32 H800", "- {} parameters, 32.9B active per token", "1.026T", "1.026B", "less than the 32.9B"),
    ],
)
def test_what_a_token_passes(title, text, right, wrong, why):
    text = text.replace("A token uses {} active ones.\n\n", "")
    claim = one_wrong(text, right, wrong, title)
    assert why in claim.why


@pytest.mark.parametrize(
    "text",
    [
        "It has 671 B parameters in total.\n\nThe dense part is 37.6 B in total.\n\nActive per token: 37.6 B.",
        "It is 671 B total.\n\n- total 671 B active 37.6 B (5.6 %)",
        "## 5.2 Qwen3-MoE 235B-A22B\n\n| Spec | Value |\n|---|---|\n| Active params (per token) | 22B |",
        "GLM-5 is 744B total parameters.\n\n- GLM-5: 40B activated (on the 744B variant)",
        "## Qwen3-235B-A22B\n\n| Total params | 235B |\n|---|---|\n| Active params (per token) | 22B |",
    ],
)
def test_another_model_or_figure_is_none(text):
    assert failing(text, DEEPSEEK) == []
