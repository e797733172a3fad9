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
#: kernels of an expert layer: sorting, two products, activation
EXPERT_KERNELS = 4


@dataclass(frozen=True, slots=True)
class Delivered:
    """Shares of peaks and seconds of the host.

    ``products``: by generation (``generation_of``) and matrix unit, of the dense peak where K is without end;
    ``fused``: how much more of it attention and products of 8 bits and fewer reach where whole iterations are graphs of
    fused kernels; ``attention``: of the 16-bit peak, by generation; ``bandwidth``: of the memory's; ``host``: seconds
    that the host takes to start the kernels of a layer's pass, if it waits for the routing; ``host_static``: the same
    where shapes are static; ``meeting``: how busy device and host add up, (d^m + h^m)^(1/m); ``hidden``: share of the
    experts' traffic that overlap can hide; ``source``: what they were fitted on."""

    products: dict[str, dict[str, float]]
    fused: float
    attention: dict[str, float]
    bandwidth: float
    host: float
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
        return [derived(w, self._of(w).seconds(w)) for w in work]

    def _of(self, w: Work) -> Roofline:
        return self.attention if isinstance(w.shape, AttentionScores) else self.products


def training_price(cluster: Cluster, precision: Precision, constants: Delivered, graphs: Graphs) -> TrainingPrice:
    """The price of training on ``cluster``."""
    device = cluster.device
    if not device.source:  # a spec's own: its efficiencies are the only ones
        own = Roofline(cluster, precision)
        return TrainingPrice(own, own)
    generation = generation_of(device)
    shares = constants.products[generation]
    fused = constants.fused if graphs is Graphs.FULL else 1.0
    reached = {
        unit: peak * (shares["bf16"] if unit not in shares else shares[unit] * (fused if unit != "bf16" else 1.0))
        for unit, peak in device.flops.items()
    }
    scores = {unit: peak * constants.attention[generation] * fused for unit, peak in device.flops.items()}
    return TrainingPrice(
        Roofline(replace(cluster, device=_reached(device, reached, constants)), precision),
        Roofline(replace(cluster, device=_reached(device, scores, constants)), precision),
    )


def _reached(device: Device, flops: dict[str, float], constants: Delivered) -> Device:
    known = device.kernels
    kernels = Kernels(known.cores if known else CORES, known.depth if known else DEPTH, EXPERT_KERNELS, 0.0)
    return replace(device, flops=flops, mfu=1.0, bandwidth_utilization=constants.bandwidth, kernels=kernels)


def host_seconds(training: Training, constants: Delivered, routed: bool) -> float:
    """Seconds of a layer and pass in which the device waits for the host. ``routed``: the layer has experts, whose
    shapes are known when the routing is, unless each takes a fixed number of copies."""
    if training.graphs is Graphs.FULL:
        return 0.0
    return constants.host if routed and training.capacity is None else constants.host_static
