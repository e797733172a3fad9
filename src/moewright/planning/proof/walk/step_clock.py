"""Seconds of one operation, from what the device and the network do for it: tiles over cores, messages over links."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, hypot

from moewright.case.cluster import Cluster, Device
from moewright.planning.proof.walk.scene import Circle

#: rows and columns of a tile; rows that the last tile of an expert leaves empty in the mean
_TILE, _EMPTY = 128, 32.0
#: seconds more of a switch's own sum (NVIDIA/nccl-tests#272)
_SWITCH_SUM = 64e-6


@dataclass(frozen=True, slots=True)
class Product:
    """``groups`` products of [rows, depth] with [depth, columns]."""

    groups: float
    rows: float
    columns: float
    depth: float


def floor_seconds(flops: float, traffic: float, device: Device, unit: str) -> float:
    """What nothing beats: the peaks themselves."""
    return max(flops / device.flops[unit], traffic / device.memory_bandwidth)


def busy_seconds(flops: float, traffic: float, device: Device, unit: str) -> float:
    """At the delivered rates: the longer of the two, or both overlapping in part where shapes are told; a launch."""
    multiply, move = flops / device.mfu / device.flops[unit], stream_seconds(traffic, device)
    both = max(multiply, move) if device.kernels is None else hypot(multiply, move)
    return both + device.launch if both else 0.0


def stream_seconds(traffic: float, device: Device) -> float:
    return traffic / device.bandwidth_utilization / device.memory_bandwidth


def tiled_flops(products: list[Product], device: Device, empty: float = 0.0) -> float:
    """FLOPs that full tiles could do in the time that these products take: what a tile's edge, the last wave of tiles
    and the start and end of the depth waste, counted tile by tile."""
    if device.kernels is None:
        return sum(2.0 * p.groups * (p.rows + empty) * p.columns * p.depth for p in products)
    whole = 0.0
    for p in products:
        rows, columns, depth = max(p.rows, 1.0), max(p.columns, 1.0), max(p.depth, 1.0)
        across = ceil(columns / _TILE)
        tiles = p.groups * ceil(rows / _TILE) * across
        taken = (
            ceil(tiles / device.kernels.cores) * device.kernels.cores / tiles if tiles > device.kernels.cores else 1.0
        )
        edge = across * _TILE / columns if rows >= _TILE else 1.0
        begun = (depth + device.kernels.depth) / depth
        whole += 2.0 * p.groups * (p.rows + empty) * p.columns * p.depth * begun * taken * edge
    return whole


def expert_passes(room: float, width: float, ups: int, hidden: int, device: Device) -> float:
    """Kernels between the experts' products, where shapes are told: an activation, a weighted sum, and their starts."""
    if device.kernels is None or room <= 0:
        return 0.0
    activation, summed = room * (ups * width + width), room * (hidden + hidden)
    return stream_seconds(2.0 * (activation + summed), device) + (device.kernels.expert_kernels - 1) * device.launch


EMPTY_ROWS = _EMPTY


# --- collectives: bytes of a rank over its node's links, then over the fabric ---


def _link(circle: Circle, near: int, cluster: Cluster) -> float:
    """Bytes/s to all members on the node at once: a switch's whole, or a mesh's links to just those."""
    board = cluster.board if cluster.board else cluster.gpus_per_node
    if cluster.links != "mesh" or board == 1:
        return cluster.node.bandwidth
    links = min(max(near - 1, 1), board - 1)
    return cluster.node.bandwidth * links / (board - 1)


def _tree(nodes: int) -> int:
    """Rounds in which what one has reaches all, everyone who has it passing it on."""
    rounds, having = 0, 1
    while having < nodes:
        rounds, having = rounds + 1, having * 2
    return rounds


def _nodes(circle: Circle, near: int) -> int:
    return -(-circle.size // near)


def gather_clock(circle: Circle, buffer: float, cluster: Cluster) -> float:
    """Every member's part to all: doubling across nodes, then all peers of the node at once."""
    near = int(circle.near.min())
    nodes, part = _nodes(circle, near), buffer / circle.size
    seconds, having = 0.0, 1
    while having < nodes:
        more = min(having, nodes - having)
        seconds += cluster.fabric.latency + more * part / cluster.fabric.bandwidth
        having += more
    if near > 1:
        sent = (near - 1) * part * circle.size / near
        seconds += sent / _link(circle, near, cluster) + cluster.node.latency + cluster.node.start
    return seconds


def reduce_clock(circle: Circle, buffer: float, cluster: Cluster) -> float:
    """All-reduce: the best of what a node's members can do, or scattered sums, across, and gathered again."""
    near = int(circle.near.min())
    nodes, link, start = _nodes(circle, near), _link(circle, near, cluster), cluster.node.latency
    part = buffer / near
    two = 2 * (start + (near - 1) * part / link)
    inside = 0.0
    if near > 1 and nodes == 1:
        inside = min(two, start + (near - 1) * buffer / link)
        if cluster.node.sharp:
            inside = min(inside, 2 * start + _SWITCH_SUM + 2 * (near - 1) * part / cluster.node.sharp)
    elif near > 1:
        inside = two
    if nodes == 1:
        return inside
    slow = cluster.fabric
    ring = sum(slow.latency + part / nodes / slow.bandwidth for _ in range(2 * (nodes - 1)))
    return inside + min(ring, 2 * _tree(nodes) * slow.latency + 2 * part / slow.bandwidth)


def broadcast_clock(circle: Circle, buffer: float, cluster: Cluster) -> float:
    """From one to all: a tree across nodes, then inside."""
    near = int(circle.near.min())
    nodes = _nodes(circle, near)
    seconds = buffer / _link(circle, near, cluster) + cluster.node.latency if near > 1 else 0.0
    if nodes > 1:
        seconds += buffer / cluster.fabric.bandwidth + _tree(nodes) * cluster.fabric.latency
    return seconds


def send_clock(circle: Circle, buffer: float, cluster: Cluster) -> float:
    """One message to the next stage, by the slowest link that any stage has to the next."""
    if (circle.spans > 1).any():
        return buffer / cluster.fabric.bandwidth + cluster.fabric.latency
    board = cluster.board if cluster.board else cluster.gpus_per_node
    link = cluster.node.bandwidth / (max(1, board - 1) if cluster.links == "mesh" else 1)
    return buffer / link + cluster.node.latency


def exchange_clock(circle: Circle, near_bytes: float, far_bytes: float, cluster: Cluster, forwarding: bool) -> float:
    """All-to-all: both tiers at once, the slower governs; a forwarded message starts twice."""
    near = int(circle.near.min())
    busy = near_bytes / (_link(circle, near, cluster) * cluster.node.exchange)
    if _nodes(circle, near) == 1:
        return busy + cluster.node.latency + cluster.node.start
    busy = max(busy, far_bytes / cluster.fabric.bandwidth)
    again = cluster.node.latency if forwarding and near > 1 else 0.0
    return busy + cluster.fabric.latency + again


def layer_seconds(compute: float, exchange: float, halves: int) -> float:
    """One layer: alone, or two halves of which one computes while the other communicates."""
    if halves == 1:
        return compute + exchange
    chip, wire = 0.0, 0.0
    for _ in range(halves):
        chip += compute
        wire = max(wire, chip) + exchange
    return wire
