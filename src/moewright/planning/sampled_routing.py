"""One seeded sample of the routing, followed token by token: what a plan's averages look like in a single pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.model import MoeFfn
from moewright.cost.routing import Router
from moewright.placement.assignment import Assignment
from moewright.placement.experts import replicas_of

#: routed copies drawn for the loads of one plan, and tokens followed from source to destination
MOST_COPIES = 1 << 19
MOST_FOLLOWED = 4096
#: draws in vain after which a token's next expert is drawn among those it has not
_DRAWS = 16


@dataclass(frozen=True, slots=True)
class Traffic:
    """One layer's dispatch in one replica, tokens followed: distinct copies ``sent`` by every ep rank to
    others and ``received`` from others, each counted on its own side, shape [ep]."""

    tokens: int
    sent: np.ndarray
    received: np.ndarray


def choose(rng: np.random.Generator, tokens: int, r: Router, load: np.ndarray | None = None) -> np.ndarray:
    """Experts of ``tokens`` tokens, shape [tokens, top_k], without repetition: uniform within ``r``'s
    groups, or drawn one after the other in proportion to ``load`` [experts]."""
    if load is not None:
        return _in_turn(rng, tokens, r.top_k, load)
    if not r.limited and r.top_k <= 16:
        return _floyd(rng, tokens, r)
    keys = rng.random((tokens, r.experts), dtype=np.float32)
    if r.limited:
        groups = np.argsort(rng.random((tokens, r.groups)), axis=1)[:, r.top_groups :]
        spans = keys.reshape(tokens, r.groups, -1)
        np.put_along_axis(spans, groups[:, :, None], -1.0, axis=1)
    return np.argpartition(-keys, r.top_k - 1, axis=1)[:, : r.top_k]


def _in_turn(rng: np.random.Generator, tokens: int, top_k: int, load: np.ndarray) -> np.ndarray:
    """Draws with repetition, each repeated until it is a new expert: the same law as drawing among the rest, for
    ``top_k`` numbers a token, not one an expert. A token that has drawn ``_DRAWS`` times in vain draws among the rest
    at once (the first of exponential times, at rates in proportion to load)."""
    edges = np.cumsum(load) / np.sum(load)
    edges[-1] = 1.0
    rates = np.maximum(load / np.sum(load), 1e-300)  # an expert without load comes last, not never
    chosen = np.empty((top_k, tokens), dtype=np.int64)
    for i in range(top_k):
        left = np.arange(tokens)
        for _ in range(_DRAWS):
            drawn = np.searchsorted(edges, rng.random(len(left)), side="right")
            chosen[i, left] = drawn
            left = left[(chosen[:i, left] == drawn).any(axis=0)]
            if not len(left):
                break
        else:
            times = rng.standard_exponential((len(left), len(load))) / rates
            np.put_along_axis(times, chosen[:i, left].T, np.inf, axis=1)
            chosen[i, left] = times.argmin(axis=1)
    return chosen.T


def _floyd(rng: np.random.Generator, tokens: int, r: Router) -> np.ndarray:
    """Floyd's sampling without repetition (Bentley, Floyd, CACM 30(9), 1987), all tokens at once: the i-th
    draw is from 0 … E−k+i, and one that is already there gives way to E−k+i itself."""
    chosen = np.empty((r.top_k, tokens), dtype=np.int32)
    for i in range(r.top_k):
        last = r.experts - r.top_k + i
        drawn = rng.integers(0, last + 1, tokens, dtype=np.int32)
        for before in chosen[:i]:
            drawn[drawn == before] = last
        chosen[i] = drawn
    return chosen.T


def sample_copies(a: Assignment, ffn: MoeFfn, tokens: int, loads: np.ndarray | None, seed: int = 0) -> np.ndarray:
    """Routed copies that every ep rank computes, shape [sampled replicas, sampled layers, ep], when each
    replica routes ``tokens`` tokens per layer. As many layers and replicas as ``MOST_COPIES`` allows, at
    least one of each; a replicated expert's tokens go to its replicas in turn."""
    rng, r, s = np.random.default_rng(seed), Router.of(ffn), a.strategy
    # limited and skewed routing draw a number per expert, not per copy
    each = tokens * (ffn.top_k if loads is None and not r.limited else ffn.experts)
    budget = max(1, MOST_COPIES // max(each, 1))
    layers = min(len(a.experts), budget)
    replicas = min(s.replicas, max(1, budget // layers))
    picked = np.linspace(0, len(a.experts) - 1, layers).astype(int)
    counts = np.zeros((replicas, layers, s.experts.ep))
    for index, layer in enumerate(picked):
        load = None if loads is None else loads[layer % len(loads)]
        placed = a.experts[layer]
        chosen = choose(rng, tokens * replicas, r, load).reshape(replicas, -1)
        chosen += ffn.experts * np.arange(replicas, dtype=chosen.dtype)[:, None]
        per_expert = np.bincount(chosen.ravel(), minlength=replicas * ffn.experts).reshape(replicas, -1)
        shares = per_expert / replicas_of(placed[None], ffn.experts)[0]
        counts[:, index] = shares[:, placed].sum(axis=2)
    return counts


def follow(a: Assignment, ffn: MoeFfn, tokens: int, loads: np.ndarray | None, seed: int = 1) -> Traffic:
    """Follow up to ``MOST_FOLLOWED`` tokens of one layer and replica, owned evenly by the ep ranks, to the
    ranks of their experts. An expert of several replicas is read from the one in the token's turn."""
    rng, ep = np.random.default_rng(seed), a.strategy.experts.ep
    tokens = max(ep, min(tokens, MOST_FOLLOWED) // ep * ep)
    chosen = choose(rng, tokens, Router.of(ffn), None if loads is None else loads[0])
    source = np.arange(tokens) % ep
    placed = a.experts[0]
    holders: list[list[int]] = [[] for _ in range(ffn.experts)]
    for rank, slots in enumerate(placed):
        for expert in slots:
            holders[expert].append(rank)
    most = max(len(h) for h in holders)
    table = np.array([[h[i % len(h)] for i in range(most)] for h in holders])
    where = table[chosen, (np.arange(tokens) // ep % most)[:, None]]
    # the sender's side: per token, its distinct destinations other than its own rank
    ordered = np.sort(where, axis=1)
    new = np.ones_like(ordered, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    new &= ordered != source[:, None]
    sent = np.bincount(source, weights=new.sum(axis=1), minlength=ep)
    # the receiver's side: per rank, the tokens of others that have any expert there
    received = np.array([((where == rank).any(axis=1) & (source != rank)).sum() for rank in range(ep)])
    return Traffic(tokens, sent, received)
