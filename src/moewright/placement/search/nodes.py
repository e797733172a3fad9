"""Routing groups kept in a node, strictly or weighed against copies between nodes."""

from __future__ import annotations

import numpy as np

from moewright.placement.compiled.descent import improve
from moewright.placement.compiled.greedy import pack, replicate
from moewright.placement.request import Request
from moewright.placement.search.node_traffic import Router, crossings
from moewright.placement.search.one_layer import ENOUGH, Effort, equal_shares, largest_load, place_layer


def place_grouped(load: np.ndarray, gpus: int, r: Request, effort: Effort) -> np.ndarray:
    """Groups packed whole on nodes, then every node for itself; the better of a searched and a plain packing."""
    members = np.arange(len(load)).reshape(r.groups, -1)
    whole = load[members].sum(axis=1)
    best, least = None, np.inf
    for homes in (
        place_layer(whole, r.groups, r.nodes, effort),
        pack(whole, replicate(whole, r.groups, 1), r.nodes, True),
    ):
        parts = []
        for home in homes:
            inside = members[home].ravel()
            own = load[inside] if load[inside].sum() > 0 else np.ones(len(inside))
            parts.append(inside[place_layer(own, r.slots // r.nodes, gpus // r.nodes, effort)])
        held = np.concatenate(parts)
        if best is None or largest_load(load, held) < least:
            best, least = held, largest_load(load, held)
    return np.asarray(best)


def relax(load: np.ndarray, strict: np.ndarray, weight: float, r: Request, effort: Effort) -> np.ndarray:
    """The placement of least (largest ÷ mean load) + ``weight`` · (copies between nodes ÷ tokens' copies), among
    ``strict``, which keeps groups whole, what few and more moves make of it, and one that ignores nodes."""
    mean = load.sum() / len(strict)
    tried = [strict]
    for most in (1, 2, 4, 8, 16, 32, 64, 128):
        held = strict.copy()
        improve(load, held, np.bincount(held.ravel(), minlength=len(load)), 4 * most, most, mean * ENOUGH)
        tried.append(held)
    tried.append(place_layer(load, strict.size, len(strict), effort))
    share = np.stack([equal_shares(load, held) for held in tried])
    loads = np.repeat(load[None], len(tried), axis=0)
    copies = crossings(loads, np.stack(tried), share, r.nodes, Router(*r.router))
    costs = [largest_load(load, held) / mean + weight * c / load.sum() for held, c in zip(tried, copies, strict=True)]
    return tried[int(np.argmin(costs))]
