"""States of parameters: so many bytes each, over so many ranks; weights and gradients of the same ones."""

import pytest

from audits import failing, one_wrong

HELD = "Each GPU owns 805.3 M expert parameters and 476.6 M dense ones, 1,281.9 M in all.\n\n"
TABLE = HELD + "| item | GB |\n|---|---|\n| Adam + master, 12 B, experts sharded over 8 | {} |"
RULES = HELD + "| item | rule | GB |\n|---|---|---|\n| Adam, experts | 12 B, over 8 ranks | {} |"
WEIGHTS = HELD + "| item | GB |\n|---|---|\n| weights BF16 | {} |\n| gradients FP32 | 5.13 |"
RULED = HELD + "| item | rule | GB |\n|---|---|---|\n| weights | BF16, 2 B | {} |\n| gradients | FP32, 4 B | 5.13 |"


PART = (
    "## One GPU\n\n- expert weights 40 × 17.30 M = 692 M, attention 5 × 41.94 M / 2 = 104.9 M\n- BF16 copy: 1.59 GB\n"
)
EACH = "- Adam, 12 bytes per parameter: experts split over 2 ranks {} GB, attention over 16 ranks 78.6 MB\n"
WAYS = (
    "Experts 282.9 M, all else 136.8 M.\n\nAdam keeps 12 bytes per parameter, sharded over the replicas: {} GB for the experts (4 ways) "
    "and 34.2 MB for the remainder (48 ways).\n"
)
ZH = "- 专家参数 330.3 M，注意力参数 77.07 M\n- BF16 权重 0.815 GB，FP32 梯度 {} GB\n"
ZH_ADAM = (
    "Adam 每参数 12 字节。\n\n- 专家参数 330.3 M，注意力参数 77.07 M\n- 优化器状态：专家部分在 2 卡间分片，{} GB\n"
)
ZH_PIECES = "- 专家参数 1.057 B，注意力参数 167.8 M\n- Adam（主权重加两个动量，每参数 12 字节）：专家部分切 2 份，{} GB；注意力部分切 8 份，0.252 GB\n"
COLUMNS = (
    "| | experts | attention |\n|---|---|---|\n| parameters | 604.0 M | 176.2 M |\n"
    "| Adam + master, 12 B each, ZeRO-1 | over 2: {} GB | over 32: 66.1 MB |\n"
)


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        (PART + "- gradients accumulated in FP32: {} GB\n", "3.19", "1.59", "692 M + 104.9 M × 4 B is 3.188 GB"),
        (PART + EACH, "4.15", "8.30", "692 M × 12 B / 2 is 4.152 GB"),
        (WAYS, "0.849", "3.39", "282.9 M × 12 B / 4 is 848.7 MB"),
        (ZH, "1.63", "0.815", "330.3 M + 77.07 M × 4 B is 1.629 GB"),
        (ZH_ADAM, "1.98", "3.96", "330.3 M × 12 B / 2 is 1.982 GB"),
        (ZH_PIECES, "6.34", "12.68", "1.057 B × 12 B / 2 is 6.342 GB"),
        (COLUMNS, "3.62", "7.25", "604.0 M × 12 B / 2 is 3.624 GB"),
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
