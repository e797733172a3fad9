"""Replica counts for two slots a GPU.

Pairing the heaviest replica with the lightest is the best packing of given counts, so that only counts need search: a
replica moves from one expert to another under annealing, at a falling level, by what the pairs of the sorted weights
hold above it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moewright.placement.compiled.annealing import Schedule
from moewright.placement.compiled.greedy import copy, heaviest_first, holds
from moewright.placement.compiled.kernel import kernel
from moewright.placement.compiled.state import below, chance, new_draw, taken


class Change(NamedTuple):
    """A replica of expert ``a`` that becomes one of ``b``: their replicas and weights before, and weights after."""

    many_a: int
    many_b: int
    old_a: float
    old_b: float
    new_a: float
    new_b: float


@kernel
def largest_pair(weights: np.ndarray) -> float:
    """The largest pair when the heaviest of ``weights``, sorted downwards, goes with the lightest."""
    worst, n = 0.0, len(weights)
    for i in range(n // 2):
        worst = max(worst, weights[i] + weights[n - 1 - i])
    return worst


@kernel
def _above(weights: np.ndarray, level: float) -> float:
    """What the pairs hold above ``level``."""
    total, n = 0.0, len(weights)
    for i in range(n // 2):
        total += max(weights[i] + weights[n - 1 - i] - level, 0.0)
    return total


@kernel
def sorted_weights(load: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The weight of every replica, heaviest first."""
    weights, k = np.empty(counts.sum()), 0
    for e in heaviest_first(load / counts):
        for _ in range(counts[e]):
            weights[k] = load[e] / counts[e]
            k += 1
    return weights


@kernel
def _merged(old: np.ndarray, change: Change, out: np.ndarray) -> None:
    """``old``, sorted downwards, into ``out`` after ``change``."""
    gone_a, gone_b = change.many_a, change.many_b
    left_a, left_b = change.many_a - 1, change.many_b + 1
    k = 0
    for i in range(len(old) + 1):
        w = old[i] if i < len(old) else -np.inf  # at the end all new ones that are left
        if gone_a > 0 and w == change.old_a:
            gone_a -= 1
            continue
        if gone_b > 0 and w == change.old_b:
            gone_b -= 1
            continue
        while (left_a > 0 and change.new_a >= w) or (left_b > 0 and change.new_b >= w):
            if left_a > 0 and (left_b == 0 or change.new_a >= change.new_b):
                out[k] = change.new_a
                left_a -= 1
            else:
                out[k] = change.new_b
                left_b -= 1
            k += 1
        if i < len(old):
            out[k] = w
            k += 1


@kernel
def _wanting(load: np.ndarray, counts: np.ndarray, weights: np.ndarray, level: float, draw: np.ndarray) -> int:
    """An expert of a pair above ``level``, which one more replica would lighten."""
    n = len(weights)
    i = below(n // 2, draw)
    for _ in range(n // 2):
        if weights[i] + weights[n - 1 - i] > level:
            break
        i = (i + 1) % (n // 2)
    weight = weights[i] if below(2, draw) == 0 else weights[n - 1 - i]
    for e in range(len(load)):
        if load[e] / counts[e] == weight:
            return e
    return below(len(load), draw)


@kernel
def giver(counts: np.ndarray, draw: np.ndarray) -> int:
    """An expert, of several replicas unless such are rare."""
    a = below(len(counts), draw)
    for _ in range(8):
        if counts[a] > 1:
            break
        a = below(len(counts), draw)
    return a


@kernel
def walk_pairs(load: np.ndarray, counts: np.ndarray, most: int, seed: int, schedule: Schedule) -> np.ndarray:
    """``counts`` [experts], at most ``most`` of one, changed so that the largest pair is as small as
    ``schedule.tries`` steps make it."""
    draw = new_draw(seed)
    counts = counts.copy()
    weights = sorted_weights(load, counts)
    out, best = np.empty_like(weights), counts.copy()
    level, over = largest_pair(weights), 0.0
    for step in range(schedule.tries):
        if over <= 1e-12 * level:
            least = largest_pair(weights)
            copy(counts, best)
            if least <= schedule.enough:
                break
            level = max(least * (1 - schedule.fall), schedule.enough)
            over = _above(weights, level)
        heat = schedule.warmth * level * (1 - step / schedule.tries) ** 4 + 1e-12
        a = giver(counts, draw)
        b = _wanting(load, counts, weights, level, draw) if chance(draw) < 0.5 else below(len(load), draw)
        if counts[a] < 2 or a == b or counts[b] >= most:
            continue
        new_a, new_b = load[a] / (counts[a] - 1), load[b] / (counts[b] + 1)
        change = Change(counts[a], counts[b], load[a] / counts[a], load[b] / counts[b], new_a, new_b)
        _merged(weights, change, out)
        above = _above(out, level)
        if taken(above - over, heat, draw):
            weights, out, over = out, weights, above
            counts[a] -= 1
            counts[b] += 1
    return best


@kernel
def pair(load: np.ndarray, counts: np.ndarray, gpus: int) -> np.ndarray:
    """Experts by slot, shape [gpus, 2]: the heaviest replica with the lightest; two of one expert apart where another
    pair can take one of them and none then holds more than the largest does."""
    weights = load / counts
    held, items, k = np.empty((gpus, 2), dtype=np.int64), np.empty(2 * gpus, dtype=np.int64), 0
    for e in heaviest_first(weights):
        items[k : k + counts[e]] = e
        k += counts[e]
    for g in range(gpus):
        held[g, 0], held[g, 1] = items[g], items[2 * gpus - 1 - g]
    limit = (weights[held[:, 0]] + weights[held[:, 1]]).max() * (1 + 1e-12)
    for g in range(gpus):
        e = held[g, 0]
        if e != held[g, 1]:
            continue
        for h in range(gpus):
            if not holds(held[h], e) and weights[e] + weights[held[h, 0]] <= limit:
                held[g, 1], held[h, 1] = held[h, 1], e
                break
    return held
