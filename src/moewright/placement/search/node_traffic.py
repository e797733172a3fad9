"""Bytes between nodes that a placement costs.

A token takes its experts as a router would that draws by load: one after another without repetition, each with a
chance in proportion to its load among those left. That is a race: an expert of load w arrives after a time of
exponential law with rate w, and the first m are taken (Efraimidis and Spirakis, Inf. Process. Lett. 97(5), 2006). At a
given time arrivals are independent, so that the chance to miss a node is an integral over the time of the m-th
arrival.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

#: points in (logarithmic) time at which the integral over the last arrival is summed
_POINTS = 24
#: least load of an expert, as part of the mean, so that as many arrive as are taken
_LEAST = 1e-6
#: numbers of one array that are looked at together (what a processor's cache holds)
_AT_ONCE = 60_000


class Router(NamedTuple):
    """Each token picks ``top_groups`` of ``groups`` by their loads, and top_k / top_groups experts of each by
    theirs."""

    groups: int
    top_k: int
    top_groups: int


def crossings(
    loads: np.ndarray, held: np.ndarray, share: np.ndarray, nodes: int, router: Router, wide: int = 1
) -> np.ndarray:
    """Expected token copies between nodes, shape [layers], for tokens of ``loads`` [layers, experts].

    ``held`` and ``share`` [layers, hosts, slots a host], a host being ``wide`` GPUs. A copy goes to one replica, drawn
    by share, and a token once to each distinct node. Tokens arise evenly on the nodes, so 1/nodes of the visits stay
    at home.
    """
    layers, experts = loads.shape
    groups, top_k, top_groups = router
    hosts = held.shape[1]
    gpus = hosts * wide
    covered = np.zeros((hosts, nodes))
    covered[np.arange(gpus) // wide, np.arange(gpus) * nodes // gpus] = 1
    reached = np.zeros((layers, experts, nodes))
    np.add.at(reached, (np.arange(layers)[:, None, None], held), share[..., None] * covered[:, None, :])
    few = max(1, _AT_ONCE // (_POINTS * groups * (nodes + 1) * top_k))
    rows = [slice(i, i + few) for i in range(0, layers, few)]
    visits = np.concatenate([_visited(loads[r], reached[r], groups, top_k, top_groups) for r in rows])
    return np.asarray(loads.sum(axis=1) / top_k * visits * (1 - 1 / nodes))


def _visited(loads: np.ndarray, reached: np.ndarray, groups: int, top_k: int, top_groups: int) -> np.ndarray:
    """Expected distinct nodes of a token, shape [layers]; ``reached`` [layers, experts, nodes]: chance that a copy for
    an expert goes to the node."""
    layers, _, nodes = reached.shape
    inside = loads.reshape(layers * groups, -1)
    left = np.clip(1 - reached, 0, 1).reshape(layers * groups, -1, nodes)
    by_group = _missed(inside, left, top_k / top_groups).reshape(layers, groups, nodes)
    missed = _missed(loads.reshape(layers, groups, -1).sum(axis=2), by_group, top_groups)
    return np.asarray((1 - missed).sum(axis=1))


def _missed(weights: np.ndarray, left: np.ndarray, taken: float) -> np.ndarray:
    """Expected product of ``left`` [sets, members, nodes] over ``taken`` members of a set, drawn by ``weights``
    [sets, members] without repetition; shape [sets, nodes]. ``taken`` in between: the next smaller number or the next
    larger."""
    few = int(taken)
    found = _first(weights, left, few)
    if taken > few:
        found = found * (few + 1 - taken) + _first(weights, left, few + 1) * (taken - few)
    return found


def _first(weights: np.ndarray, left: np.ndarray, taken: int) -> np.ndarray:
    """``_missed`` for the first ``taken`` arrivals: ∫ Σ_j w_j a_j q_j(t) [z^(taken − 1)] Π_{e≠j} (q_e(t) + z a_e
    (1 − q_e(t))) dt with q_e(t) = exp(−w_e t), over the same with every a_e = 1."""
    sets, members, nodes = left.shape
    if taken < 1:
        return np.ones((sets, nodes))
    if taken >= members:
        return np.asarray(left.prod(axis=1))
    mean = weights.mean(axis=1, keepdims=True)
    rate = np.maximum(np.divide(weights, mean, out=np.ones(weights.shape), where=mean > 0), _LEAST)
    times = np.exp(np.linspace(*_ends(rate, taken), _POINTS))[..., None]  # [points, sets, 1]
    late = np.exp(-times * rate)  # [points, sets, members]
    part = np.concatenate([left, np.ones((sets, members, 1))], axis=2)  # the last column: every a_e = 1
    arrived, entering = (np.zeros((taken, _POINTS, sets, nodes + 1)) for _ in range(2))
    arrived[0] = 1
    for e in range(members):
        q = late[:, :, e, None]
        on_time, rush = (1 - q) * part[:, e], rate[:, e, None] * q * part[:, e]
        shifted = on_time * entering[:-1]
        entering *= q
        entering += rush * arrived
        entering[1:] += shifted
        shifted = on_time * arrived[:-1]
        arrived *= q
        arrived[1:] += shifted
    total = (entering[-1] * times).sum(axis=0)
    return np.asarray(total[:, :-1] / total[:, -1:])


def _ends(rate: np.ndarray, taken: int) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of two times, each [sets], between which the arrival of number ``taken`` lies but for a thousandth:
    where the expected arrivals are few and many enough (both by Poisson's law)."""
    members = rate.shape[1]
    first = (1e-3 * math.factorial(taken)) ** (1 / taken)
    last = min(taken + 4 * math.sqrt(taken) + 4, members - 0.02)
    wanted = np.array([[first], [last]])
    low, high = np.full((2, len(rate)), math.log(1e-4 / members)), np.full((2, len(rate)), math.log(50 / _LEAST))
    for _ in range(40):
        middle = (low + high) / 2
        below = -np.expm1(-np.exp(middle)[..., None] * rate).sum(axis=2) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low[0], high[1]
