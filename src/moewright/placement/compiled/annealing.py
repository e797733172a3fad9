"""A layer improved by random steps under annealing, few of them moves or as many as it takes.

Steps are swaps of two slots, slots given from an expert of several replicas to another, and, where moves are few, steps
back to the earlier placement, which free moves. Steps follow one another, so that a chain of swaps over k GPUs is
found, and counted, as k moves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moewright.placement.compiled.greedy import copy, holds
from moewright.placement.compiled.kernel import kernel
from moewright.placement.compiled.state import (
    AFTER,
    HEAD,
    HOTS,
    OVER,
    below,
    new_state,
    set_level,
    swap,
    swap_gain,
    take_gift,
    taken,
    try_gift,
    undo_gift,
)


class Schedule(NamedTuple):
    """``tries``: steps; ``warmth``: what is above the level may grow by about that part of it at first; ``fall``: part
    that the level falls by each time; ``enough``: a largest load that need not be improved."""

    tries: int
    warmth: float
    fall: float
    enough: float


@kernel
def recount(load: np.ndarray, held: np.ndarray, counts: np.ndarray, wanted: np.ndarray, most: int) -> int:
    """Give slots of ``held`` to experts whose replicas are heavier than any would be with ``wanted`` replicas each,
    from those that stay lightest with one less; how many, at most ``most``. Annealing seldom finds these steps: the
    new replica's GPU is too full until others have left it."""
    limit = (load / wanted).max() * (1 + 1e-9)
    filled = np.empty(len(held))
    for turn in range(most):
        b = int(np.argmax(load / counts))
        if load[b] / counts[b] <= limit:
            return turn
        d, lightest = -1, load[b] / counts[b] * (1 - 1e-9)
        for e in range(len(load)):
            if counts[e] > 1 and load[e] / (counts[e] - 1) < lightest:
                d, lightest = e, load[e] / (counts[e] - 1)
        h, j = -1, -1
        for g in range(len(held)):
            filled[g] = (load[held[g]] / counts[held[g]]).sum()
        for g in range(len(held) if d >= 0 else 0):
            for i in range(held.shape[1]):
                if held[g, i] == d and not holds(held[g], b) and (h < 0 or filled[g] < filled[h]):
                    h, j = g, i
        if h < 0:
            return turn
        held[h, j] = b
        counts[d] -= 1
        counts[b] += 1
    return most


@kernel
def anneal(
    load: np.ndarray, start: np.ndarray, origin: np.ndarray, most: int, seed: int, schedule: Schedule
) -> np.ndarray:
    """``start`` [gpus, slots a GPU] improved until the fullest GPU holds at most ``schedule.enough``, equal shares; at
    most ``most`` replicas are then on a GPU that has none of them in ``origin``."""
    s = new_state(load, start, seed)
    # a record passed on costs more than a step that is refused: these take arrays, and only what is taken the record
    held, counts, filled, links, sums, draw = s.held, s.counts, s.filled, s.links, s.sums, s.draw
    gpus, each = start.shape
    few = most < gpus * each
    far = _moved(origin, held)
    best, level = held.copy(), filled.max()
    set_level(s, level)
    for step in range(schedule.tries):
        if sums[OVER] <= 1e-12 * level:
            least = filled.max()
            copy(held, best)
            if least <= schedule.enough:
                break
            level = max(least * (1 - schedule.fall), schedule.enough)
            set_level(s, level)
        heat = schedule.warmth * level * (1 - step / schedule.tries) ** 4 + 1e-12
        back = few and far > 0 and below(4, draw) == 0
        slot = _left(held, origin, draw) if back else _full(s.hot, sums, each, draw)
        g, a = slot // each, held[slot // each, slot % each]
        if each == 1 or below(3, draw) == 0:
            slot, b = _gift(held, counts, origin, slot, back, draw)
            d = held[slot // each, slot % each]
            more = _more(origin[slot // each], d, b) if few else 0
            if counts[d] < 2 or b == d or far + more > most or holds(held[slot // each], b):
                continue
            gain = try_gift(load, counts, held, filled, links, slot, b, level)
            if taken(gain, heat, draw):
                take_gift(s, slot, b)
            else:
                undo_gift(load, counts, held, filled, links, slot, b)
                continue
        else:
            other = _home(links, origin, g, each, draw) if back else _emptier(filled, each, draw)
            h, b = other // each, held[other // each, other % each]
            if g == h or a == b or holds(held[g], b) or holds(held[h], a):
                continue
            more = _more(origin[g], a, b) + _more(origin[h], b, a) if few else 0
            gain = swap_gain(filled, g, h, load[a] / counts[a] - load[b] / counts[b], level)
            if far + more > most or not taken(gain, heat, draw):
                continue
            swap(s, slot, other)
        far += more
        sums[OVER] += gain
    return best


@kernel
def _moved(origin: np.ndarray, held: np.ndarray) -> int:
    """Replicas on a GPU that has none of them in ``origin``."""
    far = 0
    for g in range(len(held)):
        for e in held[g]:
            far += not holds(origin[g], e)
    return far


@kernel
def _more(row: np.ndarray, a: int, b: int) -> int:
    """By how many moves grow when the GPU that had ``row`` gives ``a`` for ``b``."""
    return int(holds(row, a)) - int(holds(row, b))


@kernel
def _left(held: np.ndarray, origin: np.ndarray, draw: np.ndarray) -> int:
    """A slot whose replica is not where it was."""
    gpus, each = held.shape
    g, i = below(gpus, draw), below(each, draw)
    for _ in range(8):
        if not holds(origin[g], held[g, i]):
            break
        g, i = below(gpus, draw), below(each, draw)
    return int(g * each + i)


@kernel
def _full(hot: np.ndarray, sums: np.ndarray, each: int, draw: np.ndarray) -> int:
    """A slot, of a GPU above the level three times of four."""
    hots = int(sums[HOTS])
    g = hot[0, below(hots, draw)] if hots > 0 and below(4, draw) > 0 else below(hot.shape[1], draw)
    return int(g * each + below(each, draw))


@kernel
def _emptier(filled: np.ndarray, each: int, draw: np.ndarray) -> int:
    """A slot, of the emptier of two GPUs."""
    h, k = below(len(filled), draw), below(len(filled), draw)
    return (k if filled[k] < filled[h] else h) * each + below(each, draw)


@kernel
def _home(links: np.ndarray, origin: np.ndarray, g: int, each: int, draw: np.ndarray) -> int:
    """A slot of an expert that GPU ``g`` had, elsewhere, where it was not before if there is such a one."""
    b = origin[g, below(each, draw)]
    other = links[HEAD, b]
    while other >= 0 and (holds(origin[other // each], b) or other // each == g):
        other = links[AFTER, other]
    return int(other if other >= 0 else links[HEAD, b])


@kernel
def _gift(
    held: np.ndarray, counts: np.ndarray, origin: np.ndarray, slot: int, back: bool, draw: np.ndarray
) -> tuple[int, int]:
    """A slot to give, and the expert to give it to: one elsewhere to that of ``slot``, or this one to another
    expert."""
    gpus, each = held.shape
    if back:
        return slot, int(origin[slot // each, below(each, draw)])
    if below(2, draw) == 1:
        return slot, below(len(counts), draw)
    b = int(held[slot // each, slot % each])
    for _ in range(9):
        slot = below(gpus * each, draw)
        if counts[held[slot // each, slot % each]] > 1:
            break
    return slot, b
