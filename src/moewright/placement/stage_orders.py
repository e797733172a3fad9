"""What each stage of a training pipeline does, in order: the lists that are simulated, and executed.

1F1B (Narayanan et al., arXiv 1806.03377), interleaved (arXiv 2104.04473 §2.2), zero-bubble ZB-H1 (arXiv 2401.10241).
"""

from __future__ import annotations

from dataclasses import dataclass

from moewright.case.train.train_strategy import Schedule


@dataclass(frozen=True, slots=True)
class Operation:
    """``kind``: F, B (with W in it, but for zero-bubble) or W, of a micro-batch on a stage's chunk."""

    kind: str
    micro: int
    chunk: int


def order(stage: int, stages: int, micro: int, virtual: int, schedule: Schedule) -> list[Operation]:
    """What a stage does, in order. Raises ValueError where the schedule does not suit the sizes."""
    if schedule is Schedule.INTERLEAVED:
        return _interleaved(stage, stages, micro, virtual)
    if schedule is Schedule.DUALPIPE_V or virtual > 1:
        raise ValueError(f"{schedule} of {virtual} chunks has no operation list")
    warm = min(stages - stage - 1, micro)
    operations = [Operation("F", i, 0) for i in range(warm)]
    for i in range(micro - warm):
        operations += [Operation("F", warm + i, 0), Operation("B", i, 0)]
    operations += [Operation("B", i, 0) for i in range(micro - warm, micro)]
    return operations if schedule is Schedule.ONE_F_ONE_B else _weights_late(operations, stage)


def _weights_late(operations: list[Operation], stage: int) -> list[Operation]:
    """ZB-H1: gradients of weights are put off by as many micro-batches as the stage's place, so that memory stays that
    of 1F1B; those left at the end fill what would be idle."""
    late: list[Operation] = []
    waiting: list[Operation] = []
    backward = 0
    total = sum(x.kind == "B" for x in operations)
    for x in operations:
        late.append(x)
        if x.kind == "B":
            backward += 1
            waiting.append(Operation("W", x.micro, x.chunk))
            if len(waiting) > stage and backward < total:
                late.append(waiting.pop(0))
    return late + waiting


def _interleaved(stage: int, stages: int, micro: int, virtual: int) -> list[Operation]:
    if micro % stages:
        raise ValueError(f"{micro} micro-batches are no multiple of {stages} stages")
    total = micro * virtual

    def at(k: int, forward: bool) -> tuple[int, int]:
        """(micro-batch, chunk) of the k-th chunk of a pass: groups of ``stages`` micro-batches, chunk after chunk."""
        group, inside = divmod(k, stages * virtual)
        chunk = inside // stages
        return group * stages + inside % stages, chunk if forward else virtual - 1 - chunk

    warm = min((stages - stage - 1) * 2 + (virtual - 1) * stages, total)
    operations = [Operation("F", *at(k, True)) for k in range(warm)]
    for k in range(total - warm):
        operations += [Operation("F", *at(warm + k, True)), Operation("B", *at(k, False))]
    return operations + [Operation("B", *at(k, False)) for k in range(total - warm, total)]
