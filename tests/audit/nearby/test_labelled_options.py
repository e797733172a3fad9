"""Heads and experts of options that a letter names."""

import pytest

from audits import failing, one_wrong

QWEN = "Qwen3-235B-A22B on H200 GPUs"
LISTED = """\
- Layout A: attention TP8, experts EP8
- Layout B: attention DP32 (TP1), experts EP32

| | A | B |
|---|---|---|
| Query heads per GPU | 8 | {} |
"""
TABLE = """\
| Option | Fits |
|---|---|
| A: TP8 | yes |
| B: TP2 × PP4 | yes |

- A: every GPU has 8 query heads.
- B: every GPU has {} query heads.
"""


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        (LISTED, "64", "16", "64 / tp 1 is 64"),
        (TABLE, "32", "16", "64 / tp 2 is 32"),
        (LISTED.replace("Query heads per GPU | 8", "Experts per GPU and layer | 16"), "4", "8", "128 / ep 32 is 4"),
    ],
)
def test_by_the_sizes_of_the_option(text, right, wrong, why):
    assert why in one_wrong(text, right, wrong, QWEN).why


@pytest.mark.parametrize(
    "text",
    [
        LISTED.replace("experts EP32", "experts EP32\n- Layout B: attention TP4").format(16),  # two sizes
        TABLE.format("16 of the 64"),
        TABLE.replace("every GPU has {}", "a stage has {}").format(16),
        TABLE.replace("- B:", "- D:").format(16),  # an option of which nothing is told
    ],
)
def test_what_is_not_known_of_an_option(text):
    assert [c for c in failing(text, QWEN) if "/ tp" in c.why] == []
