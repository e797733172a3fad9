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

import numpy as np

from moewright.placement.compiled import compiled


@compiled
def part_experts(load: np.ndarray, slots: int, gpus: int, tries: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of each expert, shape [experts], and the GPUs of each part, shape [parts]: the largest
    load ÷ GPUs of a part as small as ``tries`` random exchanges make it."""
    experts, each = len(load), slots // gpus
    parts = gpus - (slots - experts)
    order = np.argsort(-load, kind="mergesort")
    width = np.ones(parts, dtype=np.int64)
    for _ in range(gpus - parts):
        width[np.argmax(load[order[:parts]] / width)] += 1
    part = np.empty(experts, dtype=np.int64)
    total = np.zeros(parts)
    members = np.empty((parts, experts), dtype=np.int64)
    place = np.empty(experts, dtype=np.int64)
    size = np.zeros(parts, dtype=np.int64)
    for i in range(experts):  # a heavy expert each, then the light ones, heaviest first, to the most room a slot
        e, best = order[i], i
        if i >= parts:
            best, most = -1, -np.inf
            for c in range(parts):
                left = (each - 1) * width[c] + 1 - size[c]
                if left > 0:
                    room = (width[c] * load.sum() / gpus - total[c]) / left
                    if room > most:
                        best, most = c, room
        part[e], place[e] = best, size[best]
        members[best, size[best]] = e
        size[best] += 1
        total[best] += load[e]
    _exchange(load, part, total, members, place, size, width, each, tries, seed)
    return part, width


@compiled
def _exchange(
    load: np.ndarray,
    part: np.ndarray,
    total: np.ndarray,
    members: np.ndarray,
    place: np.ndarray,
    size: np.ndarray,
    width: np.ndarray,
    each: int,
    tries: int,
    seed: int,
) -> None:
    """Swap experts, or give a GPU's experts to another part, where the load above the level hardly grows; each
    time none is above it, the level falls to just below the fullest part."""
    np.random.seed(seed)
    parts, experts = len(total), len(load)
    least = load.sum() / width.sum() * (1 + 1e-4)
    kept_part, kept_width = part.copy(), width.copy()
    best = (total / width).max()
    level = max(best * (1 - 1e-3), least)
    over = np.maximum(total - level * width, 0).sum()
    for turn in range(tries):
        heat = (
            1.28 / experts * level * (1 - turn / tries) ** 6 + 1e-12
        )  # annealing: a little worse is taken too, ever more seldom
        e = np.random.randint(experts)
        a = part[e]
        if np.random.randint(4) == 0 and width[a] > 1 and each > 1:
            b = np.random.randint(parts)
            if a == b:
                continue
            shift = 0.0
            for i in range(each - 1):  # members to give, drawn to the end of the list
                j = np.random.randint(size[a] - i)
                last = size[a] - 1 - i
                x, y = members[a, j], members[a, last]
                members[a, j], members[a, last] = y, x
                place[x], place[y] = last, j
                shift += load[x]
            before = max(total[a] - level * width[a], 0.0) + max(total[b] - level * width[b], 0.0)
            after = max(total[a] - shift - level * (width[a] - 1), 0.0)
            after += max(total[b] + shift - level * (width[b] + 1), 0.0)
            if after > before and np.random.random() >= np.exp((before - after) / heat):
                continue
            for _i in range(each - 1):
                size[a] -= 1
                x = members[a, size[a]]
                part[x], place[x] = b, size[b]
                members[b, size[b]] = x
                size[b] += 1
            width[a] -= 1
            width[b] += 1
        else:
            f = np.random.randint(experts)
            b = part[f]
            if a == b:
                continue
            shift = load[e] - load[f]
            before = max(total[a] - level * width[a], 0.0) + max(total[b] - level * width[b], 0.0)
            after = max(total[a] - shift - level * width[a], 0.0) + max(total[b] + shift - level * width[b], 0.0)
            if after > before and np.random.random() >= np.exp((before - after) / heat):
                continue
            members[a, place[e]], members[b, place[f]] = f, e
            place[e], place[f] = place[f], place[e]
            part[e], part[f] = b, a
        total[a] -= shift
        total[b] += shift
        over += after - before
        if over <= 1e-12 * level:
            best = (total / width).max()
            kept_part[:], kept_width[:] = part, width
            if best <= least:
                break
            level = max(best * (1 - 1e-3), least)
            over = np.maximum(total - level * width, 0).sum()
    part[:], width[:] = kept_part, kept_width


@compiled
def fill_parts(load: np.ndarray, part: np.ndarray, width: np.ndarray, each: int) -> np.ndarray:
    """Experts by slot, shape [gpus, slots a GPU]: each part's heavy experts in a chain, the light ones beside
    them."""
    gpus = int(width.sum())
    held = np.empty((gpus, each), dtype=np.int64)
    used = np.zeros(gpus, dtype=np.int64)
    filled = np.zeros(gpus)
    order = np.argsort(-load, kind="mergesort")
    first = 0
    for c in range(len(width)):
        mine = order[part[order] == c]
        level = load[mine].sum() / width[c] * (1 + 1e-9)
        heavy = 1
        while heavy < len(mine) and load[mine[heavy]] > level and heavy < width[c]:
            heavy += 1
        # the light ones over the GPUs, largest first, leaving a slot for the chain (two where it goes on)
        last = first + width[c]
        _chain(load, mine, heavy, level, first, last, held, used, filled)
        first = last
    return held


@compiled
def _chain(
    load: np.ndarray,
    mine: np.ndarray,
    heavy: int,
    level: float,
    first: int,
    last: int,
    held: np.ndarray,
    used: np.ndarray,
    filled: np.ndarray,
) -> None:
    each, light = held.shape[1], mine[heavy:]
    if heavy > 1 and each == 2:
        at, current, left = 0, 0, load[mine[0]]
        for g in range(first, last):
            held[g, 0] = mine[current]
            if (left <= level and current + 1 < heavy) or at >= len(light):  # its rest, and the next heavy one's start
                current = min(current + 1, heavy - 1)
                held[g, 1] = mine[current]
                left = load[mine[current]] - (level - left)
            else:
                held[g, 1] = light[at]
                left -= level - load[light[at]]
                at += 1
        return
    for g in range(first, last):
        held[g, 0] = mine[0]
        used[g] = 1
    for e in mine[1:]:
        best = -1
        for g in range(first, last):
            if used[g] < each and (best < 0 or filled[g] < filled[best]):
                best = g
        held[best, used[best]] = e
        used[best] += 1
        filled[best] += load[e]
