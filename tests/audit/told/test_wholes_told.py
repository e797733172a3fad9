"""Totals in words, stages, heads in pairs, what all layers and all GPUs have, and what a token passes."""

import pytest

from audits import MIXTRAL, audited, failing, one_wrong
from moewright.audit.audit_document import audit_document
from moewright.audit.text.document import parse

MODEL = (
    "- Layers: 48\n- Hidden size: 4096\n- Query heads: 32\n- KV heads: 8\n- Head dim: 128\n- Experts: 64\n- top-k: 4\n"
    "- Expert width: 2560\n- SwiGLU\n- TP: 2\n- PP: 4\n- DP: 32\n- EP: 16\n\n"
)
BIG = "Plan for 256 H100 GPUs"


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("The cell is 4 nodes of 8 H200, {} cards in all, each with 141 GB.", "32", "64"),
        ("TP2 × PP4 × DP{} makes the 32 ranks.", "4", "8"),
        ("Die Kopien teilen sich die Anfragen (TP = 8, DP = {}, zusammen 32).", "4", "8"),
        ("Each GPU has 400 Gb/s, that is {} GB/s.", "50", "400"),
        ("- 机间网络：每卡 400 Gb/s，即 {} GB/s", "50", "400"),
        ("It takes 241 TFLOP. One server has 8 × 312 × 0.5 = 1,248 TFLOPS, so the prompt takes {} ms.", "193", "97"),
        (
            "Eine GPU hat 80,5 GB. Ein Prompt verlangt 241 TFLOP. Ein Server schafft bei 50 % Auslastung 8 × 312 × 0,5 = 1.248 TFLOPS, der Prompt "
            "ist nach {} ms verarbeitet.",
            "193",
            "97",
        ),
        ("1. Decode liest höchstens 40,2 GB; bei 864 GB/s dauert das {} ms. Zugesagt sind 60 ms.", "46,5", "39,9"),
        ("- weights: 61.1 GB, a quarter per GPU -> {} GB", "15.3", "30.5"),
        (
            "Each layer dispatches 110.1 µs and combines 220.2 µs.\nOver the 58 MoE layers that makes {}.",
            "19.2 ms",
            "19.2 µs",
        ),
        ("A step reads 40.2 GB; at 864 GB/s that takes {} ms.", "46.5", "39.9"),
        (
            "The link has 50 GB/s per GPU.\n\nHalf of it, 0.524 MB, takes the cable, which needs {}.",
            "10.5 µs",
            "10.5 ms",
        ),
        ("16,384 calls are spread over 256 experts, so each gets {} rows.", "64", "512"),
        ("We take 192 prompts of 8192 tokens, which makes {} tokens a batch.", "1,572,864", "3,145,728"),
        ("| Parameters, total / active | {} |\n|---|---|\n| x | y |", "671B / 37B", "37B / 671B"),
        ("- 80 sessions together give 2,602 tokens/s, i.e. {} tokens/s per GPU", "81.3", "325"),
    ],
)
def test_by_their_own_words(text, right, wrong):
    if "|" in text:
        text = "| Item | Value |\n|---|---|\n| Parameters, total / active | {} |"
    one_wrong(text, right, wrong)


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        ("A stage has 64 ranks and {} consecutive layers.", "12", "24", "48 layers / pp 4 are 12"),
        ("A stage has {} ranks.", "64", "32", "256 GPUs / pp 4 are 64"),
        ("Each GPU holds 64 / 16 = 4 experts per layer, {} over the 12 layers.", "48", "52", "4 × 12 are 48"),
        ("- Heads after the cut: 16 query, {} KV", "4", "8", "8 / tp 2 is 4"),
        ("EP16 leaves {} of each layer's 64 on a card.", "4", "8", "64 / ep 16 is 4"),
        ("An expert has 31.46 M weights; a layer's experts {}.", "2.013 B", "125.8 M", "that is 4 experts"),
        ("A layer's experts weigh 2.013 GB, all 48 of them {} GB.", "96.6", "98.6", "2.013 GB × 48"),
        (
            "It has 99.72 B parameters, experts are 96.64 B, and {} work on each token.",
            "9.13 B",
            "27.3 B",
            "a token passes",
        ),
    ],
)
def test_by_the_plan(text, right, wrong, why):
    assert why in one_wrong(MODEL + text, right, wrong, BIG).why


@pytest.mark.parametrize(
    "text",
    [
        "Groups: TP=8, DP=8 → 8192 GPUs",
        "Sizes: TP=4, PP=4, EP=8, ETP=1",
        "A node has 8 cards; 4 nodes of 8 H200, 24 of which serve.",
        "The NIC has 400 Gb/s, of which 45 GB/s are reached.",
        "The first stage has 11 layers and the embedding.",
        "Each layer sends 0.524 MB and takes back 1.049 MB, 51 layers 80.2 MB in total.",
        "A prompt takes 61.1 GB, about half of the 120 GB.",
        "A step reads 40.2 GB; at 864 GB/s and 60 % of it that takes 77.5 ms.",
        "2 experts per layer and GPU, 24 in its 12 layers, with 1 redundant slot.",
        "There are 192 prompts of 8192 tokens and 512 output tokens.",
    ],
)
def test_what_may_be_meant_otherwise(text):
    assert failing(MODEL + text, BIG) == []


@pytest.mark.parametrize("text", ["58.0", "61.0"])
def test_kinds_of_layers(text):
    wrong = failing(f"It has 61 layers, 3 dense and {text[:2]} with MoE.", "DeepSeek-V3 on 64 H800")
    assert bool(wrong) == (text == "61.0")


def test_rows_of_states_are_of_the_same_parameters():
    text = (
        "| Item | Reckoning | Value |\n|---|---|---|\n| Expert params | 48 × 31.46 M | 1.510 B |\n"
        "| Attention params | 12 × 41.94 M / 2 | 251.7 M |\n| bf16 params | 2 B each | 3.52 GB |\n"
        "| fp32 main grads | 4 B each | {} |\n| Adam, expert part | 12 B, over 4 replicas | 4.53 GB |"
    )
    one_wrong(text, "7.05 GB", "3.52 GB")
    one_wrong(text.replace("4.53 GB", "{}").replace("| {} |\n| Adam", "| 7.05 GB |\n| Adam"), "4.53 GB", "18.1 GB")


def test_rows_of_states_without_a_name_for_them():
    text = (
        "| Item | Reckoning | Value |\n|---|---|---|\n| bf16 params | 2 B each | 3.52 GB |\n| master params | 4 B each | {} |\n"
        "| moments of Adam | 8 B each | 14.1 GB |\n| Params of a rank | 48 × 36.7 M | 1.760 B |"
    )
    one_wrong(text, "7.05 GB", "3.52 GB")


def test_experts_over_the_depth():
    text = "Each card owns 256 / 16 = 16 routed experts in each MoE layer, {} over the depth of the network."
    title = "DeepSeek-V3 on 16 B200: 61 layers, 3 dense, leaving 58 with MoE"
    one_wrong(text, "928", "976", title)


@pytest.mark.parametrize(
    "text",
    [
        "1. **48 P + 48 D.** 8 experts per layer on each GPU in both pools.",
        "EP 16: 64 / 16 = 4 experts per layer and GPU, in all layers 192 pieces of 31.5 MB.",
        "- Dispatch: 128 × 8 × 7168 × 1 B = 7.34 MB a layer; combine comes back in BF16, 14.68 MB",
        "There and back over 24 layers, at 21.0 µs each, the cable is busy for 1.01 ms.",
        "In all replicas 844 GB of weights are loaded.",
        "121 B BF16 / 8 GPUs = 28.2 GiB/GPU of weights.",
        "70B weights / 8 GPUs = 17.5 GB weights per GPU",
        "The expert FFN is [4096 → 14336 → 4096].",
        "- 48 layers → ~12 a stage",
        "| target | cp | tokens/rank |\n|---|---|---|\n| 8k | 1 | 8,192 |\n| 16k | 2 | 8,192 |\n| 32k | 8 | 4,096 |",
        "- gradients in FP32: 3.19 GB\n- Adam, 12 bytes: experts split over 2 ranks 4.15 GB, attention over 16 ranks 78.6 MB",
        "- Alle Experten einer Schicht: 2,013 Mrd.\n- Experten insgesamt: 96,6 Mrd.",
        "Ein Prompt verlangt 241 TFLOP. Ein Server schafft 1.248 TFLOPS, der Prompt ist nach 193 ms fertig.",
    ],
)
def test_figures_of_a_part_or_of_all_copies(text):
    assert failing(MODEL + text, BIG) == []


def test_bytes_are_not_taken_for_as_many_parameters():
    text = "- Ein Experte hat 3 × 6144 × 16384 = 302,0 Mio. Parameter, in BF16 also {} MB"
    one_wrong(text, "604,0", "302,0")
    one_wrong(text, "604,0", "302,0", "Mixtral-8x22B auf 16 A100, 48 Query-Köpfe")


def test_top_k_among_right_sizes_of_a_named_model():
    one_wrong("It has 8 experts, hidden size 4096, top-{}.", "2", "4", MIXTRAL)


def test_sizes_in_a_mapping_of_yaml():
    text = "# A plan for 256 H100\n\n```yaml\nmoe: {experts: 64, topk: 4, ffn: 2560}\nbatch: {global: 1024, seq: 8192}\n```\n"
    given = {p.field: p.value for p in audit_document(parse(text, "x"), {}, None).premises}
    assert (given["model.experts.count"], given["model.experts.top_k"]) == (64, 4)
    assert (given["model.experts.intermediate_size"], given["workload.sequence"]) == (2560, 8192)


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("- 8 台服务器 × 8 卡 = 64 张 H20", 64),
        ("方案(4 机 32 卡 H800)", 32),
        ("Cluster: 512 MI300X, and a node has 8 MI300X.", 512),
        ("We have 32 H100s as four nodes of eight.", 32),
        ("- 3 boxes × 8 = 24 A100 80 GB", 24),
        ("16 H20 now; later it may grow to 24 GPUs.", 16),
    ],
)
def test_gpus_of_a_cluster(text, gpus):
    found = [p.value for p in audit_document(parse(text, "x"), {}, None).premises if p.field == "cluster.gpus"]
    assert found[:1] == [gpus]


def test_a_long_statement_is_read_in_pieces():
    numbers = ", ".join(f"{i}.5 GB" for i in range(1, 200))
    document = parse(f"# Plan\n\nAll of {numbers}.\n\nlast line 7 GB\n", "x")
    counts = [sum(c.isdigit() for c in s.value.replace(".5", "")) for s in document.statements]
    assert max(counts) < 200
    assert document.unread is None
    assert {s.line for s in document.statements} == {1, 3, 5}
    assert sum("GB" in s.value for s in document.statements) > 3


def test_more_pairs_of_numbers_than_are_read_are_told(monkeypatch):
    monkeypatch.setattr("moewright.audit.text.document.MOST_PAIRS", 50)
    text = "# Plan for 32 H100 GPUs\n\n" + "\n".join(f"- {i} GB and {i} ms and {i} of 3" for i in range(2, 30))
    audit = audit_document(parse(text, "x"), {}, None)
    assert "pairs of numbers" in audit.unread[-1].reason


def test_each_says_where_it_holds():
    told = audited("The cell is 4 nodes of 8 H200, 32 cards in all.")
    assert [c.verdict.value for c in told if c.quantity == "split"] == ["holds"]
