"""A placement on a terminal."""

from __future__ import annotations

import numpy as np

from moewright.place.record import ExpertPlacement
from moewright.report.blocks import Section, Table, facts
from moewright.units import format_seconds

_SHADES = " ░▒▓█"
_MOST = 24


def place_sections(p: ExpertPlacement) -> list[Section]:
    """Balance, and a heat map of load per GPU (full: twice the mean and more)."""
    layers, gpus = p.gpu_load.shape
    picked = np.unique(np.linspace(0, layers - 1, min(layers, _MOST)).astype(int))
    rows = tuple(
        (str(i), f"{p.layer_balancedness[i]:.4f}", f"{p.layer_bound[i]:.4f}", _row(p.gpu_load[i])) for i in picked
    )
    moved = None if p.moved is None else ("Moved", f"{p.moved} of {p.expert_of_slot.size} replicas")
    return [
        Section(
            f"Placement of {p.replicas.shape[1]} experts on {p.expert_of_slot.shape[1]} slots of {gpus} GPUs",
            (
                facts(
                    ("Balancedness", f"{p.balancedness:.4f} of at most {p.bound:.4f}, the mean over {layers} layers"),
                    ("Straggler", f"{p.straggler:.4f} times the mean load"),
                    moved,
                    ("Seconds", format_seconds(p.seconds)),
                ),
            ),
        ),
        Section("Load of each GPU", (Table(("layer", "balance", "bound", "GPUs"), rows, (0, 1, 2)),)),
    ]


def _row(load: np.ndarray, most: int = 72) -> str:
    mean = load.mean() or 1.0
    cells = [part.max() / mean for part in np.array_split(load, min(most, len(load)))]
    return "".join(_SHADES[min(4, round(2 * c))] for c in cells)
