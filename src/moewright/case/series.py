"""Measured seconds of a device, as curves over sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Series:
    """Measured (size, seconds), ascending in both."""

    key: tuple[float, ...]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """``series``: operation → its measured curves."""

    name: str
    ranks: int
    series: dict[str, tuple[Series, ...]]


@lru_cache(maxsize=1024)
def spread(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Logarithms of sizes and of seconds."""
    return tuple(math.log(s) for s, _ in points), tuple(math.log(t) for _, t in points)
