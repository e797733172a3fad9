"""Step seconds tabulated once, and read off by interpolation: a simulation asks for tens of thousands.

Axes: prompt tokens, their mean keys, decode sequences, mean context, and the share of all attention-dp ranks' tokens
in dp times the fullest's. A step without prompts has a table of its own, exact at every batch a CUDA graph is
captured for. Between points seconds are linear in each axis (multilinear), so that over decode steps in a row, in
which only the context grows, they are an arithmetic progression until the context passes a point.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import product
from math import inf, log2

import numpy as np

from moewright.serving.step import Step, StepModel

#: points of an axis of decode batches in the table of steps that only decode
MOST_BATCHES = 96


class Grid:
    """Multilinear interpolation over ``axes``; outside, the edge's slope goes on (never below 0)."""

    def __init__(self, axes: list[list[float]], values: np.ndarray) -> None:
        self.axes = axes
        self.values: list[float] = values.ravel().tolist()
        self.strides = [int(np.prod([len(a) for a in axes[i + 1 :]])) for i in range(len(axes))]

    def at(self, point: tuple[float, ...]) -> float:
        corners = [(0, 1.0)]
        for axis, stride, x in zip(self.axes, self.strides, point, strict=True):
            if len(axis) == 1:
                continue
            i = bisect_right(axis, x) - 1
            i = 0 if i < 0 else min(i, len(axis) - 2)
            w = (x - axis[i]) / (axis[i + 1] - axis[i])
            if w == 0.0:
                corners = [(o + i * stride, f) for o, f in corners]
            elif w == 1.0:
                corners = [(o + (i + 1) * stride, f) for o, f in corners]
            else:
                corners = [(o + (i + k) * stride, f * g) for o, f in corners for k, g in ((0, 1 - w), (1, w))]
        values = self.values
        return max(0.0, sum([values[o] * f for o, f in corners]))


def _spaced(first: float, last: float, count: int) -> list[float]:
    """From ``first`` to ``last``, evenly in the logarithm, whole where ``first`` is 1."""
    points = np.geomspace(first, max(last, first * 2), count)
    return sorted({float(round(x)) for x in points})


class StepTable:
    """Seconds of steps of up to ``prefill`` prompt tokens and ``batches`` (decode sequences, ascending), with
    contexts of ``shortest`` to ``longest`` tokens."""

    def __init__(self, model: StepModel, prefill: int, batches: list[int], longest: int, shortest: int = 16) -> None:
        self.dp = int(model.dp[0])
        shares = [1.0] if self.dp == 1 else sorted({1.0 / self.dp, (1 + 1 / self.dp) / 2, 1.0})
        if len(batches) > MOST_BATCHES:
            picked = np.unique(np.round(np.geomspace(1, len(batches), MOST_BATCHES)).astype(int)) - 1
            batches = [batches[i] for i in picked]
        shortest = min(shortest, longest)
        context = _spaced(shortest, longest + 1, max(4, min(14, round(2 * log2(longest / shortest)) + 3)))
        some = sorted({0.0, *_spaced(1, max(2, batches[-1]), 12)})
        prompts, keys = _spaced(1, max(2, prefill), 18), _spaced(1, longest + 1, 7)
        self.context = context
        decode = [[float(b) for b in batches], context, shares]
        self._decode = Grid(decode, self._fill(model, [[0.0], [1.0], *decode]))
        mixed = [prompts, keys, some, context, shares]
        self._mixed = Grid(mixed, self._fill(model, mixed))

    def _fill(self, model: StepModel, axes: list[list[float]]) -> np.ndarray:
        p, k, d, c, r = np.array(list(product(*axes))).T
        return model.seconds(Step(p, p * k, d, d * c, r * self.dp * (p + d)))

    def seconds(self, prefill: float, pairs: float, decode: float, context: float, tokens: float) -> float:
        """GPU seconds of a step; ``context`` is the sum over its decode sequences."""
        worked = prefill + decode
        if not worked:
            return 0.0
        share = min(1.0, tokens / (self.dp * worked))
        mean = context / decode if decode else self.context[0]
        if prefill:
            return self._mixed.at((prefill, pairs / prefill, decode, mean, share))
        return self._decode.at((decode, mean, share))

    def next_context(self, mean: float) -> float:
        """The next point of the context axis above ``mean``."""
        i = bisect_right(self.context, mean)
        return self.context[i] if i < len(self.context) - 1 else inf
