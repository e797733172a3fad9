"""Memory of every stage over one step: the schedule's operations in order, each with what it keeps and lets go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moewright.training.stages.simulated_pipelines import Span


@dataclass(frozen=True, slots=True)
class StageMemory:
    """Bytes of a rank of one stage. ``static``: weights, gradients, states; ``kept``: of a micro-batch on each of its
    chunks; ``working``: the most beside it inside a backward pass, of each chunk (the loss's with the last one's);
    ``late``: what remains for gradients of weights that are put off."""

    static: float
    kept: tuple[float, ...]
    working: tuple[float, ...]
    late: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """``bytes`` of a stage from ``seconds`` on."""

    stage: int
    seconds: float
    bytes: float


@dataclass(frozen=True, slots=True)
class MemoryPeak:
    """The most that a rank holds: on which ``stage``, when, in which operation (``F``, ``B``) of which micro-batch."""

    stage: int
    bytes: float
    seconds: float
    operation: str
    micro_batch: int


def memory_moments(spans: Sequence[Span], stages: Sequence[StageMemory]) -> list[list[Moment]]:
    """The bytes of each stage after every change, in time."""
    moments: list[list[Moment]] = []
    for stage, memory in enumerate(stages):
        own = sorted((s for s in spans if s.stage == stage), key=lambda s: (s.start, s.end))
        held, line = memory.static, [Moment(stage, 0.0, memory.static)]
        for s in own:
            chunk = s.operation.chunk
            if s.operation.kind == "F":
                held += memory.kept[chunk]
                line.append(Moment(stage, s.start, held))
            elif s.operation.kind == "W":
                held -= memory.late[chunk]
                line.append(Moment(stage, s.end, held))
            else:
                line.append(Moment(stage, s.start, held + memory.working[chunk]))
                held -= memory.kept[chunk] - (memory.late[chunk] if s.operation.kind == "I" else 0.0)
                line.append(Moment(stage, s.end, held))
        moments.append(line)
    return moments


def memory_peak(spans: Sequence[Span], stages: Sequence[StageMemory]) -> MemoryPeak:
    """The largest of all moments, the earliest of equal ones."""
    lines = memory_moments(spans, stages)
    best = max((m for line in lines for m in line), key=lambda m: (m.bytes, -m.seconds))
    at = [s for s in spans if s.stage == best.stage and s.start <= best.seconds <= s.end]
    last = max(at, key=lambda s: s.start, default=None)
    operation, micro = (last.operation.kind, last.operation.micro) if last else ("", 0)
    return MemoryPeak(best.stage, best.bytes, best.seconds, operation, micro)
