"""Seconds of a compute operation: the roofline (Williams, Waterman, Patterson, CACM 52(4), 2009)."""

from __future__ import annotations

import numpy as np

from moewright.case.cluster import Device
from moewright.case.precision import Precision
from moewright.cost.table import Numbers


def compute_seconds(flops: Numbers, traffic: Numbers, device: Device, unit: str) -> Numbers:
    """max(FLOPs / delivered FLOPs/s, bytes / delivered bytes/s) + launch; 0 for an operation of no work.

    ``traffic``: bytes between memory and the chip. ``unit``: the matrix unit, a key of ``device.flops``. On a
    device with ``kernels`` the root of the sum of squares takes the place of max: the two overlap in part.
    """
    multiplying = flops / (device.flops[unit] * device.mfu)
    moving = traffic / (device.memory_bandwidth * device.bandwidth_utilization)
    busy = np.maximum(multiplying, moving) if device.kernels is None else np.hypot(multiplying, moving)
    return np.where(busy > 0, busy + device.launch, 0.0)


def unit_of(precision: Precision, kind: str, device: Device) -> str:
    """The device's matrix unit for weights of ``kind``; for ``attention_scores``, which have no weights,
    that of the KV cache's format. Raises KeyError if the device has none."""
    if kind == "attention_scores":
        precision = Precision(precision.kv_cache, {}, activations=precision.kv_cache)
    return precision.compute(kind, tuple(device.flops))
