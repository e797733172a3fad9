"""The simulator against a second one, closed forms, and what must hold whatever the case."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import value
from moewright.case.file.load import case_of
from moewright.case.strategy import StrategySpec
from moewright.serving.engines.engine import load_engine
from moewright.serving.engines.strategies import engine_strategy
from moewright.serving.simulation.events import Pools, run
from moewright.serving.simulation.outcome import Summary
from moewright.serving.simulation.rank import Rank
from moewright.serving.simulation.replica import Replica
from moewright.serving.simulation.requests import Requests
from moewright.serving.simulation.simulate import simulate
from moewright.serving.simulation.step_table import StepTable
from moewright.serving.step import Step, StepModel

from . import reference


def case(strategy=None, model="gpt-oss-20b", gpus=4, goal=None, **workload):
    work = {"kind": "serving", "input": 512, "output": 128, "engine": "vllm", **workload}
    if "rate" not in work:
        work.setdefault("concurrency", 8)
    raw = {"model": model, "cluster": {"name": "h200-hgx", "gpus": gpus}, "workload": work, **(goal or {})}
    return case_of(raw | ({"strategy": strategy} if strategy else {}), "case.yaml")


TP4 = {"attention": {"tp": 4}}
DP4 = {"attention": {"dp": 4}}
MODELS = {
    name: StepModel.of(
        case(s), engine_strategy(case(s), StrategySpec(**s["attention"]), load_engine("vllm")), load_engine("vllm")
    )
    for name, s in (("tp", TP4), ("dp", DP4))
}
SIZES = sorted({1, 2, 4, *range(8, 65, 8)})
TABLES = {name: StepTable(model, 512, SIZES, 400) for name, model in MODELS.items()}


def served(profile, inputs, outputs, concurrency, blocks, ranks, hit=0.0):
    table = TABLES["dp" if ranks > 1 else "tp"]
    replica = Replica(table, profile, [Rank(profile, blocks, 1, hit) for _ in range(ranks)])
    requests = Requests(inputs, outputs, [o - 1 for o in outputs], None)
    pools = Pools([replica], [], lambda tokens: 0.0, profile.host_request)
    return run(pools, requests, concurrency), replica


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["vllm", "sglang", "trtllm"]),
    st.integers(0, 1 << 30),
    st.integers(1, 24),
    st.integers(1, 12),
    st.sampled_from([1, 4]),
    st.sampled_from([0.0, 0.5]),
    st.floats(1.0, 6.0),
)
def test_as_step_by_step(engine, seed, count, concurrency, ranks, hit, room):
    """Every first and last token at the same moment as in the simulator that takes one step after the other."""
    draws = np.random.default_rng(seed)
    inputs, outputs = draws.integers(1, 200, count).tolist(), draws.integers(1, 60, count).tolist()
    budget = int(draws.choice([32, 64, 512]))
    profile = replace(
        load_engine(engine), max_num_batched_tokens=budget, max_num_seqs=8, kv_block=4, cuda_graph_sizes=tuple(SIZES)
    )
    blocks = int(max(-(-(i + o) // 4) for i, o in zip(inputs, outputs, strict=True)) * room) + 1
    found, replica = served(profile, inputs, outputs, concurrency, blocks, ranks, hit)
    table = TABLES["dp" if ranks > 1 else "tp"]
    twin = reference.Engine(profile, blocks, ranks, table.seconds, hit)
    want = reference.serve(twin, inputs, outputs, concurrency)
    assert [s.preempted for s in found] == [r.preempted for r in want]
    assert [s.first for s in found] == pytest.approx([r.times[0] for r in want], rel=1e-9)
    assert [s.done for s in found] == pytest.approx([r.times[-1] for r in want], rel=1e-9)
    assert [len(r.times) for r in want] == outputs
    # neither budget nor cache is exceeded, and nothing is left behind
    assert twin.most_tokens <= max(budget, 8)
    assert twin.peak <= blocks
    assert not any(r.busy or r.final for r in replica.ranks)
    # tokens are conserved: a first one each, and those between tokens
    assert sum(n for _, n in replica.itl) + sum(1 + s.preempted for s in found) >= sum(outputs)
    assert sum(n for _, n in replica.itl) <= sum(outputs) - count


def test_alone_it_is_the_steps_own_seconds():
    """Concurrency 1: TTFT is the prompt's step and what the host adds, TPOT the mean decode step over the contexts."""
    c = case(TP4, concurrency=1, requests=6)
    profile = load_engine("vllm")
    found = simulate(c)
    model = StepModel.of(c, engine_strategy(c, c.strategy, profile), profile)
    prompt = value(model.seconds(Step(512, 512 * 256, 0, 0, 512)))
    host = profile.host_step + profile.host_sequence
    resident = 512 + 128 / 2
    waited = profile.host_wait * value(model.seconds(Step(0, 0, 1, resident, 1)))
    launched = profile.host_prompt * max(prompt, profile.host_launch * len(c.model.layers))
    assert found.ttft.mean == pytest.approx(launched + host + waited + profile.host_request, rel=0.02)
    contexts = 512 + 1 + np.arange(127)
    ones = np.ones(127)
    decode = float(np.mean(model.seconds(Step(0 * ones, 0 * ones, ones, contexts, ones))))
    assert found.tpot.mean == pytest.approx(decode + host, rel=0.01)
    assert found.tpot.p50 == pytest.approx(found.itl.mean, rel=1e-6)
    assert found.e2e.mean == pytest.approx(found.ttft.mean + 127 * found.tpot.mean, rel=1e-9)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["vllm", "sglang", "trtllm"]),
    st.integers(1, 64),
    st.sampled_from([TP4, DP4]),
    st.integers(0, 99),
    st.booleans(),
)
def test_littles_law(engine, concurrency, strategy, seed, closed):
    """Requests in flight are arrivals a second times the seconds each is there, over the whole run."""
    how = {"concurrency": concurrency} if closed else {"rate": concurrency * 2.0}
    found = simulate(case(strategy, engine=engine, seed=seed, requests=150, output={"uniform": 128}, **how))
    there = sum(r.e2e for r in found.served)
    moments = sorted([(r.arrival, 1) for r in found.served] + [(r.done, -1) for r in found.served])
    area, flight, last, most = 0.0, 0, 0.0, 0
    for t, change in moments:
        area += flight * (t - last)
        flight, last = flight + change, t
        most = max(most, flight)
    assert area == pytest.approx(there, rel=1e-9)
    assert not closed or most <= concurrency
    assert all(r.arrival < r.first <= r.done for r in found.served)
    assert sum(found.parts.values()) == pytest.approx(1)
    assert found.kv_peak <= 1


def test_a_seed_is_a_run():
    first, second, other = (simulate(case(DP4, output={"mean": 100}, seed=s)).to_dict() for s in (1, 1, 2))
    assert first == second
    assert first != other


def test_more_in_flight_more_throughput_and_slower_tokens():
    found = [simulate(case(TP4, concurrency=c, output={"uniform": 128}, requests=300)) for c in (1, 4, 16, 64)]
    rates, tokens = [o.output_per_gpu for o in found], [o.tpot.mean for o in found]
    assert rates == sorted(rates)
    assert tokens == sorted(tokens)


def test_cache_hits_and_right_drafts_are_faster():
    plain = simulate(case(TP4, input=4096))
    cached = simulate(case(TP4, input=4096, prefix_cache_hit=0.75))
    assert cached.ttft.mean < 0.65 * plain.ttft.mean
    speeds = [
        simulate(case(TP4, concurrency=1, speculative={"drafts": 2, "acceptance": a})).tpot.mean
        for a in (0.0, 0.5, 1.0)
    ]
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[2] == pytest.approx(speeds[0] / 3, rel=0.05)


def test_a_cache_too_small_is_said_and_preempts():
    small = {"name": "vllm", "gpu_memory_utilization": 0.117}
    tight = simulate(
        case({"attention": {"tp": 2}}, gpus=2, concurrency=256, input=2048, output=1024, engine=small, requests=600)
    )
    assert tight.held < 256
    assert not tight.holds
    assert tight.kv_peak <= 1
    assert tight.queued > 10
    assert "KV cache is full" in tight.binds
    assert tight.preemptions > 0
    certain = simulate(
        case(
            {"attention": {"tp": 2}},
            gpus=2,
            concurrency=256,
            input=2048,
            output=1024,
            engine=small | {"reserve": 1.0},
            requests=600,
        )
    )
    assert certain.preemptions == 0


def test_apart_as_one_pool_each():
    pool = {"gpus": 2, "strategy": {"attention": {"tp": 2}}}
    apart = {"prefill": pool | {"replicas": 1}, "decode": pool | {"replicas": 1}}
    mixed = {"concurrency": 32, "requests": 300, "output": {"uniform": 128}}
    found = simulate(case(disaggregated=apart, **mixed))
    together = simulate(case({"attention": {"tp": 2}}, gpus=2, **mixed))
    assert [p.phase for p in found.pools] == ["prefill", "decode"]
    # decode steps are never longer for a prompt
    assert found.itl.p99 < together.itl.p99
    assert found.gpus == 4
    c = case(disaggregated=apart, concurrency=1, requests=4)
    alone, whole = simulate(c), simulate(case({"attention": {"tp": 2}}, gpus=2, concurrency=1, requests=4))
    model = StepModel.of(
        case(gpus=2), engine_strategy(case(gpus=2), StrategySpec(tp=2), load_engine("vllm")), load_engine("vllm")
    )
    fabric = c.cluster.fabric
    travel = 512 * value(model.capacity.token_bytes) / fabric.bandwidth + fabric.latency
    more = travel + load_engine("vllm").host_apart
    # one worker waits for decode steps, the other has none
    waited = load_engine("vllm").host_wait * value(model.seconds(Step(0, 0, 1, 512 + 64, 1)))
    assert alone.ttft.mean - whole.ttft.mean == pytest.approx(more - waited, rel=0.01)


@given(st.floats(1e-6, 1), st.floats(1e-6, 1), st.integers(1, 100), st.integers(0, 500))
def test_what_passes_before_the_first_token_by_its_parts(prompt, decode, layers, others):
    e = replace(
        load_engine("vllm"), host_request=0.25, host_wait=2.0, host_launch=1e-3, host_prompt=1.5, host_queue=0.1
    )
    found = value(e.before(prompt, decode, layers, others))
    slow = 1.5 * max(prompt, 1e-3 * layers)
    assert found == pytest.approx(0.25 + 2 * decode + 0.1 * others * prompt + slow - prompt)
    assert found >= 0.25
    assert value(e.before(prompt, decode, layers, others + 1)) > found


def test_engines_fill_decodes_up_to_what_they_capture():
    sizes = {name: load_engine(name) for name in ("vllm", "sglang", "trtllm")}
    assert [sizes["vllm"].padded(n) for n in (3, 9, 250, 257, 600)] == [4, 16, 256, 272, 600]
    assert [sizes["sglang"].padded(n) for n in (9, 13, 260, 500)] == [12, 16, 272, 512]
    assert [sizes["trtllm"].padded(n) for n in (9, 129, 200, 2048)] == [16, 192, 256, 2048]


def test_many_requests_take_few_steps():
    """One step serves all that run: what keeps 10,000 requests under seconds (``benchmarks/speed.py`` times them)."""
    found = simulate(case(DP4, input=1024, output=1024, concurrency=256, requests=10_000))
    assert found.requests == 10_000
    assert found.steps > 39_000 / 4


def test_percentiles_by_hand():
    assert Summary.of([3.0, 1.0, 2.0, 4.0]) == Summary(2.5, 2.0, 4.0, 4.0)
    assert Summary.of([1.0, 10.0], [99, 1]) == Summary(1.09, 1.0, 1.0, 1.0)
    assert Summary.of([]) is None
