"""Where every rank is: how many collectives it has begun, and whether it is inside one. A process is one rank, so
that this is of the process; forked ranks write to memory that their parent reads."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any


class Steps:
    """Of each rank a number: twice the collectives it has ended, and one more while it is inside one."""

    def __init__(self, ranks: int) -> None:
        self.counts: Any = get_context("fork").RawArray("q", ranks)

    def seen(self) -> list[int]:
        """The numbers as they are now."""
        return list(self.counts)


class _Inside:
    """The collective that this process is inside of."""

    def __init__(self) -> None:
        self.steps, self.rank = Steps(1), 0

    def __enter__(self) -> None:
        self.steps.counts[self.rank] += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:  # one that fails is still where it was
            self.steps.counts[self.rank] += 1


#: around every collective
inside = _Inside()


def write_to(steps: Steps, rank: int) -> None:
    """This process's number is ``rank``'s of ``steps``."""
    inside.steps, inside.rank = steps, rank


def here() -> int:
    """This process's number."""
    return int(inside.steps.counts[inside.rank])


def stopped(pid: int) -> bool:
    """Whether a signal has stopped the process, where /proc tells."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False


def culprits(numbers: dict[int, int]) -> list[int]:
    """Ranks for which the others may wait: those inside no collective, or all where that tells nothing."""
    return [rank for rank, number in numbers.items() if number % 2 == 0] or list(numbers)
