"""Unequal token shares among the replicas of an expert: the linear program min max GPU load, by water-filling.

Minimising Σ load² over the shares also minimises the largest load (the shares of fixed totals form a polymatroid,
over whose base one vector is least in every symmetric convex measure). Each expert in turn fills its GPUs to one
level (exact coordinate descent); a set of GPUs with all the experts that live nowhere else is a lower bound, and
when the two meet the optimum is certified.
"""

from __future__ import annotations

import numpy as np

from moewright.place.compiled import compiled


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


@compiled
def star_pairs(load: np.ndarray, slots: int, gpus: int, tries: int, seed: int) -> np.ndarray:
    """Two slots a GPU, shares free: experts by slot, shape [gpus, 2]. G + E − slots heavy experts each take some
    GPUs; every GPU also holds one of the other, lighter experts. Within such a star the heavy expert's tokens go
    where there is room, so (its load + its GPUs' light ones) ÷ its GPUs is what counts."""
    experts = len(load)
    heavy = gpus + experts - slots
    order = np.argsort(-load, kind="mergesort")
    centre, light = load[order[:heavy]], load[order[heavy:]]
    width = np.ones(heavy, dtype=np.int64)
    for _ in range(gpus - heavy):
        width[np.argmax(centre / width)] += 1
    np.random.seed(seed)
    worst, owner = _stars(centre, light, width)
    for _ in range(tries):
        a, b = np.random.randint(heavy), np.random.randint(heavy)
        if a == b or width[a] < 2:
            continue
        width[a] -= 1
        width[b] += 1
        now, found = _stars(centre, light, width)
        if now <= worst:
            worst, owner = now, found
        else:
            width[a] += 1
            width[b] -= 1
    held = np.empty((gpus, 2), dtype=np.int64)
    for i in range(gpus):
        held[i, 0], held[i, 1] = order[owner[i]], order[heavy + i]
    return held


@compiled
def _stars(centre: np.ndarray, light: np.ndarray, width: np.ndarray) -> tuple[float, np.ndarray]:
    """The fullest star's load a GPU, and the heavy expert beside each light one, shape [gpus]: light experts by
    size to the room that is left, then swaps out of the fullest star."""
    gpus, heavy = len(light), len(centre)
    each = np.repeat(np.arange(heavy), width)
    room = np.argsort((centre / width)[each], kind="mergesort")  # most room first; light ones are sorted downwards
    owner = each[room]
    total = centre.copy()
    for i in range(gpus):
        total[owner[i]] += light[i]
    for _ in range(40):
        level = total / width
        top = int(np.argmax(level))
        best, at, other = level[top] * (1 - 1e-9), -1, -1
        for i in range(gpus):
            if owner[i] != top:
                continue
            for j in range(i + 1, gpus):  # lighter ones only
                o = owner[j]
                if o == top:
                    continue
                shift = light[i] - light[j]
                now = max((total[top] - shift) / width[top], (total[o] + shift) / width[o])
                if now < best:
                    best, at, other = now, i, j
        if at < 0:
            break
        shift = light[at] - light[other]
        total[top] -= shift
        total[owner[other]] += shift
        owner[at], owner[other] = owner[other], owner[at]
    return (total / width).max(), owner
