"""What each stage of a training pipeline does, in order: the lists that are simulated, and executed.

1F1B (Narayanan et al., arXiv 1806.03377), interleaved (arXiv 2104.04473 §2.2), zero-bubble ZB-H1 (arXiv 2401.10241)
and DualPipeV, whose steps are those of github.com/deepseek-ai/DualPipe (dualpipev.py).
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from moewright.case.train.train_strategy import Schedule


@dataclass(frozen=True, slots=True)
class Operation:
    """``kind``: F; B, the gradients of inputs and weights; I, those of inputs alone; or W, those of weights; of a
    micro-batch on a stage's chunk. ``joined``: begins with the operation before it, their work mixed."""

    kind: str
    micro: int
    chunk: int
    joined: bool = False

    @property
    def backward(self) -> bool:
        """Whether it gives gradients of inputs."""
        return self.kind in ("B", "I")


def place_of(stage: int, chunk: int, stages: int, schedule: Schedule) -> int:
    """Where in the model the ``chunk`` of a stage stands: chunks go round the stages again and again; those of
    DualPipeV there and back."""
    if schedule is Schedule.DUALPIPE_V:
        return 2 * stages - 1 - stage if chunk else stage
    return chunk * stages + stage


def stage_and_chunk(place: int, stages: int, schedule: Schedule) -> tuple[int, int]:
    """The inverse of ``place_of``."""
    if schedule is Schedule.DUALPIPE_V and place >= stages:
        return 2 * stages - 1 - place, 1
    return place % stages, place // stages


def order(stage: int, stages: int, micro: int, virtual: int, schedule: Schedule) -> list[Operation]:
    """What a stage does, in order. Raises ValueError where the schedule does not suit the sizes."""
    if schedule is Schedule.INTERLEAVED:
        return _interleaved(stage, stages, micro, virtual)
    if schedule is Schedule.DUALPIPE_V:
        return _there_and_back(stage, stages, micro, virtual)
    if virtual > 1:
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
    total = sum(x.backward for x in operations)
    for x in operations:
        if not x.backward:
            late.append(x)
            continue
        late.append(Operation("I", x.micro, x.chunk))
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


# --- DualPipeV ---


@dataclass(slots=True)
class _Steps:
    """A stage's list as it grows: how many micro-batches each chunk has done of each pass, and gradients of weights
    that are put off, first in, first out."""

    done: Counter[tuple[str, int]] = field(default_factory=Counter)
    late: deque[Operation] = field(default_factory=deque)
    made: list[Operation] = field(default_factory=list)

    def forward(self, chunk: int, joined: bool = False) -> None:
        self._next("F", "F", chunk, joined)

    def backward(self, chunk: int, split: bool = False, joined: bool = False) -> None:
        x = self._next("I" if split else "B", "B", chunk, joined)
        if split:
            self.late.append(Operation("W", x.micro, chunk))

    def both(self, forward: int, backward: int) -> None:
        """A forward pass of one chunk mixed with a backward pass of the other."""
        self.forward(forward)
        self.backward(backward, joined=True)

    def weights(self) -> None:
        self.made.append(self.late.popleft())

    def _next(self, kind: str, pass_: str, chunk: int, joined: bool) -> Operation:
        x = Operation(kind, self.done[pass_, chunk], chunk, joined)
        self.done[pass_, chunk] += 1
        self.made.append(x)
        return x


def _there_and_back(stage: int, stages: int, micro: int, virtual: int) -> list[Operation]:
    """DualPipeV's eight steps."""
    if virtual != 2:
        raise ValueError(f"dualpipe_v has 2 chunks a stage, not {virtual}")
    if micro < 2 * stages:
        raise ValueError(f"dualpipe_v of {stages} stages needs {2 * stages} micro-batches, not {micro}")
    s, behind, up_to = _Steps(), stages - stage - 1, stage + 1
    for _ in range(2 * behind):
        s.forward(0)
    for _ in range(up_to):
        s.forward(0)
        s.forward(1)
    for _ in range(behind):
        s.backward(1, split=True)
        s.weights()
        s.forward(1)
    for i in range(micro - 2 * stages + up_to):
        if i == 0 and behind == 0:  # the last stage begins apart, which leaves less idle
            s.forward(0)
            s.backward(1)
        else:
            s.both(0, 1)
        s.both(1, 0)
    for _ in range(behind):
        s.backward(1)
        s.both(1, 0)
    for i in range(up_to):
        half = up_to // 2
        s.backward(1, split=i > half or (i == half and stage % 2 == 1))
        s.backward(0, split=i >= half)
    for _ in range(behind):
        s.weights()
        s.backward(0, split=True)
    while s.late:
        s.weights()
    return s.made
