"""States of parameters: so many bytes each, over so many ranks; weights and gradients of the same ones."""

import pytest

from audits import failing, one_wrong

HELD = "Each GPU owns 805.3 M expert parameters and 476.6 M dense ones, 1,281.9 M in all.\n\n"
TABLE = HELD + "| item | GB |\n|---|---|\n| Adam + master, 12 B, experts sharded over 8 | {} |"
RULES = HELD + "| item | rule | GB |\n|---|---|---|\n| Adam, experts | 12 B, over 8 ranks | {} |"
WEIGHTS = HELD + "| item | GB |\n|---|---|\n| weights BF16 | {} |\n| gradients FP32 | 5.13 |"
RULED = HELD + "| item | rule | GB |\n|---|---|---|\n| weights | BF16, 2 B | {} |\n| gradients | FP32, 4 B | 5.13 |"


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        (TABLE, "1.208", "0.805", "× 12 B / 8 is 1.208 GB"),
        (RULES, "1.208", "0.805", "× 12 B / 8 is 1.208 GB"),
        (WEIGHTS, "2.56", "5.13", "weights of the same parameters in bf16 take 2.565 GB"),
        (RULED, "2.56", "5.13", "weights of the same parameters in bf16 take 2.565 GB"),
    ],
)
def test_states(text, right, wrong, why):
    assert why in one_wrong(text, right, wrong).why


def test_states_of_other_parameters():
    assert failing(TABLE.replace("experts sharded", "router sharded").format("0.805")) == []
    assert failing(TABLE.format("1.111")) == []
