"""Checks pass on whatever the space offers, and fail on assignments that are wrong."""

from dataclasses import replace

import numpy as np
import pytest

from cases import dense_model, paper, served, small
from moewright.case.strategy import Dispatch, StrategySpec
from moewright.case.workload import Kind, Routing
from moewright.cost.table import Table
from moewright.planning.detail import detail
from moewright.planning.evaluate import evaluate_table
from moewright.planning.proof import checks
from moewright.planning.proof.rank_totals import bytes_sent, flops_done, gather
from moewright.planning.record import Status
from moewright.planning.search import evaluate
from moewright.planning.space import space

pytestmark = pytest.mark.slow

EP64 = StrategySpec(dp=64, tp=2, ep=64, etp=2)


def facts(case, want):
    plan = evaluate(case, want)
    return gather(case, plan, evaluate_table(case, Table.one(plan.strategy, plan.batch)))


def status(plan, name):
    return next(c.status for c in plan.checks if c.name == name)


@pytest.mark.parametrize("kind", [Kind.PREFILL, Kind.DECODE])
@pytest.mark.parametrize("routing", [Routing(), Routing(zipf=1.0, source="zipf 1.0")])
def test_no_check_fails_on_any_legal_strategy(kind, routing):
    case = small(gpus=8, kind=kind, batch=16, routing=routing)
    table = space(case).table
    for row in np.random.default_rng(0).choice(len(table), 60, replace=False):
        plan = detail(case, *table.row(row), placement=True)
        failed = [c for c in plan.checks if c.status is Status.FAIL]
        assert not failed, (plan.name, failed)


@pytest.mark.parametrize(
    "case",
    [
        served("DeepSeek-V3", 64),
        served("gpt-oss-120b", 8, Kind.PREFILL),
        served("Qwen3-Next-80B-A3B", 8),
        served("Llama-4-Scout", 8),
        replace(small(), model=dense_model()),
    ],
)
def test_no_check_fails_on_real_models(case):
    table = space(case).table
    for row in np.random.default_rng(1).choice(len(table), 8, replace=False):
        plan = detail(case, *table.row(row), placement=True)
        failed = [c for c in plan.checks if c.status is Status.FAIL and c.name != "memory_fits"]
        assert not failed, (plan.name, failed)


def test_the_documents_modules():
    plan = evaluate(paper(), EP64)
    assert (plan.modules.experts, plan.modules.attention, plan.modules.total) == (1024, 16, 1040)
    assert plan.modules.per_gpu == 8.125
    assert plan.balance.experts_per_gpu.min == plan.balance.experts_per_gpu.max == 8
    assert status(plan, "modules_placed") is Status.PASS
    assert "1024 experts, each in 2 slices once" in next(c.detail for c in plan.checks if c.name == "modules_placed")


def test_repeated_attention_is_a_warning():
    literal = StrategySpec(tp=2, repeated=64, ep=64, etp=2, dispatch=Dispatch.REPLICATED)
    assert status(evaluate(paper(), literal), "flops_conserved") is Status.WARN
    assert status(evaluate(paper(), EP64), "flops_conserved") is Status.PASS


def test_a_lost_expert_is_found():
    f = facts(paper(), EP64)
    placed = f.assignment.experts.copy()
    placed[3, 5] = placed[3, 6]  # an expert of layer 3 twice, another nowhere
    broken = replace(f, assignment=replace(f.assignment, experts=placed))
    (check,) = checks.modules_placed(broken)
    assert check.status is Status.FAIL
    (good,) = checks.modules_placed(f)
    assert good.status is Status.PASS


def test_a_lost_layer_is_found():
    case = small(gpus=4, batch=16)
    f = facts(case, StrategySpec(pp=2, dp=2, ep=2))
    broken = replace(f, assignment=replace(f.assignment, layers=[range(0, 2), range(3, 4)]))
    (check,) = checks.modules_placed(broken)
    assert check.status is Status.FAIL


def test_a_memory_beyond_the_capacity_is_found():
    f = facts(paper(), EP64)
    full = replace(f.plan.memory, total=f.plan.memory.usable + 1)
    assert next(checks.memory_fits(replace(f, plan=replace(f.plan, memory=full)))).status is Status.FAIL


def test_a_time_below_the_bound_is_found():
    f = facts(paper(), EP64)
    claimed = replace(f.plan.latency, seconds=1.024e-3)  # what the document claims
    below, adds = checks.bound(replace(f, plan=replace(f.plan, latency=claimed)))
    assert below.status is adds.status is Status.FAIL


def test_ranks_in_two_groups_are_found(monkeypatch):
    f = facts(paper(), EP64)
    assert next(checks.group_membership(f)).status is Status.PASS
    wrong = {"tp": np.array([[0, 1], [1, 2]] * 32)}
    monkeypatch.setattr(checks, "groups_of", lambda s: wrong)
    assert next(checks.group_membership(f)).status is Status.FAIL


def test_sampled_flops_and_bytes_follow_the_copies():
    """A rank that gets more routed copies computes and sends more, by just so much."""
    f = facts(paper(), EP64)
    copies = f.copies[0].mean(axis=0)  # of one layer, over ep ranks
    flops = flops_done(f).reshape(64, 2)
    per_copy = 16 * 2 * 2 * 1024 * 2048 / 2
    assert flops[:, 0] - flops[0, 0] == pytest.approx((copies - copies[0]) * per_copy, rel=1e-6, abs=1)
    sent = bytes_sent(f).reshape(64, 2)[:, 0]
    assert np.corrcoef(sent, copies)[0, 1] > 0.999999


def test_skewed_routing_is_not_balanced():
    case = replace(paper(), routing=Routing(zipf=1.0, source="zipf 1.0"))
    plan = evaluate(case, EP64)
    assert status(plan, "experts_balanced") is Status.WARN
    assert status(plan, "compute_balanced") is Status.WARN
    assert plan.balance.straggler > 2
