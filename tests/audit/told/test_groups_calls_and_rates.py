"""Groups beside one of them, collectives of a pass, rates of a user, sequences of a rank, bytes of a parameter, links,
runs of layers, and what a table's own cells say."""

import pytest

from audits import failing, one_wrong

CLUSTER = "- 4 nodes of 8 H100 each, 32 GPUs\n- Layers: 40\n- Hidden size: 4096\n- Experts: 64\n- top-k: 4\n\n"


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("There is room for 45 sessions per pair, with 8 pairs {}.", "360", "720", "8 × 45 is 360"),
        ("每个 DP 组 41.3 万 token,八组共 {} 万.", "330", "661", "8 × 41.3"),
        ("Tensor parallelism needs two all-reduces per layer, {} per pass.", "80", "40", "2 for each of 40"),
        ("Step time: 38 ms, so 26 tokens/s in all cases, {} tok/s per user.", "26", "38", "one token in 38 ms"),
        (
            "Take 512 sequences of 4096 tokens.\n\nWith 16 data-parallel ranks each GPU gets {} sequences.",
            "32",
            "64",
            "512 over 16",
        ),
        ("The step takes 24 ms per output token with 64 running sequences, {} tokens/s.", "2,667", "1,536", "64 in 24"),
        ("The rate is 38,400 tokens/s for the two nodes, {} per GPU.", "2,400", "4,800", "over 16 GPUs"),
        ("Between the nodes each GPU has 200 Gb/s, or {} GB/s.", "25", "2.5", "200 Gb/s"),
        ("Node: 8 × MI300X, 192 GB HBM3 each → {} GB", "1,536", "1,152", "8 × 192 GB"),
        ("We have 4 Server mit je 8 Intel Gaudi 3, zusammen {} Karten.", "32", "64", "the nodes have 32"),
        ("We read 31.8 GB at 80% of 864 GB/s, which are {} ms.", "46.0", "36.8", "at 80% of the rate"),
        ("There are 96 of them at 12 us, which is {} ms.", "1.152", "11.52", "96 × 12 us"),
        ("显存按 90% 使用,即 86.4 GB;扣除权重 15.4 GB 和预留 5 GB,剩余 {} GB.", "66.0", "76.0", "86.4 GB"),
        ("Im Mittel sind es 120 je Karte. Die am stärksten belegte Karte hatte 162, Faktor {}.", "1.35", "1.53", "162"),
        ("TP4: 19.9 GB, {} experts per layer on each GPU (EP4).", "16", "8", "64 / ep 4"),
    ],
)
def test_one_figure_by_the_one_before_it(text, right, wrong, why):
    assert why in one_wrong(CLUSTER + text, right, wrong).why


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        (
            "An expert has 8.65 M parameters. A layer has 66 of them, 571M. Twenty-seven layers make {}B.",
            "15.42",
            "15.99",
            "571M × 27",
        ),
        (
            "Such exchanges are 3.36 ms per layer; seven layers and 48 micro-batches make {} s per step.",
            "1.13",
            "0.161",
            "3.36 ms × 336",
        ),
        (
            "Work is 35.5 PFLOP. At an MFU of 30% we have 1.50 PFLOP/s, so a step takes {} s.",
            "23.7",
            "53.2",
            "35.5 PFLOP at 1.50",
        ),
        ("- weights of everything: 17.6 GB\n- embeddings: 3.76 GB\n- together {} GB", "21.4", "24.1", "17.6 GB"),
        ("A GPU holds 2.718B parameters, at 9 B per param → {} GB", "24.46", "48.92", "2.718B"),
        (
            "KV cache per token: 114,688 bytes.\n\nA session with full 32,768 tokens takes {} GB.",
            "3.76",
            "37.6",
            "32,768",
        ),
        ("Eine MoE-Schicht hat Experten zu je 604 Mio. Sie hat 16 davon, {} Mrd.", "9.66", "4.83", "604 Mio"),
    ],
)
def test_figures_that_sentences_before_lead_to(text, right, wrong, why):
    assert why in one_wrong(CLUSTER + text, right, wrong).why


def test_cells_that_say_how_they_are_worked_out():
    head = "| item | value | derivation / source |\n|---|---|---|\n"
    rows = "| KV per token | 98.3 kB | 48 × 2 × 8 × 128 × 1 B |\n| traffic | 0.386 GB | 0.193 GB × 2 |\n"
    text = head + rows + "| HBM, rack | {} TB | 72 × 186 GB |\n"
    assert "72 × 186 GB" in one_wrong(text, "13.4", "134").why
    at_rate = head + rows + "| the time | {} | at 600 GB/s |\n"
    assert "600 GB/s" in one_wrong(at_rate, "0.643 ms", "0.643 µs").why
    assert failing(head + "| HBM, rack | 134 TB | 72 × 186 GB |\n") == []  # no other row holds


def test_rows_of_times_at_the_rate_of_their_name():
    text = "| | A | B |\n|---|---|---|\n| weights of a card | 33.3 GB | 22.4 GB |\n| reading at 3.7 TB/s | {} ms | 6.05 ms |"
    assert "33.3 GB at 3.7 TB/s" in one_wrong(text, "9.0", "12.3").why


def test_columns_of_one_letter_are_options():
    text = (
        "- Layers: 40\n- Hidden size: 5120\n- Query heads: 40\n- KV heads: 8\n- Head dim: 128\n- Experts: 96\n- top-k: 6\n\n"
        "| row | A (today) | B (proposed) |\n|---|---|---|\n| KV cache | bf16 | FP8 |\n| tensor parallel | 8 | 2 |\n\n"
        "| row | A | B |\n|---|---|---|\n| KV per token and GPU | 20,480 B | {} B |\n"
    )
    assert "KV heads over tp 2" in one_wrong(text, "40,960", "20,480").why


def test_a_phase_has_its_own_parallel_size():
    text = (
        CLUSTER + "I propose one node for prefill (DP8, EP8) and two for decode (DP16, EP16).\n\n"
        "Prefill node: {} experts per layer and GPU."
    )
    assert "64 / ep 8" in one_wrong(text, "8", "4").why


@pytest.mark.parametrize(
    "text",
    [
        "通信:分发量每层 48 × 8 × 5120 × 2 B = 3.93 MB,加上合并,48 层共 377 MB.",  # both directions
        "Network: 4 × HDR InfiniBand 200 Gb/s per node = 100 GB/s.",
        "HBM peak BW = 1384 GB/s (floor 0.015 ms below ~16 MB transfers).",
        "Load: 96 sequences per replica, TPOT 24 ms, 16,000 tokens/s for the cluster.",
        "HFU = 708,000 * 50.25e9 / 7.912e15 = 450%",
        "idx_io: 1 × 200K × 512 B / 51.5 GB/s = 1.896 ms",  # GiB/s, and K of 1024
        "expert_gemm: 0.5 active/rank × 84 MB = 0.030 ms",  # at a rate that is told elsewhere
        "PP 比 TP 少发数据($t=8,p=8,L=80$ 时约 35 倍).",
        "Interleaved with 3 chunks per GPU: 5/(3·32+5) = 5.0 %.",
        "Decoding: (37B × 0.5 B) ÷ 273 GB/s LPDDR5X ≈ 15 tok/s",  # one over that time
        "Requests: 75GB / (10GB/req) = 7",  # so many fit
        "Time for the whole batch: 67.13 PFLOP / 4.705 PFLOPS = 14.27 s",
    ],
)
def test_right_lines_of_others_are_left_alone(text):
    assert failing(text) == []


def test_heads_of_a_model_whose_first_layers_are_linear():
    text = "# Plan\n\n- Model: {}\n- Layers: {}\n- Attention heads: {}\n"
    assert failing(text.format("Qwen3-Next-80B-A3B", 48, 16)) == []
    assert failing(text.format("Nemotron-3-Nano", 52, 32)) == []
    assert failing(text.format("Qwen3-Next-80B-A3B", 48, 64)) != []


def test_a_colon_inside_of_brackets_ends_no_key():
    text = "预填充吞吐约 32,768 ÷ 0.32 s ≈ {}K token/s(目标: 首 token 时延不超过 1 s)"
    assert "102.4" in one_wrong(text, "102", "1,020").why


def test_quoted_lines_are_a_list():
    text = "> vocab 2 × 656.7M = 1.313B\n> total 208.55B, active 13.2B\n> attention 62.91M per layer\n"
    assert failing(text) == []


def test_the_last_item_is_what_those_above_it_are_together():
    text = (
        "- attention 11.4B (187.1M a layer), dense FFNs 1.06B, routers 0.05B: 17.6 GB in FP8\n"
        "- embedding and head in bf16: 3.76 GB\n- together {} GB\n"
    )
    assert "17.6 GB + 3.76 GB" in one_wrong(text, "21.4", "24.1").why


def test_a_sums_share_of_a_card():
    text = "Each of the 16 chips has 80 GB of HBM; the states take 46.0 GB of it.\n\nThe sum is {}% of the HBM."
    assert "46.0 GB" in one_wrong("- GPU memory: 80 GB\n\n" + text, "57.5", "5.75").why
