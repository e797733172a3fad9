"""Seconds of operations from a device profile's measured points.

The curve whose key is nearest (in logarithms) is taken, and scaled by the work of one unit of its size; along its
size seconds are interpolated in logarithms of both. Beyond the last point the last one's efficiency holds; below the
first its seconds do. Nothing is faster than the best rate that was measured.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from moewright.case.series import Profile, Series, spread
from moewright.cost.arrays import Array, array, where


def along(series: Series, size: Array) -> Array:
    """Seconds at ``size``; 0 where that is 0."""
    sizes, seconds = spread(series.points)
    wanted = array(size)
    x = np.log(np.maximum(wanted, 1e-300))
    inside = np.exp(np.interp(x, sizes, seconds))
    beyond = np.maximum(wanted / math.exp(sizes[-1]), 1.0)
    return where(wanted > 0, inside * beyond, 0.0)


@lru_cache(maxsize=4096)
def _nearest(all_series: tuple[Series, ...], key: tuple[float, ...]) -> Series:
    return min(all_series, key=lambda s: sum(abs(math.log(a / b)) for a, b in zip(s.key, key, strict=True)))


def curve_seconds(
    profile: Profile | None, operation: str, key: tuple[Array, ...], size: Array, scaled: bool = True
) -> Array | None:
    """Seconds of ``operation``; None where the profile has no points of it. ``scaled`` false: of an operation whose
    size counts all of its work already."""
    if profile is None or operation not in profile.series:
        return None
    curves = profile.series[operation]
    columns = np.broadcast_arrays(size, *key)
    sizes, seconds = columns[0], np.zeros(columns[0].shape)
    keys = np.maximum(np.stack(columns[1:], axis=-1), 1e-9) if key else np.zeros((len(sizes), 0))
    for one in np.unique(keys, axis=0):
        mine = np.all(keys == one, axis=1)
        series = _nearest(curves, tuple(one.tolist()))
        scale = math.prod(a / b for a, b in zip(one.tolist(), series.key, strict=True)) if scaled else 1.0
        seconds[mine] = along(series, sizes[mine]) * scale
    return seconds
