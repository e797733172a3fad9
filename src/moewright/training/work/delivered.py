"""What training gets of a device: the price of work, by ``cost.prices.roofline`` with fitted shares of the peaks.

A device of the catalogue takes the shares of ``fitted.yaml``, few and by number format; a spec's own device keeps its
``mfu`` and ``bandwidth_utilization``, which then are the only efficiencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from moewright.case.cluster import Cluster, Device, Kernels
from moewright.case.precision import Precision
from moewright.case.train.train_workload import Graphs, Training
from moewright.cost.arrays import Array
from moewright.cost.prices.price import Priced, derived
from moewright.cost.prices.roofline import Roofline
from moewright.cost.work import AttentionScores, Work

#: K at which a product reaches half of what it does where K is without end (``catalogue/devices/h100-sxm.yaml``, fitted
#: on DeepGEMM's products), for devices of the catalogue that have no figure of their own
DEPTH = 330.0
#: multiprocessors of devices that have no figure of their own: of a B200
CORES = 148
#: dimensions of queries and values, together, at which a pair's exponential takes as long as its products: assumed,
#: near to how FlashAttention-3 falls from heads of 256 over 128 to 64 (arXiv 2407.08608 §4.1)
EXPONENTIAL = 128.0
#: kernels of an expert layer: sorting, two products, activation
EXPERT_KERNELS = 4


@dataclass(frozen=True, slots=True)
class Delivered:
    """Shares of peaks and seconds of the host.

    ``products``: by generation (``generation_of``) and matrix unit, of the dense peak where K is without end;
    ``attention``: of the 16-bit peak where heads are wide without end, by generation; ``bandwidth``: of the memory's;
    ``host``: seconds that the host takes to start the kernels of a layer's pass, if it waits for the routing;
    ``host_graphed``: the same where attention and router are graphs; ``host_static``: the same where shapes are static;
    ``meeting``: how busy device and host add up, (d^m + h^m)^(1/m); ``hidden``: share of the experts' traffic that
    overlap can hide; ``source``: what they were fitted on."""

    products: dict[str, dict[str, float]]
    attention: dict[str, float]
    bandwidth: float
    host: float
    host_graphed: float
    host_static: float
    meeting: float
    hidden: float
    source: str = ""

    def waiting(self, busy: Array, host: float) -> Array:
        """Seconds beside ``busy`` ones that a ``host`` of so many seconds costs."""
        if host <= 0:
            return np.zeros(busy.shape)
        return np.asarray((busy**self.meeting + host**self.meeting) ** (1 / self.meeting) - busy)


def generation_of(device: Device) -> str:
    """The generation whose shares a device takes, by the narrowest floats that it multiplies."""
    return "blackwell" if "fp4" in device.flops else "hopper"


@cache
def fitted() -> Delivered:
    """The constants that ship."""
    return Delivered(**yaml.safe_load((Path(__file__).parent / "fitted.yaml").read_text(encoding="utf-8")))


@dataclass(frozen=True, slots=True)
class TrainingPrice:
    """Prices the work of a training pass: attention's core at its own share of the peak, all else at the products'."""

    products: Roofline
    attention: Roofline

    def price(self, work: Sequence[Work]) -> list[Priced]:
        """One ``Priced`` for each of ``work``."""
        return [derived(w, self._seconds(w)) for w in work]

    def _seconds(self, w: Work) -> Array:
        if not isinstance(w.shape, AttentionScores):
            return self.products.seconds(w)
        a = w.shape.attention
        width = a.pair_flops / 2 / a.heads if a.heads else 0.0  # of a head: queries' and values' dimensions
        return self.attention.seconds(replace(w, flops=w.flops * (1 + EXPONENTIAL / width) if width else w.flops))


def training_price(cluster: Cluster, precision: Precision, constants: Delivered) -> TrainingPrice:
    """The price of training on ``cluster``."""
    device = cluster.device
    if not device.source:  # a spec's own: its efficiencies are the only ones
        own = Roofline(cluster, precision)
        return TrainingPrice(own, own)
    generation = generation_of(device)
    shares = constants.products[generation]
    reached = {unit: peak * shares.get(unit, shares["bf16"]) for unit, peak in device.flops.items()}
    scores = {unit: peak * constants.attention[generation] for unit, peak in device.flops.items()}
    return TrainingPrice(
        Roofline(replace(cluster, device=_reached(device, reached, constants)), precision),
        Roofline(replace(cluster, device=_reached(device, scores, constants)), precision),
    )


def _reached(device: Device, flops: dict[str, float], constants: Delivered) -> Device:
    known = device.kernels
    kernels = Kernels(known.cores if known else CORES, known.depth if known else DEPTH, EXPERT_KERNELS, 0.0)
    return replace(device, flops=flops, mfu=1.0, bandwidth_utilization=constants.bandwidth, kernels=kernels)


def host_seconds(training: Training, device: Device, constants: Delivered, routed: bool) -> float:
    """Seconds that the host takes for a layer's pass; none for a spec's own device, whose ``launch`` is all that is
    known. ``routed``: the layer has experts, whose shapes are known when the routing is, unless each takes a fixed
    number of copies."""
    if training.graphs is Graphs.FULL or not device.source:
        return 0.0
    if not routed or training.capacity is not None:
        return constants.host_static
    return constants.host_graphed if training.graphs is Graphs.PARTIAL else constants.host
