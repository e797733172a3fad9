"""What a serving plan names best, against all that it could have named."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moewright.case.file.load import case_of
from moewright.case.serving import Start
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.complete import divisors
from moewright.report.serving_pages.serving_plan_page import plan_sections
from moewright.serving.engines.deployment import engine_of, worker_case, workers_of
from moewright.serving.engines.steady import held_load, most_of, steady_state
from moewright.serving.engines.strategies import legal
from moewright.serving.planner.candidates import every_choice, order_key
from moewright.serving.planner.option import Choice
from moewright.serving.planner.serving_plan import ServingPlan, plan_serving
from moewright.serving.planner.trials import Trials
from moewright.serving.simulation.simulate import simulate

from .test_simulate import case

MODELS = {"gpt-oss-20b": (2, 4, 8), "Qwen3-30B-A3B": (2, 4, 8), "gpt-oss-120b": (4, 8)}
LENGTHS = st.sampled_from([64, 256, 1024, 4096])


@st.composite
def specs(draw, apart=False):
    """A workload of any kind on a few GPUs, with limits that some of it may miss."""
    model = draw(st.sampled_from(sorted(MODELS)))
    gpus = draw(st.sampled_from(MODELS[model]))
    work = {
        "kind": "serving",
        "engine": draw(st.sampled_from(["vllm", "sglang", "trtllm"])),
        "input": draw(st.one_of(LENGTHS, LENGTHS.map(lambda n: {"uniform": n}))),
        "output": draw(st.one_of(LENGTHS, LENGTHS.map(lambda n: {"uniform": n, "range_ratio": 0.3}))),
        "concurrency": draw(st.lists(st.sampled_from([1, 4, 16, 48, 128]), min_size=1, max_size=3, unique=True)),
    }
    if apart:
        work["disaggregated"] = {}
    goal = {"objective": draw(st.sampled_from(["throughput", "latency"]))}
    limits = {"ttft": draw(st.sampled_from([None, "150 ms", "1 s"])), "tpot": draw(st.sampled_from([None, "8 ms"]))}
    goal["limits"] = {k: v for k, v in limits.items() if v}
    return case_of(
        {"model": model, "cluster": {"name": "h200-hgx", "gpus": gpus}, "workload": work, **goal}, "spec.yaml"
    )


def check(plan: ServingPlan) -> None:
    """Nothing on the page is better than the best, by what was simulated; and all of it is in order."""
    key = order_key(plan.case, plan.best.seen)
    shown = (plan.best, *plan.alternatives, *plan.frontier)
    assert all(c.simulation is not None and plan.within(c) for c in shown)
    assert all(key <= order_key(plan.case, c.seen) for c in shown)
    keys = [order_key(plan.case, c.seen) for c in plan.alternatives]
    assert keys == sorted(keys)
    users = [c.of_user for c in plan.frontier]
    rates = [c.seen.of_cluster for c in plan.frontier]
    assert users == sorted(users, reverse=True)
    assert rates == sorted(rates)
    plain = plan.to_dict()
    assert plain["best"]["name"] == plan.best.name
    assert plain["best"]["output_per_cluster_gpu"] == plan.best.seen.of_cluster


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs())
def test_the_best_is_not_beaten_on_its_page(c):
    try:
        check(plan_serving(c))
    except InfeasibleError as error:
        assert "limits" in str(error)


@pytest.mark.slow
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs(apart=True))
def test_the_best_pools_are_not_beaten_on_their_page(c):
    try:
        check(plan_serving(c))
    except InfeasibleError as error:
        assert "limits" in str(error)


def every_pools(c):
    """Every split of the GPUs over every legal pair of workers, as choices."""
    engine, s = engine_of(c), c.serving
    workers = []
    for gpus in divisors(c.cluster.gpus):
        if gpus < c.cluster.gpus:
            table, _ = legal(worker_case(c, gpus), engine)
            workers += [table.row(i)[0] for i in range(len(table)) if table.row(i)[0].replicas == 1]
    for p, d in product(workers, workers):
        a, b = p.gpus, d.gpus
        for x in range(1, c.cluster.gpus // a + 1):
            for y in range(1, (c.cluster.gpus - x * a) // b + 1):
                for n in s.concurrency:
                    unused = c.cluster.gpus - x * a - y * b
                    name = f"{x} {p} {y} {d}"
                    yield Choice(name, (p, d), (x * a, y * b), (x, y), n, n, n, 1.0, 1.0, 1.0, 1.0, unused)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "lengths", "limits"),
    [
        ("vllm", (2048, 256), {}),
        ("trtllm", (512, 128), {"ttft": "800 ms", "tpot": "6 ms"}),
        ("sglang", (256, 1024), {"tpot": "8 ms"}),
    ],
)
def test_no_pools_are_better_by_more_than_three_per_cent(engine, lengths, limits):
    """Brute force: every split, every legal pair of workers, simulated."""
    work = {"input": {"uniform": lengths[0]}, "output": {"uniform": lengths[1]}, "engine": engine}
    goal = {"objective": "throughput", "limits": limits}
    c = case(gpus=4, goal=goal, concurrency=[24], disaggregated={}, **work)
    plan = plan_serving(c)
    trials = Trials(c, None)
    runs = [trials.run(x) for x in every_pools(c)]
    good = [x for x in runs if plan.within(x) and x.simulation.held >= x.concurrency]
    best = max(good, key=lambda x: x.seen.of_cluster)
    assert len(runs) > 50
    assert plan.best.seen.of_cluster > 0.97 * best.seen.of_cluster
    # with fewer GPUs it would be worse
    assert plan.best.unused == 0 or all(x.seen.of_cluster <= 1.03 * plan.best.seen.of_cluster for x in good)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "concurrency"), [("vllm", [8, 128]), ("sglang", [8]), ("trtllm", [8])])
def test_no_strategy_is_better_by_more_than_three_per_cent(engine, concurrency):
    """Brute force: every strategy at every concurrency, simulated."""
    goal = {"objective": "throughput", "limits": {"ttft": "400 ms", "tpot": "9 ms"}}
    c = case(gpus=4, goal=goal, engine=engine, concurrency=concurrency, input={"uniform": 1024}, output=512)
    plan, trials = plan_serving(c), Trials(c, None)
    runs = [trials.run(x) for x in every_choice(c)[0]]
    best = max((x for x in runs if plan.within(x) and x.holds), key=lambda x: x.seen.of_cluster)
    assert plan.best.seen.of_cluster > 0.97 * best.seen.of_cluster


@pytest.mark.parametrize("objective", ["throughput", "latency"])
def test_what_holds_the_requests_goes_first(objective):
    """A layout with room for a few of 256 is not best, though its few see faster tokens."""
    tight = {"name": "vllm", "gpu_memory_utilization": 0.28}
    work = {"model": "gpt-oss-120b", "gpus": 8, "input": 6000, "output": 2000, "engine": tight}
    c = case(goal={"objective": objective}, concurrency=256, **work)
    choices, _, _ = every_choice(c)
    assert {x.holds for x in choices} == {True, False}
    few = min((x for x in choices if not x.holds), key=lambda x: x.tpot)
    plan = plan_serving(c)
    assert plan.best.holds
    assert few.tpot < plan.best.tpot
    assert "Nothing holds" not in "".join(b for b in plan_sections(plan)[0].blocks if isinstance(b, str))


@pytest.mark.parametrize("objective", ["throughput", "latency"])
def test_that_nothing_holds_them_is_the_headline(objective):
    small = {"name": "vllm", "gpu_memory_utilization": 0.2}
    c = case(gpus=1, concurrency=4096, input=8192, output=1024, engine=small, goal={"objective": objective})
    plan = plan_serving(c)
    assert not plan.best.holds
    assert plan_sections(plan)[0].blocks[0].startswith("Nothing holds the 4096 requests asked for: ")


def test_that_nothing_within_the_limits_holds_them_is_the_headline():
    tight = {"name": "vllm", "gpu_memory_utilization": 0.28}
    work = {"model": "gpt-oss-120b", "gpus": 8, "input": 6000, "output": 2000, "engine": tight, "concurrency": 256}
    choices, _, _ = every_choice(case(**work))
    few, all_of_them = (min(x.tpot for x in choices if x.holds is holds) for holds in (False, True))
    assert few < all_of_them
    plan = plan_serving(case(goal={"objective": "throughput", "limits": {"tpot": (few + all_of_them) / 2}}, **work))
    assert not plan.best.holds
    assert plan_sections(plan)[0].blocks[0].startswith("Nothing holds the 256 requests asked for within the limits: ")


def served_specs(many: int):
    """Strategies, engines and workloads: attention dp, chunked prompts, a prefix cache, drafts."""
    rng = np.random.default_rng(0)

    def of(values):
        return values[rng.integers(len(values))]

    for _ in range(many):
        dp, tp = of([(1, 1), (1, 4), (2, 2), (4, 1), (8, 1), (4, 2)])
        engine = {"name": of(["vllm", "sglang", "trtllm"])}
        if engine["name"] == "trtllm" and dp > 1:
            dp, tp = dp * tp, 1  # its attention dp is all ranks or none
        if budget := of([None, 2048, 16384]):
            engine["max_num_batched_tokens"] = budget
        work = {
            "engine": engine,
            "input": of([{"uniform": 512}, {"uniform": 3000}, 2000, {"uniform": 6000}]),
            "output": of([{"uniform": 300}, {"uniform": 1000}, 500]),
            "concurrency": dp * of([1, 3, 12, 40]),
            "prefix_cache_hit": of([0.0, 0.0, 0.5]),
        }
        if drafts := of([0, 0, 0, 1, 2, 3]):
            work["speculative"] = {"drafts": drafts, "acceptance": of([0.5, 0.8])}
        yield case({"attention": {"dp": dp, "tp": tp}}, model="gpt-oss-20b", gpus=dp * tp, **work)


@pytest.mark.slow
def test_the_steady_state_agrees_with_the_simulation():
    """Of 16 drawn specs: TPOT within 15 % and TTFT within 35 % in nine of ten, and none twice as far."""
    tpot, ttft = [], []
    for c in served_specs(16):
        w, engine, s = workers_of(c, c.strategy, engine_of(c)), engine_of(c), c.serving
        (clients,) = s.concurrency
        ranks = w.strategy.replicas * w.strategy.attention.dp
        if held_load(w.model, s, engine) * ranks < clients:
            continue
        o = simulate(replace(c, serving=replace(s, requests=max(100, 5 * clients))))
        state = steady_state(w.model, s, engine, np.array(clients / ranks))
        tpot.append(abs(float(state.tpot[0]) / o.tpot.mean - 1))
        ttft.append(abs(float(state.ttft[0]) / o.ttft.mean - 1))
    assert len(tpot) >= 12
    assert np.quantile(tpot, 0.9) < 0.15
    assert np.quantile(ttft, 0.9) < 0.35
    assert max(tpot) < 0.30
    assert max(ttft) < 0.70
    assert np.median(tpot) < 0.05
    assert np.median(ttft) < 0.15


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([1, 2, 8, 32]), st.floats(0.001, 5.0), st.integers(1, 9))
def test_the_most_prompts_of_any_rank(ranks, mean, most):
    """Against a draw: the largest of Poisson numbers, where one is not 0."""
    draws = np.random.default_rng(0).poisson(mean, (40_000, ranks)).max(axis=1)
    some = draws[draws > 0]
    largest, chance = most_of(np.array([mean]), np.array([ranks]), np.array([float(most)]))
    assert chance[0] == pytest.approx(1 - np.exp(-mean * ranks))
    if len(some) > 300:
        assert largest[0] == pytest.approx(np.minimum(some, most).mean(), rel=0.1)


@pytest.mark.parametrize("strategy", [{"dp": 8}, {"dp": 2, "tp": 4}, {"tp": 8}], ids=["dp8", "dp2", "tp8"])
@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_fixed_lengths_do_not_march_in_step(engine, strategy):
    """As fast as drawn lengths of the same mean, to a sixth; and no request waits for a burst of all the others."""
    if engine == "trtllm" and strategy == {"dp": 2, "tp": 4}:
        strategy = {"dp": 1, "tp": 8}  # attention dp is all ranks or none
    work = {"model": "gpt-oss-120b", "gpus": 8, "engine": engine, "concurrency": 96, "requests": 480}
    drawn = {"input": {"uniform": 4000, "range_ratio": 0.1}, "output": {"uniform": 600, "range_ratio": 0.1}}
    fixed = simulate(case({"attention": strategy}, input=4000, output=600, **work))
    other = simulate(case({"attention": strategy}, **drawn, **work))
    together = simulate(case({"attention": strategy}, input=4000, output=600, start="together", **work))
    assert fixed.output_per_gpu == pytest.approx(other.output_per_gpu, rel=1 / 6)
    assert fixed.ttft.mean == pytest.approx(other.ttft.mean, rel=0.3)
    assert fixed.ttft.mean < together.ttft.mean
    assert len({r.input for r in fixed.served}) == 1
    assert max(abs(r.output - 600) for r in fixed.served) <= 12


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 60), st.integers(10, 300), st.sampled_from(["vllm", "sglang", "trtllm"]))
def test_all_clients_are_at_work_while_it_counts(clients, requests, engine):
    """Whatever the number of requests: as many in flight as there are clients, at the same rate."""
    o = simulate(case({"attention": {"tp": 4}}, engine=engine, concurrency=clients, requests=requests, output=64))
    assert len(o.served) == requests
    assert o.in_flight == pytest.approx(min(clients, requests), rel=1e-6)
    if requests >= 8 * clients:
        assert o.in_flight == pytest.approx(o.requests_per_second * o.e2e.mean, rel=0.1)


def test_a_benchmarks_own_start_counts_all(tmp_path):
    """``start: together``: as ``vllm bench serve --request-rate inf --max-concurrency``."""
    c = case({"attention": {"tp": 4}}, concurrency=16, requests=160, start="together", output=100)
    assert c.serving.start is Start.TOGETHER
    o = simulate(c)
    assert o.warmup == 0
    assert o.window == (0.0, o.seconds)
    assert sum(r.arrival == 0.0 for r in o.served) == 16
    assert {r.output for r in o.served} == {100}
    assert o.ttft.mean == pytest.approx(np.mean([r.ttft for r in o.served]))
    assert o.output_per_gpu * 4 == pytest.approx(160 * 100 / o.seconds, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"start": "slowly"}, "workload.start", "spread, together"),
        ({"input": {"uniform": 8, "range_ratio": 2}}, "workload.input.range_ratio", "from 0 to 1"),
        ({"input": {"uniform": 8, "range_ratio": 0.1, "low": 0.5}}, "workload.input.low", "contradicts range_ratio"),
        ({"input": {"mean": 8, "range_ratio": 0.1}}, "workload.input.range_ratio", "needs uniform"),
    ],
)
def test_how_lengths_and_starts_are_written(change, field, words):
    with pytest.raises(SpecError) as caught:
        case({"attention": {"tp": 4}}, **change)
    assert caught.value.field == field
    assert words in str(caught.value)


def test_lengths_as_vllm_draws_them():
    c = case({"attention": {"tp": 4}}, input={"uniform": 1000, "range_ratio": 0.25}, requests=400)
    assert (c.serving.input.mean, c.serving.input.most) == (1000, 1250)
    inputs = [r.input for r in simulate(c).served]
    assert 750 <= min(inputs) < 800
    assert 1200 < max(inputs) <= 1250
