"""Slots exchanged under annealing so that experts chosen together sit together, where balance allows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moewright.placement.compiled.greedy import copy, holds
from moewright.placement.compiled.kernel import kernel
from moewright.placement.compiled.state import below, new_draw, taken

#: pairs split over nodes count so many times those split over GPUs of a node (the link between nodes is the slower)
NODE_WEIGHT = 8.0


class Near(NamedTuple):
    """``loads`` [windows, experts] and ``counts`` [experts, experts] of pairs; ``share`` [experts] of a replica;
    ``held`` [gpus, slots a GPU]; ``by_gpu`` [experts, gpus] and ``by_node`` [experts, nodes]: pairs of an expert with
    what is there, by share; ``filled`` [gpus, windows], at most ``limit`` [windows]."""

    loads: np.ndarray
    counts: np.ndarray
    share: np.ndarray
    held: np.ndarray
    by_gpu: np.ndarray
    by_node: np.ndarray
    filled: np.ndarray
    limit: np.ndarray


class Exchange(NamedTuple):
    """``nodes`` of equally many GPUs; ``slack``: part that the largest load may grow by; ``stay``: within nodes;
    ``tries`` steps, drawn from ``seed`` on."""

    nodes: int
    slack: float
    stay: bool
    tries: int
    seed: int


@kernel
def _new(loads: np.ndarray, held: np.ndarray, counts: np.ndarray, share: np.ndarray, how: Exchange) -> Near:
    gpus, (windows, experts) = len(held), loads.shape
    by_gpu, by_node, filled = np.zeros((experts, gpus)), np.zeros((experts, how.nodes)), np.zeros((gpus, windows))
    for g in range(gpus):
        for e in held[g]:
            by_gpu[:, g] += share[e] * counts[:, e]
            by_node[:, g * how.nodes // gpus] += share[e] * counts[:, e]
            filled[g] += loads[:, e] * share[e]
    limit = np.zeros(windows)
    for w in range(windows):
        limit[w] = filled[:, w].max() * (1 + how.slack) + 1e-12
    return Near(loads, counts, share, held.copy(), by_gpu, by_node, filled, limit)


@kernel
def exchange(loads: np.ndarray, held: np.ndarray, counts: np.ndarray, share: np.ndarray, how: Exchange) -> np.ndarray:
    """Random exchanges of two slots of ``held`` [gpus, slots a GPU]; the best that was met."""
    draw, (gpus, each) = new_draw(how.seed), held.shape
    near = _new(loads, held, counts, share, how)
    gained, most, best = 0.0, 0.0, held.copy()
    heat = 0.5 * counts.sum() / (gpus * each) / 4
    for step in range(how.tries):
        g, h = below(gpus, draw), below(gpus, draw)
        i, j = below(each, draw), below(each, draw)
        a, b = near.held[g, i], near.held[h, j]
        m, n = g * how.nodes // gpus, h * how.nodes // gpus
        if g == h or a == b or (how.stay and m != n) or holds(near.held[g], b) or holds(near.held[h], a):
            continue
        if not _fits(near, g, h, a, b):
            continue
        gain = _gain(near, g, h, a, b)
        cool = heat * max(0.0, 1 - step / (0.9 * how.tries)) ** 3
        if gain <= 0 and (cool <= 0 or not taken(-gain, cool, draw)):
            continue
        gained += gain
        _take(near, g, h, a, b)
        near.held[g, i], near.held[h, j] = b, a
        if gained > most * (1 + 1e-12):
            most = gained
            copy(near.held, best)
    return best


@kernel
def _gain(near: Near, g: int, h: int, a: int, b: int) -> float:
    """Pairs that no longer are split, those over nodes at their weight, when ``a`` of GPU ``g`` and ``b`` of ``h`` are
    exchanged."""
    gpus, nodes, share = len(near.held), near.by_node.shape[1], near.share
    m, n = g * nodes // gpus, h * nodes // gpus
    both = 2 * share[a] * share[b] * near.counts[a, b]
    gain = share[a] * (near.by_gpu[a, h] - near.by_gpu[a, g])
    gain += share[b] * (near.by_gpu[b, g] - near.by_gpu[b, h]) - both
    if m != n:
        far = share[a] * (near.by_node[a, n] - near.by_node[a, m])
        gain += NODE_WEIGHT * (far + share[b] * (near.by_node[b, m] - near.by_node[b, n]) - both)
    return float(gain)


@kernel
def _fits(near: Near, g: int, h: int, a: int, b: int) -> bool:
    """Whether GPUs ``g`` and ``h`` stay within the limits of all windows when ``a`` of ``g`` and ``b`` of ``h`` are
    exchanged."""
    for w in range(len(near.loads)):
        shift = near.loads[w, b] * near.share[b] - near.loads[w, a] * near.share[a]
        if near.filled[g, w] + shift > near.limit[w] or near.filled[h, w] - shift > near.limit[w]:
            return False
    return True


@kernel
def _take(near: Near, g: int, h: int, a: int, b: int) -> None:
    """Sums as they are after that exchange."""
    gpus, nodes = len(near.held), near.by_node.shape[1]
    m, n = g * nodes // gpus, h * nodes // gpus
    for e in range(len(near.counts)):
        shift = near.share[b] * near.counts[e, b] - near.share[a] * near.counts[e, a]
        near.by_gpu[e, g] += shift
        near.by_gpu[e, h] -= shift
        near.by_node[e, m] += shift
        near.by_node[e, n] -= shift
    for w in range(len(near.loads)):
        shift = near.loads[w, b] * near.share[b] - near.loads[w, a] * near.share[a]
        near.filled[g, w] += shift
        near.filled[h, w] -= shift
