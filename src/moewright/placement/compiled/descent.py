"""Steepest descent: load taken off the fullest GPU step by step, and doubles parted where that costs nothing.

Used where few moves are to be made; its steps cost the square of the slots, so that above ``LARGE`` of them it looks at
swaps with the emptiest GPUs only, and the search is left to annealing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moewright.placement.compiled.greedy import copy, gpu_loads, heaviest_first, holds
from moewright.placement.compiled.kernel import kernel

#: slots of a layer above which steps are few and cheap; GPUs looked at then, and on many GPUs; steps at most
LARGE = 2048
_NEAR, _FEW_STEPS = 32, 1000
#: kinds of a step
_NONE, _SWAP, _GIFT = 0, 1, 2


class Step(NamedTuple):
    """``worst``: the largest load among the GPUs touched. A swap exchanges slot ``at`` of the fullest GPU with slot
    ``slot`` of ``gpu``; a gift makes that one a replica of expert ``at``."""

    worst: float
    kind: int
    at: int
    gpu: int
    slot: int


class Layer(NamedTuple):
    """``load`` [experts], ``held`` [gpus, slots a GPU], ``counts`` [experts] replicas, ``filled`` [gpus]."""

    load: np.ndarray
    held: np.ndarray
    counts: np.ndarray
    filled: np.ndarray


@kernel
def _replaced(layer: Layer, h: int, s: int, b: int, limit: float) -> float:
    """The largest load among GPUs touched, when slot (h, s) gives its replica up for one of expert ``b``."""
    load, counts, d = layer.load, layer.counts, layer.held[h, s]
    up = load[d] / (counts[d] - 1) - load[d] / counts[d]
    down = load[b] / counts[b] - load[b] / (counts[b] + 1)
    worst = 0.0
    for g in range(len(layer.held)):
        now = layer.filled[g]
        touched = g == h
        for i in range(layer.held.shape[1]):
            if layer.held[g, i] == b:
                now -= down
                touched = True
            elif layer.held[g, i] == d and not (g == h and i == s):
                now += up
                touched = True
        if g == h:
            now += load[b] / (counts[b] + 1) - load[d] / counts[d]
        if touched and now > worst:
            worst = now
            if worst >= limit:
                break
    return float(worst)


@kernel
def _best_swap(layer: Layer, top: int, others: np.ndarray, best: Step) -> Step:
    """The swap of a slot of GPU ``top`` with one of ``others`` that leaves the two lowest; ``best`` where none is
    better."""
    load, held, counts, filled = layer
    for i in range(held.shape[1]):
        a = held[top, i]
        mine = load[a] / counts[a]
        for g in others:
            if g == top or filled[g] >= best.worst or holds(held[g], a):
                continue
            for j in range(held.shape[1]):
                b = held[g, j]
                shift = mine - load[b] / counts[b]
                if shift <= 0:
                    continue
                worst = max(filled[top] - shift, filled[g] + shift)
                if worst < best.worst and not holds(held[top], b):
                    best = Step(worst, _SWAP, i, g, j)
    return best


@kernel
def _best_gift(layer: Layer, top: int, others: np.ndarray, best: Step) -> Step:
    """The slot of ``others`` that best becomes another replica of an expert of GPU ``top``; ``best`` where none is
    better."""
    load, held, counts, filled = layer
    for i in range(held.shape[1]):
        a = held[top, i]
        for g in others:
            if g == top or holds(held[g], a):
                continue
            for j in range(held.shape[1]):
                less = load[a] / counts[a] - load[a] / (counts[a] + 1)
                if counts[held[g, j]] < 2 or filled[top] - less >= best.worst:
                    continue
                worst = _replaced(layer, g, j, a, best.worst)
                if worst < best.worst:
                    best = Step(worst, _GIFT, a, g, j)
    return best


@kernel
def improve(load: np.ndarray, held: np.ndarray, counts: np.ndarray, steps: int, moves: int, enough: float) -> int:
    """Improve ``held`` and ``counts`` in place until the fullest GPU holds at most ``enough``, nothing helps, or
    ``moves`` replicas have moved; the number moved. A step takes load off the fullest GPU: a swap with another GPU
    (two moves), or a slot elsewhere that becomes a replica of one of its experts (one move; not in a layer of more than
    ``LARGE`` slots)."""
    moved, large = 0, held.size > LARGE
    layer = Layer(load, held, counts, gpu_loads(load, held, counts))
    every = np.arange(len(held))
    for _ in range(min(steps, _FEW_STEPS) if large else steps):
        top = int(np.argmax(layer.filled))
        limit = layer.filled[top]
        if limit <= enough:
            break
        # on many GPUs a look at all would cost the square of the slots: those with room are enough
        near = heaviest_first(-layer.filled)[:_NEAR] if len(held) > 128 else every
        best = Step(limit * (1 - 1e-9), _NONE, 0, 0, 0)
        if moved + 2 <= moves:
            best = _best_swap(layer, top, near if large else every, best)
        if moved + 1 <= moves and len(load) < held.size and not large:
            best = _best_gift(layer, top, near, best)
        if best.kind == _NONE:
            break
        before = held[best.gpu, best.slot]
        if best.kind == _SWAP:
            held[best.gpu, best.slot], held[top, best.at] = held[top, best.at], before
            moved += 2
        else:
            counts[before] -= 1
            counts[best.at] += 1
            held[best.gpu, best.slot] = best.at
            moved += 1
        copy(gpu_loads(load, held, counts), layer.filled)
    return moved


@kernel
def part_doubles(load: np.ndarray, held: np.ndarray, counts: np.ndarray, limit: float) -> None:
    """Change ``held`` and ``counts`` in place so that fewer GPUs hold an expert twice, where no GPU then holds more
    than ``limit``: by a swap with another GPU, or by giving the slot to another expert (not in a layer of more
    than ``LARGE`` slots)."""
    layer = Layer(load, held, counts, gpu_loads(load, held, counts))
    for g in range(len(held)):
        for i in range(1, held.shape[1]):
            e = held[g, i]
            if not holds(held[g, :i], e):
                continue
            h, j = _swap_for(layer, g, i, limit)
            if h >= 0:
                held[g, i], held[h, j] = held[h, j], e
            elif held.size <= LARGE:
                f = _expert_for(layer, g, i, limit)
                if f >= 0:
                    held[g, i] = f
                    counts[e] -= 1
                    counts[f] += 1
            copy(gpu_loads(load, held, counts), layer.filled)


@kernel
def _swap_for(layer: Layer, g: int, i: int, limit: float) -> tuple[int, int]:
    """The slot elsewhere that best takes the expert of slot (g, i), with its own of another expert; −1, −1: none."""
    load, held, counts, filled = layer
    e, best, h, j = held[g, i], np.inf, -1, -1
    for k in range(len(held)):
        if k == g or holds(held[k], e):
            continue
        for s in range(held.shape[1]):
            f = held[k, s]
            shift = load[e] / counts[e] - load[f] / counts[f]
            worst = max(filled[g] - shift, filled[k] + shift)
            if worst <= limit and worst < best and not holds(held[g], f):
                best, h, j = worst, k, s
    return h, j


@kernel
def _expert_for(layer: Layer, g: int, i: int, limit: float) -> int:
    """The expert that slot (g, i) best becomes another replica of; −1: none."""
    best, found = np.inf, -1
    for f in range(len(layer.load)):
        if not holds(layer.held[g], f):
            worst = _replaced(layer, g, i, f, np.inf)
            if worst <= limit and worst < best:
                best, found = worst, f
    return found
