"""The second derivation: it agrees with the cost model, shares nothing with it, and finds what is broken there."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import moewright.planning.evaluate as evaluation
from cases import paper, served, small
from moewright.case.model import MoeFfn
from moewright.case.precision import FORMATS, element_bytes, format_unit
from moewright.case.strategy import Dispatch, Gate, Overlap, StrategySpec
from moewright.case.workload import Kind, Limits, Routing, Workload
from moewright.cost import layer as cost_layer
from moewright.cost import memory as cost_memory
from moewright.cost import network as cost_network
from moewright.planning import detail as detail_module
from moewright.planning.proof.figures.compared import Compared, check_of
from moewright.planning.proof.walk import drawn_tokens, number_widths, pipeline_clock
from moewright.planning.record import Status
from moewright.planning.search import evaluate

PROOF = Path(evaluation.__file__).parent / "proof"
EP64 = StrategySpec(dp=64, tp=2, ep=64, etp=2)


def failed(plan):
    return {c.name for c in plan.checks if c.status is Status.FAIL}


def test_it_knows_nothing_of_the_cost_model():
    """Nor of what is made of it: only the case, the sizes of the strategy, the list of tensors, and the record."""
    for file in [*(PROOF / "walk").glob("*.py"), *(PROOF / "figures").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = node.module if isinstance(node, ast.ImportFrom) else ""
            if name and name.startswith("moewright."):
                room = name.removeprefix("moewright.")
                assert room.startswith(("case.", "planning.proof.walk", "planning.proof.figures", "planning.record")), (
                    f"{file.name} imports {name}"
                )
                assert room != "case.precision" or {a.name for a in node.names} == {"Precision"}


@pytest.mark.parametrize(
    "want",
    [
        StrategySpec(dp=2, tp=4, ep=8),
        StrategySpec(dp=4, tp=2, ep=2, etp=4, overlap=Overlap.TWO_BATCH),
        StrategySpec(pp=2, dp=2, cp=2, ep=4, micro_batches=2),
        StrategySpec(tp=8, ep=8, dispatch=Dispatch.REPLICATED, gate=Gate.LEADER),
        StrategySpec(tp=2, repeated=4, ep=4, etp=2, dispatch=Dispatch.REPLICATED),
        StrategySpec(dp=8, ep=8, redundant=8),
    ],
    ids=lambda s: s.strategy.name,
)
@pytest.mark.parametrize("kind", [Kind.PREFILL, Kind.DECODE])
def test_it_agrees_on_every_kind_of_layout(want, kind):
    if kind is Kind.DECODE and want.cp:
        want = replace(want, cp=None, tp=2)
    plan = evaluate(small(kind=kind, batch=32, routing=Routing(zipf=0.5, source="zipf 0.5")), want)
    assert failed(plan) == set()
    assert plan.proof.figures > 80
    assert all(p.startswith(("balance.", "latency.origins")) for p in plan.proof.unchecked)


def test_split_caches_agree():
    plan = evaluate(small(kind=Kind.DECODE), StrategySpec(tp=8, dcp=2, ep=8))
    assert failed(plan) == set()
    assert {"query_gather", "attention_output_reduce"} <= {o.name for o in plan.communication.operations}


def plan_of(case_name="paper"):
    if case_name == "paper":
        return evaluate(paper(), EP64)
    case = served("DeepSeek-V3", 64)
    case = replace(case, goal=replace(case.goal, limits=Limits(ttft=60.0, tpot=1.0)))
    return evaluate(case, StrategySpec(dp=64, ep=64))


def changed(monkeypatch, module, name, change):
    original = getattr(module, name)
    for holder in (module, cost_memory, cost_layer, evaluation, detail_module):
        if getattr(holder, name, None) is original:
            monkeypatch.setattr(holder, name, lambda *a, **k: change(original(*a, **k)))


def test_all_to_all_bytes_a_thousandfold_are_found(monkeypatch):
    def more(works):
        shape = lambda w: replace(w.shape, sent=w.shape.sent * 1e3, to_ranks=w.shape.to_ranks * 1e3)  # noqa: E731
        return [replace(w, shape=shape(w)) if w.collective and w.shape.collective == "all_to_all" else w for w in works]

    changed(monkeypatch, cost_layer, "_exchange", more)
    assert {"bytes_walked"} <= failed(plan_of())


def test_bytes_priced_at_a_thousandth_are_found(monkeypatch):
    changed(monkeypatch, cost_network, "exchange_tiers", lambda tiers: tuple(x / 1e3 for x in tiers))
    assert {"seconds_walked", "seconds_possible"} <= failed(plan_of())


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_lost_buffers_are_found(monkeypatch, factor):
    changed(monkeypatch, cost_memory, "buffer_parts", lambda parts: {k: v * factor for k, v in parts.items()})
    assert "buffers_walked" in failed(plan_of())


def test_lost_activations_are_found(monkeypatch):
    changed(monkeypatch, cost_memory, "activation_parts", lambda parts: {k: v * 0 for k, v in parts.items()})
    assert "activations_walked" in failed(plan_of())


def test_a_residual_left_out_is_found(monkeypatch):
    original = cost_memory.activation_parts

    def without(p):
        residual = 2 * 2.0 * p.batch.own * p.case.model.hidden_size * p.table.halves
        return {k: v - residual for k, v in original(p).items()}

    for holder in (cost_memory, detail_module):
        monkeypatch.setattr(holder, "activation_parts", without)
    assert "activations_walked" in failed(plan_of())


def test_the_phase_of_a_limit_is_walked_too(monkeypatch):
    plan = plan_of("served")
    assert failed(plan) == set()
    assert "limits_walked" in {c.name for c in plan.checks}
    other = detail_module.other_seconds
    monkeypatch.setattr(detail_module, "other_seconds", lambda c, t: (other(c, t)[0] * 1.1, other(c, t)[1]))
    assert failed(plan_of("served")) == {"limits_walked"}


@pytest.mark.parametrize("name", [*FORMATS, "int4_g128", "int4_g64_zp", "int8_g32_offset", "int3_row"])
def test_both_tables_of_number_formats_agree(name):
    assert number_widths.number_bytes(name) == pytest.approx(element_bytes(name), rel=1e-12)
    assert number_widths._stored(name)[3] == format_unit(name)


@given(st.integers(1, 6), st.integers(1, 12), st.floats(0.1, 5.0), st.floats(0.0, 2.0))
@settings(max_examples=40, deadline=None)
def test_micro_batches_through_equal_stages(stages, micro, seconds, hop):
    ends = pipeline_clock.pass_through([seconds] * stages, micro, hop)
    whole = stages * seconds + (stages - 1) * hop + (micro - 1) * (max(seconds, hop) if stages > 1 else seconds)
    assert ends[-1] == pytest.approx(whole)
    turn = pipeline_clock.decode_round([seconds] * stages, micro, hop)
    assert turn == pytest.approx(max(micro * seconds, stages * seconds + (stages * hop if stages > 1 else 0.0)))


@pytest.mark.parametrize("ffn", [MoeFfn(8, 2, 4), MoeFfn(16, 8, 4), MoeFfn(32, 4, 4, groups=8, top_groups=2)])
def test_drawn_tokens_keep_the_routers_law(ffn):
    rng = np.random.default_rng(0)
    chosen = drawn_tokens.choices(rng, ffn, 20_000, None)
    assert (np.diff(np.sort(chosen, axis=1), axis=1) > 0).all()
    share = np.bincount(chosen.ravel(), minlength=ffn.experts) / 20_000
    assert share == pytest.approx(np.full(ffn.experts, ffn.top_k / ffn.experts), abs=0.02)
    groups = chosen * ffn.groups // ffn.experts
    assert max(len(set(row)) for row in groups[:500].tolist()) <= ffn.top_groups or ffn.groups == 1


def test_drawn_tokens_follow_loads():
    load = np.array([100.0, 5.0, 3.0, 2.0, 1.0, 0.0])
    chosen = drawn_tokens.choices(np.random.default_rng(0), MoeFfn(6, 2, 4), 50_000, load)
    assert (chosen[:, 0] != chosen[:, 1]).all()
    share = np.bincount(chosen.ravel(), minlength=6) / 50_000
    assert share == pytest.approx(drawn_tokens.chance_of(load, 2), abs=0.01)


def test_a_comparison_can_fail():
    assert check_of("x", "what", []) is None
    good = Compared("a", 1.0, 1.0005, 1e-3)
    assert check_of("x", "what", [good]).status is Status.PASS
    bad = check_of("x", "what", [good, Compared("b", 2.0, 1.0, 0.1)])
    assert bad.status is Status.FAIL
    assert "1 of 2 disagree: b 2, walked 1 (50.00% apart, allowed 0.1)" in bad.detail
    assert not Compared("c", float("nan"), 1.0, 0.5).holds
    assert Compared("d", 3.0, 1.0, 0.1, 4.0).holds
    assert not Compared("d", 5.0, 1.0, 0.1, 4.0).holds
    assert not Compared("d", 0.5, 1.0, 0.1, 4.0).holds


def test_windows_under_context_parallelism_wait_for_the_busiest_rank():
    """Early blocks of a prompt see less than a window; the rank with two late ones is priced."""
    case = served("gpt-oss-120b", 8, Kind.PREFILL, batch=8)
    case = replace(case, workload=Workload(Kind.PREFILL, (8,), 1024))
    plan = evaluate(case, StrategySpec(dp=2, cp=4, ep=8))
    assert failed(plan) == set()
