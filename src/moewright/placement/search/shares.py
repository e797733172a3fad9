"""Unequal token shares among the replicas of an expert: the linear program min max GPU load, by water-filling.

Minimising Σ load² over the shares also minimises the largest load (the shares of fixed totals form a polymatroid,
over whose base one vector is least in every symmetric convex measure). Each expert in turn fills its GPUs to one
level (exact coordinate descent); a set of GPUs with all the experts that live nowhere else is a lower bound, and
when the two meet the optimum is certified.
"""

from __future__ import annotations

import numpy as np

from moewright.placement.compiled import compiled


@compiled
def water_fill(load: np.ndarray, held: np.ndarray, sweeps: int, tolerance: float) -> np.ndarray:
    """Part of its expert's tokens that each slot takes, shape [gpus, slots a GPU], within ``tolerance`` of the
    least possible largest GPU load."""
    gpus, each = held.shape
    experts = len(load)
    copies = np.zeros(experts, dtype=np.int64)
    for e in held.ravel():
        copies[e] += 1
    start = np.zeros(experts + 1, dtype=np.int64)
    for e in range(experts):
        start[e + 1] = start[e] + copies[e]
    where = np.empty(gpus * each, dtype=np.int64)
    slot = np.empty(gpus * each, dtype=np.int64)
    fill = start.copy()
    for g in range(gpus):
        for s in range(each):
            e = held[g, s]
            where[fill[e]], slot[fill[e]] = g, s
            fill[e] += 1
    amount = np.empty(gpus * each)
    filled = np.zeros(gpus)
    for e in range(experts):
        for i in range(start[e], start[e + 1]):
            amount[i] = load[e] / copies[e]
            filled[where[i]] += amount[i]
    mean = load.sum() / gpus
    rank = np.empty(gpus, dtype=np.int64)
    for sweep in range(sweeps):
        for e in range(experts):
            n = copies[e]
            if n < 2:
                continue
            first = start[e]
            for i in range(first, first + n):
                filled[where[i]] -= amount[i]
            base = filled[where[first : first + n]]
            for i in range(n):  # the same GPU twice: one of the two takes all
                for j in range(i):
                    if where[first + i] == where[first + j]:
                        base[i] = np.inf
            low = np.sort(base)
            level, total = 0.0, 0.0
            for i in range(n):
                total += low[i]
                level = (load[e] + total) / (i + 1)
                if i + 1 == n or level <= low[i + 1]:
                    break
            for i in range(n):
                amount[first + i] = max(level - base[i], 0.0)
                filled[where[first + i]] += amount[first + i]
        if sweep % 4 == 3:
            order = np.argsort(-filled)
            for i in range(gpus):
                rank[order[i]] = i
            inside = np.zeros(gpus)
            for e in range(experts):  # an expert counts once all its GPUs are in the set
                last = 0
                for i in range(start[e], start[e + 1]):
                    last = max(last, rank[where[i]])
                inside[last] += load[e]
            bound = (np.cumsum(inside) / np.arange(1, gpus + 1)).max()
            if filled.max() - bound <= tolerance * mean:
                break
    share = np.empty((gpus, each))
    for e in range(experts):
        for i in range(start[e], start[e + 1]):
            share[where[i], slot[i]] = amount[i] / load[e] if load[e] > 0 else 1 / copies[e]
    return share
