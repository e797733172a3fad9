"""Tokens drawn from the router's law and sent to their experts, one by one: what a plan expects, counted.

Without loads every set of top-k experts is as likely; a router limited to groups takes those with the largest sums of
their two best scores first. By loads an expert is chosen in proportion, at most once a token: marks of a random start,
one apart, on experts laid end to end in an order of the token's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from moewright.case.model import MoeFfn
from moewright.planning.proof.walk.scene import Floats, Ints, Scene

#: tokens that are followed to their experts, and those drawn in one turn of counting
FOLLOWED, _TURN = 8192, 1024
#: turns in which the fullest rank is looked for
_TURNS = 48
#: random numbers drawn at most for one figure
_NUMBERS = 1 << 21


@dataclass(frozen=True, slots=True)
class Drawn:
    """Means over tokens, each with its standard error. ``ranks``, ``nodes``: distinct ones that hold any of a token's
    experts; ``fullest``: copies on the fullest rank over the mean; ``active``: experts with a token, on the rank with
    the most. ``near``: copies that a token sends over its node's links, ``far``: over the fabric."""

    ranks: tuple[float, float]
    nodes: tuple[float, float]
    fullest: tuple[float, float]
    active: tuple[float, float]
    near: tuple[float, float]
    far: tuple[float, float]


def chance_of(load: Floats, top_k: int) -> Floats:
    """Chance of each expert to be among a token's: in proportion, but whoever would be above 1 is at 1, and the others
    share what that leaves."""
    chance = load / load.sum() * top_k
    while (chance > 1 + 1e-12).any():
        full = chance >= 1
        chance = np.where(full, 1.0, load / load[~full].sum() * (top_k - full.sum()))
    return np.asarray(chance, dtype=np.float64)


def choices(rng: np.random.Generator, ffn: MoeFfn, tokens: int, load: Floats | None) -> Ints:
    """Experts of ``tokens`` tokens, [tokens, top_k]."""
    count, k = ffn.experts, ffn.top_k
    if load is not None:
        order = np.argsort(rng.random((tokens, count), dtype=np.float32), axis=1)
        ends = np.cumsum(chance_of(load, k)[order], axis=1)
        ends *= k / ends[:, -1:]
        row = np.arange(tokens)[:, None]
        marks = rng.random((tokens, 1)) + np.arange(k) + row * k  # rows lie one after another
        place = np.searchsorted((ends + row * k).ravel(), marks.ravel()).reshape(tokens, k) - row * count
        return np.take_along_axis(order, np.minimum(place, count - 1), axis=1)
    if ffn.top_groups < ffn.groups:
        scores = rng.random((tokens, ffn.groups, count // ffn.groups), dtype=np.float32)
        two = np.sort(scores, axis=2)[:, :, -2:].sum(axis=2)
        kept = two >= np.sort(two, axis=1)[:, -ffn.top_groups, None]
        flat = np.where(kept[:, :, None], scores, -1.0).reshape(tokens, count)
        return np.argsort(flat, axis=1)[:, -k:]
    if k * k > 2 * count:
        return np.argsort(rng.random((tokens, count), dtype=np.float32), axis=1)[:, :k]
    drawn = np.sort(rng.integers(0, count, (tokens, k)), axis=1)
    again = np.flatnonzero((np.diff(drawn, axis=1) == 0).any(axis=1))
    while len(again):  # whoever drew an expert twice draws anew
        drawn[again] = np.sort(rng.integers(0, count, (len(again), k)), axis=1)
        again = again[(np.diff(drawn[again], axis=1) == 0).any(axis=1)]
    return drawn


def _mean(values: Floats) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / max(len(values), 2) ** 0.5)


def draw(scene: Scene, ffn: MoeFfn, layers: list[int], tokens: int, forwarding: bool) -> Drawn:
    """What happens to ``tokens`` tokens of a stage in the MoE layers ``layers`` (positions in ``scene.slots``)."""
    picked = sorted({layers[0], layers[len(layers) // 2], layers[-1]}) if scene.loads is not None else layers[:1]
    loads = [None if scene.loads is None else scene.loads[i % len(scene.loads)] for i in picked]
    ep = scene.strategy.experts.ep
    slots = [scene.slots[i] for i in picked]
    node = node_of_ep(scene)
    parts = []
    for load, held in zip(loads, slots, strict=True):
        key = None if load is None else tuple(load.tolist())
        parts.append(_drawn(ffn, key, held.tobytes(), (ep, held.shape[1]), tuple(node.tolist()), tokens, forwarding))
    columns = zip(*parts, strict=True)
    means = ((float(np.mean([m for m, _ in c])), float(np.mean([e for _, e in c])) / len(c) ** 0.5) for c in columns)
    return Drawn(*means)


def node_of_ep(scene: Scene) -> Ints:
    """The node of each member of the ep group that lies over the most of them, renumbered from 0."""
    group = scene.circle("ep")
    widest = int(group.spans.argmax())
    return np.unique(group.node_of[widest], return_inverse=True)[1].astype(np.int64)


@lru_cache(maxsize=64)
def _drawn(
    ffn: MoeFfn,
    load_key: tuple[float, ...] | None,
    held: bytes,
    shape: tuple[int, int],
    node: tuple[int, ...],
    tokens: int,
    forwarding: bool,
) -> tuple[tuple[float, float], ...]:
    rng = np.random.default_rng(20)
    load = None if load_key is None else np.array(load_key)
    slots = np.frombuffer(held, dtype=np.int64).reshape(shape)
    home, copies = _homes(slots, ffn.experts)
    followed = min(FOLLOWED, max(512, _NUMBERS // ffn.experts))
    chosen = choices(rng, ffn, followed, load)
    turn = np.arange(followed)[:, None]
    goes = home[chosen, turn % copies[chosen]]
    ranks, nodes, near, far = _travel(goes, np.array(node), rng.integers(0, shape[0], followed), forwarding)
    fullest, active = _fullest(rng, ffn, load, slots, copies, tokens)
    return _mean(ranks), _mean(nodes), fullest, active, _mean(near), _mean(far)


def _homes(slots: Ints, experts: int) -> tuple[Ints, Ints]:
    """The ep rank of each replica of each expert [experts, most replicas], and how many it has [experts]."""
    ranks: list[list[int]] = [[] for _ in range(experts)]
    for rank, held in enumerate(slots.tolist()):
        for expert in held:
            ranks[expert].append(rank)
    copies = np.array([max(len(r), 1) for r in ranks])
    home = np.array([[*r, *[0] * (int(copies.max()) - len(r))] for r in ranks])
    return home, copies


def _travel(goes: Ints, node: Ints, source: Ints, forwarding: bool) -> tuple[Floats, Floats, Floats, Floats]:
    """Of each token: distinct ranks and nodes, messages over the node's links, messages over the fabric. Forwarded,
    a token crosses once to each other node, to the member in its sender's place there, which hands it on."""
    ordered = np.sort(goes, axis=1)
    new = np.ones(ordered.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    there = node[ordered]
    seat = np.empty(len(node), dtype=np.int64)  # place of a member among those of its node
    for i in np.unique(node):
        seat[node == i] = np.arange((node == i).sum())
    at_home = there == node[source][:, None]
    first = new.copy()
    first[:, 1:] &= there[:, 1:] != there[:, :-1]  # ranks ascend with nodes
    if forwarding:
        handed = new & (seat[ordered] != seat[source][:, None])
        return new.sum(axis=1), first.sum(axis=1), handed.sum(axis=1), (first & ~at_home).sum(axis=1)
    away = new & (ordered != source[:, None])
    return new.sum(axis=1), first.sum(axis=1), (away & at_home).sum(axis=1), (away & ~at_home).sum(axis=1)


def _fullest(
    rng: np.random.Generator, ffn: MoeFfn, load: Floats | None, slots: Ints, copies: Ints, tokens: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """(copies of the fullest rank over the mean, active experts of the rank with most), by counting turns of ``tokens``
    tokens; of more than ``_TURN`` so many, whose distance from what is expected grows with the root of the tokens."""
    drawn = max(1, min(tokens, _TURN))
    turns = max(4, min(_TURNS * max(1, 256 // drawn), _NUMBERS // max(1, drawn * _per_token(ffn, load))))
    chosen = choices(rng, ffn, drawn * turns, load).reshape(turns, -1) + ffn.experts * np.arange(turns)[:, None]
    count = np.bincount(chosen.ravel(), minlength=ffn.experts * turns).reshape(turns, -1).astype(np.float64)
    chance = np.full(ffn.experts, ffn.top_k / ffn.experts) if load is None else chance_of(load, ffn.top_k)
    whole = np.maximum(chance * tokens + (count - chance * drawn) * (tokens / drawn) ** 0.5, 0.0)
    of_rank = (whole / copies)[:, slots].sum(axis=2)
    fullest = _mean(of_rank.max(axis=1) / of_rank.mean(axis=1))
    turn = _turns_of(slots)
    if drawn == tokens:  # the replicas of an expert take its tokens in turn
        met = count[:, slots] > turn
    else:
        missed = (1 - np.minimum(chance, 1.0)) ** (tokens / copies)
        met = rng.random((turns, *slots.shape)) < (1 - missed)[slots]
    return fullest, _mean(met.sum(axis=2).max(axis=1).astype(np.float64))


def _turns_of(slots: Ints) -> Ints:
    """For each slot, how many slots before it hold the same expert, [ep, slots]."""
    seen: dict[int, int] = {}
    turns = []
    for expert in slots.ravel().tolist():
        turns.append(seen.get(expert, 0))
        seen[expert] = turns[-1] + 1
    return np.array(turns).reshape(slots.shape)


def _per_token(ffn: MoeFfn, load: Floats | None) -> int:
    limited = load is not None or ffn.top_groups < ffn.groups or ffn.top_k**2 > 2 * ffn.experts
    return ffn.experts if limited else 2 * ffn.top_k
