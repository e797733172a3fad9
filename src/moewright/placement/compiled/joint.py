"""Counts, positions and shares chosen together, for shares that are free.

Draw a GPU of S slots as an edge that joins the S experts on it. slots − experts extra replicas can join GPUs into no
fewer than C = GPUs − (slots − experts) connected parts; a part of k GPUs joined as a tree holds (S − 1)·k + 1 experts.
No part can give a GPU less than (its experts' load ÷ its GPUs). With S = 2 every such tree can be filled to exactly
that level (a chain of heavy experts, each with light ones of at most that level beside it, wrapped around as in
McNaughton, Management Science 6(1), 1959), and a part with a cycle wins nothing over one merged into another. So with
two slots a GPU the smallest largest load is the best partition of the experts into C parts: a bin covering
problem, searched here by exchanges at a falling level. With more slots the parts are a start that is then filled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moewright.placement.compiled.greedy import copy, heaviest_first
from moewright.placement.compiled.kernel import kernel
from moewright.placement.compiled.state import below, chance, new_draw


class Parts(NamedTuple):
    """``load`` [experts]; ``part`` [experts]: the part of each; ``total``, ``size`` and ``width`` [parts]: its load,
    its experts and its GPUs, of ``each`` slots; ``members`` [parts, experts]: its experts, in the order that ``place``
    [experts] has."""

    load: np.ndarray
    part: np.ndarray
    total: np.ndarray
    members: np.ndarray
    place: np.ndarray
    size: np.ndarray
    width: np.ndarray
    each: int


@kernel
def part_experts(load: np.ndarray, slots: int, gpus: int, tries: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of each expert, shape [experts], and the GPUs of each part, shape [parts]: the largest
    load ÷ GPUs of a part as small as ``tries`` random exchanges make it."""
    p = _greedy(load, slots, gpus)
    _exchange(p, tries, new_draw(seed))
    return p.part, p.width


@kernel
def _greedy(load: np.ndarray, slots: int, gpus: int) -> Parts:
    """A heavy expert each, then the light ones, heaviest first, to the most room a slot."""
    experts, each = len(load), slots // gpus
    parts = gpus - (slots - experts)
    order = heaviest_first(load)
    width = np.ones(parts, dtype=np.int64)
    for _ in range(gpus - parts):
        width[np.argmax(load[order[:parts]] / width)] += 1
    part, place = np.empty(experts, dtype=np.int64), np.empty(experts, dtype=np.int64)
    members, size = np.empty((parts, experts), dtype=np.int64), np.zeros(parts, dtype=np.int64)
    p = Parts(load, part, np.zeros(parts), members, place, size, width, each)
    for i in range(experts):
        best = i
        if i >= parts:
            best, most = -1, -np.inf
            for c in range(parts):
                left = (each - 1) * width[c] + 1 - size[c]
                if left > 0:
                    room = (width[c] * load.sum() / gpus - p.total[c]) / left
                    if room > most:
                        best, most = c, room
        _enter(p, order[i], best)
        p.total[best] += load[order[i]]
    return p


@kernel
def _enter(p: Parts, e: int, c: int) -> None:
    """Expert ``e`` into part ``c`` (``total`` is the caller's)."""
    p.part[e], p.place[e] = c, p.size[c]
    p.members[c, p.size[c]] = e
    p.size[c] += 1


@kernel
def _exchange(p: Parts, tries: int, draw: np.ndarray) -> None:
    """Swap experts, or give a GPU's experts to another part, where the load above the level hardly grows; each
    time none is above it, the level falls to just below the fullest part."""
    parts, experts = len(p.total), len(p.load)
    least = p.load.sum() / p.width.sum() * (1 + 1e-4)
    kept_part, kept_width = p.part.copy(), p.width.copy()
    best = (p.total / p.width).max()
    level = max(best * (1 - 1e-3), least)
    over = np.maximum(p.total - level * p.width, 0).sum()
    for turn in range(tries):
        # annealing: a little worse is taken too, ever more seldom
        heat = 1.28 / experts * level * (1 - turn / tries) ** 6 + 1e-12
        e = below(experts, draw)
        if below(4, draw) == 0 and p.width[p.part[e]] > 1 and p.each > 1:
            over += _give_gpu(p, p.part[e], below(parts, draw), level, heat, draw)
        else:
            over += _swap(p, e, below(experts, draw), level, heat, draw)
        if over <= 1e-12 * level:
            best = (p.total / p.width).max()
            copy(p.part, kept_part)
            copy(p.width, kept_width)
            if best <= least:
                break
            level = max(best * (1 - 1e-3), least)
            over = np.maximum(p.total - level * p.width, 0).sum()
    copy(kept_part, p.part)
    copy(kept_width, p.width)


@kernel
def _refused(gain: float, heat: float, draw: np.ndarray) -> bool:
    return gain > 0 and chance(draw) >= np.exp(-gain / heat)


@kernel
def _give_gpu(p: Parts, a: int, b: int, level: float, heat: float, draw: np.ndarray) -> float:
    """A GPU and as many experts as it adds room for, drawn by chance, from part ``a`` to ``b``, unless annealing
    refuses; by how much what is above the level grows."""
    if a == b:
        return 0.0
    shift = 0.0
    for i in range(p.each - 1):  # members to give, drawn to the end of the list
        last = p.size[a] - 1 - i
        j = below(last + 1, draw)
        x, y = p.members[a, j], p.members[a, last]
        p.members[a, j], p.members[a, last] = y, x
        p.place[x], p.place[y] = last, j
        shift += p.load[x]
    gain = max(p.total[a] - shift - level * (p.width[a] - 1), 0.0) - max(p.total[a] - level * p.width[a], 0.0)
    gain += max(p.total[b] + shift - level * (p.width[b] + 1), 0.0) - max(p.total[b] - level * p.width[b], 0.0)
    if _refused(gain, heat, draw):
        return 0.0
    for _ in range(p.each - 1):
        p.size[a] -= 1
        _enter(p, p.members[a, p.size[a]], b)
    p.width[a] -= 1
    p.width[b] += 1
    p.total[a] -= shift
    p.total[b] += shift
    return float(gain)


@kernel
def _swap(p: Parts, e: int, f: int, level: float, heat: float, draw: np.ndarray) -> float:
    """Experts ``e`` and ``f`` exchanged between their parts, unless annealing refuses; by how much what is above the
    level grows."""
    a, b = p.part[e], p.part[f]
    if a == b:
        return 0.0
    shift = p.load[e] - p.load[f]
    gain = max(p.total[a] - shift - level * p.width[a], 0.0) - max(p.total[a] - level * p.width[a], 0.0)
    gain += max(p.total[b] + shift - level * p.width[b], 0.0) - max(p.total[b] - level * p.width[b], 0.0)
    if _refused(gain, heat, draw):
        return 0.0
    p.members[a, p.place[e]], p.members[b, p.place[f]] = f, e
    p.place[e], p.place[f] = p.place[f], p.place[e]
    p.part[e], p.part[f] = b, a
    p.total[a] -= shift
    p.total[b] += shift
    return float(gain)


class Filling(NamedTuple):
    """GPUs being filled: ``held`` [gpus, slots a GPU] experts, ``used`` and ``filled`` [gpus]."""

    held: np.ndarray
    used: np.ndarray
    filled: np.ndarray


@kernel
def fill_parts(load: np.ndarray, part: np.ndarray, width: np.ndarray, each: int) -> np.ndarray:
    """Experts by slot, shape [gpus, slots a GPU]: each part's heavy experts in a chain, the light ones beside
    them."""
    gpus = int(width.sum())
    filling = Filling(np.empty((gpus, each), dtype=np.int64), np.zeros(gpus, dtype=np.int64), np.zeros(gpus))
    order = heaviest_first(load)
    first = 0
    for c in range(len(width)):
        mine = order[part[order] == c]
        level = load[mine].sum() / width[c] * (1 + 1e-9)
        heavy = 1
        while heavy < len(mine) and load[mine[heavy]] > level and heavy < width[c]:
            heavy += 1
        last = first + width[c]
        if heavy > 1 and each == 2:
            _chain(load, mine[:heavy], mine[heavy:], level, filling.held[first:last])
        else:
            _spread(load, mine, first, last, filling)
        first = last
    return filling.held


@kernel
def _chain(load: np.ndarray, heavy: np.ndarray, light: np.ndarray, level: float, held: np.ndarray) -> None:
    """GPUs ``held`` [gpus, 2] of one part: the ``heavy`` experts in turn, each beside ``light`` ones until its rest
    fits under the level, then beside the next heavy one."""
    at, current, left = 0, 0, load[heavy[0]]
    for g in range(len(held)):
        held[g, 0] = heavy[current]
        if (left <= level and current + 1 < len(heavy)) or at >= len(light):
            current = min(current + 1, len(heavy) - 1)
            held[g, 1] = heavy[current]
            left = load[heavy[current]] - (level - left)
        else:
            held[g, 1] = light[at]
            left -= level - load[light[at]]
            at += 1


@kernel
def _spread(load: np.ndarray, mine: np.ndarray, first: int, last: int, filling: Filling) -> None:
    """The heaviest expert on each of the GPUs ``first`` to ``last``, the others over them, largest first."""
    held, used, filled = filling
    for g in range(first, last):
        held[g, 0] = mine[0]
        used[g] = 1
    for e in mine[1:]:
        best = -1
        for g in range(first, last):
            if used[g] < held.shape[1] and (best < 0 or filled[g] < filled[best]):
                best = g
        held[best, used[best]] = e
        used[best] += 1
        filled[best] += load[e]
