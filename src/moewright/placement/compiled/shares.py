"""Unequal token shares among the replicas of an expert: the linear program min max GPU load, by water-filling.

Minimising Σ load² over the shares also minimises the largest load (the shares of fixed totals form a polymatroid,
over whose base one vector is least in every symmetric convex measure). Each expert in turn fills its GPUs to one
level (exact coordinate descent); a set of GPUs with all the experts that live nowhere else is a lower bound, and
when the two meet the optimum is certified.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moewright.placement.compiled.greedy import heaviest_first
from moewright.placement.compiled.kernel import kernel


class Shares(NamedTuple):
    """Replicas sorted by expert: those of expert e are ``start[e]`` to ``start[e + 1]``, on GPU ``where``, in slot
    ``slot`` of it, and take ``amount`` of load; ``filled`` [gpus]."""

    start: np.ndarray
    where: np.ndarray
    slot: np.ndarray
    amount: np.ndarray
    filled: np.ndarray


@kernel
def water_fill(load: np.ndarray, held: np.ndarray, sweeps: int, tolerance: float) -> np.ndarray:
    """Part of its expert's tokens that each slot takes, shape [gpus, slots a GPU], within ``tolerance`` of the
    least possible largest GPU load."""
    gpus, experts = len(held), len(load)
    s = _equal(load, held)
    mean = load.sum() / gpus
    for sweep in range(sweeps):
        for e in range(experts):
            if s.start[e + 1] - s.start[e] > 1:
                _level(load[e], s, s.start[e], s.start[e + 1])
        if sweep % 4 == 3 and s.filled.max() - _bound(load, s) <= tolerance * mean:
            break
    share = np.empty(held.shape)
    for e in range(experts):
        many = s.start[e + 1] - s.start[e]
        for i in range(s.start[e], s.start[e + 1]):
            share[s.where[i], s.slot[i]] = s.amount[i] / load[e] if load[e] > 0 else 1 / many
    return share


@kernel
def _equal(load: np.ndarray, held: np.ndarray) -> Shares:
    """Equal shares."""
    gpus, each = held.shape
    start = np.zeros(len(load) + 1, dtype=np.int64)
    for e in held.flat:
        start[e + 1] += 1
    for e in range(len(load)):
        start[e + 1] += start[e]
    where, slot = np.empty(gpus * each, dtype=np.int64), np.empty(gpus * each, dtype=np.int64)
    amount, filled, at = np.empty(gpus * each), np.zeros(gpus), start.copy()
    for g in range(gpus):
        for i in range(each):
            e = held[g, i]
            where[at[e]], slot[at[e]] = g, i
            amount[at[e]] = load[e] / (start[e + 1] - start[e])
            filled[g] += amount[at[e]]
            at[e] += 1
    return Shares(start, where, slot, amount, filled)


@kernel
def _level(load: float, s: Shares, first: int, last: int) -> None:
    """Replicas ``first`` to ``last``, of one expert of ``load``, fill their GPUs to one level."""
    n = last - first
    for i in range(first, last):
        s.filled[s.where[i]] -= s.amount[i]
    base = s.filled[s.where[first:last]]
    for i in range(n):  # the same GPU twice: one of the two takes all
        for j in range(i):
            if s.where[first + i] == s.where[first + j]:
                base[i] = np.inf
    low = base[heaviest_first(-base)]
    level, total = 0.0, 0.0
    for i in range(n):
        total += low[i]
        level = (load + total) / (i + 1)
        if i + 1 == n or level <= low[i + 1]:
            break
    for i in range(n):
        s.amount[first + i] = max(level - base[i], 0.0)
        s.filled[s.where[first + i]] += s.amount[first + i]


@kernel
def _bound(load: np.ndarray, s: Shares) -> float:
    """A largest load that no shares are below: of the fullest GPUs, the experts that live nowhere else."""
    gpus = len(s.filled)
    rank, order = np.empty(gpus, dtype=np.int64), heaviest_first(s.filled)
    for i in range(gpus):
        rank[order[i]] = i
    inside = np.zeros(gpus)
    for e in range(len(load)):  # an expert counts once all its GPUs are in the set
        last = 0
        for i in range(s.start[e], s.start[e + 1]):
            last = max(last, rank[s.where[i]])
        inside[last] += load[e]
    bound, total = 0.0, 0.0
    for i in range(gpus):
        total += inside[i]
        bound = max(bound, total / (i + 1))
    return bound
