"""One seeded sample of the routing, followed token by token: what a plan's averages look like in a single pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.model import MoeFfn
from moewright.cost.arrays import Array
from moewright.cost.routing.gate import choose
from moewright.cost.routing.router import Router, chances
from moewright.cost.routing.spread import parts_in_turn
from moewright.placement.assignment import Assignment
from moewright.placement.experts import replicas_of

#: routed copies drawn for the loads of one plan, and tokens followed from source to destination
MOST_COPIES = 1 << 19
MOST_FOLLOWED = 4096


@dataclass(frozen=True, slots=True)
class Traffic:
    """One layer's dispatch in one replica, tokens followed: distinct copies ``sent`` by every ep rank to
    others and ``received`` from others, each counted on its own side, shape [ep]."""

    tokens: int
    sent: np.ndarray
    received: np.ndarray


def sample_copies(a: Assignment, ffn: MoeFfn, tokens: int, loads: Array | None, seed: int = 0) -> Array:
    """Routed copies that every ep rank computes, shape [sampled replicas, sampled layers, ep], when each replica routes
    ``tokens`` tokens per layer; a replicated expert's tokens go to its replicas in turn. As many layers and replicas as
    ``MOST_COPIES`` allows, at least one of each. Of more tokens than that as many are drawn as it allows, and the
    counts' distance from their mean grows with the root of the tokens, as that of a sum does."""
    rng, r, s = np.random.default_rng(seed), Router.of(ffn), a.strategy
    # limited and skewed routing draw a number per expert, not per copy
    numbers = ffn.top_k if loads is None and not r.limited else ffn.experts
    drawn = max(1, min(tokens, MOST_COPIES // numbers))
    budget = max(1, MOST_COPIES // (drawn * numbers))
    layers = min(len(a.experts), budget)
    replicas = min(s.replicas, max(1, budget // layers))
    picked = np.linspace(0, len(a.experts) - 1, layers).astype(int)
    counts = np.zeros((replicas, layers, s.experts.ep))
    for index, layer in enumerate(picked):
        load = None if loads is None else loads[layer % len(loads)]
        placed = a.experts[layer]
        chosen = choose(rng, drawn * replicas, r, load).reshape(replicas, -1)
        chosen = chosen + ffn.experts * np.arange(replicas)[:, None]
        per_expert = np.bincount(chosen.ravel(), minlength=replicas * ffn.experts).reshape(replicas, -1)
        chance = np.full(ffn.experts, ffn.top_k / ffn.experts) if load is None else chances(load, ffn.top_k)
        per_expert = np.maximum(tokens * chance + (per_expert - drawn * chance) * (tokens / drawn) ** 0.5, 0.0)
        shares = per_expert / replicas_of(placed[None], ffn.experts)[0]
        counts[:, index] = shares[:, placed].sum(axis=2)
    return counts


def follow(a: Assignment, ffn: MoeFfn, tokens: int, loads: Array | None, seed: int = 1) -> Traffic:
    """Follow up to ``MOST_FOLLOWED`` tokens of one layer and replica, owned evenly by the ep ranks, to the
    ranks of their experts. An expert of several replicas is read from the one in the token's turn."""
    rng, ep = np.random.default_rng(seed), a.strategy.experts.ep
    tokens = max(ep, min(tokens, MOST_FOLLOWED) // ep * ep)
    chosen = choose(rng, tokens, Router.of(ffn), None if loads is None else loads[0])
    source = np.arange(tokens) % ep
    placed = a.experts[:1]
    turns = np.arange(tokens // ep)
    table = parts_in_turn(placed, replicas_of(placed, ffn.experts), turns)[0]
    where = table[np.arange(tokens) // ep, chosen.T].T
    # the sender's side: per token, its distinct destinations other than its own rank
    ordered = np.sort(where, axis=1)
    new = np.ones_like(ordered, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    new &= ordered != source[:, None]
    sent = np.bincount(source, weights=new.sum(axis=1), minlength=ep)
    # the receiver's side: per rank, the tokens of others that have any expert there
    received = np.array([((where == rank).any(axis=1) & (source != rank)).sum() for rank in range(ep)])
    return Traffic(tokens, sent, received)
