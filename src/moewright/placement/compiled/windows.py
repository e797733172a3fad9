"""One placement for several load windows: replicas and positions that keep the fullest GPU low in all of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moewright.placement.compiled.greedy import holds
from moewright.placement.compiled.kernel import kernel
from moewright.placement.compiled.state import below, new_draw


class Windows(NamedTuple):
    """``loads`` [windows, experts], each of mean GPU load 1; ``held`` [gpus, slots a GPU]; ``counts`` [experts];
    ``filled`` [gpus, windows]; ``power``: of loads, whose sum over windows and GPUs is to fall."""

    loads: np.ndarray
    held: np.ndarray
    counts: np.ndarray
    filled: np.ndarray
    power: float


@kernel
def steady(
    loads: np.ndarray, held: np.ndarray, origin: np.ndarray, budget: int, tries: int, power: float, seed: int
) -> np.ndarray:
    """``held`` [gpus, slots a GPU] improved for ``loads`` [windows, experts], each of mean GPU load 1, equal shares:
    random swaps of two slots, and slots given from an expert of several replicas to another, where Σ over windows and
    GPUs of load^``power`` falls. A high power looks at the fullest GPU of the worst windows, and unlike the maximum it
    sees every step towards it. At most ``budget`` slots then differ from ``origin``."""
    draw = new_draw(seed)
    windows, experts = loads.shape
    gpus, each = held.shape
    w = Windows(loads, held.copy(), np.zeros(experts, dtype=np.int64), np.zeros((gpus, windows)), power)
    for e in held.flat:
        w.counts[e] += 1
    for g in range(gpus):
        for e in held[g]:
            w.filled[g] += loads[:, e] / w.counts[e]
    far = int((w.held != origin).sum())
    for _ in range(tries):
        g, i = below(gpus, draw), below(each, draw)
        a = w.held[g, i]
        if w.counts[a] > 1 and below(2, draw) == 0:
            b = below(experts, draw)
            more = int(b != origin[g, i]) - int(a != origin[g, i])
            if far + more <= budget and _given(w, g, i, b):
                far += more
            continue
        h, j = below(gpus, draw), below(each, draw)
        b = w.held[h, j]
        more = int(b != origin[g, i]) - int(a != origin[g, i]) + int(a != origin[h, j]) - int(b != origin[h, j])
        if g != h and far + more <= budget and _swapped(w, g, i, h, j):
            far += more
    return w.held


@kernel
def _swapped(w: Windows, g: int, i: int, h: int, j: int) -> bool:
    """Slots (g, i) and (h, j) exchanged where that is a gain; whether it is."""
    a, b = w.held[g, i], w.held[h, j]
    if a == b or holds(w.held[g], b) or holds(w.held[h], a):
        return False
    gain = 0.0
    for k in range(len(w.loads)):
        shift = w.loads[k, a] / w.counts[a] - w.loads[k, b] / w.counts[b]
        gain += (w.filled[g, k] - shift) ** w.power - w.filled[g, k] ** w.power
        gain += (w.filled[h, k] + shift) ** w.power - w.filled[h, k] ** w.power
    if gain >= 0:
        return False
    for k in range(len(w.loads)):
        shift = w.loads[k, a] / w.counts[a] - w.loads[k, b] / w.counts[b]
        w.filled[g, k] -= shift
        w.filled[h, k] += shift
    w.held[g, i], w.held[h, j] = b, a
    return True


@kernel
def _given(w: Windows, g: int, i: int, b: int) -> bool:
    """Slot (g, i) made a replica of ``b`` where that is a gain; whether it is."""
    if w.held[g, i] == b or holds(w.held[g], b) or _gift(w, g, i, b, False) >= 0:
        return False
    _gift(w, g, i, b, True)
    w.counts[w.held[g, i]] -= 1
    w.counts[b] += 1
    w.held[g, i] = b
    return True


@kernel
def _gift(w: Windows, g: int, i: int, b: int, keep: bool) -> float:
    """By how much the sum grows when slot (g, i) becomes a replica of ``b``; ``keep``: ``filled`` as it then is."""
    a, gain = w.held[g, i], 0.0
    up = 1 / (w.counts[a] - 1) - 1 / w.counts[a]
    down = 1 / w.counts[b] - 1 / (w.counts[b] + 1)
    for h in range(len(w.held)):
        more_a, less_b = 0, 0
        for x in w.held[h]:
            more_a += x == a
            less_b += x == b
        if h != g and more_a == 0 and less_b == 0:
            continue
        for k in range(len(w.loads)):
            shift = more_a * up * w.loads[k, a] - less_b * down * w.loads[k, b]
            if h == g:
                shift += w.loads[k, b] / (w.counts[b] + 1) - w.loads[k, a] / (w.counts[a] - 1)
            now = max(w.filled[h, k] + shift, 0.0)
            gain += now**w.power - w.filled[h, k] ** w.power
            if keep:
                w.filled[h, k] = now
    return gain
