"""Few replicas moved, so that the fullest GPU of a layer holds as little as can be.

At a level, what GPUs hold above it is brought to nothing by random steps under annealing, and the level falls to just
below the fullest GPU: unlike the largest load, the sum above a level sees every step. Steps are swaps of two slots,
slots given from an expert of several replicas to another, and steps back to the earlier placement, which free moves.
Steps follow one another, so that a chain of swaps over k GPUs is found, and counted, as k moves.
"""

from __future__ import annotations

import numpy as np

from moewright.placement.compiled import compiled


@compiled
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
                if held[g, i] == d and not _in(held[g], b) and (h < 0 or filled[g] < filled[h]):
                    h, j = g, i
        if h < 0:
            return turn
        held[h, j] = b
        counts[d] -= 1
        counts[b] += 1
    return most


@compiled
def keep(
    load: np.ndarray,
    start: np.ndarray,
    origin: np.ndarray,
    most: int,
    tries: int,
    seed: int,
    warmth: float,
    fall: float,
    enough: float,
) -> np.ndarray:
    """``start`` [gpus, slots a GPU] improved by ``tries`` steps until the fullest GPU holds at most ``enough``, equal
    shares; at most ``most`` replicas are then on a GPU that has none of them in ``origin``. ``warmth``: what is above
    the level may grow by about that part of it at first; ``fall``: part that the level falls by each time."""
    draw = np.array([seed * 2 + 1], dtype=np.uint64)
    for _ in range(16):
        _chance(draw)
    gpus, each = start.shape
    held = start.copy()
    counts = np.zeros(len(load), dtype=np.int64)
    head = np.full(len(load), -1, dtype=np.int64)  # slots of an expert: a list linked both ways
    after, ahead = np.full(gpus * each, -1, dtype=np.int64), np.full(gpus * each, -1, dtype=np.int64)
    for g in range(gpus):
        for i in range(each):
            counts[held[g, i]] += 1
            _link(g * each + i, held[g, i], head, after, ahead)
    filled = np.zeros(gpus)
    far = 0
    for g in range(gpus):
        for e in held[g]:
            filled[g] += load[e] / counts[e]
            far += not _in(origin[g], e)
    hot, place = np.empty(gpus, dtype=np.int64), np.empty(gpus, dtype=np.int64)
    best, least = held.copy(), filled.max()
    level, over, hots = least, 0.0, 0
    for step in range(tries):
        if over <= 1e-12 * level:
            least = filled.max()
            best[:] = held
            if least <= enough:
                break
            level = max(least * (1 - fall), enough)
            filled[:] = 0
            for g in range(gpus):
                for e in held[g]:
                    filled[g] += load[e] / counts[e]
            over, hots = 0.0, 0
            for g in range(gpus):
                place[g] = -1
                over += max(filled[g] - level, 0.0)
                if filled[g] > level:
                    hot[hots], place[g] = g, hots
                    hots += 1
        heat = warmth * level * (1 - step / tries) ** 4 + 1e-12
        g, i = _below(gpus, draw), _below(each, draw)
        back = far > 0 and _below(4, draw) == 0
        if back:
            for _ in range(8):
                if not _in(origin[g], held[g, i]):
                    break
                g, i = _below(gpus, draw), _below(each, draw)
        elif hots > 0 and _below(4, draw) > 0:
            g = hot[_below(hots, draw)]
        a = held[g, i]
        kind = _below(3, draw)
        if kind == 0 or each == 1:  # a slot given: one elsewhere to a of a full GPU, or this one to another expert
            h, j, b = g, i, a
            if back:
                b = origin[g, _below(each, draw)]
            elif _below(2, draw) == 0:
                h, j = _below(gpus, draw), _below(each, draw)
                for _ in range(8):
                    if counts[held[h, j]] > 1:
                        break
                    h, j = _below(gpus, draw), _below(each, draw)
            else:
                b = _below(len(load), draw)
            d = held[h, j]
            if counts[d] < 2 or b == d or _in(held[h], b):
                continue
            more = int(_in(origin[h], d)) - int(_in(origin[h], b))
            if far + more > most:
                continue
            gain = _give(load, held, counts, filled, level, h, j, b, head, after)
            if gain > 0 and _chance(draw) >= np.exp(-gain / heat):
                _give(load, held, counts, filled, level, h, j, b, head, after, True)
                continue
            s = h * each + j
            held[h, j] = b
            counts[d] -= 1
            counts[b] += 1
            _unlink(s, d, head, after, ahead)
            _link(s, b, head, after, ahead)
            far += more
            over += gain
            for e in (b, d):
                s = head[e]
                while s >= 0:
                    hots = _mark(s // each, filled, level, hot, place, hots)
                    s = after[s]
            hots = _mark(h, filled, level, hot, place, hots)
            continue
        h, j = _below(gpus, draw), _below(each, draw)
        if back:
            b = origin[g, _below(each, draw)]
            s = head[b]
            while s >= 0 and (_in(origin[s // each], b) or s // each == g):
                s = after[s]
            if s < 0:
                s = head[b]
            h, j = s // each, s % each
        else:
            k = _below(gpus, draw)
            if filled[k] < filled[h]:
                h = k
        b = held[h, j]
        if g == h or a == b or _in(held[g], b) or _in(held[h], a):
            continue
        more = int(_in(origin[g], a)) - int(_in(origin[g], b)) + int(_in(origin[h], b)) - int(_in(origin[h], a))
        if far + more > most:
            continue
        shift = load[a] / counts[a] - load[b] / counts[b]
        gain = max(filled[g] - shift - level, 0.0) - max(filled[g] - level, 0.0)
        gain += max(filled[h] + shift - level, 0.0) - max(filled[h] - level, 0.0)
        if gain > 0 and _chance(draw) >= np.exp(-gain / heat):
            continue
        held[g, i], held[h, j] = b, a
        s, k = g * each + i, h * each + j
        _unlink(s, a, head, after, ahead)
        _unlink(k, b, head, after, ahead)
        _link(s, b, head, after, ahead)
        _link(k, a, head, after, ahead)
        filled[g] -= shift
        filled[h] += shift
        far += more
        over += gain
        hots = _mark(g, filled, level, hot, place, hots)
        hots = _mark(h, filled, level, hot, place, hots)
    return best


@compiled
def _chance(draw: np.ndarray) -> float:
    """A number from 0 to 1 (Marsaglia's xorshift, J. Stat. Software 8(14), 2003: a tenth of NumPy's time here)."""
    x = draw[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    draw[0] = x
    return float(x >> np.uint64(11)) * 2.0**-53


@compiled
def _below(n: int, draw: np.ndarray) -> int:
    return int(_chance(draw) * n)


@compiled
def _in(row: np.ndarray, e: int) -> bool:
    for x in row:  # noqa: SIM110  the compiler knows no any()
        if x == e:
            return True
    return False


@compiled
def _link(s: int, e: int, head: np.ndarray, after: np.ndarray, ahead: np.ndarray) -> None:
    after[s], ahead[s] = head[e], -1
    if head[e] >= 0:
        ahead[head[e]] = s
    head[e] = s


@compiled
def _unlink(s: int, e: int, head: np.ndarray, after: np.ndarray, ahead: np.ndarray) -> None:
    if ahead[s] >= 0:
        after[ahead[s]] = after[s]
    else:
        head[e] = after[s]
    if after[s] >= 0:
        ahead[after[s]] = ahead[s]


@compiled
def _mark(g: int, filled: np.ndarray, level: float, hot: np.ndarray, place: np.ndarray, hots: int) -> int:
    """GPU ``g`` in or out of the first ``hots`` of ``hot``, those above the level; how many they are."""
    if filled[g] > level and place[g] < 0:
        hot[hots], place[g] = g, hots
        return hots + 1
    if filled[g] <= level and place[g] >= 0:
        last = hot[hots - 1]
        hot[place[g]], place[last] = last, place[g]
        place[g] = -1
        return hots - 1
    return hots


@compiled
def _give(
    load: np.ndarray,
    held: np.ndarray,
    counts: np.ndarray,
    filled: np.ndarray,
    level: float,
    h: int,
    j: int,
    b: int,
    head: np.ndarray,
    after: np.ndarray,
    undo: bool = False,
) -> float:
    """``filled`` as when slot (h, j) becomes a replica of ``b`` (``undo``: back again); by how much what is above the
    level grows."""
    each, d, gain = held.shape[1], held[h, j], 0.0
    sign = -1.0 if undo else 1.0
    up, down = load[d] / (counts[d] - 1) - load[d] / counts[d], load[b] / (counts[b] + 1) - load[b] / counts[b]
    for e, shift in ((d, up), (b, down)):
        s = head[e]
        while s >= 0:
            if s != h * each + j:
                gain += _shifted(filled, s // each, sign * shift, level)
            s = after[s]
    return gain + _shifted(filled, h, sign * (load[b] / (counts[b] + 1) - load[d] / counts[d]), level)


@compiled
def _shifted(filled: np.ndarray, g: int, shift: float, level: float) -> float:
    before = max(filled[g] - level, 0.0)
    filled[g] += shift
    return float(max(filled[g] - level, 0.0) - before)
