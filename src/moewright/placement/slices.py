"""Fewer slots than GPUs: every expert in k slices on GPUs of their own, k chosen with smaller products priced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from moewright.errors import SpecError
from moewright.placement.expert_placement import ExpertPlacement
from moewright.placement.search.solve import place

#: columns that a matrix unit's tile takes at once; a narrower slice is paid as a whole tile
TILE = 128


@dataclass(frozen=True, slots=True)
class Sliced:
    """``slices`` of each expert; ``placement`` of the slices, slice j of expert e being number e·slices + j;
    ``padding``: columns computed over columns there are; ``cost``: straggler × padding, the fullest GPU's seconds in
    expert products over those of an even placement of whole tiles."""

    slices: int
    placement: ExpertPlacement
    padding: float
    cost: float

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        p = self.placement
        own = {"balancedness": p.balancedness, "straggler": p.straggler}
        return {"slices": self.slices, **own, "padding": self.padding, "cost": self.cost}


def place_slices(loads: Any, *, slots: int, gpus: int, width: int, most: int = 16) -> list[Sliced]:
    """A placement for every legal number of slices up to ``most``, cheapest first, ``slots`` · slices slots of slices
    on ``gpus`` GPUs taking the memory of ``slots`` experts. ``width``: columns of an expert's inner matrix. The
    product of a slice of w columns costs ceil(w / ``TILE``) tiles; other things equal, fewer slices send less.
    Raises SpecError."""
    table = np.asarray(loads, dtype=float)
    found = []
    for slices in range(1, most + 1):
        if (slots * slices) % gpus or width % slices:
            continue
        own = width // slices
        padding = -(-own // TILE) * TILE / own
        p = place(np.repeat(table, slices, axis=-1) / slices, slots=slots * slices, gpus=gpus)
        found.append(Sliced(slices, p, padding, p.straggler * padding))
    if not found:
        raise SpecError(
            f"got {slots}; expected a number that times 1 to {most} slices is a multiple of the {gpus} GPUs, the "
            f"slices dividing the width {width}",
            field="slots",
        )
    return sorted(found, key=lambda s: (round(s.cost, 3), s.slices))
