"""Amounts of all layers, or of the whole cluster, against those of one that they follow."""

import pytest

from audits import CLUSTER, MIXTRAL, failing, one_wrong

QWEN = "Qwen3-235B-A22B on 16 H200"
FLOPS = "- 专家：222.7 TFLOP 每层\n- 注意力每层：248.5 TFLOP\n- 全部层合计 {} PFLOP"


@pytest.mark.parametrize(
    ("title", "text", "right", "wrong", "why"),
    [
        (QWEN, FLOPS, "44.29", "0.044", "248.5 TFLOP (line 4) of one alone is more"),
        (
            QWEN,
            "A GPU sets aside 75.7 GB, and the whole installation {}.",
            "1.21 TB",
            "1.21 GB",
            "75.7 GB × 16 is 1.211 TB",
        ),
        (
            MIXTRAL,
            "Per layer: experts 51.9 TFLOP, attention 19.0 TFLOP. All 32 layers: {}.",
            "2.269 PFLOP",
            "70.9 TFLOP",
            "(51.9 TFLOP + 19.0 TFLOP) × 32 is 2.269 PFLOP",
        ),
        (
            "gpt-oss-120b auf vier L40S",
            "- Ein Experte: 24,88 Mio. Parameter\n- Aufmerksamkeit in BF16: 26,54 Mio. Parameter je Schicht, {} in allen Schichten",
            "1,911 GB",
            "53,1 MB",
            "at 2 B of one layer; all 36 have 1.911 GB",
        ),
        (
            MIXTRAL,
            "- Attention: 41.94 M per layer, {} in all",
            "1.342 B",
            "2.684 B",
            "41.94 M × 32 is 1.342 B: 2 times",
        ),
    ],
)
def test_the_whole_and_one_of_it(title, text, right, wrong, why):
    claim = one_wrong(text, right, wrong, title)
    assert why in claim.why


@pytest.mark.parametrize(
    "text",
    [
        "- 每层分发 5.37 GB\n- 全部层的权重 1.2 GB",  # of another thing
        "A GPU sets aside 75.7 GB; the router of the whole installation has 1.21 GB.",
        "Per layer: experts 51.9 TFLOP, attention 19.0 TFLOP. Both: 70.9 TFLOP.",
    ],
)
def test_another_thing_is_no_whole(text):
    assert failing(text, CLUSTER) == []
