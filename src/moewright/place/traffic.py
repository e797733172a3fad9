"""Bytes between nodes that a placement costs."""

from __future__ import annotations

import numpy as np


def crossings(
    loads: np.ndarray, held: np.ndarray, share: np.ndarray, nodes: int, groups: int, top_k: int, top_groups: int
) -> np.ndarray:
    """Expected token copies between nodes, shape [layers], when each token of the loads picks ``top_groups`` of
    ``groups`` routing groups and m = top_k / top_groups experts of each, in proportion to their loads.

    A token goes once to each distinct node. With q_n the part of a group's load on node n, it visits
    Σ_n 1 − (1 − q_n)^m nodes for a group; visits of different groups are independent and meet in a node with chance
    Π over its groups. Tokens arise evenly on the nodes, so 1/nodes of the visits stay at home.
    """
    layers, experts = loads.shape
    size = experts // groups
    found = np.empty(layers)
    for i, load in enumerate(loads):
        amount = np.zeros((nodes, groups))
        node = np.repeat(np.arange(nodes), held[i].size // nodes)
        np.add.at(amount, (node, held[i].ravel() // size), load[held[i].ravel()] * share[i].ravel())
        whole = amount.sum(axis=0)
        part = np.divide(amount, whole, out=np.zeros_like(amount), where=whole > 0)
        chance = whole / max(whole.sum(), 1e-300) * top_groups  # that a token picks the group
        hit = 1 - (1 - part) ** (top_k / top_groups)
        visited = 1 - np.prod(1 - np.minimum(chance, 1.0) * hit, axis=1)
        found[i] = load.sum() / top_k * visited.sum() * (1 - 1 / nodes)
    return found
