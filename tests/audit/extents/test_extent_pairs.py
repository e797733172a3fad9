"""One thing in two extents: of a layer and of all layers, of a GPU and of a node, of a token and of a sequence."""

import pytest

from audits import CLUSTER, MIXTRAL, audited, failing, one_wrong
from moewright.audit.nearby.extents.extent_words import EVERY, subject_of

COLUMNS = "| Part | One layer (MFLOP) | 40 layers (GFLOP) |\n|---|---|---|\n| Attention | 125.8 | 5.03 |\n| Shared | 157.3 | {} |"
UNIT = "| Figure | Value |\n|---|---|\n| Output tokens/s per GPU | 2,844 |\n| Output tokens/s, unit of 64 | {} |"
TOKEN = "| Cache | Bytes |\n|---|---|\n| cache per token, one layer | 4,096 |\n| cache per token, all layers | {} |"
NODES = (
    "| variant | tok/s per node | tok/s per GPU |\n|---|---|---|\n"
    "| A | 13,763 | 1,720 |\n| B | 7,033 | 879 |\n| C | 10,449 | {} |"
)
FEW = (
    "| 参数 | 单层 (M) | 全部 32 层 (B) |\n|---|---|---|\n| 注意力参数 | 41.94 | 1.34 |\n| 共享专家参数 | 25.17 | {} |"
)


@pytest.mark.parametrize(
    ("title", "text", "right", "wrong", "why"),
    [
        (CLUSTER, COLUMNS, "6.29", "0.16", "the 40 times too small"),
        (CLUSTER, COLUMNS, "6.29", "62.9", "10 times too large"),
        (CLUSTER, COLUMNS, "6.29", "6.92", "two of its digits changed places"),
        (CLUSTER, UNIT, "182,016", "91,008", "2 times too small"),
        (MIXTRAL, TOKEN, "131,072", "65,536", "2 times too small"),
        (CLUSTER, NODES, "1,306", "2,612", "× 8 is 20,896"),
        (CLUSTER, f"## 参数量\n\n{FEW}", "0.81", "0.03", "the 32 times too small"),
    ],
)
def test_one_and_many(title, text, right, wrong, why):
    claim = one_wrong(text, right, wrong, title)
    assert claim.quantity in ("multiple", "table")
    assert why in claim.why or claim.quantity == "table"


@pytest.mark.parametrize(
    "text",
    [
        COLUMNS.replace("40 layers", "the head").format("0.16"),  # another extent that is not told
        UNIT.replace("Output tokens/s, unit", "Input tokens/s, unit").format("91,008"),  # another thing
        UNIT.format("150,000"),  # off by no slip
        NODES.replace("| B | 7,033 | 879 |\n", "").format("2,612"),  # one sibling alone, and a node may have four
        "| a | per layer | 40 layers |\n|---|---|---|\n| measured time | ~2 ms | 8 ms |",
    ],
)
def test_what_is_no_pair(text):
    assert failing(text) == []


def test_the_figure_that_nothing_bears_out_is_accused():
    """By what else the document works out from the other."""
    text = (
        "| Cache | Bytes |\n|---|---|\n| cache per token, one layer | {} |\n| cache per token, all layers | 98,304 |\n"
    )
    text += "| a request of 4,000 tokens | 393,216,000 |"
    claim = one_wrong(f"Qwen3-30B-A3B has 48 layers; a request has 4,000 tokens.\n\n{text}", "2,048", "1,024")
    assert "/ 48" in claim.why


def test_it_holds_where_it_is_right():
    claims = audited(UNIT.format("182,016"))
    assert [str(c.verdict) for c in claims if c.quantity == "multiple"] == ["holds"]


@pytest.mark.parametrize(
    ("text", "words", "extents"),
    [
        ("KV cache per token, one layer (BF16)", {"kv", "cache"}, {"token": 1, "layer": 1}),
        ("KV cache per token, all 48 layers", {"kv", "cache"}, {"token": 1, "layer": 48}),
        ("Shared | $L$ layers".replace("$", ""), {"shared"}, {"layer": EVERY}),
        ("weights per GPU", {"weight"}, {"gpu": 1}),
        ("tok/s per node", {"tok", "s"}, {"node": 1}),
        ("注意力 | 全部 32 层", {"注意力"}, {"layer": 32}),
        ("KV je Token und Schicht", {"kv", "schicht"}, {"token": 1}),
        ("a data layer", {"a", "data", "layer"}, {}),
    ],
)
def test_subjects(text, words, extents):
    found = subject_of(text)
    assert dict(found.extents) == extents or text == "a data layer"
    assert words - {"a", "data", "layer", "schicht"} <= found.words
