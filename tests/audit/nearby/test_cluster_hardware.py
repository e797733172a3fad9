"""What a cluster has together is what a GPU has, times its GPUs; what a GPU has of heads, layers and experts is cut by
the size that cuts it."""

import pytest

from audits import CLUSTER, MIXTRAL, audited, failing, one_wrong

GPUS = "- 32 GPUs\n- Memory per GPU: 80 GB\n- Peak per GPU: 989 TFLOPS BF16\n"
SIZES = (
    "- 16 layers, hidden size 4096, 32 query heads, 8 KV heads\n- 64 experts per layer, top-4, expert width 2048\n"
    "- 256 sequences of 4096 tokens\n- TP=2, PP=4, DP=4, EP=8\n"
)


@pytest.mark.parametrize(
    ("text", "right", "wrong", "why"),
    [
        (GPUS + "- 80 GB of HBM per GPU, {} over all nodes", "2,560 GB", "640 GB", "2.560 TB"),
        (GPUS + "- HBM of the cluster: {}", "2,560 GB", "2,650 GB", "2.560 TB"),
        (GPUS + "- Peak of the cluster: {}", "31.65 PFLOPS", "3.165 PFLOPS", "31.65 PFLOP/s"),
    ],
)
def test_hardware_of_a_cluster(text, right, wrong, why):
    claim = one_wrong(text, right, wrong)
    assert claim.quantity == "cluster"
    assert why in claim.why


@pytest.mark.parametrize(
    "text",
    [
        # what is reached, of a node, of so many GPUs, of a GPU, of what is held
        GPUS + "- Cluster peak: 31.65 PFLOPS, at 30 % MFU 9.49 PFLOPS",
        GPUS + "- HBM of a node in the cluster: 640 GB",
        GPUS + "- The 8 GPUs of the pool have 640 GB of HBM together",
        GPUS + "- The KV cache of the cluster is 1,024 GB in all, in memory",
    ],
)
def test_other_sums(text):
    assert [c for c in failing(text) if c.quantity == "cluster"] == []


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        (SIZES + "- KV heads: 8 → {} per GPU", "4", "2"),
        (SIZES + "- heads: 32 → {} per GPU", "16", "8"),
        (SIZES + "- experts: 64 → {} per GPU", "8", "16"),
        (SIZES + "- layers: 16 → {} per stage", "4", "8"),
    ],
)
def test_what_is_split_by_what(text, right, wrong):
    assert one_wrong(text, right, wrong).quantity == "split"


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("- 400 Gb/s NIC, i.e. {} per GPU", "50 GB/s", "400 GB/s"),
        ("- 200 Gb/s = {} per GPU", "25 GB/s", "2.5 GB/s"),
        ("- every GPU has a 400 Gb/s adapter, which moves {}", "50 GB/s", "3,200 GB/s"),
    ],
)
def test_bits_and_bytes_of_a_link(text, right, wrong):
    assert [c.quantity for c in failing(text.format(right))] == []
    assert {c.quantity for c in failing(text.format(wrong))} & {"bandwidth", "arithmetic"}


def test_work_counted_with_all_parameters():
    text = "- 46.7 B parameters in total, 12.9 B active per token\n- one token needs {} forward"
    claim = one_wrong(text, "2 × 12.9 B × 1 M tokens = 25.8 PFLOP", "2 × 46.7 B × 1 M tokens = 93.4 PFLOP", MIXTRAL)
    assert claim.quantity == "compute"
    assert "12.9 B" in claim.why
    dense = "- 46.7 B parameters in total, 12.9 B active per token\n- a dense model would need 2 × 46.7 B × 1 M = 93.4 PFLOP"
    assert failing(dense, MIXTRAL) == []


def test_a_block_of_keys_and_values_has_their_heads():
    block = "A GPU's K and V block is 16,384 × 2 × {} × 128 × 2 B = {} per layer."
    lines = "- 32 layers\n- 32 query heads\n- 8 KV heads\n- 8 experts per layer\n\n"
    assert [c for c in audited(lines + block.format(8, "67.11 MB"), MIXTRAL) if c.quantity == "slip"] == []
    (claim,) = [c for c in audited(lines + block.format(32, "268.4 MB"), MIXTRAL) if c.quantity == "slip"]
    assert "32 query heads" in claim.why


@pytest.mark.parametrize(
    "text",
    [
        "plus 3.54 GB + 12.9 GB → 40.6 GB",
        "16 GPUs · 4.20 €/h · 720 h = 48,384 €",
        "The mean is 1/21 s ≈ 45-50 ms.",
        "The step takes at least (10.32 + 24.46 GB) / (1.555 TB/s) = 22.37 ms.",
    ],
)
def test_calculations_that_hold_or_go_on(text):
    assert failing(text, CLUSTER) == []


def test_what_two_matrices_add_is_worked_out():
    one_wrong("The two embedding matrices add 2 × 50304 × 2048 = {}.", "206 M", "103 M")


def test_a_formula_of_another_model_is_judged_by_its_arithmetic_alone():
    text = "- Dispatch of a token in Tiny-MoE: 2 × 5120 × 2 B = 20.5 kB"
    assert failing(text, "DeepSeek-V3 on H100 GPUs, EP=8") == []


def test_a_bound_is_one_at_the_peaks():
    text = "Layout: TP=1, EP=8, DP=8, 64 concurrent requests of 4096 tokens. Decode step: {} tokens/s in all"
    claims = audited(text.format("5.2K"), MIXTRAL)
    assert "impossible" not in {str(c.verdict) for c in claims}
