"""Replicas divided between tiers of experts: a start of the search, and a floor under it.

Experts are sorted by load into ``TIERS`` equal tiers. From the heaviest on, a tier takes somewhat more or fewer
replicas than the greedy rule gives it (up to ``REACH``), as packs best when the rest go to the lighter tiers by the
greedy rule. It is the idea of the FlashLB policy of vllm-ascend, whose placements this one is therefore not below.
"""

from __future__ import annotations

import numpy as np

from moewright.placement.compiled.greedy import Packing, copy, fill, heaviest_first, new_packing, replicate
from moewright.placement.compiled.kernel import kernel

TIERS, REACH = 4, 8


@kernel
def _largest(load: np.ndarray, counts: np.ndarray, p: Packing) -> float:
    fill(load, counts, heaviest_first(load / counts), True, p)
    return float(p.filled.max())


@kernel
def _divided(load: np.ndarray, counts: np.ndarray, first: int, last: int, extra: np.ndarray) -> None:
    """``counts`` of experts from ``first`` on, sorted: ``extra[0]`` replicas more for those before ``last``, as many as
    ``extra[1]`` for the others, by the greedy rule; no limit on one's."""
    head, rest = load[first:last], load[last:]
    copy(replicate(head, len(head) + extra[0], len(load) * len(load)), counts[first:last])
    if len(rest) > 0:
        copy(replicate(rest, len(rest) + extra[1], len(load) * len(load)), counts[last:])


@kernel
def tier_counts(load: np.ndarray, slots: int, gpus: int) -> np.ndarray:
    """Replicas of each expert, shape [experts], of ``load`` [experts]."""
    experts = len(load)
    order = heaviest_first(load)
    down, size = load[order], -(-experts // TIERS)
    p, counts = new_packing(gpus, slots // gpus), np.ones(experts, dtype=np.int64)
    left, extra = slots - experts, np.zeros(2, dtype=np.int64)
    for first in range(0, experts - size, size):
        last = first + size
        whole = replicate(down[first:], experts - first + left, experts * experts)
        middle = whole[:size].sum() - size
        chosen, least = middle, np.inf
        for step in range(2 * REACH + 1):  # the middle, then ever farther to both sides
            number = middle + (step + 1) // 2 * (1 if step % 2 == 0 else -1)
            if 0 <= number <= left:
                extra[0], extra[1] = number, left - number
                _divided(down, counts, first, last, extra)
                worst = _largest(down, counts, p)
                if worst < least:
                    chosen, least = number, worst
        extra[0], extra[1] = chosen, left - chosen
        _divided(down, counts, first, last, extra)
        left -= chosen
    if experts <= size:
        copy(replicate(down, slots, experts * experts), counts)
    found = np.empty_like(counts)
    found[order] = counts
    return found
