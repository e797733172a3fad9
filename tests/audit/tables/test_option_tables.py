"""What an option of a table has follows from the sizes of that option, and not from those of the document."""

import pytest

from audits import CLUSTER, DEEPSEEK, MIXTRAL, audited, failing, one_wrong

MODEL = "Mixtral-8x7B on H100 GPUs"
SIZES = """| | A | B |
|---|---|---|
| GPUs | 8 | 16 |
| TP × DP (attention) | 4 × 2 | 2 × 8 |
| query heads per GPU | 8 | {} |"""
MIXED = """| Option | GPUs | Attention | Experts | Query / KV heads per GPU |
|---|---|---|---|---|
| A | 8 | TP 8 | TP 8 | 4 / 1 |
| B | 16 | TP 2 x DP 8 | EP 8 | {} / 4 |"""
APART = """| | A | B |
|---|---|---|
| EP | 32 | 64 |

Where they go:

| | A | B |
|---|---|---|
| experts per GPU | 8 | {} |"""
TOKEN = """| | A | B |
|---|---|---|
| attention | TP4 | TP2 |
| KV bytes per token per GPU | 32,768 | {} |"""
COPY = """| | A | B |
|---|---|---|
| TP | 4 | 8 |
| weights | FP8 | BF16 |
| whole model | 46.7 GB | {} |"""
GRID = """The cluster has 160 GPUs.

| Dimension | Degree |
|---|---|
| Pipeline parallel (PP) | 4 |
| Tensor parallel (TP) | 4 |
| Data parallel (DP) | {} |"""
NODES = """| | A | B |
|---|---|---|
| nodes of 8 | 6 | {} |
| GPUs | 48 | 96 |
| EP | 48 | 96 |"""
MESH = """There are 1,024 GPUs.

| quantity | value |
|---|---|
| dense mesh TP x PP x DP | 4 x 8 x 32 |
| expert mesh ETP x EP x PP x EDP | 1 x 16 x 8 x {} |"""


@pytest.mark.parametrize(
    ("title", "text", "right", "wrong", "quantity", "why"),
    [
        (MODEL, SIZES, "16", "8", "count.heads", "32 heads over tp 2 are 16"),
        (MODEL, MIXED, "16", "32", "count.heads", "32 heads over tp 2 are 16"),
        (DEEPSEEK, APART, "4", "8", "count.experts", "256 experts over ep 64 are 4"),
        (MODEL, TOKEN, "65,536", "131,072", "memory.kv_cache", "KV heads over tp 2"),
        (MODEL, COPY, "93.4 GB", "46.7 GB", "memory", "at 2 bytes each take 93.41 GB"),
        ("Plan", GRID, "10", "20", "strategy", "= 320, and line 3 gives 160 GPUs"),
        ("Plan", NODES, "12", "16", "count.nodes", "96 GPUs at 8 each are 12"),
        (CLUSTER.replace("32", "1024"), MESH, "8", "16", "strategy", "is 2,048; there are 1,024 GPUs"),
    ],
)  # fmt: skip
def test_a_figure_of_an_option(title, text, right, wrong, quantity, why):
    claim = one_wrong(text, right, wrong, title)
    assert claim.quantity.startswith(quantity)
    assert why in claim.why


def test_the_sizes_of_an_option_count_more_than_those_of_the_document():
    text = "- TP 4 for attention\n\n" + SIZES.format("16")
    heads = [c for c in audited(text, MIXTRAL) if c.quantity.startswith("count.heads")]
    assert [(c.claimed, str(c.verdict)) for c in heads] == [(8, "holds"), (16, "holds")]


@pytest.mark.parametrize(
    "text",
    [
        GRID.format("10") + "\n| Replicas | 2 |",  # the GPUs are those of all copies
        GRID.replace("160", "320").format("10"),
        GRID.replace("| Dimension", "| Size").replace("Tensor parallel (TP)", "experts").format("20"),
        NODES.replace("nodes of 8", "nodes").format("16"),
        MESH.replace("TP x PP x DP", "TP x PP").replace("4 x 8 x 32", "4 x 8").format("8"),
    ],
)
def test_what_is_no_slip_is_not_wrong(text):
    assert [c for c in failing(text, "Plan") if c.quantity == "strategy" and "×" in c.why] == []


def test_kv_heads_that_are_not_given_are_not_judged():
    model = "Our model has 32 layers, hidden size 4096, 32 attention heads and 8 experts of width 14336.\n\n"
    table = "| | A |\n|---|---|\n| TP | 8 |\n| KV heads per GPU | 1 |"
    assert failing(model + table, "Plan") == []
