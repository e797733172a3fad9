"""Efficiencies by shape: each effect once more, by counting; and a user's own figures stay the only ones."""

from dataclasses import replace

import numpy as np
import pytest
from benchmarks import published
from hypothesis import given
from hypothesis import strategies as st

from moewright.case.catalogue.hardware_catalogue import load_cluster, load_device
from moewright.case.file.load import case_of
from moewright.cost import network
from moewright.cost.prices.efficiency import passes_seconds, product_efficiency, worked_flops
from moewright.cost.prices.roofline import compute_seconds

H100 = load_device("h100-sxm")
sizes = st.integers(1, 1 << 14)


@given(st.integers(1, 8), sizes, sizes, sizes)
def test_an_efficiency_is_a_share_and_waves_are_counted(groups, rows, columns, depth):
    k = H100.kernels
    share = product_efficiency(groups, rows, columns, depth, k)
    assert 0 < share <= 1
    if rows % 128 or columns % 128 or groups * rows * columns < k.cores * 128**2:
        return
    # the waves played out: a core takes the next tile when it is free
    free = [0] * k.cores
    for tile in range(groups * (rows // 128) * (columns // 128)):
        free[tile % k.cores] += 1
    ideal = sum(free) / k.cores
    assert share == pytest.approx(ideal / max(free) * depth / (depth + k.depth))


@given(sizes, sizes, sizes)
def test_a_kernel_is_never_faster_than_the_plain_roofline(rows, columns, depth):
    flops, traffic = 2.0 * rows * columns * depth, 2.0 * (rows * depth + depth * columns + rows * columns)
    plain = replace(H100, kernels=None)
    shaped = compute_seconds(worked_flops([(rows, columns, depth)], H100), traffic, H100, "bf16")
    assert worked_flops([(rows, columns, depth)], plain) == flops
    assert shaped >= compute_seconds(flops, traffic, plain, "bf16") * (1 - 1e-12)


def test_passes_beside_the_products_by_hand():
    # 10 copies, gated, width 100, hidden 50: read 200, write 100, then write and read 50, of 2 bytes
    expected = 10 * 2 * (200 + 100 + 50 + 50) / (3.35e12 * 0.8) + 5 * 3e-6
    assert passes_seconds(np.array([10.0]), 100, 2, 50, H100) == pytest.approx(expected)
    assert passes_seconds(np.array([10.0]), 100, 2, 50, replace(H100, kernels=None)) == 0
    assert passes_seconds(np.array([0.0]), 100, 2, 50, H100)[0] == 0


@pytest.mark.parametrize("figure", [{"mfu": 0.5}, {"bandwidth_utilization": 0.7}, {"memory_bandwidth": "3 TB/s"}])
def test_a_users_figures_are_the_only_ones(figure):
    raw = {
        "model": "mixtral-8x7b",
        "cluster": {"name": "h100-hgx", "gpus": 8, "device": figure},
        "workload": {"kind": "decode", "batch": 8, "sequence": 128},
    }
    assert case_of(raw, "spec.yaml").cluster.device.kernels is None
    raw["cluster"].pop("device")
    assert case_of(raw, "spec.yaml").cluster.device.kernels == H100.kernels


def test_starts_and_shares_of_a_tier():
    c = load_cluster("h100-hgx", 8)
    g = network.group("ep", 8, 1, c)
    bare = replace(c, node=replace(c.node, exchange=1.0, start=0.0))
    assert network.gather_seconds(g, 8e6, c) - network.gather_seconds(g, 8e6, bare) == pytest.approx(8e-6)
    more = network.exchange_seconds(g, 7e6, 0.0, c, False) - network.exchange_seconds(g, 7e6, 0.0, bare, False)
    assert more == pytest.approx(8e-6 + 7e6 / c.node.bandwidth * (1 / 0.55 - 1))


def test_published_figures_within_a_fifth_in_the_median_by_kind():
    families = {}
    for row in published.predictions():
        families.setdefault(row["family"], []).append(abs(row["ratio"] - 1))
    assert sum(map(len, families.values())) >= 120
    for family, errors in families.items():
        assert np.median(errors) < 0.2, family
