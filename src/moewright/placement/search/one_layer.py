"""One layer's replica counts and positions, equal shares: greedy starts, then rounds of a search.

The starts are what EPLB does (greedy replicas, packed without a look at doubles), the same without doubles, and
replicas divided between tiers, so that no layer is below these. A round walks over replica counts, judged by packing,
and then anneals positions and counts together; with two slots a GPU counts decide all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from moewright.placement.compiled.annealing import Schedule, anneal
from moewright.placement.compiled.count_walk import walk_counts
from moewright.placement.compiled.descent import LARGE, improve, part_doubles
from moewright.placement.compiled.greedy import pack, replicate
from moewright.placement.compiled.pair_walk import pair, walk_pairs
from moewright.placement.compiled.tiers import tier_counts
from moewright.placement.search.exact import MOST, exact_layer

#: largest ÷ mean load that need not be improved
ENOUGH = 1 + 1e-4
#: warmth and fall of walks, of warmer ones, and of annealing
WALK, HOT, ANNEALING = (0.02, 1e-3), (0.1, 1e-3), (0.02, 2e-4)


class Work(NamedTuple):
    """Of a layer of up to ``slots`` slots: ``rounds``; in each, steps of a walk over pairs, or of a walk by packing, at
    most so many and so many times the slots, of annealing, and of steepest descent at the end."""

    slots: int
    rounds: int
    pairs: tuple[int, int]
    packings: tuple[int, int]
    steps: int
    descent: int


#: work by size of a layer, 10 to 20 ms each, many short rounds where they are cheap; larger ones are annealed only, by
#: so many steps a slot and at most
WORK = (
    Work(128, 28, (1_000, 3_500_000), (100, 75_000), 2_000, 400),
    Work(320, 2, (7_000, 3_500_000), (600, 75_000), 40_000, 60),
    Work(LARGE, 1, (7_000, 3_500_000), (600, 30_000), 45_000, 0),
)
LARGE_STEPS, MOST_STEPS = 150, 3_000_000


@dataclass(frozen=True, slots=True)
class Effort:
    """``seed`` of the search, and the time (``perf_counter``) at which it ends, where there is one: then it goes on
    until that time."""

    seed: int
    end: float | None = None

    def over(self) -> bool:
        return self.end is not None and time.perf_counter() >= self.end


def equal_shares(load: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Part of its expert's tokens that each slot takes, shape of ``held``."""
    return np.asarray(1.0 / np.bincount(held.ravel(), minlength=len(load))[held])


def largest_load(load: np.ndarray, held: np.ndarray) -> float:
    """The fullest GPU's load, equal shares."""
    return float((load[held] * equal_shares(load, held)).sum(axis=1).max())


def start_layer(load: np.ndarray, slots: int, gpus: int) -> np.ndarray:
    """Experts by slot, shape [gpus, slots a GPU], for ``load`` [experts] of any scale, not all 0: the best of the
    greedy starts."""
    counts = replicate(load, slots, gpus)
    apart = pack(load, counts, gpus, True)
    if slots == gpus:
        return np.asarray(apart)
    starts = [apart, pack(load, replicate(load, slots, slots), gpus, False)]
    starts.append(pack(load, tier_counts(load, slots, gpus), gpus, True))
    if slots == 2 * gpus:
        starts.append(pair(load, counts, gpus))
    return np.asarray(min(starts, key=lambda held: largest_load(load, held)))


def search_round(load: np.ndarray, held: np.ndarray, seed: int, turn: int) -> np.ndarray:
    """The better of ``held`` and what round ``turn`` finds."""
    gpus, slots = len(held), held.size
    if slots == gpus:
        return held
    work, enough = work_of(slots), load.sum() / gpus * ENOUGH
    # every other round starts from the greedy counts, warmer: those of the best so far may be far from better ones
    warmth, fall = HOT if turn % 2 else WALK
    counts = replicate(load, slots, gpus) if turn % 2 else np.bincount(held.ravel(), minlength=len(load))
    seed += 7919 * turn
    if slots == 2 * gpus:
        schedule = Schedule(_steps(slots, work.pairs), warmth, fall, enough)
        other = pair(load, walk_pairs(load, counts, gpus, seed, schedule), gpus)
    else:
        other = held
        if len(load) < slots <= LARGE:
            other = walk_counts(load, counts, gpus, seed, Schedule(_steps(slots, work.packings), warmth, fall, enough))
        if turn == 0 and largest_load(load, held) < largest_load(load, other):
            other = held
        other = anneal(load, other, other, slots, seed, Schedule(work.steps, *ANNEALING, enough))
        improve(load, other, np.bincount(other.ravel(), minlength=len(load)), work.descent, 2 * slots, enough)
    return np.asarray(other if largest_load(load, other) < largest_load(load, held) else held)


def work_of(slots: int) -> Work:
    """The work on a layer of ``slots``."""
    steps = min(LARGE_STEPS * slots, MOST_STEPS)
    return next((w for w in WORK if slots <= w.slots), Work(slots, 1, WORK[-1].pairs, WORK[-1].packings, steps, 0))


def _steps(slots: int, limits: tuple[int, int]) -> int:
    most, work = limits
    return min(most, work // slots)


def place_layer(load: np.ndarray, slots: int, gpus: int, effort: Effort) -> np.ndarray:
    """Experts by slot, shape [gpus, slots a GPU], for ``load`` [experts] of any scale, not all 0."""
    held = start_layer(load, slots, gpus)
    if len(load) <= MOST[0] and slots <= MOST[1] and gpus <= MOST[2]:
        return part(load, exact_layer(load, held), effort)
    for turn in range(work_of(slots).rounds):
        if is_even(load, held) or effort.over():
            break
        held = search_round(load, held, effort.seed, turn)
    return part(load, held, effort)


def is_even(load: np.ndarray, held: np.ndarray) -> bool:
    """Whether nothing is left to be improved."""
    return bool(largest_load(load, held) <= load.sum() / len(held) * ENOUGH)


def part(load: np.ndarray, held: np.ndarray, effort: Effort) -> np.ndarray:
    """``held`` with fewer experts twice on a GPU, where that raises no largest load: first by single steps, then at
    some price that annealing, which makes no doubles, has to win back."""
    if not _doubles(held):
        return held
    limit = largest_load(load, held) * (1 + 1e-12)
    found, other = held.copy(), held.copy()
    part_doubles(load, found, np.bincount(held.ravel(), minlength=len(load)), limit)
    if not _doubles(found) or held.shape[1] < 3:
        return found
    part_doubles(load, other, np.bincount(held.ravel(), minlength=len(load)), np.inf)
    other = anneal(load, other, other, held.size, effort.seed, Schedule(work_of(held.size).steps, *ANNEALING, limit))
    return np.asarray(other if _doubles(other) < _doubles(found) and largest_load(load, other) <= limit else found)


def _doubles(held: np.ndarray) -> int:
    """Slots whose expert has another one on the same GPU."""
    rows = np.sort(held, axis=1)
    return int((rows[:, 1:] == rows[:, :-1]).sum())
