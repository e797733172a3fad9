"""Nodes of different sizes: which ranks are together, and what is planned over them."""

import numpy as np
import pytest

from moewright.case.file.load import case_of
from moewright.cost.network import fewest_together, local_members
from moewright.errors import SpecError
from moewright.planning.proof.checks import Status
from moewright.planning.search import evaluate, plan


def case(nodes, batch=160, **fields):
    work = {"kind": "decode", "batch": batch, "sequence": 4096}
    raw = {"model": "Qwen3-30B-A3B", "cluster": {"name": "h200-hgx", "nodes": list(nodes)}, "workload": work}
    return case_of(raw | fields, "c.yaml")


@pytest.mark.parametrize(("size", "stride"), [(2, 1), (4, 1), (8, 1), (4, 4), (2, 8), (16, 1), (5, 1)])
def test_nodes_of_one_size_are_a_case_of_it(size, stride):
    if 40 % (size * stride):
        return
    assert fewest_together(size, stride, (8,) * 5) == local_members(size, stride, 8)


@pytest.mark.parametrize(("size", "stride", "together"), [(4, 1, 4), (5, 1, 1), (10, 1, 2), (20, 1, 4), (2, 10, 1)])
def test_by_hand(size, stride, together):
    """20 GPUs as 8, 8, 4: ranks 5 to 9 have three in the first node and two in the second."""
    node = np.repeat([0, 1, 2], [8, 8, 4])
    ranks = np.arange(20)
    groups = [ranks[(ranks // (size * stride) * stride + ranks % stride) == g] for g in set(ranks.tolist())]
    fewest = min(int((node[g] == n).sum()) for g in groups if len(g) for n in set(node[g].tolist()))
    assert fewest_together(size, stride, (8, 8, 4)) == fewest
    if (size, stride) in ((4, 1), (20, 1), (2, 10)):
        assert fewest == together


def test_a_plan_keeps_its_groups_in_nodes():
    best = plan(case((8, 8, 4), objective="throughput")).best
    assert [c.name for c in best.checks if c.status is Status.FAIL] == []
    uneven = evaluate(
        case((8, 8, 4)),
        case((8, 8, 4), strategy={"replicas": 5, "attention": {"tp": 4}, "experts": {"ep": 4}}).strategy,
    )
    assert next(g for g in uneven.groups if g.kind == "tp").tier == "node"
    crossing = evaluate(
        case((8, 8, 4)),
        case(
            (8, 8, 4), strategy={"replicas": 2, "attention": {"dp": 10}, "experts": {"ep": 10, "redundant": 2}}
        ).strategy,
    )
    assert next(g for g in crossing.groups if g.kind == "ep").tier == "fabric"


def test_equal_nodes_listed_are_the_cluster_itself():
    listed, plain = (
        plan(case_of({"model": "Qwen3-30B-A3B", "cluster": {"name": "h200-hgx"} | c, "workload": w}, "c.yaml")).best
        for w in ({"kind": "decode", "batch": 64, "sequence": 1024},)
        for c in ({"nodes": [8, 8]}, {"gpus": 16})
    )
    assert listed.name == plain.name
    assert listed.latency.seconds == plain.latency.seconds


def test_pools_over_them_are_refused():
    work = {"kind": "serving", "input": 512, "output": 64, "concurrency": 8, "disaggregated": {}}
    raw = {"model": "Qwen3-30B-A3B", "cluster": {"name": "h200-hgx", "nodes": [8, 4]}, "workload": work}
    with pytest.raises(SpecError, match="are not laid out over nodes of different sizes"):
        case_of(raw, "c.yaml")
