"""The second derivation of a training plan: it agrees on every kind of layout, and finds what is broken."""

import pytest

import moewright.training.stages.stage_sums as stage_sums
import moewright.training.stages.step_seconds as step_seconds
import moewright.training.work.context_parallel as context_parallel
import moewright.training.work.pass_seconds as pass_seconds
from moewright.case.train.train_strategy import ContextExchange, Dispatcher, Schedule, Sharding
from moewright.case.train.tuning import Tuning
from moewright.planning.record import Status
from moewright.training.plan_training import plan_of
from training.cases import case_of, strategy_of

LAYOUTS = [
    {"dp": 8, "ep": 8},
    {"dp": 4, "tp": 2, "ep": 8, "sharding": Sharding.FULL},
    {"dp": 2, "tp": 2, "ep": 4, "pp": 2, "layers": (2, 2), "recompute": ("layernorm", "moe_act")},
    {"dp": 2, "cp": 2, "ep": 2, "pp": 2, "virtual": 2, "layers": (1, 1, 1, 1), "overlap_experts": True},
    {"dp": 4, "ep": 4, "pp": 2, "schedule": Schedule.ZERO_BUBBLE, "layers": (2, 2), "recompute": ("full",)},
    {"dp": 4, "tp": 2, "ep": 4, "etp": 2, "sharding": Sharding.NONE},
    {"dp": 2, "ep": 2, "pp": 2, "virtual": 2, "schedule": Schedule.DUALPIPE_V, "layers": (1, 1, 1, 1)},
    {"dp": 4, "tp": 2, "ep": 8, "dispatcher": Dispatcher.ALL_TO_ALL, "overlap_tp": True, "overlap_grad_reduce": False},
    {"dp": 8, "ep": 8, "dispatcher": Dispatcher.ALL_GATHER, "overlap_experts": True, "overlap_param_gather": False},
]
#: exchanges of keys, of a model without windows
EXCHANGES = [{"dp": 2, "cp": 4, "ep": 8, "cp_comm_type": kind} for kind in ContextExchange]


def planned(model="DeepSeek-V2", recipe="bf16", **sizes):
    case = case_of(model, layers=4, recipe=recipe)
    return plan_of(case, case.training, strategy_of(**sizes))


def failed(plan):
    return {c.name for c in plan.checks if c.status is Status.FAIL}


@pytest.mark.parametrize("sizes", LAYOUTS)
@pytest.mark.parametrize(("model", "recipe"), [("DeepSeek-V2", "bf16"), ("gpt-oss-20b", "mxfp8")])
def test_it_agrees(model, recipe, sizes):
    plan = planned(model, recipe, **sizes)
    assert [c.detail for c in plan.checks if c.status is Status.FAIL] == []
    assert plan.proof.figures > 20
    assert plan.proof.unchecked == ("hidden",)


@pytest.mark.parametrize("sizes", EXCHANGES)
@pytest.mark.parametrize("model", ["DeepSeek-V2", "Qwen3-30B-A3B"])
def test_it_agrees_on_exchanges_of_keys(model, sizes):
    assert failed(planned(model, **sizes)) == set()


def test_a_free_ring_is_found(monkeypatch):
    monkeypatch.setattr(pass_seconds, "hidden_in_ring", lambda ring, *a: 0.5 * ring)
    plain = planned("Qwen3-30B-A3B", dp=2, cp=4, ep=8, cp_comm_type=ContextExchange.RING)
    assert failed(plain) == set()  # hidden or not, all of it is counted
    monkeypatch.setattr(context_parallel, "key_bytes", lambda *a: 1.0)
    assert "step_possible" in failed(planned("Qwen3-30B-A3B", dp=2, cp=4, ep=8, cp_comm_type=ContextExchange.RING))


def test_of_what_is_frozen_rates_alone_are_walked():
    case = case_of("Qwen3-30B-A3B", layers=4, tuning=Tuning(("attention",)))
    plan = plan_of(case, case.training, strategy_of(dp=8, ep=8))
    assert [c.name for c in plan.checks] == ["rates_walked"]
    assert "parts.compute" in plan.proof.unchecked


def test_lost_activations_are_found(monkeypatch):
    kept = stage_sums.kept_bytes
    monkeypatch.setattr(stage_sums, "kept_bytes", lambda *a: kept(*a) * 0.8)
    assert failed(planned(dp=8, ep=8)) == {"memory_walked"}


def test_lost_states_are_found(monkeypatch):
    static = stage_sums.static_bytes
    monkeypatch.setattr(stage_sums, "static_bytes", lambda *a: {**static(*a), "optimizer": static(*a)["gradients"]})
    assert "memory_walked" in failed(planned(dp=8, ep=8))


def test_another_number_of_flops_is_found(monkeypatch):
    flops = step_seconds.step_flops
    monkeypatch.setattr(step_seconds, "step_flops", lambda *a: flops(*a) * 1.1)
    assert failed(planned(dp=8, ep=8)) == {"rates_walked"}


def test_free_messages_between_stages_are_found(monkeypatch):
    hops = step_seconds._hops
    monkeypatch.setattr(step_seconds, "_hops", lambda *a: hops(*a) * 0)
    assert "step_possible" in failed(planned(dp=2, tp=2, ep=4, pp=2, layers=(2, 2)))
