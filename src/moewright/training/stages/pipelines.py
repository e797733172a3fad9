"""The schedules of a pipeline: a closed form for whole tables, and the same schedules simulated operation by operation.

1F1B (Narayanan et al., arXiv 1806.03377) and interleaved (arXiv 2104.04473 §2.2). Idle seconds of equal stages, p of
them, with F, B (input's gradient) and W (weights') of one micro-batch on a stage: (p−1)·(F+B+W), or that over the
chunks. Those of zero-bubble and DualPipeV: ``listed_schedules``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.train.train_strategy import Schedule
from moewright.cost.arrays import Array


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Seconds of one micro-batch on each stage, arrays [rows, stages] of all its chunks together: forward, gradient of
    inputs (with what is computed again), gradient of weights."""

    forward: Array
    inputs: Array
    weights: Array

    @property
    def whole(self) -> Array:
        return self.forward + self.inputs + self.weights


#: of what stages of unequal chunks would wait if they worked in step, what they do: simulated pipelines wait for all or
#: none of it, half in the mean
_WAITED = 0.5


def meeting_seconds(forward: Array, backward: Array) -> Array:
    """Seconds [rows] that one micro-batch takes every stage of an interleaved pipeline that is kept full, where chunks
    differ: [rows, virtual, stages]. Stages work in step, each on a forward chunk and a backward one, and all wait for
    the slowest. Of v rounds of as many micro-batches as there are stages, in the r-th a stage does forward chunk r; its
    backward pass is as many rounds behind as its warm-up was long: v − 1, and two more on the first stage than on the
    one that would follow the last. Equal chunks give the seconds of a stage."""
    _, virtual, stages = forward.shape
    place = np.arange(stages)
    behind = virtual - 1 + np.rint(2 * (stages - 1 - place) / stages).astype(np.int64)
    total = np.zeros(len(forward))
    for r in range(virtual):
        chunk = virtual - 1 - (r - behind) % virtual
        total = total + (forward[:, r, :] + backward[:, chunk, place]).max(axis=1)
    return total


def pipeline_seconds(
    s: StageSeconds, micro: Array, virtual: int, schedule: Schedule, unevenness: Array | float = 1.0
) -> tuple[Array, Array]:
    """(seconds of all ``micro`` micro-batches, those in which the slowest stage is idle), arrays [rows].
    ``unevenness``: ``meeting_seconds`` over those of the slowest stage."""
    whole = s.whole
    slowest = whole.max(axis=1)
    others = whole.sum(axis=1) - slowest
    share: Array | float = 1.0
    waits: Array | float = 0.0
    if schedule is Schedule.INTERLEAVED:
        share = 1.0 / virtual
        waits = micro * slowest * _WAITED * (unevenness - 1.0)
    idle = others * share + waits
    return micro * slowest + idle, idle


def chunks_in_flight(stages: int, virtual: int, micro: Array, schedule: Schedule) -> Array:
    """Chunks of micro-batches whose activations a stage keeps at most, [rows, stages]: the first stage of 1F1B keeps
    as many as there are stages; of the interleaved schedule 2·(p − 1 − i) + (v − 1)·p + 1 chunks (Megatron-Core's
    warm-up and the one at work)."""
    stage = np.arange(stages, dtype=np.float64)[None, :]
    all_of = micro[:, None] * virtual
    if schedule is Schedule.INTERLEAVED:
        most = 2 * (stages - 1 - stage) + (virtual - 1) * stages + 1
    else:
        most = stages - stage
    return np.minimum(most, all_of)
