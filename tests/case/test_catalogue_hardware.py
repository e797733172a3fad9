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
from moewright.case.file.cluster_section import read_cluster
from moewright.errors import SpecError


def test_the_names_that_users_expect():
    wanted = "a100-40 a100-80 l40s h100-sxm h100-pcie h200 h20 h800 b200 b300 gb200 gb300 mi300x mi325x mi355x tpu-v5p"
    wanted += " a10 l4 l20 rtx-4090 rtx-5090 rtx-pro-6000-server rtx-pro-6000-workstation gb10 h20-141 h100-nvl a800"
    wanted += " gh200 mi250x mi350x gaudi3 ascend-910b ascend-910c trainium2 tpu-v5e tpu-v6e tpu-v7"
    assert set(wanted.split()) <= set(device_names())


def test_no_name_stands_for_two():
    for names, entry in ((device_names(), device_entry), (cluster_names(), cluster_entry)):
        every = [alias.lower().replace("_", "-") for name in names for alias in (name, *entry(name)["names"])]
        assert len(every) == len(set(every))


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
    assert c.links in ("switch", "mesh", "torus")
    assert c.links == "switch" or entry["sources"]["links"]
    assert c.node.sharp == 0 or c.node.sharp > c.node.bandwidth


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


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("H100 SXM5 80GB", "h100-sxm"),
        ("H100 NVL 94 GB", "h100-nvl"),
        ("A100-40G", "a100-40"),
        ("A100 80GB", "a100-80"),
        ("AMD Instinct MI300X", "mi300x"),
        ("昇腾 910B", "ascend-910b"),
        ("H20 141GB", "h20-141"),
        ("B300-288GB", "b300"),
        ("H200 80GB", None),
        ("A100 64GB", None),
        ("A100 0 GB", None),
        ("NVIDIA 80GB", None),
        ("80 GB", None),
    ],
)
def test_a_device_by_its_maker_and_its_memory(name, device):
    assert find_device(name) == device


def test_known_relations_between_devices():
    h100, h200, h800 = (load_device(n) for n in ("h100-sxm", "h200", "h800"))
    assert h100.flops == h200.flops == h800.flops
    assert h200.memory_bandwidth > h100.memory_bandwidth == h800.memory_bandwidth
    assert load_cluster("h800-hgx").node.bandwidth < load_cluster("h100-hgx").node.bandwidth


def test_figures_that_were_wrong():
    assert load_device("b300").memory_bandwidth == 7.75e12
    assert load_device("b300").flops["int8"] == 153.5e12
    assert load_device("l40s").flops["bf16"] == 366.5e12
    for name in ("h20-hgx", "a100-hgx"):
        same = load_cluster("h100-hgx").node
        assert (load_cluster(name).node.exchange, load_cluster(name).node.start) == (same.exchange, same.start)
    assert load_cluster("h800-hgx").node.sharp == 215e9
    # GeForce cards: half of the printed peak, with fp32 accumulation
    assert load_device("rtx-5090").flops["bf16"] == 209.5e12
    assert (
        load_device("rtx-pro-6000-server").memory_bandwidth < load_device("rtx-pro-6000-workstation").memory_bandwidth
    )


def cluster_of(**value):
    return read_cluster(value, "spec.yaml")


def test_nodes_of_fewer_gpus():
    four = cluster_of(name="h200-hgx", gpus=16, gpus_per_node=4)
    assert (four.gpus, four.gpus_per_node, four.board) == (16, 4, 8)
    pool = cluster_of(name="gb200-nvl72", gpus=24)
    assert (pool.gpus, pool.gpus_per_node, pool.board) == (24, 24, 72)
    assert cluster_of(name="h200-hgx", nodes=[8, 8]).gpus == 16
    assert cluster_of(name="h200-hgx", nodes=[8, 8]).nodes == ()
    with pytest.raises(SpecError, match=r"cluster.gpus_per_node: got 16; expected 8 at most"):
        cluster_of(name="h200-hgx", gpus=16, gpus_per_node=16)
    with pytest.raises(SpecError, match=r"cluster.gpus: got 12, but the nodes hold 16"):
        cluster_of(name="h200-hgx", gpus=12, nodes=[8, 8])
    with pytest.raises(SpecError, match=r"cluster.links.*expected one of switch, mesh, torus"):
        cluster_of(name="h200-hgx", links="ring")


def test_nodes_of_different_sizes_are_read():
    uneven = cluster_of(name="gb200-nvl72", nodes=[72, 24])
    assert (uneven.gpus, uneven.nodes, uneven.sizes) == (96, (72, 24), (72, 24))
    assert cluster_of(name="gb200-nvl72", gpus=144).sizes == (72, 72)


def test_a_mesh_written_out():
    network = {
        "node": {"bandwidth": "400 GB/s", "latency": "5 us", "exchange": 0.5, "start": "8 us", "sharp": "450 GB/s"}
    }
    device = {"name": "x", "flops": {"fp8": "400 TFLOPS"}, "memory": "64 GB", "memory_bandwidth": "2 TB/s"}
    c = cluster_of(name="mine", gpus=4, device=device, network=network, links="mesh", board=8)
    assert (c.links, c.board, c.node.exchange, c.node.start, c.node.sharp) == ("mesh", 8, 0.5, 8e-6, 450e9)
    with pytest.raises(SpecError, match=r"cluster.gpus: is missing; give gpus, or nodes"):
        cluster_of(name="mine", device=device, network=network)
