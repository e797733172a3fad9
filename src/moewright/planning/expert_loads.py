"""What a case's routing, and a placement by it, do to the experts of every strategy."""

from __future__ import annotations

from functools import cache

import numpy as np

from moewright.case.case import Case
from moewright.case.model import MoeFfn
from moewright.cost.arrays import Array, over_unique
from moewright.cost.network import Group
from moewright.cost.routing import spread
from moewright.cost.routing.router import Router, feasible_shares, zipf_loads
from moewright.cost.table import Table
from moewright.cost.work import ExpertLoad
from moewright.placement.experts import place_experts, rank_shares, replicas_of


def moes(case: Case) -> list[MoeFfn]:
    """The distinct feed-forwards with experts."""
    return list(dict.fromkeys(x.ffn for x in case.model.layers if isinstance(x.ffn, MoeFfn)))


def expert_shares(case: Case, moe: MoeFfn) -> Array:
    """Expected shares of copies per expert, shape [layers (or 1), experts], rows of sum 1: the routing's loads, no
    expert above what one copy of every token is."""
    r = case.routing
    if r.loads is not None:
        loads = np.asarray(r.loads, dtype=np.float64)
    else:  # exponent 0: all alike
        loads = zipf_loads(moe.experts, r.zipf or 0.0)[None, :]
    return feasible_shares(loads, moe.top_k)


def expert_load(case: Case, table: Table, routed: Array, moe: MoeFfn, ep: Group) -> ExpertLoad:
    """Straggler, active experts and distinct destinations of ``routed`` tokens a stage, for every row."""
    slots = (moe.experts + table.redundant) / table.ep
    tokens, law = np.ceil(routed), Router.of(moe)
    typical = spread.typical_straggler(table.ep, table.redundant)
    # an uneven routing touches fewer experts than a uniform one: its count is the safe side
    active = spread.active_experts(tokens, law, table.ep, slots)
    if case.routing.uniform and not np.any(table.redundant):
        there = (spread.distinct_destinations(n, law) for n in (table.ep, ep.nodes))
        straggler = spread.straggler(tokens, law, table.ep)
        if case.routing.typical:
            straggler = np.maximum(straggler, typical)
        return ExpertLoad(straggler, active, *there)
    shares = expert_shares(case, moe)

    @cache
    def slots_of(ranks: float, redundant: float) -> np.ndarray:
        return place_experts(shares, int(ranks), int(redundant))

    @cache
    def shares_of(ranks: float, redundant: float) -> np.ndarray:  # ranks with replicas of an expert share its load
        return rank_shares(shares, slots_of(ranks, redundant))

    def largest(count: float, ranks: float, redundant: float) -> float:
        if case.routing.uniform and not redundant:
            return float(spread.straggler(count, law, ranks)[0])
        return spread.skewed_straggler(count, law, shares_of(ranks, redundant))

    def distinct(parts: float, ranks: float, redundant: float) -> float:
        if (case.routing.uniform and not redundant) or ranks % parts:
            return float(spread.distinct_destinations(parts, law)[0])
        where = slots_of(ranks, redundant)
        copies = replicas_of(where, moe.experts)
        return spread.placed_destinations(law, shares, where.reshape(len(shares), int(parts), -1), copies)

    there = (over_unique(distinct, n, table.ep, table.redundant) for n in (table.ep, ep.nodes))
    straggler = over_unique(largest, tokens, table.ep, table.redundant)
    return ExpertLoad(np.maximum(straggler, typical) if case.routing.typical else straggler, active, *there)
