"""Collectives: group membership by enumeration, bytes by simulating the algorithm, invariants of the times."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import PAPER_DEVICE, value
from moewright.case.cluster import Cluster, Tier
from moewright.cost import network


def cluster(node=8, gpus=128):
    return Cluster("c", gpus, node, PAPER_DEVICE, Tier(450e9, 2e-6), Tier(50e9, 5e-6))


def fewest_neighbours(size, stride, node):
    """Members on a rank's own node, the least over ranks, by listing every group of many nodes."""
    block = size * stride
    least = size
    for start in range(0, block * node, block):
        for offset in range(stride):
            ranks = [start + offset + i * stride for i in range(size)]
            for r in ranks:
                least = min(least, sum(q // node == r // node for q in ranks))
    return least


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 9))
def test_local_members_as_listed(size, stride, node):
    one = network.group("tp", size, stride, cluster(node))
    many = network.group("tp", np.array([size, 1]), np.array([stride, 1]), cluster(node))
    assert value(one.local) == many.local[0] == fewest_neighbours(size, stride, node)


def ring_all_reduce(n, elements, rng):
    """The ring algorithm on real buffers: (result of every rank, elements each rank sent)."""
    data = rng.integers(0, 100, (n, elements))
    chunks = np.array([np.array_split(row, n) for row in data], dtype=object)
    sent = np.zeros(n)
    for step in range(2 * (n - 1)):
        moving = [(r, (r - step) % n) for r in range(n)]
        payload = {r: chunks[r, c].copy() for r, c in moving}
        for r, c in moving:
            sent[r] += len(payload[r])
            to = (r + 1) % n
            chunks[to, c] = chunks[to, c] + payload[r] if step < n - 1 else payload[r]
    return data.sum(axis=0), [np.concatenate(list(row)) for row in chunks], sent


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_all_reduce_sends_what_a_ring_sends(n):
    elements = 24 * n
    total, results, sent = ring_all_reduce(n, elements, np.random.default_rng(n))
    for result in results:
        assert (result == total).all()
    assert (sent == network.sent_bytes("all_reduce", n, elements)).all()
    assert (sent / 2 == network.sent_bytes("all_gather", n, elements)).all()


@given(st.sampled_from([2, 4, 8, 16, 64, 128]), st.floats(1, 1e10))
def test_no_collective_beats_its_links(n, size):
    """Whatever the algorithm, the bytes that must leave a rank take their time on its fastest link."""
    c = cluster()
    g = network.group("stage", n, 1, c)
    fastest = max(c.node.bandwidth, c.fabric.bandwidth)
    assert network.gather_seconds(g, size, c) >= (n - 1) / n * size / fastest
    assert network.reduce_seconds(g, size, c) >= (n - 1) / n * size / fastest
    assert network.reduce_seconds(g, 2 * size, c) >= network.reduce_seconds(g, size, c)
    # a ring all-reduce is a reduce-scatter and an all-gather, but for its longer chain of messages
    chain = 2 * value(g.nodes) * c.fabric.latency + 2 * c.node.latency
    assert network.reduce_seconds(g, size, c) <= 2 * network.gather_seconds(g, size, c) * (1 + 1e-9) + chain


def test_all_gather_bytes_over_two_tiers_add_up():
    """Shards first cross the fabric, then the node's links: in all (n−1)/n of the buffer arrives."""
    c = cluster()
    n, local, size = 32, 8, 3.2e8
    g = network.group("tp", n, 1, c)
    across = (n / local - 1) * size / n
    inside = (local - 1) / local * size
    assert across + inside == pytest.approx((n - 1) / n * size)
    bare = network.gather_seconds(g, size, c) - c.node.latency - np.log2(n / local) * c.fabric.latency
    assert bare == pytest.approx(across / 50e9 + inside / 450e9)


def test_exchange_direct_is_the_slower_tier():
    c = cluster()
    g = network.group("ep", 64, 2, c)  # 4 members on a node
    seconds = network.exchange_seconds(g, 6.3e6, 6.3e6, c, forwarding=False)
    assert seconds == pytest.approx(6.3e6 * 60 / 63 / 50e9 + 5e-6)
    inside = network.group("ep", 8, 1, c)
    assert network.exchange_seconds(inside, 7e6, 0.0, c, forwarding=False) == pytest.approx(7e6 / 450e9 + 2e-6)


def test_forwarding_pays_once_per_node():
    c = cluster()
    g = network.group("ep", 64, 1, c)
    direct = network.exchange_seconds(g, 7.4e8, 3.5e8, c, forwarding=False)
    forwarded = network.exchange_seconds(g, 7.4e8, 3.5e8, c, forwarding=True)
    assert forwarded < direct
    assert forwarded == pytest.approx(3.5e8 / 50e9 + 7e-6)


def test_a_group_of_one_costs_nothing():
    c = cluster()
    g = network.group("tp", 1, 1, c)
    assert network.gather_seconds(g, 1e9, c) == network.reduce_seconds(g, 1e9, c) == 0
    assert network.exchange_seconds(g, 1e9, 1e9, c, True) == network.send_seconds(g, 1e9, c) == 0


def test_a_group_in_a_mesh_has_a_link_to_each_other_member():
    """8 devices with 7 links each: a pair has one of them, also where a cluster is a part of the board; a ring of 4
    hands on quarters over its 3 of 7 links."""
    c = replace(cluster(), links="mesh", board=8)
    wide = [float(network.node_bandwidth(network.group("tp", n, 1, c), c)[0]) for n in (2, 4, 8)]
    assert wide == pytest.approx([450e9 / 7, 450e9 * 3 / 7, 450e9])
    part = replace(c, gpus=4, gpus_per_node=4)
    assert network.node_bandwidth(network.group("tp", 4, 1, part), part) == pytest.approx(450e9 * 3 / 7)
    pair, switched = network.group("tp", 2, 1, c), cluster()
    for seconds in (network.gather_seconds, network.reduce_seconds, network.broadcast_seconds, network.send_seconds):
        assert seconds(pair, 7e9, c) == pytest.approx(7 * seconds(pair, 7e9, switched), rel=1e-3), seconds
    assert network.exchange_seconds(pair, 7e9, 0.0, c, False) == pytest.approx(7e9 / (450e9 / 7), rel=1e-3)


@given(st.floats(1e3, 1e10))
def test_a_switch_that_adds_up_is_used_where_it_is_faster(size):
    c = cluster()
    sharp = replace(c, node=replace(c.node, sharp=475e9))
    g = network.group("tp", 8, 1, c)
    plain, added = network.reduce_seconds(g, size, c), network.reduce_seconds(g, size, sharp)
    assert added <= plain
    if size > 1e9:  # bus bandwidth is 2 (n − 1)/n · bytes over seconds
        assert added == pytest.approx(2 * 7 / 8 * size / 475e9 + 68e-6)
    if size < 1e6:
        assert added == plain
