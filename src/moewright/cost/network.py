"""Bytes and seconds of collectives over two tiers of network, from the group's real placement on ranks.

Algorithms and their costs: NCCL tests' PERFORMANCE.md (bandwidth terms); Thakur, Rabenseifner, Gropp,
IJHPCA 19(1), 2005 (ring, recursive doubling, reduce-scatter + all-gather). A collective's ``bytes`` are
those that leave one rank under the bandwidth-optimal algorithm, whatever algorithm is fastest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import lcm

import numpy as np

from moewright.case.cluster import Cluster
from moewright.cost.arrays import Array, Bools, Ints, array, over_unique, where


@dataclass(frozen=True, slots=True)
class Group:
    """``size`` ranks ``stride`` apart; ``local`` of them share a node (the rank with the fewest counts).
    ``kind``: tp, cp, ep, etp, stage or pp, as ``placement.ranks.groups_of`` names them."""

    kind: str
    size: Array
    local: Array

    @property
    def nodes(self) -> Array:
        return np.ceil(self.size / self.local)


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of ranks that collectives run in."""

    tp: Group
    cp: Group
    dcp: Group
    ep: Group
    etp: Group
    stage: Group
    pp: Group


def group(kind: str, size: Ints, stride: Ints, cluster: Cluster) -> Group:
    """The groups ``{start + i·stride}``, every start a multiple of ``size·stride`` plus 0 … stride−1."""
    node = cluster.gpus_per_node
    block = size * stride
    if cluster.nodes:
        sizes = cluster.nodes
        exact = over_unique(lambda n, s: float(fewest_together(int(n), int(s), sizes)), size, stride)
        return Group(kind, array(size), array(exact))
    # closed forms where blocks and nodes nest; the rest is enumerated
    whole, alone = node % block == 0, stride >= node
    nested = (node % stride == 0) & (block % node == 0)
    local = where(whole, size, where(alone, 1, node // stride))
    odd = ~(whole | alone | nested)
    if np.any(odd):
        exact = over_unique(lambda n, s: float(local_members(int(n), int(s), node)), size, stride)
        local = where(odd, exact, local)
    return Group(kind, array(size), array(local))


#: seconds more of an all-reduce by the switch: 33 MB over 8 × H100 reach 296 of 475 GB/s (NVIDIA/nccl-tests#272)
_SHARP_START = 64e-6


@lru_cache(maxsize=65536)
def fewest_together(size: int, stride: int, nodes: tuple[int, ...]) -> int:
    """As ``local_members``, over nodes of these sizes: every group is enumerated, and the rank with the fewest members
    on its node counts for all."""
    ranks = np.arange(sum(nodes))
    group = ranks // (size * stride) * stride + ranks % stride
    _, members = np.unique(group * len(nodes) + np.repeat(np.arange(len(nodes)), nodes), return_counts=True)
    return int(members.min())


@lru_cache(maxsize=65536)
def local_members(size: int, stride: int, node: int) -> int:
    """Group members on a rank's own node, for the rank that has the fewest: every group of one period
    (6 GPUs a node, tp 4) is enumerated."""
    ranks = np.arange(lcm(size * stride, node))
    group = ranks // (size * stride) * stride + ranks % stride
    _, members = np.unique(group * len(ranks) + ranks // node, return_counts=True)
    return int(members.min())


def sent_bytes(collective: str, size: Array, buffer: Array) -> Array:
    """Bytes leaving one of ``size`` ranks: all_gather and reduce_scatter of a whole ``buffer`` (n−1)/n of
    it, all_reduce twice that, send the buffer; broadcast (n−1) copies by one rank, the mean over all. An
    all_to_all's bytes follow from its routing instead."""
    if collective == "send":
        return buffer
    share = (size - 1) / size * buffer
    return 2 * share if collective == "all_reduce" else share


def node_bandwidth(g: Group, cluster: Cluster) -> Array:
    """Bytes/s that a rank can send to its peers in its node, all at once. Through a switch all of the device's; in a
    mesh of ``board`` devices the links to the group's own members, (local − 1)/(board − 1) of it."""
    whole = np.full(np.shape(g.local), cluster.node.bandwidth)
    board = cluster.board or cluster.gpus_per_node
    if cluster.links != "mesh" or board < 2:
        return whole
    return whole * np.clip(g.local - 1, 1, board - 1) / (board - 1)


def gather_seconds(g: Group, buffer: Array, cluster: Cluster, collective: str = "all_gather") -> Array:
    """All-gather (or reduce-scatter, its mirror) of ``buffer`` bytes in all.

    Across nodes first, each rank its own shard (recursive doubling: log2 latency), then inside the node
    (all peers at once through the switch: one latency). The tiers' bytes add up to (n−1)/n · buffer.
    """
    inside = where(
        g.local > 1,
        (g.local - 1) / g.local * buffer / node_bandwidth(g, cluster) + cluster.node.latency + cluster.node.start,
        0,
    )
    steps = np.ceil(np.log2(g.nodes))
    across = (g.nodes - 1) * buffer / g.size / cluster.fabric.bandwidth + steps * cluster.fabric.latency
    return where(g.size > 1, inside + where(g.nodes > 1, across, 0), 0.0)


def reduce_seconds(g: Group, buffer: Array, cluster: Cluster) -> Array:
    """All-reduce of ``buffer`` bytes: inside a node the fastest of one-shot (everyone sends all to all), two-shot
    (reduce-scatter + all-gather) and, where the switch can, its own sum (NVLink SHARP); across nodes reduce-scatter
    inside, the faster of ring and tree across, all-gather inside."""
    alpha, beta = cluster.node.latency, 1 / node_bandwidth(g, cluster)
    two_shot = 2 * alpha + 2 * (g.local - 1) / g.local * buffer * beta
    one_shot = alpha + (g.local - 1) * buffer * beta
    fastest = np.minimum(one_shot, two_shot)
    if cluster.node.sharp:
        added = 2 * alpha + _SHARP_START + 2 * (g.local - 1) / g.local * buffer / cluster.node.sharp
        fastest = np.minimum(fastest, added)
    inside = where(g.local > 1, where(g.nodes > 1, two_shot, fastest), 0.0)
    shard = buffer / g.local
    n, slow = g.nodes, cluster.fabric
    ring = 2 * (n - 1) * slow.latency + 2 * (n - 1) / n * shard / slow.bandwidth
    tree = 2 * np.ceil(np.log2(n)) * slow.latency + 2 * shard / slow.bandwidth
    return where(g.size > 1, inside + where(n > 1, np.minimum(ring, tree), 0.0), 0.0)


def exchange_seconds(g: Group, to_ranks: Array, to_nodes: Array, cluster: Cluster, forwarding: Bools) -> Array:
    """All-to-all in which a rank sends ``to_ranks`` bytes, spread evenly over the other ranks.

    Direct: each tier carries its own peers' share, and the slower one governs. Forwarded (DeepEP's normal
    kernels, github.com/deepseek-ai/DeepEP): ``to_nodes`` bytes (a token once per other node) cross the
    fabric and are handed on inside the node, so the node's links carry (local−1)/local of all copies.
    """
    fast, slow = exchange_tiers(g, to_ranks, to_nodes, forwarding)
    across, node, fabric = g.nodes > 1, cluster.node, cluster.fabric
    latency = where(across, fabric.latency, node.latency + node.start)
    latency = latency + where(across & (g.local > 1) & forwarding, node.latency, 0.0)
    busy = np.maximum(fast / (node_bandwidth(g, cluster) * node.exchange), where(across, slow, 0.0) / fabric.bandwidth)
    return where(g.size > 1, busy + latency, 0.0)


def exchange_tiers(g: Group, to_ranks: Array, to_nodes: Array, forwarding: Bools) -> tuple[Array, Array]:
    """Bytes of an all-to-all that leave a rank over its node's links, and over the fabric."""
    n, local = g.size, g.local
    peers = np.maximum(n - 1, 1)
    copies = to_ranks * n / peers  # what leaves plus what stays: the copies over all n destinations
    fast = where(forwarding, copies * (local - 1) / local, to_ranks * (local - 1) / peers)
    return fast, where(forwarding, to_nodes, to_ranks * (n - local) / peers)


def broadcast_seconds(g: Group, buffer: Array, cluster: Cluster) -> Array:
    """``buffer`` bytes from one rank to all of its group, passed on as they come: across nodes in a tree (log2
    latency), then inside."""
    inside = where(g.local > 1, buffer / node_bandwidth(g, cluster) + cluster.node.latency, 0.0)
    across = buffer / cluster.fabric.bandwidth + np.ceil(np.log2(g.nodes)) * cluster.fabric.latency
    return where(g.size > 1, inside + where(g.nodes > 1, across, 0.0), 0.0)


def send_seconds(g: Group, buffer: Array, cluster: Cluster) -> Array:
    """One message of ``buffer`` bytes to the next member, over the slowest tier the group crosses; in a mesh over the
    one link between the two."""
    board = cluster.board or cluster.gpus_per_node
    links = max(1, board - 1) if cluster.links == "mesh" else 1
    near = buffer * links / cluster.node.bandwidth + cluster.node.latency
    far = buffer / cluster.fabric.bandwidth + cluster.fabric.latency
    return where(g.size > 1, where(g.nodes > 1, far, near), 0.0)
