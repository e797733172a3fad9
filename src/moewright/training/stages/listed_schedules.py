"""Schedules that put gradients of weights off, for whole tables: their operation lists run on arrays.

What such a schedule leaves idle has no short formula where stages, or the three parts of a micro-batch, are unequal. It
does not depend on how many micro-batches come after the first two for each stage: that many are run, and every further
one takes the slowest stage's time. Where stages are equal, F, B (inputs) and W of a stage, this is
(p − 1)·max(F, B, F + B − W) idle of ZB-H1 (arXiv 2401.10241), and for F = B ≥ W the (p − 1)·(F&B + B − 3W) of half
stages that DualPipeV's table has (github.com/deepseek-ai/DualPipe).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from moewright.case.train.train_strategy import Schedule
from moewright.cost.arrays import Array
from moewright.placement.stage_orders import order
from moewright.training.stages.simulated_pipelines import run_of_table

#: schedules with operations of their own for the gradients of weights
LATE_WEIGHTS = (Schedule.ZERO_BUBBLE, Schedule.DUALPIPE_V)


def listed_seconds(
    chunks: Sequence[tuple[Array, Array, Array]], stages: int, micro: Array, schedule: Schedule
) -> Array:
    """Seconds [rows] of ``micro`` [rows] micro-batches; ``chunks``: arrays [rows] of each chunk's forward pass,
    gradients of inputs and of weights."""
    virtual = len(chunks) // stages
    whole = [sum(parts, start=np.zeros(1)) for parts in chunks]
    places = [[(i if c == 0 else 2 * stages - 1 - i) for c in range(virtual)] for i in range(stages)]
    slowest = np.max([sum((whole[c] for c in own), start=np.zeros(1)) for own in places], axis=0)
    seconds = np.zeros(len(micro))
    for count in np.unique(np.minimum(micro, 2 * stages)).astype(int).tolist():
        rows = np.flatnonzero(np.minimum(micro, 2 * stages) == count)
        mine = [(f[rows], b[rows], w[rows]) for f, b, w in chunks]
        seconds[rows] = run_of_table(mine, stages, count, schedule) + (micro[rows] - count) * slowest[rows]
    return seconds


@cache
def held_points(stage: int, stages: int, micro: int, virtual: int, schedule: Schedule) -> tuple[tuple[int, ...], ...]:
    """What a stage holds at its fullest moments: (micro-batches kept of each chunk, then those of which the gradients
    of weights are put off, of each chunk); of moments that another has as much of everything of, only that one."""
    held, late = [0] * virtual, [0] * virtual
    found: set[tuple[int, ...]] = set()
    for x in order(stage, stages, min(micro, 2 * stages), virtual, schedule):
        if x.kind == "F":
            held[x.chunk] += 1
        elif x.kind == "W":
            late[x.chunk] -= 1
        found.add((*held, *late))
        if x.backward:
            held[x.chunk] -= 1
            late[x.chunk] += x.kind == "I"
    return tuple(p for p in sorted(found) if not any(q != p and all(map(int.__ge__, q, p)) for q in found))


def held_bytes(kept: Array, late: Array, micro: Array, stages: int, schedule: Schedule) -> Array:
    """Bytes [rows, stages] of activations at each stage's fullest moment, of those that are ``kept`` of a micro-batch
    until the gradients of inputs, and ``late`` until those of weights: [rows, chunks] by place in the model."""
    virtual = kept.shape[1] // stages
    out = np.zeros((len(kept), stages))
    short = np.minimum(micro, 2 * stages).astype(int)
    for stage in range(stages):
        own = [stage, 2 * stages - 1 - stage][:virtual]
        sizes = np.concatenate([kept[:, own], late[:, own]], axis=1)
        for count in np.unique(short).tolist():
            rows = np.flatnonzero(short == count)
            points = np.array(held_points(stage, stages, count, virtual, schedule), dtype=np.float64)
            out[rows, stage] = (sizes[rows] @ points.T).max(axis=1)
    return out
