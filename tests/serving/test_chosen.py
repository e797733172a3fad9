"""What is served where a spec leaves it open, limits and rates that are missed, and what in flight is made of."""

from dataclasses import replace
from pathlib import Path

import pytest

from command import moewright
from moewright.case.file.load import case_of, load
from moewright.errors import SpecError
from moewright.report.serving_pages.serve_page import serve_sections
from moewright.serving.planner.candidates import every_choice
from moewright.serving.planner.chosen import chosen
from moewright.serving.simulation.simulate import simulate

from .test_simulate import DP4, TP4, case

ROOT = Path(__file__).parents[2]
DEEPSEEK = ROOT / "examples" / "serve-deepseek-v3-h200.yaml"
TP2 = {"gpus": 2, "strategy": {"attention": {"tp": 2}}}


def text(c, found):
    """The report as one line of text."""
    blocks = [b for s in serve_sections(c, found) for b in s.blocks]
    rows = [b if isinstance(b, str) else " ".join(" ".join(row) for row in b.rows) for b in blocks]
    return " ".join(" ".join(rows).split())


def test_the_layout_is_chosen_at_the_concurrency_that_is_served():
    c = load(DEEPSEEK)
    last = chosen(c)
    assert last.serving.concurrency == (1024,)
    assert chosen(c, 1024) == last
    # none is within the limits there: the one that misses them by the least
    choices, _, _ = every_choice(replace(c, serving=last.serving), waiting=True)
    misses = {x.specs[0]: max(x.ttft / 2, x.tpot / 0.05) for x in choices}
    assert min(misses.values()) > 1
    assert misses[last.strategy] == min(misses.values())
    # fewer at once are served within the limits, by the layout of the most throughput
    few = chosen(c, 16)
    choices, _, _ = every_choice(replace(c, serving=few.serving), waiting=True)
    good = [x for x in choices if x.ttft <= 2 and x.tpot <= 0.05]
    assert max(good, key=lambda x: x.output_per_gpu).specs[0] == few.strategy


def test_auto_serves_what_a_plan_would_take():
    c = case(concurrency="auto", goal={"objective": "throughput", "limits": {"tpot": "6 ms"}})
    found = chosen(c)
    (clients,) = found.serving.concurrency
    assert clients < 1 << 14
    own, _, _ = every_choice(replace(c, strategy=found.strategy), waiting=True)
    assert next(x.tpot for x in own if x.concurrency == clients) <= 6e-3
    assert chosen(case(TP4, concurrency="auto")).strategy == case(TP4).strategy


def test_at_a_rate_the_layout_is_one_that_keeps_up():
    found = chosen(case(rate=20.0))
    assert found.strategy is not None
    choices, _, _ = every_choice(case(rate=20.0))
    assert found.strategy in [x.specs[0] for x in choices]
    # beyond what any does it is the one of the highest capacity
    assert chosen(case(rate=1e5)).strategy is not None


def test_limits_that_are_missed_are_said_with_by_how_much():
    goal = {"limits": {"ttft": "1 ms", "tpot": "1 s"}}
    c = case(TP4, goal=goal)
    found = simulate(c)
    plain = found.to_dict()["limits"]
    assert plain["ttft"]["met"] is False
    assert plain["ttft"]["over"] == pytest.approx(found.ttft.mean - 1e-3)
    assert plain["ttft"]["times"] == pytest.approx(found.ttft.mean / 1e-3)
    assert plain["tpot"] == {"limit": 1.0, "mean": found.tpot.mean, "met": True, "over": 0.0, "times": found.tpot.mean}
    assert "Misses limits.ttft of 1.000 ms by " in text(c, found)
    assert "limits" in simulate(case(TP4)).to_dict()
    assert "Limits" not in text(case(TP4), simulate(case(TP4)))


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize("strategy", [TP4, DP4], ids=["tp", "dp"])
@pytest.mark.parametrize("concurrency", [4, 64, 300])
def test_what_is_in_flight_runs_is_queued_or_is_before_the_queue(engine, strategy, concurrency):
    small = {"name": engine, "max_num_seqs": 32}
    found = simulate(
        case(strategy, engine=small, concurrency=concurrency, requests=4 * concurrency, output={"uniform": 128})
    )
    assert found.in_flight == pytest.approx(concurrency, rel=1e-6)
    assert found.running + found.queued + found.outside == pytest.approx(concurrency, rel=0.01)
    # Little's law: requests a second times the mean seconds each is there
    assert found.in_flight == pytest.approx(found.requests_per_second * found.e2e.mean, rel=0.1)
    assert (found.queued > 1) == (not found.holds)


def test_also_at_a_rate_and_with_pools():
    for found in (
        simulate(case(TP4, rate=10.0, requests=400)),
        simulate(
            case(
                concurrency=64,
                requests=400,
                disaggregated={"prefill": TP2 | {"replicas": 1}, "decode": TP2 | {"replicas": 1}},
            )
        ),
    ):
        assert found.running + found.queued + found.outside == pytest.approx(found.in_flight, rel=0.01)


def test_a_rates_throughput_is_that_of_its_arrivals():
    found = simulate(case(TP4, rate=20.0, requests=2000, output={"mean": 256, "sigma": 0.6}))
    begin, end = found.window
    assert begin >= max(r.done for r in found.served[: found.warmup])
    assert end == max(r.arrival for r in found.served)
    done = sum(begin < r.done <= end for r in found.served)
    assert found.requests_per_second == pytest.approx(done / (end - begin))
    assert found.requests_per_second == pytest.approx(20, rel=0.1)
    assert found.arrivals_per_second == pytest.approx(20, rel=0.1)
    assert found.keeps_up is True


def test_a_rate_above_what_is_served_is_said():
    small = {"name": "vllm", "max_num_seqs": 8}
    c = case(TP4, rate=60.0, requests=1500, engine=small)
    found = simulate(c)
    assert found.keeps_up is False
    assert found.requests_per_second < 0.8 * found.arrivals_per_second
    assert "the rate is above what is served" in text(c, found)
    # too short: the last request arrives before the first are done
    c = case(TP4, rate=60.0, requests=20, output=2000)
    found = simulate(c)
    assert found.keeps_up is None
    assert "Too few requests to tell" in text(c, found)
    assert simulate(case(TP4)).keeps_up is True


def test_what_binds_the_requests_held():
    few = simulate(case(TP4, engine={"name": "vllm", "max_num_seqs": 16}, concurrency=64, requests=200))
    (pool,) = few.pools
    assert (pool.held_by_engine, pool.bound, few.held) == (16, "max_num_seqs", 16)
    assert pool.held_by_cache > 16
    assert "max_num_seqs allows 16: the engine binds" in text(case(TP4), few)
    tight = {"name": "vllm", "gpu_memory_utilization": 0.117}
    full = simulate(
        case({"attention": {"tp": 2}}, gpus=2, concurrency=256, input=2048, output=1024, engine=tight, requests=400)
    )
    assert full.pools[0].bound == "cache"
    assert full.held == full.pools[0].held_by_cache < full.pools[0].held_by_engine


@pytest.mark.parametrize("strategy", [TP4, DP4, {"replicas": 4}], ids=["tp", "dp", "replicas"])
def test_the_most_is_the_series_most(strategy):
    found = simulate(case(strategy, concurrency=50, requests=300, output={"uniform": 128}))
    assert found.most_running == max(found.series["running"]) <= 50
    assert found.kv_peak == max(found.series["kv"])
    assert f"at most {found.kv_peak:.0%}" in text(case(strategy), found)


def test_the_pool_that_binds_is_named():
    pools = {"prefill": TP2 | {"replicas": 1}, "decode": TP2 | {"replicas": 1}}
    long = case(disaggregated=pools, rate=60.0, requests=1000, input=8000, output=20)
    found = simulate(long)
    assert found.binds.startswith("the prefill pool, busy ")
    assert found.pools[0].busy > 0.95
    assert found.pools[0].queued > 10 > found.pools[1].queued
    assert found.keeps_up is False
    short = simulate(case(disaggregated=pools, concurrency=64, requests=300, input=64, output=400))
    assert short.binds.startswith("the decode pool, busy ")
    assert short.pools[0].busy < 0.5
    some = case(disaggregated=pools, gpus=8, requests=100)
    assert simulate(some).gpus_unused == 4
    assert "4 of 8 GPUs are used, 4 are idle" in text(some, simulate(some))


def test_no_more_are_in_flight_than_there_are_requests():
    c = case(TP4, concurrency=1 << 20, requests=50)
    found = simulate(c)
    assert (found.concurrency, found.asked) == (50, 1 << 20)
    assert "concurrency 50 (of 1048576 asked for: there are no more requests)" in text(c, found)


def test_words_of_one():
    c = case(TP4, rate=2.0, requests=1, input=1, output=1)
    said = text(c, simulate(c))
    assert "1 request, 2 arriving a second (Poisson), 1 token in and 1 token out" in said
    assert "latencies of the only request" in said
    assert "first 0" not in said
    assert "host" not in simulate(case(TP4, engine="vllm")).parts or simulate(case(TP4)).parts["host"] > 0


PROFILE = """\
moewright_profile: 1
name: two-ranks
ranks: 2
precision: fp32
memory: 4.0e+9
measured:
- {operation: gemm, key: [256, 256], points: [[1, 5.0e-5], [1024, 6.6e-3]]}
- {operation: memory, key: [], points: [[1.0e+6, 1.0e-4]]}
"""
SMALL = {
    "model": {
        **{"name": "small", "hidden_size": 256, "layers": 4, "vocab_size": 0, "precision": "fp32"},
        "attention": {"kind": "mha", "heads": 16, "head_dim": 16},
        "experts": {"count": 16, "top_k": 2, "intermediate_size": 512, "gated": False},
    },
    "cluster": {"profile": "machine.yaml", "gpus": 2},
    "workload": {"kind": "serving", "engine": "sglang", "input": 100, "output": 20, "concurrency": 4, "requests": 40},
    "strategy": {"attention": {"dp": 2}},
}


def test_a_machine_of_its_own_profile_has_no_ranges_and_no_host(tmp_path):
    (tmp_path / "machine.yaml").write_text(PROFILE)
    c = case_of(SMALL, str(tmp_path / "spec.yaml"))
    found = simulate(c)
    assert found.kernels == "this machine's profile"
    assert found.to_dict()["ranges"] == {}
    assert "no range: the measured results that there are come from GPU servers" in text(c, found)
    assert "host" not in found.parts
    assert found.outside == 0  # SGLang's 182 ms before the queue are of its GPU servers
    from moewright.serving.planner.serving_plan import plan_serving

    best = plan_serving(c).best
    assert best.ranges == {}
    assert "ttft_range" not in best.to_dict()["prediction"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[1, 5.0e-5]", "[1, -1]", r"measured\[0\]\.points\[0\]: got \[1, -1\]; expected"),
        ("points: [[1.0e+6, 1.0e-4]]", "points: []", r"measured\[1\]\.points: got \[\]; expected"),
        ("operation: memory", "operation: launch", "got only gemm, launch; expected points of memory too"),
    ],
)
def test_what_is_wrong_in_a_profile_is_shown(tmp_path, old, new, words):
    (tmp_path / "machine.yaml").write_text(PROFILE.replace(old, new))
    with pytest.raises(SpecError, match=words):
        case_of(SMALL, str(tmp_path / "spec.yaml"))


def test_a_kind_that_is_almost_serving(tmp_path):
    raw = {"model": "gpt-oss-20b", "cluster": "h200-hgx", "workload": {"kind": "servng", "input": 8, "output": 8}}
    with pytest.raises(SpecError, match=r"kind: got 'servng'; did you mean serving\? expected one of forward"):
        case_of(raw, str(tmp_path / "spec.yaml"))


def test_a_trace_row_without_a_column(tmp_path):
    (tmp_path / "t.csv").write_text("arrival,input,output\n1,100,10\n0.5,50\n")
    raw = {"model": "gpt-oss-20b", "cluster": "h200-hgx", "workload": {"kind": "serving", "trace": "t.csv"}}
    with pytest.raises(SpecError, match="line 3 has no output; required are arrival, input, output"):
        case_of(raw, str(tmp_path / "s.yaml"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("examples/paper.yaml", "--no-tables"), "--no-tables: is of a serving workload"),
        (("examples/serve-gpt-oss.yaml", "--no-tables", "--tables", "x"), "--tables: contradicts --no-tables"),
        (("examples/serve-gpt-oss.yaml", "--tables", "tests"), "--tables"),
    ],
)
def test_tables_of_a_plan(arguments, words):
    done = moewright("plan", *arguments, cwd=ROOT)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_plan_by_the_roofline_alone():
    done = moewright("plan", "examples/serve-gpt-oss.yaml", "--no-tables", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "steps priced by roofline" in " ".join(done.stdout.split())
