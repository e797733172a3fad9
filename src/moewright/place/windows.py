"""One placement for several load windows: replicas and positions that keep the fullest GPU low in all of them."""

from __future__ import annotations

import numpy as np

from moewright.place.compiled import compiled


@compiled
def steady(
    loads: np.ndarray, held: np.ndarray, origin: np.ndarray, budget: int, tries: int, power: float, seed: int
) -> np.ndarray:
    """``held`` [gpus, slots a GPU] improved for ``loads`` [windows, experts], each of mean GPU load 1, equal shares:
    random swaps of two slots, and slots given from an expert of several replicas to another, where Σ over windows and
    GPUs of load^``power`` falls. A high power looks at the fullest GPU of the worst windows, and unlike the maximum it
    sees every step towards it. At most ``budget`` slots then differ from ``origin``."""
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
    for _ in range(tries):
        g, i = np.random.randint(gpus), np.random.randint(each)
        a = held[g, i]
        if counts[a] > 1 and np.random.randint(2) == 0:
            b = np.random.randint(experts)
            more = int(b != origin[g, i]) - int(a != origin[g, i])
            if far + more <= budget and _give(loads, held, counts, filled, g, i, b, power):
                far += more
            continue
        h, j = np.random.randint(gpus), np.random.randint(each)
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
        if gain < 0:
            for w in range(windows):
                shift = loads[w, a] / counts[a] - loads[w, b] / counts[b]
                filled[g, w] -= shift
                filled[h, w] += shift
            held[g, i], held[h, j] = b, a
            far += more
    return held


@compiled
def _holds(row: np.ndarray, e: int) -> bool:
    for x in row:  # noqa: SIM110  the compiler knows no any()
        if x == e:
            return True
    return False


@compiled
def _give(
    loads: np.ndarray, held: np.ndarray, counts: np.ndarray, filled: np.ndarray, g: int, i: int, b: int, power: float
) -> bool:
    """Slot (g, i) becomes a replica of ``b``, where that helps; whether it did."""
    a = held[g, i]
    if a == b or _holds(held[g], b):
        return False
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
        if gain >= 0:
            return False
    held[g, i] = b
    counts[a] -= 1
    counts[b] += 1
    return True
