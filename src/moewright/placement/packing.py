"""Replicas and positions by the greedy rules alone, without a compiler: for loads that leave no search to be won.

Replicas follow the greedy divisor rule, which minimises the largest load per replica (as in apportionment); they are
packed largest first into the emptiest GPU (LPT, Graham, SIAM J. Appl. Math. 17(2), 1969).
"""

from __future__ import annotations

import heapq

import numpy as np


def replicate(load: np.ndarray, slots: int, most: int) -> np.ndarray:
    """Replicas of each expert, shape [experts], that sum to ``slots``, at most ``most`` of one where that is enough."""
    counts = np.ones(len(load), dtype=np.int64)
    heap = [(-load[e], e) for e in range(len(load))]
    heapq.heapify(heap)
    for _ in range(slots - len(load)):
        e = heap[0][1]
        counts[e] += 1
        weight = load[e] / counts[e]
        if counts[e] >= most:  # a second replica on a GPU helps nobody: last choice
            weight = -1.0 * counts[e]
        heapq.heapreplace(heap, (-weight, e))
    return counts


def pack(load: np.ndarray, counts: np.ndarray, gpus: int) -> np.ndarray:
    """Experts by slot, shape [gpus, slots a GPU], heaviest replica first to the emptiest GPU with room, without one of
    it where there is such a one."""
    each = int(counts.sum()) // gpus
    held: list[list[int]] = [[] for _ in range(gpus)]
    weights = load / counts
    heap = [(0.0, g) for g in range(gpus)]  # those with room, the emptiest first
    aside: list[tuple[float, int]] = []  # those that have the expert, apart from others until it is all placed
    for e in np.argsort(-weights, kind="stable").tolist():
        for _ in range(counts[e]):
            filled, g = heapq.heappop(heap or aside)
            held[g].append(e)
            if len(held[g]) < each:
                heapq.heappush(aside, (filled + float(weights[e]), g))
        for other in aside:
            heapq.heappush(heap, other)
        aside.clear()
    return np.array(held)
