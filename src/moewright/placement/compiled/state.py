"""One layer in the middle of a search: where its replicas are, what each GPU holds, and what is above a level.

A search brings what GPUs hold above a level to nothing and lets the level fall to just below the fullest GPU: unlike
the largest load, the sum above a level sees every step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moewright.placement.compiled.kernel import kernel

#: places in ``State.sums``, and rows of ``State.links``
LEVEL, OVER, HOTS = 0, 1, 2
HEAD, AFTER, AHEAD = 0, 1, 2


class State(NamedTuple):
    """``load`` [experts]; ``held`` [gpus, slots a GPU]; ``counts`` [experts] replicas; ``filled`` [gpus]; ``links``
    [3, slots or experts]: the slots of an expert as a list linked both ways, its first slot, the next and the one
    before, −1 where there is none; ``hot`` [2, gpus]: first the GPUs above the level, and the place of each GPU in that
    row, −1 for those that are not; ``sums``: the level, what is above it, on how many GPUs; ``draw``: of random
    numbers."""

    load: np.ndarray
    held: np.ndarray
    counts: np.ndarray
    filled: np.ndarray
    links: np.ndarray
    hot: np.ndarray
    sums: np.ndarray
    draw: np.ndarray


@kernel
def new_draw(seed: int) -> np.ndarray:
    """The state of random numbers from ``seed`` on."""
    draw = np.array([seed * 2 + 1], dtype=np.uint64)
    for _ in range(16):
        chance(draw)
    return draw


@kernel
def chance(draw: np.ndarray) -> float:
    """A number from 0 to 1 (Marsaglia's xorshift, J. Stat. Software 8(14), 2003: a tenth of NumPy's time here)."""
    x = draw[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    draw[0] = x
    return float(x >> np.uint64(11)) * 2.0**-53


@kernel
def below(n: int, draw: np.ndarray) -> int:
    """A whole number below ``n``."""
    return int(chance(draw) * n)


@kernel
def taken(gain: float, heat: float, draw: np.ndarray) -> bool:
    """Whether annealing takes a step that makes things worse by ``gain``."""
    return gain <= 0 or chance(draw) < np.exp(-gain / heat)


@kernel
def new_state(load: np.ndarray, start: np.ndarray, seed: int) -> State:
    """``start`` [gpus, slots a GPU] at a level of infinity."""
    gpus, each = start.shape
    held, counts = start.copy(), np.zeros(len(load), dtype=np.int64)
    links = np.full((3, max(len(load), gpus * each)), -1, dtype=np.int64)
    s = State(load, held, counts, np.zeros(gpus), links, np.zeros((2, gpus), np.int64), np.zeros(3), new_draw(seed))
    for g in range(gpus):
        for i in range(each):
            counts[held[g, i]] += 1
            link(links, g * each + i, held[g, i])
    set_level(s, np.inf)
    return s


@kernel
def set_level(s: State, level: float) -> None:
    """What GPUs hold, summed afresh, and what of it is above ``level``."""
    s.sums[LEVEL], s.sums[OVER], s.sums[HOTS] = level, 0.0, 0.0
    for g in range(len(s.held)):
        s.filled[g] = 0.0
        for e in s.held[g]:
            s.filled[g] += s.load[e] / s.counts[e]
        s.sums[OVER] += max(s.filled[g] - level, 0.0)
        s.hot[1, g] = -1
        mark(s.filled, s.hot, s.sums, g)


@kernel
def link(links: np.ndarray, slot: int, e: int) -> None:
    """``slot`` into the list of ``e``."""
    first = links[HEAD, e]
    links[AFTER, slot], links[AHEAD, slot] = first, -1
    if first >= 0:
        links[AHEAD, first] = slot
    links[HEAD, e] = slot


@kernel
def unlink(links: np.ndarray, slot: int, e: int) -> None:
    """``slot`` out of the list of ``e``."""
    after, ahead = links[AFTER, slot], links[AHEAD, slot]
    if ahead >= 0:
        links[AFTER, ahead] = after
    else:
        links[HEAD, e] = after
    if after >= 0:
        links[AHEAD, after] = ahead


@kernel
def mark(filled: np.ndarray, hot: np.ndarray, sums: np.ndarray, g: int) -> None:
    """GPU ``g`` in or out of those above the level."""
    hots = int(sums[HOTS])
    if filled[g] > sums[LEVEL] and hot[1, g] < 0:
        hot[0, hots], hot[1, g] = g, hots
        sums[HOTS] = hots + 1
    elif filled[g] <= sums[LEVEL] and hot[1, g] >= 0:
        last = hot[0, hots - 1]
        hot[0, hot[1, g]], hot[1, last] = last, hot[1, g]
        hot[1, g] = -1
        sums[HOTS] = hots - 1


@kernel
def swap_gain(filled: np.ndarray, g: int, h: int, shift: float, level: float) -> float:
    """By how much what is above ``level`` grows when ``shift`` goes from GPU ``g`` to ``h``."""
    gain = max(filled[g] - shift - level, 0.0) - max(filled[g] - level, 0.0)
    return float(gain + max(filled[h] + shift - level, 0.0) - max(filled[h] - level, 0.0))


@kernel
def swap(s: State, one: int, other: int) -> None:
    """Exchange the experts of two slots on different GPUs."""
    each = s.held.shape[1]
    g, h = one // each, other // each
    a, b = s.held[g, one % each], s.held[h, other % each]
    shift = s.load[a] / s.counts[a] - s.load[b] / s.counts[b]
    s.held[g, one % each], s.held[h, other % each] = b, a
    unlink(s.links, one, a)
    unlink(s.links, other, b)
    link(s.links, one, b)
    link(s.links, other, a)
    s.filled[g] -= shift
    s.filled[h] += shift
    mark(s.filled, s.hot, s.sums, g)
    mark(s.filled, s.hot, s.sums, h)


@kernel
def _shift_others(
    filled: np.ndarray, links: np.ndarray, each: int, e: int, slot: int, shift: float, level: float
) -> float:
    """``shift`` more on the GPU of every replica of ``e`` but that in ``slot``; by how much what is above ``level``
    grows."""
    gain, other = 0.0, links[HEAD, e]
    while other >= 0:
        if other != slot:
            g = other // each
            gain -= max(filled[g] - level, 0.0)
            filled[g] += shift
            gain += max(filled[g] - level, 0.0)
        other = links[AFTER, other]
    return gain


@kernel
def try_gift(
    load: np.ndarray, counts: np.ndarray, held: np.ndarray, filled: np.ndarray, links: np.ndarray, slot: int, b: int,
    level: float,
) -> float:  # fmt: skip
    """``filled`` as when ``slot`` becomes a replica of ``b``; by how much what is above ``level`` grows.
    ``take_gift`` makes it so, ``undo_gift`` takes it back."""
    each = held.shape[1]
    g, d = slot // each, held[slot // each, slot % each]
    new_d, new_b = load[d] / (counts[d] - 1), load[b] / (counts[b] + 1)
    gain = _shift_others(filled, links, each, d, slot, new_d - load[d] / counts[d], level)
    gain += _shift_others(filled, links, each, b, slot, new_b - load[b] / counts[b], level)
    gain -= max(filled[g] - level, 0.0)
    filled[g] += new_b - load[d] / counts[d]
    return float(gain + max(filled[g] - level, 0.0))


@kernel
def undo_gift(
    load: np.ndarray, counts: np.ndarray, held: np.ndarray, filled: np.ndarray, links: np.ndarray, slot: int, b: int
) -> None:
    """``filled`` as before ``try_gift``."""
    each = held.shape[1]
    g, d = slot // each, held[slot // each, slot % each]
    new_d, new_b = load[d] / (counts[d] - 1), load[b] / (counts[b] + 1)
    _shift_others(filled, links, each, d, slot, load[d] / counts[d] - new_d, 0.0)
    _shift_others(filled, links, each, b, slot, load[b] / counts[b] - new_b, 0.0)
    filled[g] += load[d] / counts[d] - new_b


@kernel
def take_gift(s: State, slot: int, b: int) -> None:
    """``slot`` becomes a replica of ``b``, as ``try_gift`` has filled GPUs."""
    each = s.held.shape[1]
    d = s.held[slot // each, slot % each]
    s.held[slot // each, slot % each] = b
    s.counts[d] -= 1
    s.counts[b] += 1
    unlink(s.links, slot, d)
    link(s.links, slot, b)
    for e in (b, d):
        other = s.links[HEAD, e]
        while other >= 0:
            mark(s.filled, s.hot, s.sums, other // each)
            other = s.links[AFTER, other]
