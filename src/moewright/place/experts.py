"""Physical expert slots on the ranks of an ep group, by expected load.

Replication and packing follow the classical greedy rules: an extra replica goes to the expert with the
largest load per replica (the apportionment that minimises the largest share), and replicas are packed
largest first into the emptiest rank with a free slot (LPT, Graham, SIAM J. Appl. Math. 17(2), 1969).
"""

from __future__ import annotations

import heapq

import numpy as np


def place_experts(loads: np.ndarray, ep: int, redundant: int = 0) -> np.ndarray:
    """Expert ids by slot, shape [layers, ep, slots], for ``loads`` [layers, experts] of any scale.

    Equal loads without redundancy keep the experts' own order. Raises ValueError where the slots do
    not divide evenly over the ranks.
    """
    layers, experts = loads.shape
    if (experts + redundant) % ep:
        raise ValueError(f"{experts} + {redundant} expert slots do not divide over ep {ep}")
    if not redundant and np.all(loads == loads[:, :1]):
        return np.broadcast_to(np.arange(experts).reshape(1, ep, -1), (layers, ep, experts // ep))
    distinct, inverse = np.unique(loads, axis=0, return_inverse=True)
    return np.stack([_place_layer(row, ep, redundant) for row in distinct])[inverse.ravel()]


def replicas_of(placement: np.ndarray, experts: int) -> np.ndarray:
    """How many slots each expert has, shape [layers, experts], for a ``placement`` [layers, ep, slots]."""
    layers = len(placement)
    flat = placement.reshape(layers, -1) + experts * np.arange(layers)[:, None]
    return np.bincount(flat.ravel(), minlength=layers * experts).reshape(layers, experts)


def rank_shares(loads: np.ndarray, placement: np.ndarray) -> np.ndarray:
    """Share of a layer's routed copies that each rank gets, shape [layers, ep]; an expert's load is
    divided evenly over its replicas."""
    shares = loads / loads.sum(axis=1, keepdims=True) / replicas_of(placement, loads.shape[1])
    layers = np.arange(len(loads))[:, None, None]
    return np.asarray(shares[layers, placement].sum(axis=2))


def _place_layer(load: np.ndarray, ep: int, redundant: int) -> np.ndarray:
    copies = np.ones(len(load), dtype=int)
    heap = [(-value, expert) for expert, value in enumerate(load)]
    heapq.heapify(heap)
    for _ in range(redundant):
        expert = heap[0][1]
        copies[expert] += 1
        # no more replicas than ranks: a second one on the same rank helps nobody
        weight = load[expert] / copies[expert] if copies[expert] < ep else -1.0
        heapq.heapreplace(heap, (-weight, expert))
    slots = int(copies.sum()) // ep
    order = sorted(((load[e] / copies[e], e) for e in range(len(load)) for _ in range(copies[e])), reverse=True)
    ranks: list[tuple[float, int]] = [(0.0, r) for r in range(ep)]
    held: list[list[int]] = [[] for _ in range(ep)]
    for weight, expert in order:
        total, rank = heapq.heappop(ranks)
        held[rank].append(expert)
        if len(held[rank]) < slots:
            heapq.heappush(ranks, (total + weight, rank))
    return np.array([sorted(h) for h in held])
