"""Calculations as people write them: what a document that nobody here wrote means by a line."""

import pytest

from audits import CLUSTER, MIXTRAL, failing


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (
            "The share of experts hit at batch 30 = 1 - (120/128)^30 = 0.856",
            "The share of experts hit = (8 + 4) × 30 = 300",
        ),
        ("2 forward + 2 backward per layer × 16 layers × 4 micro-batches = 256", "2 + 2 × 16 × 4 = 256"),
        ("22.96 GB weights + 64 x 6000 x 131,072 B = 50.33 GB", "22.96 GB + 50.33 GB = 63.29 GB"),
        ("The state is 8192×3 fp32 = 98,304 B", "The state is 8192×3 = 26,576 elements"),
        ("8,192 tokens x top-4 x 5120 x 2 B = 335.5 MB", "8,192 tokens x top-4 x 5120 x 2 B = 83.9 MB"),
        ("a 4-8 node (32-64 GPU) setup", "8 nodes (4 × 16) of GPUs: 4 × 16 = 32"),
        ("Gathering 1-2 blocks at once = ~1-2 GB", "Gathering 1 + 2 blocks = 4 blocks, 1 + 2 = 4"),
        ("P_att = 2 n_{kv} d_h · 2B = 2 · 6 · 128 · 2", "It is 2 · 6 · 128 · 2 = 3,702"),
        ("1,835 TFLOPS / 3.7 TB/s = 496 FLOPs a byte", "1,835 / 3.7 = 396"),
        ("1 − (1 − 4/32)³⁰ = 0.982", "1 − (1 − 4/32)³⁰ = 0.882"),
        ("442.4 M + 151.9 M = 594.3 M = 0.580 B of 1024", "442.4 M + 151.9 M = 694.3 M"),
    ],
)
def test_what_is_meant(right, wrong):
    assert failing(right) == []
    assert failing(wrong) != []


@pytest.mark.parametrize(
    ("text", "title"),
    [
        # sums of a list, alternatives, and what is told in too few digits
        ("- a: 1.2 ms\n- b: 0.2 ms\n- Total: 1.2 ms alone or 0.85 ms with TP 2", CLUSTER),
        ("| Part | GB |\n|---|---|\n| experts | 80.0 |\n| rest | 13.3 |\n| Weights in all | 93.3 |", MIXTRAL),
        ("The other 1.8 B parameters are in BF16.", MIXTRAL),
        ("That is 12.88 B parameters, or 27.6 % of the model.", MIXTRAL),
        ("| | per replica (4 GPUs) | box (8 GPUs) |\n|---|---|---|\n| Weights | 93.4 GB | 186.8 GB |", MIXTRAL),
        (
            "8,192 tokens with top-2 are 16,384 routed copies.\n\n"
            "One dispatch moves 16,384 × 4096 × 2 B = 134.2 MB of all tokens.",
            MIXTRAL,
        ),
        (
            "Jede GPU hält 128 / 4 = 32 Experten je Schicht.\n\n| Posten | GB |\n|---|---|\n| Experten | 14,50 |\n"
            "| Attention (ein Viertel) | 0,45 |\n| Router (voll) | 0,03 |\n| Einbettung | 0,31 |\n| Gewichte gesamt | 15,29 |",
            "Qwen3-30B-A3B in BF16 auf 4 A100-GPUs, TP4, EP4",
        ),
        (
            "A GPU sends 7.86 MB a layer and gets 15.73 MB back. Over 52 layers, with 71 of 72 copies leaving the GPU, "
            "1.21 GB move.",
            CLUSTER,
        ),
        # in a table that is drawn, and one in plain columns
        ("```\n│ run 1 │ 359.6 B │ 20.9 B │ 26.28% │\n│ run 2 │ 359.6 B │ 20.9 B │ 27.75% │\n```", CLUSTER),
        # premises that are none
        ("A token wakes up 2 experts per layer.\n\nEach layer keeps 8 experts, all of 46.7 B parameters.", MIXTRAL),
        ("The NVLink gives 600 GB/s (bidirectional).", MIXTRAL),
        (
            "## 5.2 Qwen3-MoE 235B-A22B\n\n| Spec | Value |\n|---|---|\n| Layers | 94 |\n| Hidden size | 4096 |",
            "DeepSeek-V3",
        ),
        ("- Layers: 64 (32 attention + 32 Mamba)", MIXTRAL),
    ],
)
def test_what_is_not_accused(text, title):
    assert failing(text, title) == []


@pytest.mark.parametrize(
    ("text", "right", "wrong", "title", "told"),
    [
        (
            "A token keeps {} of KV cache.",
            "2 × 8 × 128 × 32 × 2 bytes = 131,072 bytes",
            "8 × 128 × 32 × 2 bytes = 65,536 bytes",
            MIXTRAL,
            "keys alone",
        ),
        ("A prompt of 4,096 tokens takes {} of KV cache.", "536.9 MB", "16.78 MB", MIXTRAL, "one layer keeps"),
        ("- GPUs per node: 8\n- Decode: {}, 32 GPUs", "4 nodes", "8 nodes", CLUSTER, "32 GPUs at 8 each are 4"),
        (
            "- HBM per GPU: 80 GB\n\nThe whole cluster has {} of HBM.",
            "2.56 TB",
            "2.56 PB",
            CLUSTER,
            "of each of 32 GPUs",
        ),
        ("| Item | GB |\n|---|---|\n| payload, 96 x 2560 x 2 B | {} |", "0.4915 MB", "491.5 MB", CLUSTER, "491.5 kB"),
        (
            "| Phase | Sekunden |\n|---|---|\n| Start | 45 |\n| Lesen | 19 |\n| Kern | 70 |\n| Summe | {} |",
            "134",
            "124",
            CLUSTER,
            "",
        ),
        (
            "| Part | (B) |\n|---|---|\n| attention | 8.154 |\n| dense FFN | 2.114 |\n| router | 0.527 |\n| experts | 287.494 |\n| Total | {} |",
            "298.289",
            "290.135",
            "Parameters of a model on 8 GPUs",
            "leaves out attention",
        ),
    ],
)
def test_what_is_accused(text, right, wrong, title, told):
    assert failing(text.format(right), title) == []
    found = failing(text.format(wrong), title)
    assert len(found) == 1
    assert told in found[0].why
