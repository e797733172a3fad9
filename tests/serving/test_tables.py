"""Steps by measured tables: what a strategy, a routing and a context say is in their seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import value
from moewright.case.file.load import case_of, load
from moewright.case.precision import element_bytes
from moewright.cost.prices import measured
from moewright.cost.prices.measured import Look
from moewright.cost.prices.price import Origin, shares
from moewright.cost.prices.silicon import tables_folder
from moewright.cost.work import Products
from moewright.serving.engines.deployment import engine_of
from moewright.serving.engines.kernel_prices import measured_model
from moewright.serving.engines.strategies import engine_strategy
from moewright.serving.simulation.simulate import simulate
from moewright.serving.step import Step, StepModel

FOLDER = tables_folder()
pytestmark = pytest.mark.skipif(FOLDER is None, reason="aiconfigurator-core is not installed")


def case(model="DeepSeek-V3", gpus=8, cluster="h200-hgx", strategy=None, **fields):
    work = {"kind": "serving", "input": 1024, "output": 1024, "concurrency": 256, "engine": "sglang"}
    spec = {"model": model, "cluster": {"name": cluster, "gpus": gpus}, "workload": work, **fields}
    if strategy:
        spec["strategy"] = strategy
    return case_of(spec, "c.yaml")


def by_tables(c):
    engine = engine_of(c)
    model = measured_model(c, engine_strategy(c, c.strategy, engine_of(c)), engine, FOLDER)
    assert model is not None
    return model


DP8 = {"attention": {"dp": 8}, "experts": {"ep": 8}}


def decode(c, batch=32, context=1536):
    model = by_tables(c)
    ranks = value(model.dp)
    return value(model.seconds(Step(0, 0, batch, batch * context, batch * ranks)))


def test_routing_overlap_and_redundancy_change_the_seconds():
    """None of what a spec says is lost on the way to the tables."""
    uniform = decode(case(strategy=DP8, routing="uniform"), 256)
    skewed = decode(case(strategy=DP8, routing="typical"), 256)
    overlapped = decode(case(strategy={**DP8, "overlap": "two_batch"}, routing="uniform"), 256)
    more = {"attention": {"dp": 8}, "experts": {"ep": 8, "redundant": 32}}
    redundant = decode(case(strategy=more, routing="typical"), 256)
    assert skewed > uniform * 1.001
    assert abs(overlapped / uniform - 1) > 1e-3
    assert redundant < skewed


def test_no_figure_of_a_table_is_below_the_peaks(monkeypatch):
    """Tables that said 0 s: products take their FLOPs or bytes at the device's full rates."""
    nothing = Look(np.zeros(1), np.full(1, Origin.MEASURED, dtype=np.int8))
    monkeypatch.setattr(measured, "per_shape", lambda *_: nothing)
    c = case("Qwen3-235B-A22B", strategy={"attention": {"tp": 8}, "experts": {"ep": 8}})
    model, device = by_tables(c), c.cluster.device
    model.factors = {}
    seen = 0
    for rows in (1, 128, 256, 4096):
        for x, _ in model.priced(Step(0, 0, rows, rows * 1024, rows)).operations:
            if isinstance(x.work.shape, Products) and x.origin[0] == Origin.MEASURED:
                size = element_bytes(c.model.precision.weight(x.work.shape.kind))
                sizes = [(value(m.rows), value(m.columns), value(m.depth)) for m in x.work.shape.matrices]
                passed = [(size * k * n + m * (k + 2 * n)) / device.memory_bandwidth for m, n, k in sizes]
                worked = [2 * m * n * k / max(device.flops.values()) for m, n, k in sizes]
                least = sum(map(max, passed, worked))
                assert value(x.seconds) >= 0.999 * least
                seen += 1
    assert seen > 4


@pytest.mark.parametrize("name", ["DeepSeek-V3", "Qwen3-235B-A22B", "gpt-oss-120b"])
def test_a_chunk_after_cached_tokens_is_not_a_whole_prompt(name):
    """64 new tokens after 32,768: within a factor 4 of the roofline, and far below a prompt of 32,832 tokens."""
    c = case(name, strategy={"attention": {"dp": 1, "tp": 8}, "experts": {"ep": 8, "tp": 1}})
    tables, formulas = by_tables(c), StepModel.of(c, engine_strategy(c, c.strategy, engine_of(c)), engine_of(c))
    chunk = Step(64, 64 * (32768 + 32), 0, 0, 64)
    whole = Step(32832, 32832 * 16416, 0, 0, 32832)
    assert value(tables.seconds(chunk)) < value(tables.seconds(whole)) / 5
    assert 0.25 < value(tables.seconds(chunk)) / value(formulas.seconds(chunk)) < 4


def test_the_step_falls_with_wide_expert_parallelism():
    """At 256 sequences a GPU a step does not grow with EP as a table of gathered tokens would make it (it did, fourfold,
    from EP8 to EP64)."""
    seconds = {}
    for gpus in (8, 16, 32, 64):
        wide = {"attention": {"dp": gpus}, "experts": {"ep": gpus}}
        seconds[gpus] = decode(case(gpus=gpus, cluster="h100-hgx", strategy=wide), 256)
    assert max(seconds.values()) < 1.5 * min(seconds.values())


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["DeepSeek-V3", "gpt-oss-120b", "Qwen3-235B-A22B"]), st.integers(1, 200), st.integers(16, 9000))
def test_more_work_never_takes_less(name, batch, context):
    c = case(name, strategy={"attention": {"dp": 1, "tp": 8}, "experts": {"ep": 1, "tp": 8}})
    model = by_tables(c)
    base = value(model.seconds(Step(0, 0, batch, batch * context, batch)))
    assert value(model.seconds(Step(0, 0, batch + 1, (batch + 1) * context, batch + 1))) >= base * (1 - 1e-9)
    assert value(model.seconds(Step(0, 0, batch, batch * (context + 100), batch))) >= base * (1 - 1e-9)
    with_prompt = Step(512, 512 * 256, batch, batch * context, batch + 512)
    assert value(model.seconds(with_prompt)) > base
    assert sum(model.parts(with_prompt).values()) == pytest.approx(value(model.seconds(with_prompt)))


def test_rows_of_a_table_are_priced_as_each_alone():
    """Many layouts at once, and one by one: the same seconds."""
    from moewright.cost.table import Table

    c = case()
    names = [{"attention": {"dp": 8}, "experts": {"ep": 8}}, {"attention": {"dp": 1, "tp": 8}, "experts": {"ep": 8}}]
    strategies = [engine_strategy(c, case(strategy=s).strategy, engine_of(c)) for s in names]
    alone = [by_tables(case(strategy=s)) for s in names]
    table = Table.of(strategies, [s.attention.dp for s in strategies])
    together = StepModel(c, table, engine_of(c), price=alone[0].price, factors=alone[0].factors)
    dp = np.array([8.0, 1.0])
    both = together.seconds(Step(np.zeros(2), np.zeros(2), 32 / dp * 8, 32 / dp * 8 * 1500, np.full(2, 256.0)))
    apart = [value(m.seconds(Step(0, 0, 256 / d, 256 / d * 1500, 256))) for m, d in zip(alone, dp, strict=True)]
    assert both == pytest.approx(apart)


def test_shares_of_what_is_measured_add_up():
    model = by_tables(case(strategy=DP8))
    step = model.priced(Step(0, 0, 32, 32 * 1500, 256))
    parts = shares([x for x, _ in step.operations])
    assert sum(parts.values()) == pytest.approx(1)
    assert parts["measured"] + parts["interpolated"] > 0.3


SPEC = """
model: MiniMax-M2.5
cluster: {name: h200-hgx, gpus: 8}
workload: {kind: serving, input: {uniform: 1024}, output: {uniform: 1024}, concurrency: 16, engine: vllm, requests: 160}
strategy: {attention: {dp: 1, tp: 8}, experts: {ep: 8, tp: 1}}
routing: typical
"""


def test_simulation_and_closed_form_agree(tmp_path: Path):
    """The simulator steps through the same kernels that the closed form sums up."""
    from moewright.serving.validation.predictions import predict
    from moewright.serving.validation.rows import read_rows

    (tmp_path / "s.yaml").write_text(SPEC)
    served = simulate(load(tmp_path / "s.yaml"), tables=FOLDER)
    assert served.kernels == "measured tables"
    assert served.tpot is not None
    head = "backend,model_path,system,precision,mode,isl,osl,batch_size,tp_size,moe_tp_size,moe_ep_size"
    row = "vllm,MiniMax-M2.5,h200_sxm,fp8,agg,1024,1024,16,8,8,1,300,12"
    (tmp_path / "r.csv").write_text(f"{head},silicon_ttft_ms,silicon_tpot_ms\n{row}\n")
    (closed,), _ = predict(read_rows(tmp_path / "r.csv")[0], FOLDER)
    assert served.tpot.mean == pytest.approx(closed.tpot, rel=0.15)
    low, high = served.ranges["tpot"]
    assert low < served.tpot.mean < high


def test_a_device_without_tables_falls_back():
    c = case(cluster="mi300x-oam", strategy=DP8)
    assert measured_model(c, engine_strategy(c, c.strategy, engine_of(c)), engine_of(c), FOLDER) is None


def test_renaming_a_model_changes_nothing():
    """No factor hangs on a name."""
    c = case(strategy=DP8)
    other = replace(c, model=replace(c.model, name="somebody-elses"))
    assert decode(c) == decode(other)


@pytest.mark.parametrize("kind", ["forward", "prefill", "decode"])
def test_a_pass_is_planned_by_tables_too(kind, tmp_path):
    """Also with pipeline stages and context parallelism, each operation by the tables or else by the roofline."""
    from moewright.case.case import TableSource
    from moewright.planning.search import evaluate, plan

    spec = {"model": "Qwen3-235B-A22B", "cluster": {"name": "h200-hgx", "gpus": 8}}
    c = case_of({**spec, "workload": {"kind": kind, "batch": 16, "sequence": 1024}}, "c.yaml")
    measured = replace(c, tables=TableSource(FOLDER, "vllm"))
    best = plan(measured, top=1).best
    origins = best.latency.origins
    assert origins["measured"] + origins["interpolated"] > 0.3
    assert all(check.status != "fail" for check in best.checks)
    for strategy in ({"pp": 2, "dp": 4, "ep": 4}, {"dp": 4, "cp": 2, "ep": 8}):
        if kind != "decode" or "cp" not in strategy:
            from moewright.case.strategy import StrategySpec

            one = evaluate(measured, StrategySpec(**strategy))
            assert one.latency.origins["measured"] > 0
            other = evaluate(c, StrategySpec(**strategy))
            assert 0.3 < one.latency.seconds / other.latency.seconds < 4


def test_the_same_seconds_at_once_and_one_by_one():
    """Rows of one table against each row alone, by tables."""
    from moewright.case.case import TableSource
    from moewright.cost.table import Table
    from moewright.planning.evaluate import evaluate_table
    from moewright.planning.space import space

    spec = {"model": "DeepSeek-V3", "cluster": {"name": "h200-hgx", "gpus": 16}}
    c = case_of({**spec, "workload": {"kind": "decode", "batch": 256, "sequence": 1024}}, "c.yaml")
    c = replace(c, tables=TableSource(FOLDER, "sglang"))
    table = space(c).table
    rows = np.random.default_rng(0).choice(len(table), 20, replace=False)
    together = evaluate_table(c, table.take(rows)).seconds
    alone = [value(evaluate_table(c, Table.one(*table.row(int(i)))).seconds) for i in rows]
    assert together == pytest.approx(alone)
