"""What of a device's peaks a kernel gets, by its shape. Only for devices with ``kernels`` (the catalogue's, where
figures are public); a spec's own ``mfu`` and ``bandwidth_utilization`` stay the only efficiencies they meet.

Each effect and where its parameter comes from (figures of benchmarks/data/published.csv):

- depth: a product over K is preceded and followed by work that K does not hide: K / (K + depth).
- waves: tiles of 128 × 128 run ``cores`` at a time, and the last wave is seldom full. Kernels of fewer tiles than
  cores take smaller tiles or divide K, and are not charged.
- padding: the rows of each expert end half a tile of 64 into the last one, in the mean.
- reading and multiplying overlap in part: the root of the sum of their squares, between max and sum.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from moewright.case.cluster import Device, Kernels
from moewright.cost.arrays import Array, array, where

#: rows and columns of a tile of a large product (DeepGEMM, CUTLASS: 128 × 128 the commonest)
TILE = 128
#: mean rows that a routed expert's last tile of 64 leaves empty
PADDING = 32.0
#: bytes of an element that kernels between the experts' products read and write
ELEMENT = 2.0


def product_efficiency(groups: Array, rows: Array, columns: Array, depth: Array, kernels: Kernels) -> Array:
    """Share of the delivered rate that ``groups`` products of ``rows`` × ``columns`` over ``depth`` get."""
    tiles = groups * np.ceil(rows / TILE) * np.ceil(columns / TILE)
    waves = np.maximum(tiles / kernels.cores, 1.0)
    filled = where(rows >= TILE, columns / (np.ceil(columns / TILE) * TILE), 1.0)
    return depth / (depth + kernels.depth) * waves / np.ceil(waves) * filled


def worked_flops(
    products: Iterable[tuple[Array, Array, Array]], device: Device, groups: Array | float = 1.0, padding: float = 0.0
) -> Array:
    """FLOPs at the delivered rate that take as long as ``products`` (rows, columns, depth), ``groups`` of each."""
    total = np.zeros(1)
    for rows, columns, depth in products:
        flops = 2.0 * groups * (rows + padding) * columns * depth
        if device.kernels is not None:
            shape = (array(groups), np.maximum(rows, 1.0), np.maximum(columns, 1.0), np.maximum(depth, 1.0))
            flops = flops / product_efficiency(*shape, device.kernels)
        total = total + flops
    return total


def passes_seconds(copies: Array, width: Array, ups: int, hidden: int, device: Device) -> Array:
    """Kernels beside the experts' two products: the activation reads ``ups`` widths and writes one, the weighted
    sum reads a hidden vector a copy that was written before it. Fused kernels pass over all ``copies`` they were
    given room for, of this rank's experts or not."""
    if device.kernels is None:
        return np.zeros(copies.shape)
    moved = copies * ELEMENT * ((ups + 1) * width + 2 * hidden)
    launches = (device.kernels.expert_kernels - 1) * device.launch
    seconds = moved / (device.memory_bandwidth * device.bandwidth_utilization) + launches
    return where(copies > 0, seconds, 0.0)


def latent_decode_seconds(device: Device) -> float:
    """What a decode step of MLA attention takes whatever its batch: splitting the context over cores, and merging."""
    return 0.0 if device.kernels is None else device.kernels.latent_decode
