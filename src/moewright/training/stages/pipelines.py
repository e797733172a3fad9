"""The schedules of a pipeline: a closed form for whole tables, and the same schedules simulated operation by operation.

1F1B (Narayanan et al., arXiv 1806.03377), interleaved (arXiv 2104.04473 §2.2), zero-bubble ZB-H1 (Qi et al., arXiv
2401.10241: the gradients of weights fill the gaps) and DualPipeV (the table of github.com/deepseek-ai/DualPipe). Idle
seconds of equal stages, p of them, with F, B (input's gradient) and W (weights') of one micro-batch on a stage:
(p−1)·(F+B+W); that over the chunks; (p−1)·(F+B−W); (p−1)·(F&B + B − 3W) of half stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moewright.case.train.train_strategy import Schedule
from moewright.cost.arrays import Array
from moewright.placement.stage_orders import Operation, order


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
    elif schedule is Schedule.ZERO_BUBBLE:
        share = (s.forward + s.inputs - s.weights).sum(axis=1) / whole.sum(axis=1)
    elif schedule is Schedule.DUALPIPE_V:
        gap = s.forward + 2 * s.inputs + 2 * s.weights - 3 * s.weights
        share = gap.sum(axis=1) / whole.sum(axis=1) / 2
    idle = others * np.maximum(share, 0.0) + waits
    return micro * slowest + idle, idle


def chunks_in_flight(stages: int, virtual: int, micro: Array, schedule: Schedule) -> Array:
    """Chunks of micro-batches whose activations a stage keeps at most, [rows, stages]: the first stage of 1F1B keeps
    as many as there are stages; of the interleaved schedule 2·(p − 1 − i) + (v − 1)·p + 1 chunks (Megatron-Core's
    warm-up and the one at work)."""
    stage = np.arange(stages, dtype=np.float64)[None, :]
    all_of = micro[:, None] * virtual
    if schedule is Schedule.INTERLEAVED:
        most = 2 * (stages - 1 - stage) + (virtual - 1) * stages + 1
    elif schedule is Schedule.DUALPIPE_V:
        most = np.full_like(stage, 2.0 * stages + 1)
    else:
        most = stages - stage
    return np.minimum(most, all_of)


# --- one row, operation by operation ---


@dataclass(frozen=True, slots=True)
class Span:
    """An operation of a stage with its start and end."""

    operation: Operation
    stage: int
    start: float
    end: float


def simulate_pipeline(
    chunks: Sequence[tuple[float, float, float]], stages: int, micro: int, schedule: Schedule, hop: float = 0.0
) -> list[Span]:
    """Every operation in time. ``chunks``: (forward, inputs' gradient, weights' gradient) seconds of each chunk of the
    model, in the order of its layers: chunk c stands on stage c mod ``stages``. ``hop``: seconds from one to the next.
    """
    virtual = len(chunks) // stages
    split_weights = schedule is Schedule.ZERO_BUBBLE
    lists = [order(i, stages, micro, virtual, schedule) for i in range(stages)]
    done: dict[tuple[str, int, int], float] = {}
    at, clock = [0] * stages, [0.0] * stages
    spans: list[Span] = []
    while any(at[i] < len(lists[i]) for i in range(stages)):
        moved = False
        for stage in range(stages):
            while at[stage] < len(lists[stage]):
                x = lists[stage][at[stage]]
                place = x.chunk * stages + stage
                ready = _ready(x, place, len(chunks), done, hop)
                if ready is None:
                    break
                forward, inputs, weights = chunks[place]
                seconds = {"F": forward, "B": inputs + (0.0 if split_weights else weights), "W": weights}[x.kind]
                start = max(clock[stage], ready)
                clock[stage] = done[x.kind, x.micro, place] = start + seconds
                spans.append(Span(x, stage, start, start + seconds))
                at[stage] += 1
                moved = True
        if not moved:
            raise ValueError(f"{schedule} of {stages} stages and {micro} micro-batches waits for itself")
    return spans


def _ready(x: Operation, place: int, chunks: int, done: dict[tuple[str, int, int], float], hop: float) -> float | None:
    """When the inputs of ``x`` are there; None where what makes them has not been scheduled yet."""
    if x.kind == "F":
        return 0.0 if place == 0 else _after(done.get(("F", x.micro, place - 1)), hop)
    if x.kind == "W":
        return done.get(("B", x.micro, place))
    own = done.get(("F", x.micro, place))
    if place == chunks - 1 or own is None:
        return own
    return _after(done.get(("B", x.micro, place + 1)), hop)


def _after(end: float | None, hop: float) -> float | None:
    return None if end is None else end + hop
