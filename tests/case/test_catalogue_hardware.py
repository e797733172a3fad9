"""Devices and clusters: all load, all figures have sources, and they stand in the order that physics gives."""

from itertools import pairwise

import pytest

from moewright.case.catalogue.hardware_catalogue import (
    cluster_entry,
    cluster_names,
    device_entry,
    device_names,
    find_cluster,
    find_device,
    load_cluster,
    load_device,
)
from moewright.errors import SpecError


def test_the_names_that_users_expect():
    wanted = "a100-40 a100-80 l40s h100-sxm h100-pcie h200 h20 h800 b200 b300 gb200 gb300 mi300x mi325x mi355x tpu-v5p"
    assert device_names() == wanted.split()


@pytest.mark.parametrize("name", device_names())
def test_device(name):
    d, entry = load_device(name), device_entry(name)
    assert d.name == entry["name"] == name
    assert all(value > 0 for value in (*d.flops.values(), d.memory, d.memory_bandwidth))
    assert 0 < d.mfu <= 1
    assert 0 < d.bandwidth_utilization <= 1
    figures = set(entry) - {"name", "names", "sources"}
    assert figures == set(entry["sources"])
    assert all(len(str(source)) > 10 for source in entry["sources"].values())
    # narrower floating-point units are no slower, and each halving at most trebles the rate
    order = [u for u in ("fp32", "bf16", "fp8", "fp4") if u in d.flops]
    for wide, narrow in pairwise(order):
        assert d.flops[wide] <= d.flops[narrow]
    # FLOPs for each byte of memory: machines of the last years lie between 30 and 2000
    assert 20 < max(d.flops.values()) / d.memory_bandwidth < 2500


@pytest.mark.parametrize("name", cluster_names())
def test_cluster(name):
    c, entry = load_cluster(name), cluster_entry(name)
    assert c.gpus == c.gpus_per_node == entry["gpus_per_node"]
    assert c.node.bandwidth > c.fabric.bandwidth > 0
    assert 0 < c.node.latency <= c.fabric.latency < 1e-3
    assert {"node", "fabric", "gpus_per_node", "forwarding"} <= set(entry["sources"])
    assert load_cluster(name, 4 * c.gpus).gpus == 4 * c.gpus
    assert load_cluster(name, 2).gpus_per_node == 2


def test_names_are_forgiving_and_errors_helpful():
    assert find_device("H100") == "h100-sxm"
    assert find_device("h200_sxm") == "h200"
    assert find_cluster("NVL72") == "gb200-nvl72"
    assert find_device("abacus") is None
    with pytest.raises(SpecError, match="h200"):
        load_device("h201")
    with pytest.raises(SpecError, match="h200-hgx"):
        load_cluster("h200-hg")
    with pytest.raises(SpecError, match="multiple of 8"):
        load_cluster("h200-hgx", 12)


def test_known_relations_between_devices():
    h100, h200, h800 = (load_device(n) for n in ("h100-sxm", "h200", "h800"))
    assert h100.flops == h200.flops == h800.flops
    assert h200.memory_bandwidth > h100.memory_bandwidth == h800.memory_bandwidth
    assert load_cluster("h800-hgx").node.bandwidth < load_cluster("h100-hgx").node.bandwidth
