"""The array evaluation equals the one-by-one one; pipelines and memory against a second derivation."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import dense_model, paper, served, small, value
from moewright.case.workload import Kind, Routing
from moewright.cost.pipeline import stage_counts
from moewright.cost.table import Table
from moewright.placement.assignment import assign, held_cache_bytes, held_weight_bytes
from moewright.placement.experts import place_experts
from moewright.planning.bounds import bound_seconds
from moewright.planning.evaluate import evaluate_table
from moewright.planning.space import space

CASES = {
    "paper": paper(batch=(64, 256)),
    "decode": served(gpus=64),
    "prefill": served("Qwen3-235B-A22B", 16, Kind.PREFILL),
    "linear": served("Qwen3-Next-80B-A3B", 8),
    "sinks": served("gpt-oss-120b", 16, Kind.PREFILL),
    "sparse": served("DeepSeek-V3.2", 32),
    "zipf": replace(served("Qwen3-30B-A3B", 8), routing=Routing(zipf=0.8, source="zipf 0.8")),
    "odd nodes": replace(small(gpus=12, batch=24), model=small().model),
    "dense": replace(small(gpus=8), model=dense_model()),
}


@pytest.mark.parametrize("name", CASES)
def test_arrays_equal_scalars(name):
    """Random rows of the space, priced all at once and one by one: equal to the last digits."""
    case = CASES[name]
    table = space(case).table
    rows = np.random.default_rng(0).choice(len(table), min(40, len(table)), replace=False)
    whole = evaluate_table(case, table.take(rows))
    for i, row in enumerate(rows):
        strategy, batch = table.row(row)
        alone = evaluate_table(case, Table.one(strategy, batch))
        for column in ("seconds", "period", "memory_total", "activations", "buffers", "straggler", "slowest"):
            assert value(getattr(alone, column)) == pytest.approx(
                value(np.broadcast_to(getattr(whole, column), len(rows))[i]), rel=1e-12
            ), (column, strategy.name)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_below_the_bound(name):
    case = CASES[name]
    table = space(case).table
    e = evaluate_table(case, table)
    for batch in case.workload.batch:
        bound, _ = bound_seconds(case, batch)
        assert np.asarray(e.seconds)[table.batch == batch].min() >= bound * (1 - 1e-9)
    assert np.isfinite(e.seconds).all()
    assert (np.asarray(e.period) <= np.asarray(e.seconds) * (1 + 1e-9)).all()


@pytest.mark.parametrize("name", CASES)
def test_memory_formula_equals_the_count_on_the_fullest_rank(name):
    """Weights and cache by formula, and counted head by head and slot by slot on every rank."""
    case = CASES[name]
    table = space(case).table
    for row in np.random.default_rng(1).choice(len(table), min(12, len(table)), replace=False):
        s, batch = table.row(row)
        e = evaluate_table(case, Table.one(s, batch))
        placed = np.empty((0, s.experts.ep, 0), dtype=int)
        if case.model.moe:
            one = place_experts(np.ones((1, case.model.moe.experts)), s.experts.ep, s.experts.redundant)
            placed = np.repeat(one, len(case.model.moe_layers()), axis=0)
        a = assign(case.model, s, placed)
        sequences = batch // (s.replicas * s.attention.dp)
        counted = held_weight_bytes(a) + held_cache_bytes(
            a, sequences * int(value(e.in_flight)), case.workload.sequence
        )
        assert value(counted.max()) == pytest.approx(sum(value(v) for v in e.memory.values()), rel=1e-9)


def pipeline_by_events(stages, micro_batches, hop):
    """Finish time of the last micro-batch, each stage taking them in turn as they arrive; a hop occupies
    the link between two stages."""
    ready = [0.0] * micro_batches
    for stage, seconds in enumerate(stages):
        free, link = 0.0, 0.0
        for m in range(micro_batches):
            free = max(free, ready[m]) + seconds
            if stage < len(stages) - 1:
                link = max(link, free) + hop
                ready[m] = link
            else:
                ready[m] = free
    return ready[-1]


@pytest.mark.parametrize("gpus", [8])
def test_pipeline_latency_by_events(gpus):
    case = small(gpus=gpus, batch=16)
    table = space(case).table
    rows = np.flatnonzero((table.pp > 1) & ~table.two_batch)
    for row in np.random.default_rng(2).choice(rows, 40, replace=False):
        s, batch = table.row(row)
        e = evaluate_table(case, Table.one(s, batch))
        counts = stage_counts(case.model, s.pp)
        stages = [sum(int(n) * value(t.seconds) for n, t in zip(c, e.layers, strict=True)) for c in counts]
        stages[0] += sum(value(o.seconds) for o in e.embedding)
        stages[-1] += sum(value(o.seconds) for o in e.head)
        by_events = pipeline_by_events(stages, s.micro_batches, value(e.transfer))
        # the closed form takes the slowest of stages and links for every further micro-batch
        assert value(e.seconds) == pytest.approx(by_events, rel=1e-9), s.name


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["flops", "memory_bandwidth", "node", "fabric"]), st.floats(1.1, 10), st.integers(0, 10**6))
def test_better_hardware_never_hurts(what, factor, seed):
    case = CASES["prefill"]
    table = space(case).table
    few = table.take(np.random.default_rng(seed).choice(len(table), 20))
    c = case.cluster
    if what == "flops":
        c = replace(c, device=replace(c.device, flops={k: v * factor for k, v in c.device.flops.items()}))
    elif what == "memory_bandwidth":
        c = replace(c, device=replace(c.device, memory_bandwidth=c.device.memory_bandwidth * factor))
    else:
        tier = getattr(c, what)
        c = replace(c, **{what: replace(tier, bandwidth=tier.bandwidth * factor)})
    before, after = evaluate_table(case, few), evaluate_table(replace(case, cluster=c), few)
    assert (np.asarray(after.seconds) <= np.asarray(before.seconds) * (1 + 1e-12)).all()


def test_table_round_trip():
    table = space(small()).table
    rows = [table.row(i) for i in range(0, len(table), 7)]
    again = Table.of([s for s, _ in rows], [b for _, b in rows])
    for field in fields(Table):
        assert (getattr(again, field.name) == getattr(table, field.name)[::7]).all()
