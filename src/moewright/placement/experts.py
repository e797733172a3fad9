"""Physical expert slots on the ranks of an ep group, by load: what the planner prices and the executor runs."""

from __future__ import annotations

import numpy as np

from moewright.placement.packing import pack, replicate


def place_experts(loads: np.ndarray, ep: int, redundant: int = 0) -> np.ndarray:
    """Expert ids by slot, shape [layers, ep, slots], for ``loads`` [layers, experts] of any scale.

    Equal loads keep the experts' own order without redundancy, and with it are packed greedily; others are placed by
    ``moewright.place``. Raises ValueError where the slots do not divide evenly over the ranks.
    """
    layers, experts = loads.shape
    if (experts + redundant) % ep:
        raise ValueError(f"{experts} + {redundant} expert slots do not divide over ep {ep}")
    even = bool(np.all(loads == loads[:, :1]))
    if even and not redundant:
        return np.broadcast_to(np.arange(experts).reshape(1, ep, -1), (layers, ep, experts // ep))
    distinct, inverse = np.unique(loads, axis=0, return_inverse=True)
    if even or redundant > experts * (ep - 1):  # no search to be won, and no compiler to be started
        found = np.stack([pack(row, replicate(row, experts + redundant, ep), ep) for row in distinct])
    else:
        from moewright.placement.search.solve import place

        found = place(distinct, slots=experts + redundant, gpus=ep).expert_of_slot
    return np.sort(found.reshape(len(distinct), ep, -1), axis=2)[inverse.ravel()]


def replicas_of(placement: np.ndarray, experts: int) -> np.ndarray:
    """How many slots each expert has, shape [layers, experts], for a ``placement`` [layers, ep, slots]."""
    layers = len(placement)
    flat = placement.reshape(layers, -1) + experts * np.arange(layers)[:, None]
    return np.bincount(flat.ravel(), minlength=layers * experts).reshape(layers, experts)


def rank_shares(loads: np.ndarray, placement: np.ndarray) -> np.ndarray:
    """Share of a layer's routed copies that each rank gets, shape [layers, ep]; an expert's load is
    divided evenly over its replicas."""
    shares = loads / loads.sum(axis=1, keepdims=True) / replicas_of(placement, loads.shape[1])
    layers = np.arange(len(loads))[:, None, None]
    return np.asarray(shares[layers, placement].sum(axis=2))
