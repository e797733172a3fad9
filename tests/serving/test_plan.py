"""The steady state against the simulator, and plans for serving."""

import json
from pathlib import Path

import numpy as np
import pytest

from cases import value
from command import moewright
from moewright.case.file.load import case_of, load
from moewright.errors import InfeasibleError, SpecError
from moewright.serving.engines.deployment import engine_of, workers_of
from moewright.serving.engines.steady import load_at, steady_state
from moewright.serving.planner.candidates import search_serving
from moewright.serving.planner.serving_plan import plan_serving
from moewright.serving.simulation.simulate import simulate

from .test_simulate import DP4, TP4, case

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize("strategy", [TP4, DP4], ids=["tp", "dp"])
@pytest.mark.parametrize("concurrency", [1, 16, 128])
def test_steady_as_simulated(engine, strategy, concurrency):
    lengths = {"input": {"uniform": 1024}, "output": {"uniform": 512}}
    c = case(strategy, engine=engine, concurrency=concurrency, requests=max(100, 8 * concurrency), **lengths)
    found, w = simulate(c), workers_of(c, c.strategy, engine_of(c))
    ranks = w.strategy.replicas * w.strategy.attention.dp
    state = steady_state(w.model, c.serving, engine_of(c), np.array(concurrency / ranks))
    assert value(state.tpot) == pytest.approx(found.tpot.mean, rel=0.1)
    assert value(state.ttft) == pytest.approx(found.ttft.mean, rel=0.35)
    assert value(state.rate) * ranks == pytest.approx(found.requests_per_second, rel=0.12)


def test_a_rate_is_met_by_littles_law():
    c = case(TP4, rate=4.0, requests=400)
    w, engine = workers_of(c, c.strategy, engine_of(c)), engine_of(c)
    load_ = load_at(w.model, c.serving, engine, np.array(4.0))
    state = steady_state(w.model, c.serving, engine, load_)
    assert value(state.rate) == pytest.approx(4.0, rel=0.02)
    flight = 4.0 * value(state.ttft + state.tpot * 127)
    assert value(load_) == pytest.approx(flight, rel=0.1)
    assert not np.isfinite(load_at(w.model, c.serving, engine, np.array(1e6)))


def test_the_best_is_the_best_of_all():
    c = load(ROOT / "examples" / "serve-deepseek-v3-h200.yaml")
    choices, rejected, count = search_serving(c)
    assert all(x.tpot <= 0.05 and x.ttft <= 2 for x in choices)
    assert len(choices) + rejected["slower than limits.tpot"] + rejected["slower than limits.ttft"] <= count
    found = plan_serving(c)
    assert found.best.output_per_gpu == max(x.output_per_gpu for x in choices)
    rates, users = [x.output_per_gpu for x in found.frontier], [x.per_user for x in found.frontier]
    assert rates == sorted(rates)
    assert users == sorted(users, reverse=True)
    for x in found.frontier:
        assert not any(y.per_user > x.per_user and y.output_per_gpu > x.output_per_gpu * (1 + 1e-9) for y in choices)
        assert x.simulation.tpot.mean == pytest.approx(x.tpot, rel=0.15)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_cache_that_does_not_hold_it_is_shown_with_what_it_holds():
    small = {"name": "vllm", "gpu_memory_utilization": 0.2}
    found = plan_serving(case(gpus=1, concurrency=4096, input=8192, output=1024, engine=small)).best
    assert found.asked == 4096
    assert found.held < 4096
    assert found.concurrency == found.held
    assert not found.holds
    assert found.to_dict()["holds"] is False


def test_what_the_simulation_finds_too_slow_is_not_the_best():
    lengths = {"input": {"uniform": 1024}, "output": {"uniform": 1024}}
    sizes = [16, 256]
    free = plan_serving(case(goal={"objective": "throughput"}, concurrency=sizes, **lengths)).best
    limit = 0.99 * free.simulation.ttft.mean
    plan = plan_serving(case(goal={"objective": "throughput", "limits": {"ttft": limit}}, concurrency=sizes, **lengths))
    slow = [n for reason, n in plan.rejected.items() if reason.startswith("slower than")]
    assert sum(slow) >= 1
    assert plan.best.simulation.ttft.mean <= limit
    assert plan.best.seen.of_cluster < free.seen.of_cluster


def test_prefill_and_decode_apart():
    goal = {"objective": "throughput", "limits": {"tpot": "30 ms", "ttft": "2 s"}}
    c = case(gpus=8, goal=goal, concurrency="auto", input=2048, output=64, disaggregated={})
    found = plan_serving(c)
    best = found.best
    assert len(best.strategies) == 2
    assert sum(best.gpus) <= 8
    for s, gpus, count in zip(best.strategies, best.gpus, best.replicas, strict=True):
        assert s.gpus * count == gpus
    o = best.simulation
    assert [p.phase for p in o.pools] == ["prefill", "decode"]
    assert o.tpot.mean == pytest.approx(best.tpot, rel=0.25)
    # by hand: what the slower pool allows
    assert best.rate * 64 / sum(best.gpus) == pytest.approx(best.output_per_gpu)


@pytest.mark.parametrize(
    ("workload", "goal", "field"),
    [
        ({}, {"limits": {"tpot": "1 us"}}, "limits.tpot"),
        ({"input": 100_000_000}, {}, "holds one request"),
        ({"rate": 1e6}, {}, "keeps up"),
    ],
)
def test_nothing_meets_it(workload, goal, field):
    with pytest.raises(InfeasibleError, match=field.replace(".", r"\.")):
        plan_serving(case(goal=goal, **workload))


BAD = [
    ({"engine": "vlm"}, "workload.engine", "vllm"),
    ({"engine": {"name": "sgland"}}, "workload.engine.name", "sglang"),
    ({"engine": {"name": "vllm", "kv_blok": 16}}, "workload.engine.kv_blok", "kv_block"),
    ({"engine": {"name": "vllm", "kv_block": 0}}, "workload.engine.kv_block", "from 1"),
    ({"input": 0}, "workload.input", "from 1"),
    ({"input": None}, "workload.input", "is missing"),
    ({"input": {"mean": 8, "uniform": 8}}, "workload.input", "one of"),
    ({"input": {"uniform": 8, "low": 1.0, "high": 0.5}}, "workload.input.low", "above high"),
    ({"concurrency": None}, "workload.concurrency", "is missing"),
    ({"concurrency": 0}, "workload.concurrency", "from 1"),
    ({"rate": 1.0, "concurrency": 2}, "workload.concurrency", "contradicts"),
    ({"rate": -1, "concurrency": None}, "workload.rate", "above 0"),
    ({"trace": "none.csv"}, "workload.input", "contradicts"),
    ({"speculative": {"drafts": 2}}, "workload.speculative.acceptance", "is missing"),
    ({"disaggregated": {"prefil": {}}}, "workload.disaggregated.prefil", "did you mean prefill"),
    ({"batch": 8}, "workload.batch", "unknown field"),
]


@pytest.mark.parametrize(("change", "field", "words"), BAD)
def test_errors_name_the_field(change, field, words):
    with pytest.raises(SpecError) as caught:
        case(TP4, **change)
    assert caught.value.field == field
    assert words in str(caught.value)


def test_traces(tmp_path):
    (tmp_path / "t.csv").write_text("arrival,input,output\n1,100,10\n0.5,50,5\n")
    (tmp_path / "t.jsonl").write_text(
        '{"arrival": 0, "input": 50, "output": 5}\n{"arrival": 0.5, "input": 100, "output": 10}\n'
    )
    raw = {"model": "gpt-oss-20b", "cluster": {"name": "h200-hgx", "gpus": 4}, "strategy": TP4}
    found = []
    for name in ("t.csv", "t.jsonl"):
        c = case_of(raw | {"workload": {"kind": "serving", "trace": name}}, str(tmp_path / "s.yaml"))
        found.append(simulate(c))
        assert c.serving.trace.arrivals == (0.0, 0.5)
    assert found[0].to_dict() == found[1].to_dict()
    (tmp_path / "t.csv").write_text("arrival,input,output\n1,100,10\n0.5,x,5\n")
    (tmp_path / "cut.csv").write_bytes(b"arrival\r,input,output\n1,100,10\n")
    (tmp_path / "long.csv").write_text('arrival,"' + "x" * 200_000 + '"\n')
    for name, words in (
        ("t.csv", "line 3: input is 'x'"),
        ("cut.csv", "line 1 has no column input"),
        ("long.csv", "line 1: field larger than field limit"),
    ):
        with pytest.raises(SpecError, match=words):
            case_of(raw | {"workload": {"kind": "serving", "trace": name}}, str(tmp_path / "s.yaml"))


def run(*arguments):
    return moewright(*arguments, cwd=ROOT)


def test_the_verb(tmp_path):
    spec = ROOT / "examples" / "serve-gpt-oss.yaml"
    done = run("serve", spec, "--requests", 100, "--json", "--output", tmp_path / "rows.csv")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["requests"] == 100
    assert {"ttft", "tpot", "itl", "e2e", "output_per_gpu", "series", "parts", "binds", "held"} <= found.keys()
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert len(lines) == 101
    for arguments, words in (
        (("serve", ROOT / "examples" / "paper.yaml"), "workload.kind: got forward; expected serving"),
        (("serve", spec, "--engine", "sglan"), "did you mean sglang"),
        (("serve", spec, "--output", tmp_path / "rows.pdf"), "expected one of .html"),
        (("run", spec), "got 'serving'"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "rows.pdf").exists()


def test_the_plan_verb(tmp_path):
    spec = (ROOT / "examples" / "serve-deepseek-v3-h200.yaml").read_text()
    (tmp_path / "spec.yaml").write_text(spec.replace("[1, 4, 16, 64, 256, 1024]", "16"))
    done = run("plan", tmp_path / "spec.yaml", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["workload"]["kind"] == "serving"
    assert {"ttft", "tpot", "output_per_gpu", "per_user"} <= found["best"]["prediction"].keys()
    assert found["best"]["concurrency_held"] >= found["best"]["concurrency"]
