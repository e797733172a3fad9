"""Interpolation of measured times: monotone in the work, straight in log-log, physical beyond the edges.

A kernel that is given more work is not faster, so each series is first made non-decreasing (isotonic regression by
pooling adjacent violators: Barlow, Bartholomew, Bremner, Brunk, 1972, of the logarithms). Between points the
logarithm of time is linear in the logarithm of the size. Below the first point time stays (latency), beyond the last
it grows as the last measured efficiency says: in proportion to the size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def isotonic(values: np.ndarray) -> np.ndarray:
    """The non-decreasing sequence nearest to ``values`` [n] in the mean square."""
    sums: list[float] = []
    counts: list[int] = []
    for value in values:
        sums.append(float(value))
        counts.append(1)
        while len(sums) > 1 and sums[-2] / counts[-2] > sums[-1] / counts[-1]:
            last, many = sums.pop(), counts.pop()
            sums[-1] += last
            counts[-1] += many
    return np.repeat(np.array(sums) / np.array(counts), counts)


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds over a size: ``size`` [n] increasing and positive, ``log_seconds`` [n] non-decreasing."""

    size: np.ndarray
    log_seconds: np.ndarray

    @classmethod
    def of(cls, size: np.ndarray, seconds: np.ndarray) -> Curve:
        """Points in any order; those of one size are averaged (by their logarithms)."""
        keys, where = np.unique(np.asarray(size, dtype=float), return_inverse=True)
        logs = np.bincount(where, np.log(seconds)) / np.bincount(where)
        return cls(keys, isotonic(logs))

    def __call__(self, size: np.ndarray | float) -> np.ndarray:
        """Seconds at ``size`` (any shape)."""
        wanted = np.asarray(size, dtype=float)
        x, last = np.log(np.maximum(wanted, 1e-9)), self.size[-1]
        inside = np.interp(x, np.log(self.size), self.log_seconds)
        return np.asarray(np.exp(inside) * np.maximum(wanted / last, 1.0))


@dataclass(frozen=True, slots=True)
class Surface:
    """Seconds over two sizes: a curve in the second for each value of the first."""

    first: np.ndarray
    curves: tuple[Curve, ...]

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray, seconds: np.ndarray) -> Surface:
        keys = np.unique(first)
        return cls(keys.astype(float), tuple(Curve.of(second[first == k], seconds[first == k]) for k in keys))

    def __call__(self, first: np.ndarray | float, second: np.ndarray | float) -> np.ndarray:
        """Seconds at points of equal shape; linear in the logarithms of both, in proportion beyond the last."""
        a, b = np.broadcast_arrays(np.asarray(first, dtype=float), np.asarray(second, dtype=float))
        table = np.array([np.log(c(b)) for c in self.curves])  # [curves, ...]
        if len(self.first) == 1:
            return np.asarray(np.exp(table[0]) * np.maximum(a / self.first[0], 1.0))
        table = np.maximum.accumulate(table, axis=0)
        x, knots = np.log(np.maximum(a, 1e-9)), np.log(self.first)
        x = np.clip(x, knots[0], knots[-1])
        i = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
        w = (x - knots[i]) / (knots[i + 1] - knots[i])
        low = np.take_along_axis(table, i[None], axis=0)[0]
        high = np.take_along_axis(table, (i + 1)[None], axis=0)[0]
        return np.asarray(np.exp(low * (1 - w) + high * w) * np.maximum(a / self.first[-1], 1.0))
