"""Replica counts for three slots a GPU and more, judged by packing.

Counts that are best per replica are not best when packed: a replica moves from one expert to another under annealing,
at a falling level, by what the packed GPUs hold above it. Packing is by the greedy rule, in microseconds.
"""

from __future__ import annotations

import numpy as np

from moewright.placement.compiled.annealing import Schedule
from moewright.placement.compiled.greedy import Packing, copy, fill, heaviest_first, new_packing
from moewright.placement.compiled.kernel import kernel
from moewright.placement.compiled.pair_walk import giver
from moewright.placement.compiled.state import below, chance, new_draw, taken


@kernel
def _above(filled: np.ndarray, level: float) -> float:
    total = 0.0
    for x in filled:
        total += max(x - level, 0.0)
    return total


@kernel
def _wanting(p: Packing, level: float, draw: np.ndarray) -> int:
    """An expert of a GPU above ``level``, mostly the heaviest there, which was placed first."""
    gpus, each = p.held.shape
    g = below(gpus, draw)
    for _ in range(gpus):
        if p.filled[g] > level:
            break
        g = (g + 1) % gpus
    return int(p.held[g, 0 if chance(draw) < 0.7 else below(each, draw)])


@kernel
def _reordered(order: np.ndarray, weights: np.ndarray, a: int, b: int, out: np.ndarray) -> None:
    """``order``, heaviest of ``weights`` first, into ``out``, where those of ``a`` and ``b`` have changed."""
    first, second = (a, b) if weights[a] >= weights[b] else (b, a)
    k, left = 0, 2
    for e in order:
        if e in (a, b):
            continue
        while left == 2 and weights[first] >= weights[e]:
            out[k] = first
            k, left = k + 1, 1
        while left == 1 and weights[second] >= weights[e]:
            out[k] = second
            k, left = k + 1, 0
        out[k] = e
        k += 1
    if left == 2:
        out[k] = first
        k += 1
    if left >= 1:
        out[k] = second


@kernel
def walk_counts(load: np.ndarray, counts: np.ndarray, gpus: int, seed: int, schedule: Schedule) -> np.ndarray:
    """Experts by slot, shape [gpus, slots a GPU], for ``counts`` and what ``schedule.tries`` steps make of them."""
    draw, experts = new_draw(seed), len(load)
    counts, weights = counts.copy(), load / counts
    each = counts.sum() // gpus
    now, other = new_packing(gpus, each), new_packing(gpus, each)
    order = heaviest_first(weights)
    tried = order.copy()
    fill(load, counts, order, True, now)
    best = now.held.copy()
    level, over = now.filled.max(), 0.0
    for step in range(schedule.tries):
        if over <= 1e-12 * level:
            least = now.filled.max()
            copy(now.held, best)
            if least <= schedule.enough:
                break
            level = max(least * (1 - schedule.fall), schedule.enough)
            over = _above(now.filled, level)
        heat = schedule.warmth * level * (1 - step / schedule.tries) ** 4 + 1e-12
        a = giver(counts, draw)
        b = _wanting(now, level, draw) if chance(draw) < 0.5 else below(experts, draw)
        if counts[a] < 2 or a == b or counts[b] >= gpus:
            continue
        counts[a] -= 1
        counts[b] += 1
        weights[a], weights[b] = load[a] / counts[a], load[b] / counts[b]
        _reordered(order, weights, a, b, tried)
        fill(load, counts, tried, True, other)
        above = _above(other.filled, level)
        if taken(above - over, heat, draw):
            now, other, order, tried, over = other, now, tried, order, above
        else:
            counts[a] += 1
            counts[b] -= 1
            weights[a], weights[b] = load[a] / counts[a], load[b] / counts[b]
    return best
