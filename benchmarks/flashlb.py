"""What the FlashLB policy of vllm-ascend does with one window of loads, written again from a reading of it, to compare
layer by layer: experts sorted by load in tiers of equal size; from the heaviest tier on, the number of replicas that
packs best within ``width`` of what the greedy rule over all that are left would give it; packed largest first on the
emptiest GPU that has none of the expert."""

from __future__ import annotations

import numpy as np


def flash(load: np.ndarray, slots: int, gpus: int, depth: int = 4, width: int = 8) -> np.ndarray:
    """Experts by slot, shape [gpus, slots a GPU], of one layer's ``load`` [experts]."""
    experts, left = len(load), slots - len(load)
    order = np.argsort(-load, kind="stable")
    tier = -(-experts // depth)
    counts = np.ones(experts, dtype=int)
    for first in range(0, experts - tier, tier):
        now, rest = order[first : first + tier], order[first + tier :]
        middle = int((greedy(load[order[first:]], left)[: len(now)] - 1).sum())
        numbers = [n for r in range(width + 1) for n in dict.fromkeys((middle - r, middle + r)) if 0 <= n <= left]
        tried = []
        for number in numbers:
            counts[now], counts[rest] = greedy(load[now], number), greedy(load[rest], left - number)
            tried.append(largest(load, counts, gpus))
        number = numbers[int(np.argmin(tried))]
        counts[now], counts[rest] = greedy(load[now], number), greedy(load[rest], left - number)
        left -= number
    if experts <= tier:
        counts = greedy(load, left)
    return packed(load, counts, gpus)


def greedy(load: np.ndarray, extra: int) -> np.ndarray:
    """Replicas, ``extra`` beyond one each, always to the heaviest replica."""
    counts = np.ones(len(load), dtype=int)
    for _ in range(extra):
        counts[np.argmax(load / counts)] += 1
    return counts


def packed(load: np.ndarray, counts: np.ndarray, gpus: int) -> np.ndarray:
    """Replicas on GPUs, shape [gpus, slots a GPU], heaviest first, to the emptiest that has room and none of it."""
    each = counts.sum() // gpus
    held: list[list[int]] = [[] for _ in range(gpus)]
    filled = np.zeros(gpus)
    for e in np.argsort(-load / counts, kind="stable"):
        for _ in range(counts[e]):
            room = [g for g in range(gpus) if len(held[g]) < each]
            g = min([g for g in room if e not in held[g]] or room, key=filled.__getitem__)
            held[g].append(int(e))
            filled[g] += load[e] / counts[e]
    return np.array(held)


def largest(load: np.ndarray, counts: np.ndarray, gpus: int) -> float:
    """The fullest GPU's load, packed."""
    return float((load / counts)[packed(load, counts, gpus)].sum(axis=1).max())
