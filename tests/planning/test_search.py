"""The search against trying everything one by one; frontier, limits, objectives, comparisons."""

from dataclasses import replace

import numpy as np
import pytest

from cases import paper, served, small, value
from moewright.case.strategy import Dispatch, Overlap, StrategySpec
from moewright.case.workload import Goal, Kind, Limits, Objective, Routing
from moewright.cost.table import Table
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.compare import today, vary
from moewright.planning.evaluate import evaluate_table
from moewright.planning.search import evaluate, plan, search
from moewright.planning.space import space

EP64 = StrategySpec(dp=64, tp=2, ep=64, etp=2)
LITERAL = StrategySpec(tp=2, repeated=64, ep=64, etp=2, dispatch=Dispatch.REPLICATED)


def one_by_one(case):
    """(seconds, rate) of every strategy that fits, each priced as scalars."""
    table = space(case).table
    usable = case.cluster.device.memory * (1 - case.cluster.reserve)
    found = {}
    for i in range(len(table)):
        s, batch = table.row(i)
        e = evaluate_table(case, Table.one(s, batch))
        if value(e.memory_total) <= usable:
            found[(s, batch)] = (value(e.seconds), batch / value(e.period))
    return found


@pytest.mark.parametrize("kind", [Kind.PREFILL, Kind.DECODE])
@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.THROUGHPUT])
def test_best_is_the_best_of_all(kind, objective):
    case = small(gpus=4, kind=kind, batch=8, goal=Goal(objective))
    found, every = search(case), one_by_one(case)
    if objective is Objective.LATENCY:
        assert found.seconds[0] == pytest.approx(min(s for s, _ in every.values()))
    else:
        assert found.rate[0] == pytest.approx(max(r for _, r in every.values()))


def test_frontier_is_not_dominated_and_misses_nothing():
    case = small(gpus=8, batch=16)
    found = search(case)
    front = {(round(found.seconds[i] * 1e12), round(found.rate[i], 3)) for i in found.frontier(most=10_000)}
    for seconds, rate in front:
        faster = found.seconds < seconds / 1e12 * (1 - 1e-6)
        assert not (faster & (found.rate > rate * (1 + 1e-6))).any()
    best_rate = found.rate.max()
    assert any(rate == pytest.approx(best_rate) for _, rate in front)


def test_a_tight_memory_is_respected():
    case = served("Mixtral-8x7B", 8, Kind.DECODE, batch=64)
    tight = replace(case, cluster=replace(case.cluster, device=replace(case.cluster.device, memory=32e9)))
    found = plan(tight).best
    assert found.memory.total <= 32e9 * 0.9
    assert search(tight).rejected["does not fit in memory"] > 0
    hopeless = replace(tight, cluster=replace(case.cluster, device=replace(case.cluster.device, memory=1e9)))
    with pytest.raises(InfeasibleError, match="fits"):
        search(hopeless)


def test_micro_batches_are_tried_where_one_batch_does_not_fit():
    """A long prefill whose activations do not fit whole: the search divides it."""
    case = small(gpus=4, batch=64)
    e = search(case)
    whole = evaluate_table(case, Table.one(*e.row(0)))
    weights = sum(value(v) for v in whole.memory.values())
    memory = (weights + 0.3 * (value(whole.memory_total) - weights)) / 0.9
    tight = replace(case, cluster=replace(case.cluster, device=replace(case.cluster.device, memory=memory)))
    found = search(tight)
    layouts = one_by_one(tight)
    assert found.seconds[0] == pytest.approx(min(s for s, _ in layouts.values()))
    assert found.row(0)[0].micro_batches > 1 or found.row(0)[0] != e.row(0)[0]


def test_limits():
    case = served("Qwen3-30B-A3B", 8, goal=Goal(Objective.THROUGHPUT))
    case = replace(case, workload=replace(case.workload, batch=tuple(2**i for i in range(3, 13))))
    free = search(case)
    limit = value(np.sort(free.seconds)[len(free.seconds) // 4])
    bounded = search(replace(case, goal=Goal(Objective.THROUGHPUT, Limits(tpot=limit))))
    assert (bounded.seconds <= limit).all()
    assert bounded.rate[0] == free.rate[free.seconds <= limit].max()
    assert free.rate[0] >= bounded.rate[0]
    with pytest.raises(InfeasibleError, match="limit"):
        search(replace(case, goal=Goal(limits=Limits(tpot=1e-9))))


def test_both_limits_on_one_layout():
    """TTFT of a decode plan is what a prefill plan of one prompt a rank says of the same layout, and the reverse."""
    case = served("Qwen3-30B-A3B", 8, batch=64)
    plans = plan(replace(case, goal=Goal(limits=Limits(ttft=10.0, tpot=1.0))))
    best, s = plans.best, plans.best.strategy
    assert best.latency.tpot_seconds == best.latency.seconds
    prompts = replace(case, workload=replace(case.workload, kind=Kind.PREFILL, batch=(s.replicas * s.attention.dp,)))
    plain = replace(s, micro_batches=1, overlap=Overlap.NONE)
    assert best.latency.ttft_seconds == pytest.approx(evaluate(prompts, plain).latency.seconds)
    assert next(c for c in best.checks if c.name == "limits_met").status == "pass"
    tight = replace(case, goal=Goal(limits=Limits(ttft=best.latency.ttft_seconds * 0.9)))
    found = plan(tight).best
    assert found.latency.ttft_seconds <= best.latency.ttft_seconds * 0.9
    assert found.latency.seconds >= best.latency.seconds
    with pytest.raises(InfeasibleError, match=r"limits\.ttft"):
        search(replace(case, goal=Goal(limits=Limits(ttft=1e-6))))
    reverse = replace(prompts, goal=Goal(limits=Limits(tpot=1.0)))
    step = evaluate(reverse, plain).latency
    alone = replace(case, workload=replace(case.workload, batch=prompts.workload.batch))
    assert step.tpot_seconds == pytest.approx(evaluate(alone, plain).latency.seconds)


def test_cost_needs_a_price():
    case = served("Qwen3-30B-A3B", 8, goal=Goal(Objective.COST))
    found = plan(case).best
    rate = found.throughput.tokens_per_second
    assert found.throughput.cost_per_million_tokens == pytest.approx(2.5 * 8 / 3600 / rate * 1e6)
    free = replace(case, cluster=replace(case.cluster, device=replace(case.cluster.device, price=None)))
    with pytest.raises(SpecError, match="price"):
        search(free)


def test_the_paper():
    """Replicas inside a node win; the document's choice takes about twice the best's time, and its literal
    reading repeats attention 64 times."""
    result = plan(paper(), [EP64, LITERAL])
    best = result.best
    assert best.strategy.stage <= 8
    assert best.latency.seconds < 1.2 * best.latency.bound_seconds
    document, literal = result.comparisons
    assert 1.5 < document.ratio < 2.5
    assert literal.ratio > 20
    assert max(document.differences, key=document.differences.get) in ("dispatch", "combine")
    assert result.alternatives[0].latency.seconds >= best.latency.seconds
    assert document.plan.memory.weights.attention == 33_554_432
    assert document.plan.modules.per_gpu == 8.125


def test_differences_add_up_and_crossings_hold():
    result = plan(paper(), [EP64])
    comparison = result.comparisons[0]
    gap = comparison.plan.latency.seconds - result.best.latency.seconds
    assert sum(comparison.differences.values()) == pytest.approx(gap)
    solved = [c for c in comparison.crossings if c.value is not None]
    assert solved
    for c in solved:
        there = vary(paper(), c.quantity, c.value)
        times = [
            value(evaluate_table(there, Table.one(p.strategy, 128)).seconds) for p in (result.best, comparison.plan)
        ]
        assert times[1] == pytest.approx(times[0], rel=1e-6)
        assert today(paper(), c.quantity, 128) == c.today
        assert c.best_there


def test_evaluate_is_the_named_strategy():
    found = evaluate(paper(), EP64)
    again = evaluate(paper(), found.strategy)
    assert again == found
    assert found.latency.seconds == pytest.approx(sum(found.latency.breakdown.values()))
    assert found.name == "R1 · PP1 · attn DP64×TP2 · moe EP64×TP2 · all-to-all"
    with pytest.raises(InfeasibleError):
        evaluate(paper(batch=(100,)), EP64)


def test_skewed_routing_costs_and_redundant_slots_help():
    even = served("DeepSeek-V3", 32, batch=8192)
    skewed = replace(even, routing=Routing(zipf=0.7, source="zipf 0.7"))
    assert search(skewed).seconds[0] > search(even).seconds[0]
    plain, extra = (
        evaluate(skewed, StrategySpec(dp=32, tp=1, ep=32, etp=1, redundant=r)).balance.straggler for r in (0, 32)
    )
    assert extra < plain


def test_json_is_plain():
    import json

    text = json.dumps(plan(small(), [StrategySpec(dp=8, ep=8)]).to_dict(), allow_nan=False)
    assert json.loads(text)["best"]["strategy"]["attention"]["dp"] >= 1


def test_progress_rises_to_one():
    shares = []
    plan(paper(), [EP64], progress=shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] <= 0.5
    assert 0.9 < shares[-1] <= 1
