"""FLOPs, bytes and seconds of the operations, against figures worked by hand and by brute force."""

from dataclasses import replace

import numpy as np
import pytest

from cases import H200, paper, paper_model, served, small, value
from moewright.case.model import Indexer, LatentAttention, LinearAttention, SoftmaxAttention
from moewright.case.precision import Precision
from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Overlap, Strategy
from moewright.case.workload import Kind, Workload
from moewright.cost.arrays import array
from moewright.cost.attention import attention_cap, decode_keys, prompt_pairs, score_flops
from moewright.cost.prices.roofline import compute_seconds, unit_of
from moewright.cost.table import Table
from moewright.planning.bounds import bound_seconds, model_flops
from moewright.planning.evaluate import evaluate_table

EP64 = Strategy(attention=AttentionParallel(dp=64, tp=2), experts=ExpertParallel(64, 2))
LITERAL = Strategy(
    attention=AttentionParallel(tp=2, repeated=64), experts=ExpertParallel(64, 2, dispatch=Dispatch.REPLICATED)
)


def one(case, strategy):
    return evaluate_table(case, Table.one(strategy, case.workload.batch[0]))


@pytest.mark.parametrize(("causal", "teraflop", "bound"), [(True, 57.45, 1.870e-3), (False, 61.85, 2.013e-3)])
def test_the_papers_work_and_bound(causal, teraflop, bound):
    """Worked by hand: 131,072 tokens, 16 layers of 4·h² projections, 2·2·h·f expert weights, S²·h scores."""
    case = paper(causal=causal)
    assert sum(model_flops(case, 128).values()) / 1e12 == pytest.approx(teraflop, abs=0.005)
    assert bound_seconds(case, 128)[0] == pytest.approx(bound, abs=5e-7)
    tokens, h = 131_072, 1024
    by_hand = 16 * (2 * tokens * 4 * h * h + 2 * tokens * 64 * h + 2 * tokens * 2 * 2 * h * 2048)
    by_hand += 16 * 128 * 4 * 1024 * 1024 * h / (2 if causal else 1)
    assert sum(model_flops(case, 128).values()) == by_hand


def test_the_papers_memory():
    e = one(paper(), EP64)
    assert e.memory["attention"] == e.memory["experts"] == e.memory["kv_cache"] == 33_554_432
    assert e.memory["router"] == 1_048_576


def test_the_literal_reading_repeats_attention():
    """Attention in all 64 groups: 45.8 ms of attention alone."""
    e = one(paper(), LITERAL)
    attention = {"attention_projections", "attention", "output_projection"}
    seconds = sum(value(o.seconds) for o in e.layers[0].operations if o.work.name in attention) * 16
    assert seconds == pytest.approx(45.8e-3, rel=0.002)


@pytest.mark.parametrize("kind", [Kind.FORWARD, Kind.PREFILL, Kind.DECODE])
@pytest.mark.parametrize(
    "s",
    [
        Strategy(attention=AttentionParallel(dp=8), experts=ExpertParallel(8)),
        Strategy(attention=AttentionParallel(dp=2, tp=4), experts=ExpertParallel(4, 2)),
        Strategy(2, attention=AttentionParallel(dp=4), experts=ExpertParallel(1, 4)),
        Strategy(attention=AttentionParallel(dp=2, cp=2, tp=2), experts=ExpertParallel(8)),
        Strategy(1, 2, 2, attention=AttentionParallel(dp=2, tp=2), experts=ExpertParallel(2, 2)),
    ],
)
def test_flops_over_all_ranks_are_the_models(kind, s):
    """Without redundant work (tp divides the KV heads) the ranks' FLOPs add up to the model's; the straggler
    is the only excess of an expert operation."""
    if kind is Kind.DECODE and s.attention.cp > 1:
        pytest.skip("cp divides a prompt")
    case = small(kind=kind)
    t = Table.one(s, 16)
    e = evaluate_table(case, t)
    total = 0.0
    per_stage = s.gpus / s.pp
    for times, (_, positions) in zip(e.layers, case.model.layer_kinds(), strict=True):
        for o in times.operations:
            straggler = value(e.straggler) if o.work.name == "experts" else 1.0
            total += value(o.work.flops) / straggler * value(t.chunks) * per_stage * len(positions)
    with_head = per_stage / (1 if kind is Kind.FORWARD else s.attention.cp)  # of cp ranks one has the last token
    total += sum(value(o.work.flops) for o in e.head) * value(t.chunks) * with_head
    assert total == pytest.approx(sum(model_flops(case, 16).values()))


def mask_pairs(attention, sequence, causal):
    """Query-key pairs counted in a mask, the diagonal as half (a query sees half of its own block)."""
    q, k = np.mgrid[:sequence, :sequence]
    seen = k <= q if causal else np.ones_like(q, dtype=bool)
    if attention.window and causal:
        seen &= k > q - attention.window
    if attention.chunk and causal:
        seen &= k // attention.chunk == q // attention.chunk
    return seen.sum()


def visible_pairs(attention, work):
    size = array(work.sequence)
    decode = work.kind is Kind.DECODE
    return value(decode_keys(attention, size) if decode else prompt_pairs(attention, size, 0 * size, work.causal))


@pytest.mark.parametrize("fields", [{}, {"window": 128}, {"chunk": 100}, {"window": 4096}])
@pytest.mark.parametrize("causal", [True, False])
def test_visible_pairs_counted_in_a_mask(fields, causal):
    attention = SoftmaxAttention(4, 4, 16, **fields)
    found = visible_pairs(attention, Workload(Kind.PREFILL, (1,), 1024, causal))
    assert found == pytest.approx(mask_pairs(attention, 1024, causal), rel=0.012)


def test_decode_pairs_are_the_cached_keys():
    work = Workload(Kind.DECODE, (1,), 5000)
    assert visible_pairs(SoftmaxAttention(4, 4, 16), work) == 5000
    assert visible_pairs(SoftmaxAttention(4, 4, 16, window=128), work) == 128
    sparse = LatentAttention(4, 64, 64, 32, 16, 32, indexer=Indexer(4, 32, 2048))
    assert visible_pairs(sparse, work) == attention_cap(sparse) == 2048


def test_latent_attention_scores_by_its_products():
    """Decode in the absorbed form: one query of rank + rope per head against each cached row, and the
    weighted sum of rows of width rank; a prompt multiplies heads of nope + rope and of value_dim."""
    mla = LatentAttention(16, 96, 64, 32, 16, 24)
    case = served(sequence=300, batch=32)
    decode = score_flops(mla, case.workload)
    assert decode == 2 * 300 * 16 * (64 + 16) + 2 * 300 * 16 * 64
    prompt = score_flops(mla, Workload(Kind.PREFILL, (1,), 300, causal=False))
    assert prompt == 2 * 300 * 300 * 16 * (32 + 16) + 2 * 300 * 300 * 16 * 24


def test_gated_delta_has_no_quadratic_term():
    linear = LinearAttention(4, 8, 32, 64, 4)
    long, short = (score_flops(linear, Workload(Kind.PREFILL, (1,), n)) for n in (8192, 1024))
    assert long == 8 * short


def test_roofline_takes_the_longer_of_work_and_traffic():
    assert compute_seconds(1e12, 0.0, H200, "bf16") == pytest.approx(1e12 / (989.5e12 * 0.6) + 3e-6)
    assert compute_seconds(1.0, 4.8e9, H200, "bf16") == pytest.approx(1e-3 / 0.8 + 3e-6)
    assert compute_seconds(0.0, 0.0, H200, "bf16") == 0


@pytest.mark.parametrize(
    ("precision", "unit"),
    [
        (Precision("fp8", {}, "fp8"), "fp8"),
        (Precision("fp8", {}, "bf16"), "bf16"),  # weights are multiplied out to the activations' format
        (Precision("bf16"), "bf16"),
        (Precision("mxfp4", {}, "bf16"), "bf16"),
        (Precision("mxfp4", {}, "fp8"), "fp8"),
    ],
)
def test_matrix_unit(precision, unit):
    assert unit_of(precision, "experts", H200) == unit


def test_decode_reads_the_weights_of_active_experts_only():
    """One sequence a rank on one GPU: top 2 of 64 experts, not 64, are read."""
    case = paper(gpus=1, batch=(1,))
    case = replace(case, workload=Workload(Kind.DECODE, (1,), 1024))
    e = one(case, Strategy())
    experts = next(o for o in e.layers[0].operations if o.work.name == "experts")
    assert value(experts.work.traffic) == pytest.approx(2 * 2 * 1024 * 2048, rel=0.01)


def test_two_batch_overlap_of_halves():
    """2·max(C, X) + min(C, X) of one half's compute and communication."""
    case = paper(batch=(256,))
    e = one(case, replace(EP64, overlap=Overlap.TWO_BATCH))
    compute = sum(value(o.seconds) for o in e.layers[0].operations if not o.is_collective)
    exchange = sum(value(o.seconds) for o in e.layers[0].operations if o.is_collective)
    assert value(e.seconds) == pytest.approx(16 * (2 * max(compute, exchange) + min(compute, exchange)))


def test_scaling_the_hardware_scales_the_time():
    """Twice every rate and half every latency: half the time, for any strategy."""
    case = paper()
    device = replace(case.cluster.device, flops={"fp8": 800e12}, memory_bandwidth=3.6e12)
    c = case.cluster
    node, fabric = (replace(t, bandwidth=t.bandwidth * 2, latency=t.latency / 2) for t in (c.node, c.fabric))
    fast = replace(case, cluster=replace(c, device=device, node=node, fabric=fabric))
    for s in (EP64, LITERAL):
        assert value(one(fast, s).seconds) == pytest.approx(value(one(case, s).seconds) / 2)


def test_block_scales_count():
    assert paper_model(precision=Precision("fp8_block")).precision.weight("experts") == "fp8_block"
    case = replace(paper(), model=paper_model(precision=Precision("fp8_block", {}, "fp8", "fp8", "fp8", "fp8")))
    assert one(case, EP64).memory["experts"] == pytest.approx(33_554_432 * (1 + 4 / 16384))
