"""Parameters of parts, days of a run, tokens of a batch, and amounts of one replica beside those of all."""

import pytest

from audits import failing, one_wrong

MODEL = (
    "- Layers: 40\n- Hidden size: 4096\n- Query heads: 32\n- KV heads: 8\n- Head dim: 128\n- Experts: 64\n- top-k: 4\n"
    "- Expert width: 2048\n- SwiGLU\n- Vocabulary: 64,000\n\n"
)


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("| piece | parameters |\n|---|---|\n| one expert | {}M |", "25.17", "16.78", "without the gate"),
        ("| piece | parameters |\n|---|---|\n| attention (40 layers) | {}B |", "1.678", "2.684", "every query head"),
        ("| piece | parameters |\n|---|---|\n| experts, all layers | {}B |", "64.42", "4.027", "but right is"),
        ("Attention contributes 41.94 million parameters a layer and {} billion in total.", "1.678", "3.355", "twice"),
        ("| piece | parameters |\n|---|---|\n| one vocabulary table | {}M |", "262.1", "524.3", "both matrices"),
    ],
)
def test_parameters_of_a_part(text, right, wrong, why):
    assert why in one_wrong(MODEL + text, right, wrong).why


@pytest.mark.parametrize(
    "text",
    [
        "Exercise: redo this with two matrices; the experts then have 42.95 B parameters.",
        "| piece | parameters |\n|---|---|\n| shared expert | 16.78M |",
        "| piece | parameters |\n|---|---|\n| experts per GPU | 4.027B |",
    ],
)
def test_other_parts_are_left_alone(text):
    assert failing(MODEL + text) == []


def test_the_days_of_a_run():
    text = "Step time: 2.30 s.\n\n1.2T tokens: 286k steps, {} days without restarts."
    assert "286k steps of 2.30 s" in one_wrong(text, "7.61", "15.2").why
    assert failing(text.replace("without restarts", "at 80 % goodput").format("9.52")) == []


def test_the_tokens_of_a_batch():
    text = "Sequence length: 4096.\n\nThe global batch is 128 sequences or {} tokens."
    assert "128 × 4,096" in one_wrong(text, "524,288", "65,536").why
    assert failing(text.format("524,288") + "\n\n32 requests at 4096 tokens.") == []


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("Output per replica: 4,750 tokens/s; both replicas {} tokens/s.", "9,500", "38,000"),
        ("That is 7,000 tokens/s per GPU, {} for the rack.", "224,000", "56,000"),
        ("Two replicas. A replica makes 9,500 tokens/s per replica, {} tokens/s for the pool.", "19,000", "38,000"),
    ],
)
def test_one_and_all(text, right, wrong):
    one_wrong(text, right, wrong)


def test_columns_of_an_expert():
    text = MODEL + "TP 8: every expert is cut to {} columns on each GPU."
    assert "2,048 columns over TP 8 are 256" in one_wrong(text, "256", "512").why


def test_rows_by_small_labels():
    table = (
        "| ID | Quantity | Formula | Result |\n|---|---|---|---|\n| d1 | One expert | 3 × 4096 × 1024 | 12.58 M |\n"
        "| d2 | Routed experts | 144 × 35 × d1 | {} |\n| d3 | Rest | 2 × 35 × d1 | 0.881 B |\n| d4 | Total | d2 + … + d3 | 64.3 B |"
    )
    found = failing(table.format("63.42 M"))
    assert 6 in [c.line for c in found]
    assert failing(table.format("63.42 B")) == []


@pytest.mark.parametrize(
    "text",
    [
        "remove 10% for switches: 80x0.10 = 8 MB",
        "* per request: 67.9 ms prefill + 300*64.5/384 = 50.4 ms decode",
        "I assume 80% of the memory bandwidth (240 GB/s), 40% of the FLOPS. The card has 300 GB/s.",
        "Slow but that is what 1M costs: 65.2% of it is the softmax layers. All are 1.05 M tokens.",
        "| 项 | 大小 |\n|---|---:|\n| BF16 parameters | 70B * 2 = 140 GB |\n| FP32 master weights | 280 GB |\n"
        "| Adam m | 280 GB |\n| Adam v | 280 GB |\n\nAdam needs 12 bytes per parameter.",
    ],
)
def test_right_lines_stay_right(text):
    assert failing(text) == []
