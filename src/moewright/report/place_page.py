"""A placement on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moewright.placement.expert_placement import Affinity, ExpertPlacement, evenness
from moewright.placement.slices import Sliced
from moewright.placement.slot_sweep import SweepPoint
from moewright.report.blocks import Section, Table, facts
from moewright.units import format_bytes, format_seconds

_SHADES = " ░▒▓█"
_MOST = 24
#: marks of a heat map's row
_WIDE = 72


def place_sections(p: ExpertPlacement, reach: int | None = None, told: Sequence[tuple[str, str]] = ()) -> list[Section]:
    """Balance, and heat maps of load per GPU before and after. ``reach``: slots from which on 0.95 is not ruled out;
    ``told``: what else there is to say."""
    layers, gpus = p.gpu_load.shape
    picked = np.unique(np.linspace(0, layers - 1, min(layers, _MOST)).astype(int))
    earlier = evenness(p.before)
    rows = tuple(
        (str(i), f"{p.layer_balancedness[i]:.4f}", f"{p.layer_bound[i]:.4f}", _row(p.gpu_load[i])) for i in picked
    )
    old = tuple((str(i), f"{earlier[i]:.4f}", _row(p.before[i])) for i in picked)
    moved = (
        None if p.moved is None else ("Moved", f"{p.moved} of {p.expert_of_slot.size} replicas{_bytes(p.moved_bytes)}")
    )
    crossing = (
        None if p.cross_node_bytes is None else ("Between nodes", f"{format_bytes(p.cross_node_bytes)} of tokens")
    )
    some = f", {len(picked)} of {layers} layers" if len(picked) < layers else ""
    start = "every expert once, in order" if p.layer_moved is None else "by the earlier placement"
    return [
        Section(
            f"Placement of {p.replicas.shape[1]} experts on {_slots(p)} slots of {gpus} GPUs",
            (
                facts(
                    ("Balancedness", f"{p.balancedness:.4f} of at most {p.bound:.4f}, {_of(p, layers)}"),
                    ("Straggler", f"{p.straggler:.4f} times the mean load"),
                    _windows(p.windows),
                    *told,
                    moved,
                    crossing,
                    *_together(p.affinity),
                    None if reach is None else ("Within reach", f"0.95 from {reach} slots on, by the bound"),
                    _cut(p.slots, gpus),
                    ("Seconds", format_seconds(p.seconds)),
                ),
            ),
        ),
        Section(f"Load of each GPU before ({start}){some}", (Table(("layer", "balance", "GPUs"), old, (0, 1)),)),
        Section(
            f"Load of each GPU{some}",
            (Table(("layer", "balance", "bound", "GPUs"), rows, (0, 1, 2)), _legend(gpus)),
        ),
    ]


def sweep_sections(points: Sequence[SweepPoint], knee: int, limit: float | None) -> list[Section]:
    """Balance and bytes by number of slots, the knee and what fits ``limit`` bytes named."""
    sized = any(p.bytes_per_gpu is not None for p in points)
    rows = []
    for i, p in enumerate(points):
        over = limit is not None and p.bytes_per_gpu is not None and p.bytes_per_gpu > limit
        held = [format_bytes(p.bytes_per_gpu)] if p.bytes_per_gpu is not None else []
        notes = ", ".join(name for name, yes in (("knee", i == knee), ("over the limit", over)) if yes)
        rows.append((str(p.slots), f"{p.balancedness:.4f}", f"{p.straggler:.4f}", f"{p.bound:.4f}", *held, notes))
    head = ("slots", "balance", "straggler", "bound", *(["GB a GPU"] if sized else []), "")
    fits = [p for p in points if limit is None or (p.bytes_per_gpu or 0) <= limit]
    best = max(fits, key=lambda p: p.balancedness, default=None)
    answer = f"The knee is at {points[knee].slots} slots: balance {points[knee].balancedness:.4f}."
    if limit is not None:
        within = f"{best.slots} slots, balance {best.balancedness:.4f}" if best else "no number of slots"
        answer += f" Within {format_bytes(limit)} a GPU the best is {within}."
    return [Section("Balance by redundancy", (answer, Table(head, tuple(rows), tuple(range(len(head) - 1)))))]


def slice_sections(found: list[Sliced], forced: int) -> list[Section]:
    """Numbers of slices an expert, cheapest first; ``forced``: GPUs that share a slot of the placement itself."""
    rows = tuple(
        (
            str(s.slices),
            f"{s.placement.balancedness:.4f}",
            f"{s.placement.straggler:.4f}",
            f"{s.padding:.3f} ×",
            f"{s.cost:.4f} ×",
            ", ".join(name for name, yes in (("best", s is found[0]), ("as above", s.slices == forced)) if yes),
        )
        for s in found
    )
    head = ("slices", "balance", "straggler", "tile padding", "cost", "")
    text = (
        "Tile padding: columns computed over columns there are. Cost: time of the fullest GPU's expert products over "
        "that of an even placement without padding, straggler × tile padding."
    )
    return [Section("Slices of an expert, each on a GPU of its own", (Table(head, rows, (0, 1, 2, 3, 4)), text))]


def _of(p: ExpertPlacement, layers: int) -> str:
    mean = "of one layer" if layers == 1 else f"the mean over {layers} layers"
    return mean if p.windows is None else f"{mean}, for the loads summed over windows"


def _windows(seen: np.ndarray | None) -> tuple[str, str] | None:
    if seen is None:
        return None
    return "Windows", f"{len(seen)}, balancedness in each from {seen.min():.4f} to {seen.max():.4f}"


def _cut(slots: int, gpus: int) -> tuple[str, str] | None:
    """Where slots are fewer than GPUs: what a GPU holds."""
    if slots >= gpus:
        return None
    wide = gpus // slots
    return "Slices", f"a slot is cut over {wide} GPUs, each holding 1/{wide} of its expert"


def _legend(gpus: int) -> str:
    fewest, most = gpus // _WIDE, -(-gpus // _WIDE)
    several = f"{most}" if fewest == most else f"{fewest} or {most}"
    each = "a GPU" if gpus <= _WIDE else f"the fullest of {several} GPUs"
    low, near, high, full = list(_SHADES[1:])
    return (
        f"A mark is {each}: {low} below 0.75 of the mean load (a blank below 0.25), {near} up to 1.25, {high} up to "
        f"1.75, {full} above."
    )


def _slots(p: ExpertPlacement) -> str:
    least, most = p.replicas.sum(axis=1).min(), p.replicas.sum(axis=1).max()
    return f"{least}" if least == most else f"{least} to {most}"


def _together(a: Affinity | None) -> list[tuple[str, str]]:
    if a is None or a.pairs <= 0:
        return []

    def row(now: float, before: float, size: float | None) -> str:
        copies = "" if size is None else f", at most {format_bytes(size)} of copies"
        return f"{now / a.pairs:.4f} of the pairs chosen together, {before / a.pairs:.4f} by balance alone{copies}"

    return [
        ("Over GPUs", row(a.cross_gpu_pairs, a.cross_gpu_pairs_before, a.cross_gpu_bytes)),
        ("Over nodes", row(a.cross_node_pairs, a.cross_node_pairs_before, a.cross_node_bytes)),
    ]


def _bytes(size: float | None) -> str:
    return "" if size is None else f", {format_bytes(size)} of weights"


def _row(load: np.ndarray, most: int = _WIDE) -> str:
    mean = load.mean() or 1.0
    cells = [part.max() / mean for part in np.array_split(load, min(most, len(load)))]
    return "".join(_SHADES[min(4, round(2 * c))] for c in cells)
