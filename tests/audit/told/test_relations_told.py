"""Relations told in words: experts behind a size, shares in brackets, loads, rates of requests, both ways."""

import pytest

from audits import failing, one_wrong

MODEL = (
    "- Layers: 40\n- Hidden size: 6144\n- Query heads: 48\n- KV heads: 8\n- Head dim: 128\n- Experts: 128\n- top-k: 8\n"
    "- Expert width: 1536\n- Vocabulary: 131,072\n- SwiGLU\n\n"
)


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        (MODEL + "Routed experts EP64, hence {} per card and MoE block.", "2", "16"),
        (MODEL + "- EP 32: {} Experten pro GPU und Schicht, 168 insgesamt.", "4", "8"),
        (MODEL + "专家按 EP 8 × EDP 4 摆放，每卡每层 {} 个专家。", "16", "8"),
        ("| per card | GB |\n|---|---|\n| in use | 112.7 ({}% of 141) |", "79.9", "88.0"),
        ("A step lasts 34.9 ms. With BF16 experts it would be 39.1 ms a step (+{}%).", "12.0", "10.7"),
        ("They need 4.611 PFLOPS. 16 cards sustain 6.330 PFLOPS; utilization {}%.", "72.8", "79.2"),
        ("At peak 24 requests/s with 6000 prompt tokens each; that is {} tokens/s.", "144,000", "192,000"),
        (
            "In der Spitze 24 Anfragen/s mit 6000 Eingabe- und 800 Ausgabetokens; das ergibt 144000 Eingabetokens/s und {} Ausgabetokens/s.",
            "19200",
            "38400",
        ),
        (
            "GPUs with 300 TFLOPS BF16 each. With an MFU of 45% they give 96 × 300 × 0.45 = 12.96 {}.",
            "PFLOPS",
            "TFLOPS",
        ),
        (
            "It sends 197.1 MB, at 25 GB/s 7.885 ms. Combine costs the same; over 36 layers both together take {} ms.",
            "567.7",
            "283.9",
        ),
        (
            "- Experten belegen 19.03 GB je GPU.\n- Hinzu kommen die replizierten Teile mit 6.50 GB, also {} GB pro Karte.",
            "25.5",
            "27.5",
        ),
        (
            "| per layer | TFLOP |\n|---|---|\n| Projections, 2 × 393,216 × 41.94 M | 32.98 |\n"
            "| Scores, 2 × 96 × 4096² × 4096 | {} |",
            "13.19",
            "26.39",
        ),
        ("A step reads 4.388 + 25.77 = {} GB.", "30.16", "28.16"),
        ("It reads 55.9 GB: 16.7 ms at 3.35 TB/s, and with 60% of that bandwidth {} ms.", "27.8", "10.0"),
        ("Each step reads 46.1 GB. Reading it at 70% of the peak of 4 TB/s takes {} ms.", "16.5", "11.5"),
        ("| step | ms |\n|---|---|\n| at all of it | 22.5 |\n| at 75 % of the bandwidth | {} |", "30.0", "22.5"),
        ("The server costs 8 × 730 h × 1.80 € = {} € a month.", "10,512", "5,256"),
        ("48 × 2.20 €/h = 105.60 €/h, in a month (730 h) {} €.", "77,088", "12,848"),
        ("- 96 experts + 32 copies = 128 slots per layer, EP 64, so {} slots per GPU.", "2", "4"),
        ("The worst GPU has 28 tokens against the 16, an imbalance of {}.", "1.75", "0.571"),
    ],
)
def test_relations(text, right, wrong):
    assert one_wrong(text, right, wrong).line > 0


@pytest.mark.parametrize(
    "text",
    [
        MODEL + "EP 32 over all 32 cards, with 4 redundant slots per layer and GPU.",
        "The o_proj GEMM is 12*128 -> 7168.",
        "At peak 24 × 1.032 GB = 24.8 GB/s, against 16 × 50 = 800 GB/s that is 3.10%.",
        "| what | GB |\n|---|---|\n| usable, 192 × 0.92 | 176.64 |\n| usable, 80 × 0.90 | 72.0 |",
        "A step lasts 34.9 ms, or 39.1 ms (+12%) with BF16 experts.",
        "It reads 34.59 GB. At 70 % of the bandwidth (604.8 GB/s) that takes 57.2 ms.",
        "It reads 56.84 GB. At 1.792 TB/s 31.72 ms, at 80% of it 39.65 ms.",
        "A step lasts 40.0 ms; half of the time, 50% of it, is hidden, which leaves 20.0 ms.",
    ],
)
def test_no_relation(text):
    assert failing(text) == []


def test_active_parameters_leave_no_more_out_than_embeddings_and_shared_experts():
    told = MODEL + "The routed experts have 145.0 B parameters. Total 152.9 B, active {} B.\n"
    assert one_wrong(told, "16.9", "9.93").quantity == "count.parameters active"


def test_a_model_that_follows_another_is_not_that():
    own = (
        "Corvid follows DeepSeek-V2: 50 layers, hidden size 4608, 144 routed experts (top-6) of width 1408.\n\n"
        "One expert holds 3 × 4608 × 1408 = 19.46 M parameters, the 144 of a layer {} B.\n"
    )
    assert failing(own.format("2.803")) == []
