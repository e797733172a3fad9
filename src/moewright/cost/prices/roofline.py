"""Seconds by formula: the roofline of a device (Williams, Waterman, Patterson, CACM 52(4), 2009), what shapes do to its
kernels (``efficiency``), and the two tiers of its network (``cost.network``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moewright.case.cluster import Cluster, Device
from moewright.case.model import LatentAttention
from moewright.case.precision import Precision
from moewright.cost import network
from moewright.cost.arrays import Array, array, where
from moewright.cost.prices.efficiency import PADDING, latent_decode_seconds, passes_seconds, worked_flops
from moewright.cost.prices.price import Priced, derived
from moewright.cost.work import AttentionScores, Collective, GroupedProducts, Products, Stream, Work


def compute_seconds(flops: Array, traffic: Array, device: Device, unit: str) -> Array:
    """max(FLOPs / delivered FLOPs/s, bytes / delivered bytes/s) + launch; 0 for an operation of no work.

    ``traffic``: bytes between memory and the chip. ``unit``: the matrix unit, a key of ``device.flops``. On a
    device with ``kernels`` the root of the sum of squares takes the place of max: the two overlap in part.
    """
    multiplying = array(flops) / (device.flops[unit] * device.mfu)
    moving = array(traffic) / (device.memory_bandwidth * device.bandwidth_utilization)
    busy = np.maximum(multiplying, moving) if device.kernels is None else np.hypot(multiplying, moving)
    return where(busy > 0, busy + device.launch, 0.0)


def unit_of(precision: Precision, kind: str, device: Device) -> str:
    """The device's matrix unit for weights of ``kind``; for ``attention_scores``, which have no weights,
    that of the KV cache's format. Raises KeyError if the device has none."""
    if kind == "attention_scores":
        precision = Precision(precision.kv_cache, {}, activations=precision.kv_cache)
    return precision.compute(kind, tuple(device.flops))


@dataclass(frozen=True, slots=True)
class Roofline:
    """The price of work by formula, on ``cluster`` and in a model's ``precision``. ``gathering``: an engine that may
    gather all tokens in place of an all-to-all takes the faster of the two."""

    cluster: Cluster
    precision: Precision
    gathering: bool = False

    def price(self, work: Sequence[Work]) -> list[Priced]:
        """One ``Priced`` for each of ``work``."""
        return [derived(w, self.seconds(w)) for w in work]

    def seconds(self, w: Work) -> Array:
        """Seconds of one operation, also where it does not happen."""
        shape, device = w.shape, self.cluster.device
        if isinstance(shape, Products):
            return self._products(w, shape)
        if isinstance(shape, GroupedProducts):
            return self._experts(w, shape)
        if isinstance(shape, AttentionScores):
            scores = compute_seconds(w.flops, w.traffic, device, self.unit("attention_scores"))
            split = shape.decodes and isinstance(shape.attention, LatentAttention)
            return scores + (latent_decode_seconds(device) if split else 0.0)
        if isinstance(shape, Stream):
            return w.traffic / (device.memory_bandwidth * device.bandwidth_utilization) + shape.kernels * device.launch
        return self.collective(shape)

    def unit(self, kind: str) -> str:
        """The matrix unit of weights of ``kind``."""
        return unit_of(self.precision, kind, self.cluster.device)

    def _products(self, w: Work, p: Products) -> Array:
        device = self.cluster.device
        flops = w.flops
        if device.kernels is not None:
            flops = worked_flops([(m.rows, m.columns, m.depth) for m in p.matrices], device)
        return compute_seconds(flops, w.traffic, device, self.unit(p.kind))

    def _experts(self, w: Work, e: GroupedProducts) -> Array:
        device = self.cluster.device
        if device.kernels is None:
            return compute_seconds(w.flops, w.traffic, device, self.unit("experts"))
        active = np.maximum(e.active, 1.0)
        rows, hidden = e.copies / active, array(float(e.hidden))
        products = [(rows, e.ups * e.width, hidden), (rows, hidden, e.width)]
        worked = worked_flops(products, device, active, PADDING)
        seconds = compute_seconds(worked, w.traffic, device, self.unit("experts"))
        return seconds + passes_seconds(e.room, e.width, e.ups, e.hidden, device)

    def collective(self, c: Collective) -> Array:
        """Seconds of one call of ``c``."""
        cluster = self.cluster
        if c.collective == "all_to_all":
            direct = network.exchange_seconds(c.group, c.to_ranks, c.to_nodes, cluster, c.forwarding)
            if not self.gathering:
                return direct
            return np.minimum(direct, network.gather_seconds(c.group, c.everyone, cluster))
        if c.collective == "all_reduce":
            return network.reduce_seconds(c.group, c.buffer, cluster)
        if c.collective == "broadcast":
            return network.broadcast_seconds(c.group, c.buffer, cluster)
        if c.collective == "ring":
            hops = c.sent / np.where(c.buffer > 0, c.buffer, 1.0)
            return np.asarray(hops * network.send_seconds(c.group, c.buffer, cluster))
        if c.collective == "send":
            return network.send_seconds(c.group, c.buffer, cluster)
        return network.gather_seconds(c.group, c.buffer, cluster)
