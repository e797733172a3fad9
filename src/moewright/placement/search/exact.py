"""Small layers exactly: every choice of replica counts, every packing, cut off where it cannot beat the best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

#: experts, slots and GPUs up to which a layer is solved exactly
MOST = (8, 12, 4)
#: steps at most of the search for an equally good placement without two replicas of an expert on a GPU
APART = 20_000


def exact_layer(load: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The best placement with equal shares, shape [gpus, slots a GPU]; ``start`` where nothing beats it."""
    gpus, each = start.shape
    counts = np.bincount(start.ravel(), minlength=len(load))
    best: list[Any] = [float((load / counts)[start].sum(axis=1).max()), start]
    mean = float(load.sum()) / gpus
    for chosen in _counts(len(load), gpus * each - len(load)):
        if best[0] <= mean * (1 + 1e-12):
            break
        items = sorted(((float(load[e]) / c, e) for e, c in enumerate(chosen) for _ in range(c)), reverse=True)
        if items[0][0] + sum(w for w, _ in items[len(items) - each + 1 :]) < best[0] * (1 - 1e-12):
            _pack(items, 0, [0.0] * gpus, [[] for _ in range(gpus)], each, best)
    return _apart(load, np.asarray(best[1]), float(best[0]))


def _apart(load: np.ndarray, held: np.ndarray, limit: float) -> np.ndarray:
    """A placement whose GPUs hold no expert twice and at most ``limit``; ``held`` where none is found."""
    gpus, each = held.shape
    left = [APART]
    if all(len(set(row)) == each for row in held.tolist()):
        return held
    for chosen in _counts(len(load), gpus * each - len(load)):
        items = sorted(((float(load[e]) / c, e) for e, c in enumerate(chosen) for _ in range(c)), reverse=True)
        if max(chosen) <= gpus and items[0][0] <= limit * (1 + 1e-12):
            rows: list[list[int]] = [[] for _ in range(gpus)]
            if _fits(items, 0, [0.0] * gpus, rows, each, limit * (1 + 1e-12), left):
                return np.array(rows)
    return held


def _fits(
    items: list[tuple[float, int]],
    at: int,
    filled: list[float],
    held: list[list[int]],
    each: int,
    limit: float,
    left: list[int],
) -> bool:
    """Whether ``items`` from ``at`` on fit into ``held`` with no expert twice on a GPU, in at most ``left`` steps."""
    if at == len(items):
        return True
    weight, expert = items[at]
    tried = set()
    for g in sorted(range(len(filled)), key=filled.__getitem__):
        now, state = filled[g], tuple(held[g])
        if len(state) == each or now + weight > limit or expert in state or state in tried or left[0] <= 0:
            continue
        tried.add(state)
        left[0] -= 1
        filled[g] += weight
        held[g].append(expert)
        if _fits(items, at + 1, filled, held, each, limit, left):
            return True
        held[g].pop()
        filled[g] = now
    return False


def _counts(experts: int, extra: int) -> Iterator[tuple[int, ...]]:
    if experts == 1:
        yield (1 + extra,)
        return
    for more in range(extra + 1):
        for rest in _counts(experts - 1, extra - more):
            yield (1 + more, *rest)


def _pack(
    items: list[tuple[float, int]], at: int, filled: list[float], held: list[list[int]], each: int, best: list[Any]
) -> None:
    limit = float(best[0]) * (1 - 1e-12)
    if at == len(items):
        best[0], best[1] = max(filled), np.array(held)
        return
    weight, expert = items[at]
    seen = set()
    for g in sorted(range(len(filled)), key=filled.__getitem__):
        state = (filled[g], len(held[g]))
        if len(held[g]) == each or filled[g] + weight >= limit or state in seen:
            continue
        seen.add(state)
        filled[g] += weight
        held[g].append(expert)
        _pack(items, at + 1, filled, held, each, best)
        limit = float(best[0]) * (1 - 1e-12)
        held[g].pop()
        filled[g] = state[0]
