"""One layer's replica counts and positions: the smallest largest GPU load that a short search finds.

Replicas follow the greedy divisor rule, which minimises the largest load per replica (as in apportionment); they
are packed largest first into the emptiest GPU (LPT, Graham, SIAM J. Appl. Math. 17(2), 1969) and then improved by
swaps and by moving replicas between experts. Counts that are best per replica are not best when packed, so a
seeded walk over counts follows; with two slots a GPU, pairing the heaviest with the lightest is the best packing
of given counts, and only their sorted weights need be looked at.
"""

from __future__ import annotations

import heapq

import numpy as np

from moewright.placement.compiled import compiled

#: slots of a layer above which steepest descent, whose steps cost the square of the slots, leaves the search to
#: annealing (``anneal.keep``): swaps with the emptiest GPUs only, so many at most
LARGE = 2048
_NEAR, _FEW_STEPS = 32, 1000


@compiled
def replicate(load: np.ndarray, slots: int, most: int) -> np.ndarray:
    """Replicas of each expert, shape [experts], that sum to ``slots``, at most ``most`` of one where that is enough."""
    counts = np.ones(len(load), dtype=np.int64)
    heap = [(-load[e], e) for e in range(len(load))]
    heapq.heapify(heap)
    for _ in range(slots - len(load)):
        e = heap[0][1]
        counts[e] += 1
        weight = load[e] / counts[e]
        if counts[e] >= most:  # a second replica on a GPU helps nobody: last choice
            weight = -1.0 * counts[e]
        heapq.heapreplace(heap, (-weight, e))
    return counts


@compiled
def pack(load: np.ndarray, counts: np.ndarray, gpus: int, apart: bool = True) -> np.ndarray:
    """Experts by slot, shape [gpus, slots a GPU], heaviest replica first to the emptiest GPU (``apart``: without one
    of it, where there is such a one)."""
    each = int(counts.sum()) // gpus
    held = np.full((gpus, each), -1, dtype=np.int64)
    used = np.zeros(gpus, dtype=np.int64)
    weights = load / counts
    heap = [(0.0, g) for g in range(gpus)]  # those with room, the emptiest first
    aside = [(0.0, 0) for _ in range(0)]  # those that have the expert, apart from others until it is all placed
    for e in np.argsort(-weights, kind="mergesort"):
        for _ in range(counts[e]):
            filled, g = heapq.heappop(heap) if len(heap) > 0 else heapq.heappop(aside)
            held[g, used[g]] = e
            used[g] += 1
            if used[g] < each:
                heapq.heappush(aside if apart else heap, (filled + weights[e], g))
        for other in aside:
            heapq.heappush(heap, other)
        aside.clear()
    return held


@compiled
def _has(row: np.ndarray, e: int) -> bool:
    for x in row:  # noqa: SIM110  the compiler knows no any()
        if x == e:
            return True
    return False


@compiled
def gpu_loads(load: np.ndarray, held: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Load of each GPU, shape [gpus], a replica carrying an equal share."""
    filled = np.zeros(len(held))
    for g in range(len(held)):
        for e in held[g]:
            filled[g] += load[e] / counts[e]
    return filled


@compiled
def _replaced(
    load: np.ndarray, held: np.ndarray, counts: np.ndarray, filled: np.ndarray, h: int, s: int, b: int, limit: float
) -> float:
    """The largest load among GPUs touched, when slot (h, s) gives its replica up for one of expert ``b``."""
    d = held[h, s]
    up = load[d] / (counts[d] - 1) - load[d] / counts[d]
    down = load[b] / counts[b] - load[b] / (counts[b] + 1)
    worst = 0.0
    for g in range(len(held)):
        now = filled[g]
        touched = g == h
        for i in range(held.shape[1]):
            if held[g, i] == b:
                now -= down
                touched = True
            elif held[g, i] == d and not (g == h and i == s):
                now += up
                touched = True
        if g == h:
            now += load[b] / (counts[b] + 1) - load[d] / counts[d]
        if touched and now > worst:
            worst = now
            if worst >= limit:
                break
    return float(worst)


@compiled
def improve(load: np.ndarray, held: np.ndarray, counts: np.ndarray, steps: int, moves: int, enough: float) -> int:
    """Improve ``held`` and ``counts`` in place until the fullest GPU holds at most ``enough``, nothing helps, or
    ``moves`` replicas have moved; the number moved. A step takes load off the fullest GPU: a swap with another
    GPU (two moves), or a slot elsewhere, or its own, that becomes a replica of another expert (one move; not in a
    layer of more than ``LARGE`` slots)."""
    gpus, each = held.shape
    moved = 0
    large = held.size > LARGE
    filled = gpu_loads(load, held, counts)
    for _ in range(min(steps, _FEW_STEPS) if large else steps):
        top = int(np.argmax(filled))
        limit = filled[top]
        if limit <= enough:
            break
        best, kind, at, other, slot = limit * (1 - 1e-9), 0, 0, 0, 0
        # on many GPUs a look at all would cost the square of the slots: those with room are enough
        near = np.argsort(filled)[:_NEAR] if gpus > 128 else np.arange(gpus)
        if moved + 2 <= moves:
            for i in range(each):
                a = held[top, i]
                mine = load[a] / counts[a]
                for g in near if large else np.arange(gpus):
                    if g == top or filled[g] >= best or _has(held[g], a):
                        continue
                    for j in range(each):
                        b = held[g, j]
                        shift = mine - load[b] / counts[b]
                        if shift <= 0:
                            continue
                        worst = max(limit - shift, filled[g] + shift)
                        if worst < best and not _has(held[top], b):
                            best, kind, at, other, slot = worst, 1, i, g, j
        if moved + 1 <= moves and len(load) < gpus * each and not large:
            for i in range(each):
                a = held[top, i]
                for g in near:
                    if g == top or _has(held[g], a):
                        continue
                    for j in range(each):
                        d = held[g, j]
                        if counts[d] > 1:
                            if limit - load[a] / counts[a] + load[a] / (counts[a] + 1) >= best:
                                continue
                            worst = _replaced(load, held, counts, filled, g, j, a, best)
                            if worst < best:
                                best, kind, at, other, slot = worst, 2, a, g, j
        if kind == 0:
            break
        if kind == 1:
            a, b = held[top, at], held[other, slot]
            held[top, at], held[other, slot] = b, a
            moved += 2
            if large:
                filled[top] -= load[a] / counts[a] - load[b] / counts[b]
                filled[other] += load[a] / counts[a] - load[b] / counts[b]
                continue
        else:
            counts[held[other, slot]] -= 1
            counts[at] += 1
            held[other, slot] = at
            moved += 1
        filled = gpu_loads(load, held, counts)
    return moved


@compiled
def part_doubles(load: np.ndarray, held: np.ndarray, counts: np.ndarray, limit: float) -> None:
    """Change ``held`` and ``counts`` in place so that fewer GPUs hold an expert twice, where no GPU then holds more
    than ``limit``: by a swap with another GPU, or by giving the slot to another expert (not in a layer of more
    than ``LARGE`` slots)."""
    gpus, each = held.shape
    filled = gpu_loads(load, held, counts)
    for g in range(gpus):
        for i in range(1, each):
            e = held[g, i]
            if not _has(held[g, :i], e):
                continue
            best, h, j = np.inf, -1, -1
            for k in range(gpus):
                if k == g or _has(held[k], e):
                    continue
                for s in range(each):
                    f = held[k, s]
                    shift = load[e] / counts[e] - load[f] / counts[f]
                    worst = max(filled[g] - shift, filled[k] + shift)
                    if worst <= limit and worst < best and not _has(held[g], f):
                        best, h, j = worst, k, s
            if h >= 0:
                held[g, i], held[h, j] = held[h, j], held[g, i]
            else:
                for f in range(len(load) if held.size <= LARGE else 0):
                    if not _has(held[g], f):
                        worst = _replaced(load, held, counts, filled, g, i, f, np.inf)
                        if worst <= limit and worst < best:
                            best, j = worst, f
                if j >= 0:
                    held[g, i] = j
                    counts[e] -= 1
                    counts[j] += 1
            filled = gpu_loads(load, held, counts)


@compiled
def _paired(weights: np.ndarray) -> float:
    """The largest pair when the heaviest of ``weights``, sorted, goes with the lightest."""
    worst, n = 0.0, len(weights)
    for i in range(n // 2):
        worst = max(worst, weights[i] + weights[n - 1 - i])
    return worst


@compiled
def _merged(old: np.ndarray, new: np.ndarray, out: np.ndarray) -> None:
    """``old``, sorted downwards, into ``out`` without ``new[0]`` copies of ``new[1]`` (rows 0, 1) and with those of
    rows 2, 3."""
    gone0, gone1 = new[0, 0], new[1, 0]
    a, b = (2, 3) if new[2, 1] >= new[3, 1] else (3, 2)
    left_a, left_b = new[a, 0], new[b, 0]
    k = 0
    for w in old:
        while left_a > 0 and new[a, 1] >= w:
            out[k] = new[a, 1]
            k += 1
            left_a -= 1
        while left_b > 0 and left_a == 0 and new[b, 1] >= w:
            out[k] = new[b, 1]
            k += 1
            left_b -= 1
        if gone0 > 0 and w == new[0, 1]:
            gone0 -= 1
        elif gone1 > 0 and w == new[1, 1]:
            gone1 -= 1
        else:
            out[k] = w
            k += 1
    while left_a > 0:
        out[k] = new[a, 1]
        k += 1
        left_a -= 1
    while left_b > 0:
        out[k] = new[b, 1]
        k += 1
        left_b -= 1


@compiled
def walk_pairs(load: np.ndarray, counts: np.ndarray, most: int, tries: int, seed: int, enough: float) -> np.ndarray:
    """Counts for two slots a GPU: a replica moves from one expert to another where the largest pair of the sorted
    weights grows no larger (a walk over plateaus, which steepest descent cannot leave)."""
    np.random.seed(seed)
    counts = counts.copy()
    weights = np.sort(np.repeat(load / counts, counts))[::-1].copy()
    out = np.empty_like(weights)
    change = np.empty((4, 2))
    best = _paired(weights)
    for _ in range(tries):
        if best <= enough:
            break
        a = np.random.randint(len(load))
        if counts[a] < 2:
            a = np.random.randint(len(load) // 4 + 1)
        b = np.random.randint(len(load))
        if counts[a] < 2 or a == b or counts[b] >= most:
            continue
        change[0, 0], change[0, 1] = counts[a], load[a] / counts[a]
        change[1, 0], change[1, 1] = counts[b], load[b] / counts[b]
        change[2, 0], change[2, 1] = counts[a] - 1, load[a] / (counts[a] - 1)
        change[3, 0], change[3, 1] = counts[b] + 1, load[b] / (counts[b] + 1)
        _merged(weights, change, out)
        worst = _paired(out)
        if worst <= best:
            best = worst
            weights, out = out, weights
            counts[a] -= 1
            counts[b] += 1
    return counts


@compiled
def pair(load: np.ndarray, counts: np.ndarray, gpus: int) -> np.ndarray:
    """Experts by slot, shape [gpus, 2]: the heaviest replica with the lightest."""
    weights = load / counts
    order = np.argsort(-weights, kind="mergesort")
    items = np.repeat(order, counts[order])
    held = np.empty((gpus, 2), dtype=np.int64)
    for g in range(gpus):
        held[g, 0], held[g, 1] = items[g], items[2 * gpus - 1 - g]
    for g in range(gpus):  # two replicas of one expert together: swap with a neighbour of the same weights
        if held[g, 0] == held[g, 1]:
            for h in range(gpus):
                if not _has(held[h], held[g, 1]):
                    held[g, 1], held[h, 1] = held[h, 1], held[g, 1]
                    break
    return held


@compiled
def place_layer(load: np.ndarray, slots: int, gpus: int, tries: int, seed: int) -> np.ndarray:
    """Experts by slot, shape [gpus, slots a GPU], for ``load`` [experts] of any scale, not all 0; above ``LARGE`` slots
    packed only, unless two a GPU."""
    each = slots // gpus
    enough = load.sum() / gpus * (1 + 2e-4)
    counts = replicate(load, slots, gpus)
    order = np.argsort(-load, kind="mergesort")  # the walk draws from the heaviest more often
    best = pack(load, counts, gpus)
    if each == 1:
        return best
    # greedy replicas packed without a look at doubles, as EPLB does: what is found must not be worse than this
    free = replicate(load, slots, slots)
    plain = pack(load, free, gpus, False)
    floor = gpu_loads(load, plain, free).max()
    found = counts.copy()
    if each == 2:
        if slots > len(load):
            walked = walk_pairs(load[order], counts[order], gpus, tries, seed, enough)
            found = np.empty_like(counts)
            found[order] = walked
        other = pair(load, found, gpus)
        if gpu_loads(load, other, found).max() <= gpu_loads(load, best, counts).max():
            best = other
        else:
            found = counts.copy()
        return plain if floor < gpu_loads(load, best, found).max() else best
    if slots > LARGE:
        return plain if floor < gpu_loads(load, best, found).max() else best
    improve(load, best, found, 400, slots * 10, enough)
    worst = gpu_loads(load, best, found).max()
    np.random.seed(seed)
    current = found.copy()
    for _ in range(tries // 64 if slots > len(load) else 0):
        if worst <= enough:
            break
        trial = current.copy()
        a, b = order[np.random.randint(len(load) // 2 + 1)], order[np.random.randint(len(load))]
        if trial[a] < 2 or a == b or trial[b] >= gpus:
            continue
        trial[a] -= 1
        trial[b] += 1
        held = pack(load, trial, gpus)
        improve(load, held, trial, 60, slots * 10, enough)
        now = gpu_loads(load, held, trial).max()
        if now <= worst:
            worst, best, current = now, held, trial
    return plain if floor < worst else best
