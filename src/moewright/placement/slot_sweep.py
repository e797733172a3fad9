"""Balance and bytes by redundancy: the same loads on several numbers of slots."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moewright.errors import SpecError
from moewright.placement.search.solve import place

#: numbers of slots of one sweep
MOST_POINTS = 64


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """A number of slots, what the placement on it reaches, and bytes of experts' weights on a GPU (all layers of the
    loads) where the bytes of an expert are known."""

    slots: int
    balancedness: float
    straggler: float
    bound: float
    bytes_per_gpu: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def swept_slots(text: str, gpus: int, experts: int) -> list[int]:
    """``slots=256..512`` → the multiples of ``gpus`` in it that hold every expert, no more than ``MOST_POINTS`` of them
    spread evenly. Raises SpecError."""
    found = re.fullmatch(r"(?:slots=)?(\d{1,9})\.\.(\d{1,9})", text.replace(" ", ""))
    if not found or int(found[1]) > int(found[2]):
        raise SpecError(f"got {text[:40]!r}; expected a range such as slots=256..512", field="--sweep")
    least, most = max(int(found[1]), experts), min(int(found[2]), experts * gpus)
    every = list(range(-(-least // gpus) * gpus, most + 1, gpus))
    if not every:
        raise SpecError(
            f"got {text[:40]!r}; no multiple of the {gpus} GPUs in it holds the {experts} experts", field="--sweep"
        )
    if len(every) <= MOST_POINTS:
        return every
    return [every[round(i)] for i in np.linspace(0, len(every) - 1, MOST_POINTS)]


def sweep(
    loads: np.ndarray, slots: Sequence[int], options: dict[str, Any], told: Callable[[int], None] = lambda n: None
) -> list[SweepPoint]:
    """``loads`` placed on each number of slots; ``options`` as ``place`` takes them; ``told`` hears of each that is
    done. Raises SpecError."""
    points = []
    for number in slots:
        p = place(loads, **{**options, "slots": number})
        size = options.get("expert_bytes")
        held = None if size is None else size * len(p.layer_bound) * number / options["gpus"]
        points.append(SweepPoint(number, p.balancedness, p.straggler, p.bound, held))
        told(number)
    return points


def knee(points: Sequence[SweepPoint]) -> int:
    """The index of the point after which balance costs most: the farthest above the line from the first to the last
    (Satopää et al., "Finding a Kneedle in a haystack", 2011)."""
    slots = np.array([p.slots for p in points], dtype=float)
    even = np.array([p.balancedness for p in points])
    if len(points) < 3 or even.max() <= even.min():
        return int(even.argmax())
    x = (slots - slots[0]) / (slots[-1] - slots[0])
    y = (even - even.min()) / (even.max() - even.min())
    return int((y - x).argmax())
