"""From the seconds of a layer to those of a pass: overlap inside a layer, stages one after another.

Two-batch overlap: while one half computes, the other communicates; the first half's computation and the last half's
communication are exposed: 2·max(C, X) + min(C, X) of a half's C and X.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from moewright.case.model import ModelSpec
from moewright.case.strategy import stage_layers
from moewright.cost.arrays import Array, Ints, where
from moewright.cost.table import Table


def overlapped(compute: Array, exchange: Array, t: Table) -> tuple[Array, Array]:
    """(seconds of a micro-batch in one layer, seconds of it that overlap hides) from one chunk's ``compute`` and
    ``exchange``, the seconds of its operations and of its collectives."""
    hidden = where(t.two_batch, np.minimum(compute, exchange), 0.0)
    return (compute + exchange) * t.halves - hidden, hidden


def stage_counts(model: ModelSpec, pp: int) -> Ints:
    """Layers of each kind on each stage, shape [pp, kinds]."""
    kinds = model.layer_kinds()
    kind_of = np.empty(len(model.layers), dtype=np.int64)
    for i, (_, positions) in enumerate(kinds):
        kind_of[positions] = i
    return np.array([np.bincount(kind_of[list(r)], minlength=len(kinds)) for r in stage_layers(len(kind_of), pp)])


def by_pp(pp: Ints, rows: int, function: Callable[[int, Ints], tuple[Array, ...]]) -> list[Array]:
    """``function(pp, rows)`` of the rows of each distinct ``pp``, put back together; ``rows``: how many in all."""
    pp = np.broadcast_to(pp, (rows,))
    out: list[Array] = []
    for value in np.unique(pp):
        mine = np.flatnonzero(pp == value)
        for i, piece in enumerate(function(int(value), mine)):
            if len(out) == i:
                out.append(np.empty(rows))
            out[i][mine] = piece
    return out


@dataclass(frozen=True, slots=True)
class Stages:
    """Arrays [rows]: seconds of the slowest stage and of all together; which is the slowest."""

    slowest: Array
    through: Array
    which: Array


def stage_seconds(model: ModelSpec, pp: Ints, layers: list[Array], first: Array, last: Array) -> Stages:
    """One micro-batch through the stages: ``layers`` seconds of each kind of layer, ``first`` and ``last`` of the
    model's ends."""
    shape = np.broadcast_shapes(pp.shape, first.shape, last.shape, *(x.shape for x in layers))
    layers = [np.broadcast_to(x, shape) for x in layers]
    ends = np.broadcast_to(first, shape), np.broadcast_to(last, shape)

    def one(stages: int, rows: Ints) -> tuple[Array, ...]:
        counts = stage_counts(model, stages)
        seconds = np.zeros((stages, len(rows)))
        for kind, taken in zip(counts.T, layers, strict=True):
            seconds += kind[:, None] * taken[rows][None, :]
        seconds[0] += ends[0][rows]
        seconds[-1] += ends[1][rows]
        return seconds.max(axis=0), seconds.sum(axis=0), seconds.argmax(axis=0).astype(float)

    return Stages(*by_pp(pp, shape[0], one))


def pass_seconds(s: Stages, pp: Ints, micro: Array, hop: Array) -> tuple[Array, Array]:
    """(latency, period) of ``micro`` micro-batches with ``hop`` seconds between stages: the first takes all stages and
    a transfer a boundary, each further one the slowest stage's time (Narayanan et al., arXiv 2104.04473 §2.2, without
    the backward pass)."""
    pace = np.maximum(s.slowest, hop)
    return s.through + (micro - 1) * pace + (pp - 1) * hop, micro * pace


def round_seconds(s: Stages, pp: Ints, micro: Array, hop: Array) -> Array:
    """Seconds in which ``micro`` parts go round all stages and back to the first: a decode step, in which the next
    token waits for its own part alone: max(m·max t, Σ t + p·x)."""
    return np.maximum(micro * s.slowest, s.through + where(pp > 1, pp * hop, 0.0))
