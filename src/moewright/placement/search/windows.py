"""One placement for several load windows: replicas and positions that keep the fullest GPU low in all of them."""

from __future__ import annotations

import numpy as np

from moewright.placement.compiled import compiled


@compiled
def steady(
    loads: np.ndarray,
    held: np.ndarray,
    origin: np.ndarray,
    budget: int,
    tries: int,
    power: float,
    seed: int,
    heat: float = 0.0,
) -> np.ndarray:
    """``held`` [gpus, slots a GPU] improved for ``loads`` [windows, experts], each of mean GPU load 1, equal shares:
    random swaps of two slots, and slots given from an expert of several replicas to another, where Σ over windows and
    GPUs of load^``power`` falls. A high power looks at the fullest GPU of the worst windows, and unlike the maximum it
    sees every step towards it. At most ``budget`` slots then differ from ``origin``. ``heat``: of
    annealing, the part of the sum by which a step may raise it at first; then steps start from fuller GPUs, and some go
    back to ``origin``, which makes room for others."""
    np.random.seed(seed)
    windows, experts = loads.shape
    gpus, each = held.shape
    held = held.copy()
    counts = np.zeros(experts, dtype=np.int64)
    for e in held.ravel():
        counts[e] += 1
    far = int((held != origin).sum())
    filled = np.zeros((gpus, windows))
    for g in range(gpus):
        for e in held[g]:
            filled[g] += loads[:, e] / counts[e]
    now = 0.0
    for g in range(gpus):
        for w in range(windows):
            now += filled[g, w] ** power
    least, best = now, held.copy()
    for step in range(tries):
        cool = heat * max(0.0, 1 - step / (0.9 * tries)) ** 2
        room = 0.0 if cool <= 0 else -cool * now * np.log(1 - np.random.random())
        if now < least * (1 - 1e-9):
            least = now
            best[:] = held
        g, i = np.random.randint(gpus), np.random.randint(each)
        back = heat > 0 and far > 0 and np.random.randint(4) == 0
        if back:  # towards the origin: room for other moves
            for _ in range(8):
                if held[g, i] != origin[g, i]:
                    break
                g, i = np.random.randint(gpus), np.random.randint(each)
        elif heat > 0:
            for _ in range(2):
                other = np.random.randint(gpus)
                if filled[other].max() > filled[g].max():
                    g = other
        a = held[g, i]
        if counts[a] > 1 and np.random.randint(2) == 0:
            b = origin[g, i] if back else np.random.randint(experts)
            more = int(b != origin[g, i]) - int(a != origin[g, i])
            if far + more <= budget:
                gain = _give(loads, held, counts, filled, g, i, b, power, room)
                if held[g, i] == b and a != b:
                    far += more
                    now += gain
            continue
        h, j = np.random.randint(gpus), np.random.randint(each)
        if back:
            first = h
            while held[h, j] != origin[g, i] or origin[h, j] == origin[g, i]:
                j += 1
                if j == each:
                    h, j = (h + 1) % gpus, 0
                    if h == first:
                        break
        b = held[h, j]
        if g == h or a == b or _holds(held[g], b) or _holds(held[h], a):
            continue
        more = int(b != origin[g, i]) - int(a != origin[g, i]) + int(a != origin[h, j]) - int(b != origin[h, j])
        if far + more > budget:
            continue
        gain = 0.0
        for w in range(windows):
            shift = loads[w, a] / counts[a] - loads[w, b] / counts[b]
            gain += (filled[g, w] - shift) ** power - filled[g, w] ** power
            gain += (filled[h, w] + shift) ** power - filled[h, w] ** power
        if gain < room:
            for w in range(windows):
                shift = loads[w, a] / counts[a] - loads[w, b] / counts[b]
                filled[g, w] -= shift
                filled[h, w] += shift
            held[g, i], held[h, j] = b, a
            far += more
            now += gain
    return held if now < least else best


@compiled
def _holds(row: np.ndarray, e: int) -> bool:
    for x in row:  # noqa: SIM110  the compiler knows no any()
        if x == e:
            return True
    return False


@compiled
def _give(
    loads: np.ndarray,
    held: np.ndarray,
    counts: np.ndarray,
    filled: np.ndarray,
    g: int,
    i: int,
    b: int,
    power: float,
    room: float,
) -> float:
    """Slot (g, i) becomes a replica of ``b``, where that raises the sum by less than ``room``; by how much."""
    a = held[g, i]
    if a == b or _holds(held[g], b):
        return 0.0
    windows, gain = loads.shape[0], 0.0
    up, down = 1 / (counts[a] - 1) - 1 / counts[a], 1 / counts[b] - 1 / (counts[b] + 1)
    for turn in range(2):  # first what it would bring, then, where it is a gain, for good
        for h in range(len(held)):
            more_a, less_b = 0, 0
            for x in held[h]:
                more_a += x == a
                less_b += x == b
            if h != g and more_a == 0 and less_b == 0:
                continue
            for w in range(windows):
                shift = more_a * up * loads[w, a] - less_b * down * loads[w, b]
                if h == g:
                    shift += loads[w, b] / (counts[b] + 1) - loads[w, a] / (counts[a] - 1)
                if turn == 0:
                    gain += max(filled[h, w] + shift, 0.0) ** power - filled[h, w] ** power
                else:
                    filled[h, w] = max(filled[h, w] + shift, 0.0)
        if gain >= room:
            return 0.0
    held[g, i] = b
    counts[a] -= 1
    counts[b] += 1
    return gain
