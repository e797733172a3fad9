"""Heads and experts that are kept of so many, formulas that are of one layer, formats and times that are told beside
what they are of."""

import pytest

from audits import DEEPSEEK, MIXTRAL, audited, failing, one_wrong

QWEN = "Qwen3-235B-A22B on 32 H20 GPUs"


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("Under TP 4 every card keeps {} of the 32 query heads.", "8", "16"),
        ("With EP 16 each GPU holds {} of the 128 experts.", "8", "4"),
        ("| what | all | degree | per GPU |\n|---|---|---|---|\n| experts per layer | 64 | EP32 | {} |", "2", "1"),
        ("| what | total | cut | per card |\n|---|---|---|---|\n| q heads | 24 | TP2 | {} |", "12", "24"),
    ],
)
def test_a_part_of_so_many(text, right, wrong):
    assert one_wrong(text, right, wrong).quantity == "split"


@pytest.mark.parametrize(
    "text",
    [
        "Under TP 4 and TP 8 every card keeps 16 of the 32 query heads.",
        "A token passes 8 of the 128 experts with EP 16.",
        "Under TP 4 every card keeps 3 of the 30 query heads.",
    ],
)
def test_a_part_that_is_not_known(text):
    assert not [c for c in failing(text) if c.quantity == "split"]


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("- Routed experts of all layers: {}", "94 × 128 × 37.75 MB = 454.2 GB", "128 × 37.75 MB = 4.832 GB"),
        ("- 路由专家合计：{}", "94 × 128 × 18.87 M = 227.0 B", "128 × 18.87 M = 2.415 B"),
        ("Experts: 2 × 4096 × {} TFLOP.", "8 × 18.87 M = 1.237", "128 × 18.87 M = 19.79"),
    ],
)
def test_a_formula_of_one_layer_or_of_every_expert(text, right, wrong):
    assert failing(text.format(right), QWEN) == []
    assert [c.quantity for c in failing(text.format(wrong), QWEN)] in (["multiple"], ["compute"], ["memory.experts"])


@pytest.mark.parametrize(
    "text",
    [
        "- Experts of a layer: 128 × 37.75 MB = 4.832 GB",
        "- All experts of one layer: 128 × 37.75 MB = 4.832 GB",
        "- All experts: 128 × 37.75 MB = 4.832 GB per layer",
    ],
)
def test_a_formula_of_one_layer_that_says_so(text):
    assert failing(text, QWEN) == []


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("In BF16 its 116.8B parameters would be {} GB.", "233.6", "467.2"),
        ("Sum 220.9B, at FP8 {} GB.", "220.9", "441.8"),
        ("All is in BF16.\n\nAn expert has 21.23 M parameters, or {} MB.", "42.46", "21.23"),
        ("- 859.8M parameters in all\n- FP32 main gradients: {} GB", "3.44", "1.72"),
    ],
)
def test_bytes_of_a_format(text, right, wrong):
    assert one_wrong(text, right, wrong).quantity == "memory"


@pytest.mark.parametrize(
    "text",
    [
        "In BF16 or FP8 its 116.8B parameters are 467.2 GB.",
        "In BF16 its 116.8B parameters take, with optimizer states, 467.2 GB.",
        "In BF16 its 116.8B parameters are 58.4 GB per GPU.",
        "- 859.8M parameters in all\n- FP32 gradients, sharded over 2: 1.72 GB",
    ],
)
def test_bytes_of_something_else(text):
    assert failing(text) == []


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("The GPU has 3.35 TB/s.\n\nReading it is 25.5 GB, which the HBM delivers in {} ms.", "7.61", "12.8"),
        ("A step takes 7.49 s.\n\nFor 5T tokens that makes 199K steps and {} days.", "17.25", "25.8"),
        ("- 70,272 B/token\n- 4,096 users @ 8,192: {} TB", "2.358", "4.716"),
        ("A stage needs 134.2 MB at 50 GB/s, 8 of them.\n\n134.2 MB at 50 GB/s is {} ms.", "2.68", "0.336"),
        ("- one step reads 75.1 GB → {} ms at 8 TB/s", "9.39", "16.0"),
    ],
)
def test_a_time_or_an_amount_beside_what_it_follows_from(text, right, wrong):
    assert one_wrong(text, right, wrong).quantity in ("time", "memory")


@pytest.mark.parametrize(
    ("text", "right", "wrong", "title"),
    [
        ("Plain 1F1B wastes (8 − 1) / (96 + 8 − 1) = 7 / 103, i.e. {} of the step.", "6.80%", "68.0%", MIXTRAL),
        (
            "It has 99.4B parameters, of which 8.79B are active, a sparsity of {}.",
            "11.3",
            "16.0",
            "Plan for 32 H100 GPUs",
        ),
        ("Active are 22.2 billion out of 235.1 billion, or {}.", "9.4%", "6.3%", "Plan for 32 H100 GPUs"),
        ("Es belegt 6,59 GB, d. h. {} von 192 GB.", "3,4 %", "34 %", "Plan for 32 H100 GPUs"),
        ("- 7.927 + 9.207 + 18.42 = 35.55 GB\n- {} of the card", "25%", "2.5%", "Plan on 128 H200"),
        (
            "- Parameters in total: 571.0 B\n\nOf these, 37.6B are active per token, i.e. {} of the total.",
            "6.6%",
            "5.5%",
            "Plan on 128 H200",
        ),
    ],
)
def test_a_ratio_behind_what_it_is_of(text, right, wrong, title):
    assert one_wrong(text, right, wrong, title).quantity in ("share", "ratio")


def test_a_share_of_a_sum_above_is_judged_by_that_sum():
    text = "| Per GPU | Size |\n|---|---|\n| Weights | 40.1 GB |\n| KV cache | 17.5 GB |\n| Sum | 57.6 GB |\n| Share of 141 GB | {} |"
    assert one_wrong(text, "40.9%", "57.6%", DEEPSEEK).quantity == "share"


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("They come to 1.812 B per layer and {} B over the 48 layers.", "86.98", "43.49"),
        ("A layer sends 1.573 ms per layer, {} ms for 45 layers.", "70.8", "15.7"),
        ("- per MoE layer: 96 × 75.50M = 7.248B\n- all 28 MoE layers: {}B", "202.9", "405.8"),
    ],
)
def test_one_layer_and_so_many(text, right, wrong):
    assert one_wrong(text, right, wrong).quantity == "multiple"


def test_sizes_of_a_table_with_one_row():
    text = "| layers | hidden | experts | top-k |\n|---|---|---|---|\n| 24 | 3072 | 64 | 4 |"
    from moewright.audit.audit_document import audit_document
    from moewright.audit.text.document import parse

    given = {p.field: p.value for p in audit_document(parse(f"# Plan on 8 H100\n\n{text}\n", "x"), {}, None).premises}
    assert (given["model.layers"], given["model.hidden_size"], given["model.experts.count"]) == (24, 3072, 64)


def test_a_model_that_is_like_another_is_not_that_one():
    assert not any("DeepSeek" in c.why for c in audited("It is our DeepSeek-V3 lookalike.\n\nIt has 56 layers."))


def test_experts_of_a_layer_over_another_size():
    """Of a layer, as its formula says, and of an EP that is not the plan's."""
    text = "Because 256 routed experts / EP=8 = 32 experts per GPU, we take EP=64."
    assert failing(text, "DeepSeek-V3 on 64 H100 GPUs, EP64") == []
