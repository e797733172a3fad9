"""Pools for the concurrencies that are asked for, and why there are none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright.case.strategy import AttentionParallel, ExpertParallel, Strategy
from moewright.errors import InfeasibleError, SpecError
from moewright.report.serving_pages.serving_plan_page import plan_sections
from moewright.serving.planner.candidates import search_serving
from moewright.serving.planner.pools import Decode, Prefill, pairs_of
from moewright.serving.planner.serving_plan import plan_serving

from .test_simulate import case

pytestmark = pytest.mark.slow

ONE = Strategy(1, 1, 1, attention=AttentionParallel(), experts=ExpertParallel())


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.1, 100),
    st.floats(0.01, 2),
    st.floats(0, 1e-3),
    st.integers(1, 500),
    st.sampled_from([(1, 1), (2, 4), (4, 2)]),
    st.integers(1, 2000),
)
def test_what_is_asked_for_is_in_flight(rate, seconds, slope, held, sizes, asked):
    """By hand: of a decode step of a + b·n seconds, requests in flight are those of both pools, on all GPUs."""
    steps = 0.01 + slope * 2.0 ** np.arange(14)
    p, d = Prefill(ONE, sizes[0], rate, seconds, 2 * seconds, 0.001), Decode(ONE, sizes[1], steps, held)
    pairs = pairs_of(p, d, 16, (asked,), 100.0)
    assert [f.y for f in pairs] == list(range(1, (16 - sizes[0]) // sizes[1] + 1))
    for f in pairs:
        assert f.x == (16 - f.y * sizes[1]) // sizes[0]
        assert f.rate <= f.x * rate * (1 + 1e-9)
        n = f.rate * 100 * f.step / f.y
        assert n <= held * (1 + 1e-6)
        assert f.step == pytest.approx(0.01 + slope * max(n, 1), rel=1e-6)
        flight = f.y * n + f.rate * f.ttft
        if n < held * (1 - 1e-6):
            assert flight == pytest.approx(asked, rel=3e-3)
            assert f.flight == asked <= f.held
        else:
            assert flight <= asked * 1.001
            assert f.flight <= asked


def test_as_few_prefill_workers_as_keep_up_where_cost_counts():
    p, d = Prefill(ONE, 1, 10.0, 0.1, 0.1, 0.0), Decode(ONE, 4, np.full(14, 0.02), 4096)
    (every,) = pairs_of(p, d, 16, (40,), 200.0, (None, 1))
    (few,) = pairs_of(p, d, 16, (40,), 200.0, (None, 1), thrifty=True)
    assert (every.x, few.x) == (12, 2)
    # by hand: half a step under way, and the queue of so many servers
    busy = few.rate / (few.x * 10)
    queue = busy ** (np.sqrt(2 * (few.x + 1)) - 1) / (2 * few.x * (1 - busy))
    assert few.ttft == pytest.approx(0.1 * (1 + busy / 2 + queue))
    assert every.ttft < few.ttft
    assert every.rate > few.rate


@pytest.mark.parametrize("servers", [1, 4])
def test_the_wait_for_a_prefill_worker_as_drawn(servers):
    """Against a queue drawn by hand: random arrivals, fixed service, ``servers`` of them."""
    draws, busy = np.random.default_rng(0), 0.8
    free, waits = [0.0] * servers, []
    for t in np.cumsum(draws.exponential(1 / (busy * servers), 60_000)):
        first = min(free)
        free.remove(first)
        begin = max(first, t)
        waits.append(begin - t)
        free.append(begin + 1.0)
    p = Prefill(ONE, 1, 1.0, 1.0, 1.0, 0.0)
    found = float(p.first(np.array([busy]), np.array([servers]))[0]) - 1 - busy / 2
    assert found == pytest.approx(np.mean(waits), rel=0.15)


def test_a_plan_is_for_the_concurrencies_of_its_list():
    goal = {"objective": "throughput", "limits": {"tpot": "30 ms", "ttft": "5 s"}}
    c = case(gpus=8, goal=goal, concurrency=[4, 32, 128], input=2048, output=256, disaggregated={})
    choices, _, _ = search_serving(c)
    assert {x.asked for x in choices} == {4, 32, 128}
    assert all(x.concurrency == x.asked for x in choices if x.holds)
    assert all(x.unused == 8 - sum(x.gpus) for x in choices)
    found = plan_serving(c)
    assert found.best.asked in (4, 32, 128)
    assert found.best.simulation.tpot.mean == pytest.approx(found.best.tpot, rel=0.25)
    assert found.best.simulation.ttft.mean == pytest.approx(found.best.ttft, rel=0.5)
    assert found.best.to_dict()["gpus_unused"] == found.best.unused
    blocks = [b for s in plan_sections(found) for b in s.blocks if isinstance(b, str)]
    if found.best.unused:
        assert any(f"{found.best.unused} are idle: tokens/s a GPU are of those used" in b for b in blocks)
    # what the simulation found is what is said
    o = found.best.simulation
    assert any(f"simulated ({o.requests} requests" in b for b in blocks)
    assert any(b.startswith("By the formulas of the search: ") for b in blocks)
    assert any("(simulated)" in b for b in blocks[:2])  # the answer stands first
    assert all(x.simulation is not None for x in (*found.alternatives, *found.frontier))
    assert all(found.within(x) for x in (*found.alternatives, *found.frontier))


def test_errors_say_what_is_in_the_way():
    apart = {"disaggregated": {}, "concurrency": [16, 64]}
    with pytest.raises(InfeasibleError, match=r"no strategy meets limits\.ttft of 1\.000 ms: the fastest takes"):
        plan_serving(case(goal={"limits": {"ttft": "1 ms"}}, **apart))
    pools = {"prefill": {"gpus": 2}, "decode": {"gpus": 4}}
    with pytest.raises(SpecError, match=r"prefill 2 and decode 4 GPUs are more than cluster\.gpus 4"):
        plan_serving(case(**apart | {"disaggregated": pools}))
    with pytest.raises(SpecError, match=r"prefill at least 1 and decode 4 GPUs are more than cluster\.gpus 4"):
        plan_serving(case(**apart | {"disaggregated": {"decode": {"gpus": 4}}}))
    with pytest.raises(InfeasibleError, match="1e\\+06 requests a second that are asked for: the most is "):
        plan_serving(case(rate=1e6))


def test_pools_too_large_for_the_cluster_are_named():
    """A model that needs 8 GPUs a worker, on 8."""
    with pytest.raises(InfeasibleError, match="no worker holds one request"):
        plan_serving(case(model="DeepSeek-V3", gpus=8, disaggregated={}, concurrency=[16]))
