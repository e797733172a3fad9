"""The gate of a tp group's leader, and what every rank of cp expands, by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

import moewright
from moewright.case.strategy import Dispatch, Gate, StrategySpec
from moewright.errors import InfeasibleError, SpecError

EXAMPLES = Path(__file__).parents[2] / "examples"
LITERAL = StrategySpec(tp=2, repeated=64, ep=64, etp=2, dispatch=Dispatch.REPLICATED)


def test_the_leader_broadcasts_eight_bytes_a_choice():
    case = moewright.load(EXAMPLES / "paper-literal.yaml")
    each = moewright.evaluate(case, LITERAL)
    leader = moewright.evaluate(case, replace(LITERAL, gate=Gate.LEADER))
    (told,) = (o for o in leader.communication.operations if o.name == "gate_broadcast")
    assert told.count == 16
    # 128 × 1024 tokens, top 2, to one other rank: half of that is the mean of the pair
    assert told.bytes == 128 * 1024 * 2 * 8 / 2
    # inside a node: 450 GB/s and 2 us
    assert told.seconds == pytest.approx(128 * 1024 * 2 * 8 / 450e9 + 2e-6)
    assert leader.latency.seconds == pytest.approx(each.latency.seconds + 16 * told.seconds)
    assert leader.name.endswith("replicated · gate-leader")
    assert all(check.status != "fail" for check in leader.checks)
    assert "gate" not in each.to_dict()["strategy"]["experts"]
    assert leader.to_dict()["strategy"]["experts"]["gate"] == "leader"


@pytest.mark.parametrize("sizes", [{"dp": 64, "tp": 2}, {"tp": 1, "repeated": 128, "dispatch": Dispatch.REPLICATED}])
def test_where_a_leader_has_no_meaning(sizes):
    case = moewright.load(EXAMPLES / "paper.yaml")
    with pytest.raises((SpecError, InfeasibleError), match="gate"):
        moewright.evaluate(case, StrategySpec(ep=64, etp=2, gate=Gate.LEADER, **sizes))


def test_all_of_cp_expand_the_latents():
    case = moewright.load(EXAMPLES / "deepseek-v3-prefill.yaml")
    case = replace(case, workload=replace(case.workload, batch=(8,), sequence=4096))
    plans = {
        cp: moewright.evaluate(
            case, StrategySpec(dp=case.cluster.gpus // cp, cp=cp, ep=case.cluster.gpus), case.cluster.gpus // cp
        )
        for cp in (2, 4)
    }
    a = case.model.layers[0].attention
    each = 2 * a.heads * (a.nope_dim + a.value_dim) * a.kv_rank * len(case.model.layers)  # FLOPs of a token
    for cp, plan in plans.items():
        (check,) = (c for c in plan.checks if c.name == "flops_conserved")
        again = (cp - 1) * each * plan.batch * 4096
        assert f"{again / 1e12:.4g} TFLOP are work done more than once" in check.detail
