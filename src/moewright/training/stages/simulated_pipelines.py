"""A pipeline operation by operation: of one strategy in floats, or of a table of them in arrays [rows]."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from moewright.case.train.train_strategy import Schedule
from moewright.cost.arrays import Array
from moewright.placement.stage_orders import Operation, order, place_of, stage_and_chunk

#: seconds of one strategy, or of each of a table
Time = TypeVar("Time", float, Array)
#: (forward pass, gradients of inputs, gradients of weights) of a chunk
Chunk = tuple[Time, Time, Time]


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
    model, in the order of its layers (``stage_orders.place_of``). ``hop``: seconds from one stage to the next."""
    done = _run(chunks, (stages, micro, schedule), (0.0, hop), max)
    return [Span(x, stage, start, end) for x, stage, start, end in done]


def run_of_table(chunks: Sequence[tuple[Array, Array, Array]], stages: int, micro: int, schedule: Schedule) -> Array:
    """Seconds [rows] of the same, without hops."""
    none = np.zeros(len(chunks[0][0]))
    last = none
    for _, _, _, end in _run(chunks, (stages, micro, schedule), (none, none), np.maximum.reduce):
        last = np.maximum(last, end)
    return last


def _run(
    chunks: Sequence[tuple[Time, Time, Time]],
    sizes: tuple[int, int, Schedule],
    start_and_hop: tuple[Time, Time],
    latest: Callable[[list[Time]], Time],
) -> Iterator[tuple[Operation, int, Time, Time]]:
    """(operation, stage, start, end), those of a stage in order. Raises ValueError where the lists wait for each
    other."""
    stages, micro, schedule = sizes
    zero, hop = start_and_hop
    virtual = len(chunks) // stages
    lists = [order(i, stages, micro, virtual, schedule) for i in range(stages)]
    moves = [_stage(i, stages, schedule) != _stage(i + 1, stages, schedule) for i in range(len(chunks))]
    done: dict[tuple[str, int, int], Time] = {}
    at, clock = [0] * stages, [zero] * stages
    while any(at[i] < len(lists[i]) for i in range(stages)):
        moved = False
        for stage in range(stages):
            while at[stage] < len(lists[stage]):
                together = _together(lists[stage], at[stage])
                places = [place_of(stage, x.chunk, stages, schedule) for x in together]
                needed = [n for x, place in zip(together, places, strict=True) for n in _needs(x, place, len(chunks))]
                if any(key not in done for key, _ in needed):
                    break
                times: list[Time] = [clock[stage]]
                for key, far in needed:
                    times.append(done[key] + hop if far and moves[far - 1] else done[key])
                start = latest(times)
                end = start
                for x, place in zip(together, places, strict=True):
                    end = end + _seconds(x, chunks[place])
                for x, place in zip(together, places, strict=True):
                    done["B" if x.backward else x.kind, x.micro, place] = end
                    yield x, stage, start, end
                clock[stage] = end
                at[stage] += len(together)
                moved = True
        if not moved:
            raise ValueError(f"{schedule} of {stages} stages and {micro} micro-batches waits for itself")


def _together(operations: Sequence[Operation], at: int) -> Sequence[Operation]:
    """The operation at ``at``, with the one that is mixed with it."""
    end = at + 1
    while end < len(operations) and operations[end].joined:
        end += 1
    return operations[at:end]


def _seconds(x: Operation, chunk: tuple[Time, Time, Time]) -> Time:
    forward, inputs, weights = chunk
    if x.kind == "B":
        return inputs + weights
    return {"F": forward, "I": inputs, "W": weights}[x.kind]


def _stage(place: int, stages: int, schedule: Schedule) -> int:
    return stage_and_chunk(place, stages, schedule)[0]


def _needs(x: Operation, place: int, chunks: int) -> list[tuple[tuple[str, int, int], int]]:
    """What ``x`` waits for: (pass, micro-batch, place), and where it comes from another chunk the boundary that it
    crosses, counted from 1 (0: it is here)."""
    if x.kind == "F":
        return [(("F", x.micro, place - 1), place)] if place else []
    if x.kind == "W":
        return [(("B", x.micro, place), 0)]
    own = (("F", x.micro, place), 0)
    return [own, (("B", x.micro, place + 1), place + 1)] if place < chunks - 1 else [own]
