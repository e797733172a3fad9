"""Relations that a line states plainly, in the words that documents of others had for them."""

import pytest

from audits import failing, one_wrong


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("6.98 + 28.99 = 35.97 GB per card, {}% of the 48 GB.", "74.9", "64.9"),
        ("- 560 TFLOPs per chip; at 50 % MFU (229.5 TFLOPS) {} s", "2.44", "1.22"),
        ("The allocation is 32 nodes with 8 A800-80GB each, {} GPUs.", "256", "128"),
        ("- ICI 4,800 Gbps per chip = {} GB/s", "600", "480"),
        ("- 8 × 400 Gb/s RoCE per node (one NIC per GPU, {} GB/s)", "50", "400"),
        (
            r"$$M = \underbrace{{24.16}}_{{\text{{routed}}}} + \underbrace{{3.62}}_{{\text{{rest}}}} = {}\,\text{{GB}}$$",
            "27.8",
            "34.9",
        ),
        ("- budget: 0.9 * 48 GB - 6.98 GB - 2 GB buffers = {} GB", "34.2", "39.2"),
        ("- TPOT 73.3 ms, 28.0k tokens/s in total and {} per GPU.", "875", "1,750"),
    ],
)
def test_one_is_wrong(text, right, wrong):
    one_wrong(text, right, wrong)


@pytest.mark.parametrize(
    "text",
    [
        "A replica delivers 12,800 tokens/s, or 800 per GPU.",
        "62 layers make 248 KiB in total; after TP4 62 KiB per card.",
        "dispatch 4.72 MB, combine 9.44 MB. 24 of 32 peers are off-node, so 10.6 MB cross the NIC.",
        "Dispatch: 8,192 x 4 x 5120 x 2 bytes = 336 MB; dispatch + combine, forward + backward: 1.34 GB",
        "79.2 GB take 22.99 ms, plus 112 x 74 us = 8.29 ms.",
        "Two instances of 36 GPUs with EP, 8 experts of the 288 per GPU and layer.",
        "LLaMA-MoE-v1-3.5B (4/16) is cut from a dense model.",
        "params 2.86 GB (5.7B/EP=4), grads 2.86 GB",
        "Every expert sees 64 tokens per step, too few to make it compute-bound.",
        "Is it memory-bound or compute-bound?",
    ],
)
def test_none_is_wrong(text):
    assert failing(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "The servers see each other through eight 400 Gb/s NICs each, which is 400 GB/s per server and direction.",
        "Eine Karte verarbeitet 1024 Sequenzen zu 4096 Token = 4,19 Mio. Token; das sind 2,5 GB und 1,5 GB.",
        "90 % of 48 = 43.2 GB, less 25.8 GB weights, less 3 GB for graphs, leaves 14.4 GB.",
        "KV cache: 2 x 4 x 128 values per layer, x 48 layers x 2 bytes = 98,304 bytes per token.",
        "All-reduce: two per layer, 64 per pass, 64 x 4096 x 2 B = 524 KB each, 33.6 MB in total.",
        "- Of it to the other GPU: 1/2 = 3.637 MB",
    ],
)
def test_what_stands_for_itself_is_not_wrong(text):
    assert failing(text) == []
