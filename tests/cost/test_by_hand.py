"""Operations of whole layers worked out by hand, in plain Python, for layouts of different kinds."""

from dataclasses import replace
from math import log2

import numpy as np
import pytest

from cases import H200, paper, served, small, value
from moewright.case.cluster import Cluster, Tier
from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Overlap, Strategy
from moewright.case.workload import Kind
from moewright.cost import network
from moewright.cost.table import Table
from moewright.errors import InfeasibleError
from moewright.placement.experts import place_experts, replicas_of
from moewright.planning.bounds import bound_seconds
from moewright.planning.evaluate import evaluate_table
from moewright.planning.search import evaluate


def priced(case, strategy, batch=None):
    batch = batch or case.workload.batch[0]
    return evaluate_table(case, Table.one(strategy, batch))


def named(e, name, layer=-1, collective=None):
    found = [
        o
        for o in e.layers[layer].operations
        if o.work.name == name and collective in (None, o.work.collective and o.work.collective.collective)
    ]
    (one,) = [o for o in found if value(o.seconds) > 0] or found[:1]
    return one


def roofline(flops, traffic, peak=400e12 * 0.6, bandwidth=1.8e12 * 0.8, launch=0.0):
    return max(flops / peak, traffic / bandwidth) + launch


def test_a_layer_of_the_documents_layout():
    """DP64 × TP2, EP64 × TP2: two sequences a group, 1,024 tokens owned by each rank, everything in fp8."""
    s = Strategy(attention=AttentionParallel(dp=64, tp=2), experts=ExpertParallel(64, 2))
    e = priced(paper(), s)
    h, f, tokens, own, slow, fast = 1024, 2048, 2048, 1024, 50e9, 450e9
    late = value(e.straggler)
    assert 1.03 < late < 1.045
    for name in ("attention_gather", "attention_reduce"):
        o = named(e, name)
        assert value(o.work.sent) == tokens * h / 2
        assert value(o.seconds) == pytest.approx(tokens * h / 2 / fast + 2e-6)
    for name in ("dispatch", "combine"):
        o = named(e, name)
        sent = own * 2 * 63 / 64 * h  # two experts on two ranks, one of 64 times one's own
        assert value(o.work.sent) == pytest.approx(sent)
        # 60 of 63 peers are on other nodes: 8 GPUs a node are 4 of the group
        assert value(o.seconds) == pytest.approx(sent * late * 60 / 63 / slow + 5e-6)
    arrived = own * 2 * late
    for name in ("expert_gather", "expert_reduce"):
        o = named(e, name)
        assert value(o.work.sent) == pytest.approx(arrived * 2 * h / 2)
        assert value(o.seconds) == pytest.approx(arrived * 2 * h / 2 / fast + 2e-6)
    copies = 131_072 * 2 / 64 * late
    o = named(e, "experts")
    assert value(o.work.flops) == pytest.approx(2 * copies * 2 * h * f / 2)
    read = 2 * h * f / 2 + copies * ((h + f / 2) + 2 * (f / 2 + h))
    assert value(o.work.traffic) == pytest.approx(read)
    assert value(o.seconds) == pytest.approx(roofline(2 * copies * 2 * h * f / 2, read))
    o = named(e, "attention_projections")
    assert value(o.work.flops) == 2 * tokens * 3 * h * h / 2
    assert value(named(e, "output_projection").work.flops) == 2 * tokens * h * h / 2
    assert value(named(e, "attention").work.flops) == 2 * 4 * 1024**2 / 2 * h / 2
    assert value(named(e, "router").work.flops) == 2 * own * h * 64


def test_a_layer_read_literally():
    """Every rank holds all 131,072 tokens; two all-reduces, over the pair and over all 128."""
    s = Strategy(
        attention=AttentionParallel(tp=2, repeated=64), experts=ExpertParallel(64, 2, dispatch=Dispatch.REPLICATED)
    )
    e = priced(paper(), s)
    size = 131_072 * 1024
    pair = named(e, "attention_reduce", collective="all_reduce")
    assert value(pair.work.sent) == size
    assert value(pair.seconds) == pytest.approx(min(2e-6 + size / 450e9, 4e-6 + size / 450e9))
    whole = named(e, "combine", collective="all_reduce")
    assert value(whole.work.sent) == pytest.approx(2 * 127 / 128 * size)
    inside = 4e-6 + 2 * 7 / 8 * size / 450e9
    ring = 2 * 15 * 5e-6 + 2 * 15 / 16 * size / 8 / 50e9
    tree = 2 * log2(16) * 5e-6 + 2 * size / 8 / 50e9
    assert value(whole.seconds) == pytest.approx(inside + min(ring, tree))
    assert value(named(e, "dispatch").seconds) == 0


def test_norms_read_and_write_twice():
    e = priced(small(kind=Kind.FORWARD), Strategy(attention=AttentionParallel(dp=8), experts=ExpertParallel(8)))
    own = 2 * 64
    assert value(named(e, "norms").work.traffic) == 2 * 4 * 2 * own * 128


def test_context_parallel_ranks_gather_the_keys_and_values():
    """DeepSeek-V3 over cp 4: each rank sends its quarter of 576 numbers a token, in bf16, to three others."""
    case = served(kind=Kind.PREFILL, gpus=32, batch=8)
    s = Strategy(attention=AttentionParallel(dp=8, cp=4), experts=ExpertParallel(32))
    o = named(priced(case, s), "context_gather")
    assert value(o.work.sent) == pytest.approx(3 / 4 * 4096 * 576 * 2)
    assert value(o.seconds) == pytest.approx(3 / 4 * 4096 * 576 * 2 / 360e9 + 4e-6)


def gate(rng):
    """(nodes of 64 experts, ranks of 8) that one token of DeepSeek-V3 reaches, as its gate is published."""
    scores = rng.random((8, 32))
    groups = sorted(range(8), key=lambda g: -sum(sorted(scores[g])[-2:]))[:4]
    chosen = sorted(((scores[g, i], g * 32 + i) for g in groups for i in range(32)), reverse=True)[:8]
    return len({e // 64 for _, e in chosen}), len({e // 8 for _, e in chosen})


def test_a_forwarded_dispatch_of_deepseek():
    """Over 4 nodes of two groups each: 4 of 8 groups by their two best scores, 8 experts of these."""
    case = served(kind=Kind.PREFILL, gpus=32, batch=32)
    e = priced(case, Strategy(attention=AttentionParallel(dp=32), experts=ExpertParallel(32)))
    nodes, ranks = (
        np.mean(found) for found in zip(*(gate(np.random.default_rng(i)) for i in range(3000)), strict=True)
    )
    o, late = named(e, "dispatch"), value(e.straggler)
    width = 4096 * 7168 * late
    across, copies = width * nodes * 3 / 4, width * ranks
    assert value(o.seconds) == pytest.approx(max(across / 45e9, copies * 7 / 8 / 360e9) + 16e-6, rel=0.01)
    assert value(o.work.sent) == pytest.approx(4096 * 7168 * ranks * 31 / 32, rel=0.01)


def test_forwarding_where_the_nodes_links_bind():
    slow_inside = Cluster("c", 64, 8, H200, Tier(1e9, 0.0), Tier(50e9, 0.0), forwarding=True)
    g = network.group("ep", 64, 1, slow_inside)
    # 64 copies a token of 1 MB: 63 leave; 7 of 8 of what reaches a node are handed on
    assert network.exchange_seconds(g, 63e6, 7e6, slow_inside, True) == pytest.approx(64e6 * 7 / 8 / 1e9)


def test_all_reduce_inside_a_node_takes_the_faster_way():
    c = Cluster("c", 8, 8, H200, Tier(100e9, 3e-6), Tier(1e9, 1.0))
    g = network.group("tp", 8, 1, c)
    assert network.reduce_seconds(g, 1e3, c) == pytest.approx(3e-6 + 7e3 / 100e9)
    assert network.reduce_seconds(g, 1e9, c) == pytest.approx(6e-6 + 2 * 7 / 8 * 1e9 / 100e9)


def test_all_reduce_across_nodes_takes_the_faster_way():
    c = Cluster("c", 64, 1, H200, Tier(1.0, 0.0), Tier(50e9, 5e-6))
    g = network.group("stage", 64, 1, c)
    assert network.reduce_seconds(g, 1e3, c) == pytest.approx(2 * 6 * 5e-6 + 2 * 1e3 / 50e9)  # tree
    assert network.reduce_seconds(g, 1e9, c) == pytest.approx(2 * 63 * 5e-6 + 2 * 63 / 64 * 1e9 / 50e9)  # ring


def test_logits_of_the_last_tokens_are_gathered():
    case = small(kind=Kind.PREFILL)
    e = priced(case, Strategy(2, attention=AttentionParallel(dp=2, tp=2), experts=ExpertParallel(4)))
    (logits,) = (o for o in e.head if o.work.name == "logits_gather")
    assert value(logits.work.sent) == 4 * 512 * 2 / 2  # four sequences a rank, half the vocabulary each
    (together,) = (o for o in e.head if o.work.name == "head_gather")
    assert value(together.work.sent) == 4 * 128 * 2 / 2  # their hidden states, divided over the pair
    (head,) = (o for o in e.head if o.work.name == "head")
    assert value(head.work.flops) == 2 * 4 * 512 * 128 / 2


def test_the_bound_of_a_decode_step_is_what_must_be_read():
    """Mixtral, one sequence, one GPU's worth of bandwidth by eight: two of eight experts, all else, the cache."""
    case = served("Mixtral-8x7B", 8, batch=1, sequence=1000)
    read = 32 * (2 * 3 * 4096 * 14336 + 2 * 4096**2 + 2 * 4096 * 1024 + 8 * 4096 + 2 * 4096) * 2
    read += 32000 * 4096 * 2 + 32 * 1000 * 2 * 1024 * 2
    seconds, reason = bound_seconds(case, 1)
    assert seconds == pytest.approx(read / (8 * 4.8e12 * 0.8), rel=1e-3)
    assert "bytes" in reason


def test_both_halves_of_a_batch_are_alive():
    """Two-batch overlap keeps as many activations as the whole batch, not half of them."""
    case = small(batch=32)
    s = Strategy(attention=AttentionParallel(dp=8), experts=ExpertParallel(8))
    whole, halves = (priced(case, replace(s, overlap=o)) for o in (Overlap.NONE, Overlap.TWO_BATCH))
    assert value(halves.activations) == pytest.approx(value(whole.activations), rel=0.1)


def test_a_full_pipeline_holds_the_caches_of_its_batches():
    case = small(kind=Kind.PREFILL, gpus=8)
    s = Strategy(2, 4, attention=AttentionParallel(dp=1), experts=ExpertParallel(1))
    e = priced(case, s)
    assert int(value(e.in_flight)) == -(-value(e.seconds) // value(e.period)) >= 3
    # one layer a stage, four KV heads of 16, eight sequences of 64 tokens
    assert value(e.memory["kv_cache"]) == int(value(e.in_flight)) * 8 * 64 * 2 * 4 * 16 * 2
    assert int(value(priced(replace(case, workload=replace(case.workload, kind=Kind.DECODE)), s).in_flight)) == 1


def test_the_reserve_is_kept_free():
    case = served("Mixtral-8x7B", 8, batch=64)
    s = Strategy(attention=AttentionParallel(dp=8), experts=ExpertParallel(8))
    total = value(priced(case, s).memory_total)

    def with_memory(size):
        device = replace(case.cluster.device, memory=size)
        return replace(case, cluster=replace(case.cluster, device=device))

    assert evaluate(with_memory(total / 0.9 * 1.001), s).memory.total == pytest.approx(total)
    with pytest.raises(InfeasibleError, match="does not fit"):
        evaluate(with_memory(total / 0.95), s)


def test_extra_replicas_go_to_the_largest_share():
    import numpy as np

    loads = np.array([[8.0, 5.0, 1.0, 1.0]])
    assert replicas_of(place_experts(loads, 2, 2), 4).tolist() == [[2, 2, 1, 1]]
    # 8/4 = 2 and 5/2 = 2.5: a third replica of the second expert would leave 8/3 of the first
    assert replicas_of(place_experts(loads, 4, 4), 4).tolist() == [[4, 2, 1, 1]]
    # no more replicas than ranks, however hot the expert
    assert replicas_of(place_experts(np.array([[99.0, 2.0, 1.5, 1.0]]), 4, 4), 4).tolist() == [[4, 2, 1, 1]]
