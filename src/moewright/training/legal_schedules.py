"""Schedules that are given with a number of stages: whether any micro-batches of the other sizes suit both."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from moewright.case.case import Case
from moewright.case.train.train_strategy import Schedule
from moewright.case.train.train_workload import Training
from moewright.errors import SpecError
from moewright.planning.complete import divisors

#: what each schedule needs, in words
_NEEDS = {
    Schedule.INTERLEAVED: "2 stages or more of 2 chunks or more each, and micro-batches that are a multiple of pp",
    Schedule.ZERO_BUBBLE: "2 stages or more",
    Schedule.DUALPIPE_V: "2 stages or more of 2 chunks each, and twice as many micro-batches as stages",
}


def check_schedule(case: Case, training: Training, layers: int, micro_batches: Iterable[int]) -> None:
    """Raises SpecError, with the nearest legal pp, where no layout of the sizes given can have schedule and pp."""
    s = training.sizes
    if s.schedule is None or s.pp is None or s.schedule is Schedule.ONE_F_ONE_B:
        return
    tried = list(micro_batches) if s.micro_batch is None else [s.micro_batch]

    def suits(pp: int) -> bool:
        return _chunks_suit(s.schedule, pp, s.virtual, layers) and any(
            _micro_suits(s.schedule, pp, training.global_batch // dp // each)
            for dp in _data_parallel(case, training, pp)
            for each in tried
            if training.global_batch % (dp * each) == 0
        )

    if suits(s.pp):
        return
    raise SpecError(
        f"got {s.pp}; schedule {s.schedule} needs {_NEEDS[s.schedule]}, of a global batch of {training.global_batch}; "
        f"nearest pp: {_nearest(case.cluster.gpus, s.pp, suits)}",
        file=case.file,
        field="strategy.pp",
    )


def _nearest(gpus: int, pp: int, suits: Callable[[int], bool]) -> str:
    known = sorted((n for n in divisors(gpus) if suits(n)), key=lambda n: (abs(n - pp), n))
    return " or ".join(map(str, sorted(known[:2]))) or "none"


def _chunks_suit(schedule: Schedule | None, pp: int, virtual: int | None, layers: int) -> bool:
    least = 2 if schedule in (Schedule.INTERLEAVED, Schedule.DUALPIPE_V) else 1
    return pp > 1 and pp * (virtual or least) <= layers


def _micro_suits(schedule: Schedule | None, pp: int, micro: int) -> bool:
    if schedule is Schedule.INTERLEAVED:
        return micro % pp == 0
    return micro >= 2 * pp if schedule is Schedule.DUALPIPE_V else micro > 0


def _data_parallel(case: Case, training: Training, pp: int) -> list[int]:
    """Sizes of dp that ``pp`` leaves, whatever of tp and cp is not given."""
    s, gpus = training.sizes, case.cluster.gpus
    stage, left = divmod(gpus, pp)
    if left:
        return []
    fixed = (s.tp or 1) * (s.cp or 1)
    if stage % fixed:
        return []
    if s.dp is not None:
        return [s.dp]
    return [stage // fixed] if s.tp and s.cp else divisors(stage // fixed)
