"""What a price is: seconds of each operation, and how they came to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moewright.cost.arrays import Array, where
from moewright.cost.work import Work


class Origin(IntEnum):
    """How seconds came to be: by formula or from another shape's efficiency, between measured shapes, or measured."""

    DERIVED = 0
    INTERPOLATED = 1
    MEASURED = 2


Origins = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Priced:
    """``work`` with its ``seconds`` per call and their ``origin``, both of shape [rows]."""

    work: Work
    seconds: Array
    origin: Origins

    @property
    def is_collective(self) -> bool:
        return self.work.collective is not None


class Price(Protocol):
    """Turns a list of work, in the order of a pass, into seconds."""

    def price(self, work: Sequence[Work]) -> list[Priced]:
        """One ``Priced`` for each of ``work``, in order."""


def derived(work: Work, seconds: Array) -> Priced:
    """``seconds`` by formula, none where the work does not happen."""
    taken = where(work.happens, seconds, 0.0)
    return Priced(work, taken, np.zeros(taken.shape, dtype=np.int8))


def shares(priced: Sequence[Priced]) -> dict[str, float]:
    """Share of the seconds of ``priced``, all rows together, by origin: measured, interpolated, derived."""
    spent = dict.fromkeys(("measured", "interpolated", "derived"), 0.0)
    for x in priced:
        seconds = np.broadcast_to(x.seconds, np.broadcast_shapes(x.seconds.shape, x.origin.shape))
        for origin in Origin:
            spent[origin.name.lower()] += float(seconds[x.origin == origin].sum())
    whole = sum(spent.values())
    return {name: value / whole if whole else 0.0 for name, value in spent.items()}
