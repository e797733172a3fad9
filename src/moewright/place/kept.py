"""An earlier placement kept in the main: one bound on the replicas that move, spent in the layers where they help most.

Every layer is tried with somewhat fewer and more moves than its equal share (greedily, and by ``anneal``); which of
these give the most balance within the bound is then found exactly, and what they leave over goes to further tries."""

from __future__ import annotations

import numpy as np

from moewright.place.anneal import keep, recount
from moewright.place.balance import gpu_loads, improve, replicate
from moewright.place.record import moved_replicas

#: moves of a layer that are tried, as parts of an equal share of all moves
PARTS = (0.8, 1.0, 1.25)
#: steps of annealing a slot, for each of these, and for the number of moves chosen then
STEPS, LAST = 60, 260
#: slots of all layers below which each gets more steps, up to ``MORE`` times as many: a second or so in all
WHOLE, MORE = 16_000, 4.0
#: warmth of annealing, and part that the level falls by
FIRST, SECOND = (0.005, 1e-3), (0.002, 5e-5)


def keep_layers(loads: np.ndarray, before: np.ndarray, total: int, most: int, effort: float, seed: int) -> np.ndarray:
    """``before`` [layers, gpus, slots a GPU] with at most ``total`` replicas moved, at most ``most`` in a layer, where
    they add most to the mean over layers of mean ÷ largest load for ``loads`` [layers, experts]. ``effort``: of the
    search, 1 where it is compiled."""
    layers, gpus, each = before.shape
    slots, mean = gpus * each, loads.sum(axis=1) / gpus
    enough = mean * (1 + 2e-4)
    effort *= min(MORE, max(1.0, WHOLE / (layers * slots)))
    caps = sorted({min(int(part * total / layers), most, total, slots) for part in PARTS} | {0})
    tried = [_try_caps(loads[i], before[i], caps, int(STEPS * slots * effort), seed, enough[i]) for i in range(layers)]
    costs = np.array([[-mean[i] / _fullest(loads[i], held) for held in row] for i, row in enumerate(tried)])
    sizes = np.array([[moved_replicas(before[i, None], held[None]) for held in row] for i, row in enumerate(tried)])
    picks = least_costs(costs, sizes, total)
    found = np.stack([row[pick] for row, pick in zip(tried, picks, strict=True)])
    used = np.array([sizes[i, pick] for i, pick in enumerate(picks)])
    for turn, how in enumerate((FIRST, SECOND)):
        order = np.argsort(costs[np.arange(layers), picks])[::-1]  # what is left over goes to the least even first
        for k, i in enumerate(order):
            cap = min(used[i] + (total - used.sum()) // (layers - k), most)
            last = int(LAST * slots * effort / 2)
            other = keep(loads[i], found[i], before[i], int(cap), last, seed + turn + 1, *how, enough[i])
            if _fullest(loads[i], other) < _fullest(loads[i], found[i]) * (1 - 1e-9):
                found[i] = other
                used[i] = moved_replicas(before[i, None], other[None])
    return np.stack([_aligned(old, new) for old, new in zip(before, found, strict=True)])


def _try_caps(
    load: np.ndarray, before: np.ndarray, caps: list[int], tries: int, seed: int, enough: float
) -> list[np.ndarray]:
    """``before`` with at most so many replicas moved, for each of ``caps``."""
    found = [before]
    counts = np.bincount(before.ravel(), minlength=len(load))
    other, many = before.copy(), counts.copy()
    far = recount(load, other, many, replicate(load, before.size, len(before)), caps[-1])
    greedy, moved = before.copy(), 0
    for cap in caps[1:]:
        moved += improve(load, greedy, counts, 2 * cap, cap - moved, enough)
        starts = [min(greedy, found[-1], key=lambda held: _fullest(load, held))]
        if 0 < far <= cap:
            far += improve(load, other, many, 2 * cap, cap - far, enough)
            starts.append(other)
        ends = [keep(load, held, before, cap, tries // len(starts), seed, *FIRST, enough) for held in starts]
        found.append(min(ends, key=lambda held: _fullest(load, held)))
    return found


def least_costs(costs: np.ndarray, sizes: np.ndarray, budget: int) -> list[int]:
    """The index into each row of ``costs`` whose costs sum to the least, those of ``sizes`` to at most ``budget``; both
    [layers, choices], the first choice of size 0."""
    best, picks = np.zeros(budget + 1), []
    for row, size in zip(costs, sizes, strict=True):
        table = np.full((len(row), budget + 1), np.inf)
        for k in range(len(row)):
            if size[k] <= budget:
                table[k, size[k] :] = best[: budget + 1 - size[k]] + row[k]
        picks.append(table.argmin(axis=0))
        best = table.min(axis=0)
    chosen, left = [], budget
    for pick, size in zip(reversed(picks), reversed(sizes), strict=True):
        chosen.append(int(pick[left]))
        left -= int(size[chosen[-1]])
    return chosen[::-1]


def _fullest(load: np.ndarray, held: np.ndarray) -> float:
    return float(gpu_loads(load, held, np.bincount(held.ravel(), minlength=len(load))).max())


def _aligned(before: np.ndarray, held: np.ndarray) -> np.ndarray:
    """``held`` with the replicas that stay on a GPU in their slots of ``before``."""
    found = held.copy()
    for g in np.flatnonzero((before != held).any(axis=1)):
        left, row = list(held[g]), np.full(len(held[g]), -1)
        for i, e in enumerate(before[g]):
            if e in left:
                left.remove(e)
                row[i] = e
        row[row < 0] = left
        found[g] = row
    return found
