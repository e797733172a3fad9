"""Seconds of one pass through a layer or an end of the model, by what they go to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moewright.cost.arrays import Array, total
from moewright.cost.prices.price import Priced
from moewright.training.work.context_parallel import hidden_in_ring
from moewright.training.work.delivered import Delivered

#: kinds of traffic inside a layer
KINDS = ("tp", "cp", "ep", "etp")
#: gathers and reductions of tp → the products whose computing can hide them, of a pass
_BESIDE = {
    "attention_gather": "attention_projections",
    "attention_reduce": "output_projection",
    "dense_gather": "dense",
    "dense_reduce": "dense",
    "attention_gather_gradient": "attention_projections_input_gradient",
    "attention_gather_again": "attention_projections_weight_gradient",
    "attention_reduce_gradient": "output_projection_input_gradient",
    "dense_gather_gradient": "dense_input_gradient",
    "dense_gather_again": "dense_weight_gradient",
    "dense_reduce_gradient": "dense_input_gradient",
}


@dataclass(frozen=True, slots=True)
class PassSeconds:
    """Arrays [cells] of one pass: ``compute``, ``traffic`` by kind, ``waits`` of the device for its host. ``ringed``:
    seconds of cp's traffic that a ring hides behind attention, which ``traffic`` leaves out; ``beside``: those of tp's
    that products beside it could hide."""

    compute: Array
    traffic: dict[str, Array]
    waits: Array
    ringed: Array
    beside: Array

    def seconds(self) -> Array:
        """With all traffic exposed."""
        return self.compute + total(self.traffic.values()) + self.waits


def pass_seconds_of(priced: Sequence[Priced], constants: Delivered | None = None, host: float = 0.0) -> PassSeconds:
    """The seconds of ``priced`` by what they are. The device waits where the ``host`` takes longer to start them than
    they take."""
    compute = total(x.seconds for x in priced if not x.is_collective)
    traffic = {kind: np.zeros_like(compute) for kind in KINDS}
    for x in priced:
        c = x.work.collective
        if c is not None and np.any(x.work.happens):
            traffic[c.group.kind] = traffic[c.group.kind] + x.seconds
    named = {x.work.name: x for x in priced if np.any(x.work.happens)}
    ringed = _ringed(named)
    traffic["cp"] = traffic["cp"] - ringed
    busy = compute + total(traffic.values())
    waits = constants.waiting(busy, host) if constants else np.zeros(busy.shape)
    return PassSeconds(compute, traffic, waits, ringed, _beside(named))


def _ringed(named: dict[str, Priced]) -> Array:
    for ending, back in (("", False), ("_gradient", True)):
        ring, core = named.get(f"context_ring{ending}"), named.get(f"attention{ending}")
        if ring is not None and core is not None and ring.work.collective is not None:
            return hidden_in_ring(ring.seconds, core.seconds, ring.work.collective.group.size, back)
    return np.zeros(1)


def _beside(named: dict[str, Priced]) -> Array:
    """Of a gather or a reduction that goes on in as many parts as there are ranks, all but one beside the product of
    the others (Transformer Engine's user buffers), a product hides what it takes."""
    hidden = np.zeros(1)
    for name, product in _BESIDE.items():
        if name in named and product in named:
            c = named[name].work.collective
            assert c is not None
            parts = (c.group.size - 1) / c.group.size
            both = 2.0 if product in ("dense", "dense_input_gradient") else 1.0
            hidden = hidden + np.minimum(parts * named[name].seconds, named[product].seconds / both)
    return hidden


def joined(one: PassSeconds, other: PassSeconds) -> PassSeconds:
    traffic = {kind: one.traffic[kind] + other.traffic[kind] for kind in KINDS}
    sums = (getattr(one, name) + getattr(other, name) for name in ("waits", "ringed", "beside"))
    return PassSeconds(one.compute + other.compute, traffic, *sums)


def weight_seconds_of(backward: Sequence[Priced]) -> Array:
    return total(x.seconds for x in backward if x.work.name.endswith("_weight_gradient"))
