"""What ``moewright place`` is given, read: loads, an earlier placement, links; and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moewright.errors import SpecError
from moewright.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from moewright.placement.expert_placement import ExpertPlacement
    from moewright.placement.files.engine_layers import EngineLayers
    from moewright.placement.migration import Links, Migration


@dataclass(frozen=True, slots=True)
class ByName:
    """Sizes of loads by name; None where not given."""

    layers: int | None
    experts: int | None
    correlation: float | None
    seed: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A placement with the ``loads`` [layers, experts] that it is of, the balance on windows that it was not placed on,
    what it takes to get there, and whether the earlier one was ``kept`` because the ``gain`` does not pay."""

    placement: ExpertPlacement
    loads: np.ndarray
    model: str | None
    shares: str
    held_out: float | None = None
    several: bool = False
    migration: Migration | None = None
    gain: float | None = None
    kept: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = self.placement.to_dict()
        found |= {"held_out": self.held_out, "gain": self.gain, "kept": self.kept}
        return found | {"migration": None if self.migration is None else self.migration.to_dict()}

    def engine_layers(self) -> EngineLayers | None:
        """The layers of the model, where it is named."""
        from moewright.placement.files.engine_layers import engine_layers

        return None if self.model is None else engine_layers(self.model)

    def told(self) -> list[tuple[str, str]]:
        """Facts for a page."""
        rows = []
        idle = int((self.loads.sum(axis=1) == 0).sum())
        if idle:
            layers = f"all {idle} layers" if idle == len(self.loads) else f"{idle} of {len(self.loads)} layers"
            rows.append(("No load", f"{layers} have no token at all; their experts are placed evenly"))
        if self.held_out is not None:
            rows.append(("Held out", f"{self.held_out:.4f} on the later windows, placed on the earlier ones alone"))
        elif not self.several:
            rows.append(("Held out", "not known: one window; give several recordings to see how it holds on others"))
        if self.gain is not None:
            rows.append(("Gain", f"{self.gain:+.2%} of the largest loads" + (", kept as it was" if self.kept else "")))
        if self.migration is not None:
            m = self.migration
            parts = [f"{format_bytes(m.node_bytes)} inside nodes", f"{format_bytes(m.fabric_bytes)} between nodes"]
            if m.storage_bytes:
                parts.append(f"{format_bytes(m.storage_bytes)} from storage, whose seconds are not counted")
            what = f"{m.replicas} replicas, {', '.join(parts)}, {format_seconds(m.seconds)} at the busiest link"
            rows.append(("Migration", what))
        return rows


def checked_sizes(slots: int | None, gpus: int | None, sweep: str | None) -> tuple[int, int]:
    """Slots and GPUs. Raises SpecError where one is missing that is needed."""
    if gpus is None:
        raise SpecError("is missing; expected a number of GPUs", field="--gpus")
    if slots is None and sweep is None:
        raise SpecError("is missing; expected a number of slots, or a range with --sweep", field="--slots")
    if slots is not None and sweep is not None:
        raise SpecError("does nothing beside --sweep, which has its own", field="--slots")
    return slots or gpus, gpus


@dataclass(frozen=True, slots=True)
class PlaceRequest:
    """``options`` as ``moewright.place`` takes them, and what else the command was given."""

    options: dict[str, Any]
    model: str | None
    previous: Path | None
    previous_gpus: int | None
    lost: str | None
    gain_at_least: float | None
    cluster: str | None
    affinity: str | None
    names: ByName

    def read(self, texts: list[str]) -> np.ndarray:
        """Loads [layers, experts], or [windows, layers, experts] of several recordings. Raises SpecError."""
        tables = [self._one(text) for text in texts]
        if len(tables) == 1:
            return tables[0]
        windows = [t if t.ndim == 3 else t[None] for t in tables]
        for text, window in zip(texts, windows, strict=True):
            if window.shape[1:] != windows[0].shape[1:]:
                raise SpecError(f"has shape {window.shape[1:]}; {texts[0]} has {windows[0].shape[1:]}", file=text)
        return np.concatenate(windows)

    def _one(self, text: str) -> np.ndarray:
        from moewright.case.loads.read_loads import read_loads, split_key
        from moewright.case.loads.synthetic import is_synthetic, synthetic_loads

        n = self.names
        if is_synthetic(text) and not Path(text).exists():
            return synthetic_loads(text, n.layers or 1, n.experts or 256, n.correlation or 0.0, n.seed)
        for option, value in (("--layers", n.layers), ("--experts", n.experts), ("--correlation", n.correlation)):
            if value is not None:
                raise SpecError("does nothing without loads by name; a file has its own", field=option)
        return read_loads(*split_key(text), idle=True, windows=True)

    def sized(self, table: np.ndarray) -> dict[str, Any]:
        """``options`` with the bytes of the model's experts and tokens. Raises SpecError."""
        from moewright.case.loads.read_loads import read_loads, split_key
        from moewright.placement.files.engine_files import model_sizes

        found = dict(self.options) | ({} if self.model is None else model_sizes(self.model, table.shape))
        if self.affinity is not None:
            found["affinity"] = read_loads(*split_key(self.affinity), idle=True, windows=True)
        return found

    def placed(self, table: np.ndarray) -> Placed:
        """The placement of ``table``. Raises SpecError."""
        from moewright.placement.search.solve import place

        options = self.sized(table)
        earlier = self._earlier(table)
        try:
            found = place(table, **options, **earlier)
        except SpecError as error:
            files = {"previous": self.previous, "affinity": self.affinity}
            raise error.inside(str(files[error.field]) if error.field in files else None) from None
        loads = table.sum(axis=0) if table.ndim == 3 else table
        several = table.ndim == 3 and len(table) > 1
        placed = Placed(found, loads, self.model, options["shares"], _held_out(table, options), several)
        return self._moved(placed, options, earlier) if earlier else placed

    def _earlier(self, table: np.ndarray) -> dict[str, Any]:
        """``previous`` and what goes with it, as ``place`` takes them."""
        if self.previous is None:
            return {}
        from moewright.placement.files.earlier import read_earlier

        read = read_earlier(self.previous)
        rows = read.rows
        if self.model is not None and read.form == "sglang":
            from moewright.placement.files.engine_layers import engine_layers

            of_model = engine_layers(self.model)
            if len(rows) == of_model.layers != table.shape[-2]:
                rows = [rows[i] for i in of_model.positions]
        found: dict[str, Any] = {"previous": rows}
        gpus = self.previous_gpus or read.gpus
        if gpus is None and self.lost:
            raise SpecError(
                f"needs --previous-gpus; {self.previous} does not tell for how many GPUs it was made", field="--lost"
            )
        if gpus is not None:
            found["previous_gpus"] = gpus
        if self.lost is not None:
            found["lost"] = _ids(self.lost)
        return found

    def _moved(self, placed: Placed, options: dict[str, Any], earlier: dict[str, Any]) -> Placed:
        """``placed`` with its gain and what it takes to get there; the earlier one where that does not pay."""
        from moewright.placement.files.earlier import kept_experts, survivors
        from moewright.placement.migration import migration

        p = placed.placement
        before, now = p.before.max(axis=1).sum(), p.gpu_load.max(axis=1).sum()
        gain = float(1 - now / before) if before > 0 else 0.0
        rows, gpus = np.asarray(earlier["previous"]), self.options["gpus"]
        old = earlier.get("previous_gpus", gpus)
        refit = bool(earlier.get("lost")) or (old, rows.shape[1]) != (gpus, self.options["slots"])
        if self.gain_at_least is not None and refit:
            raise SpecError("cannot go with other GPUs or slots: what is lost must be placed", field="--gain-at-least")
        if self.gain_at_least is not None and gain < self.gain_at_least:
            from moewright.placement.search.solve import place

            unmoved = place(placed.loads, **{**options, "moves": 0, "previous": rows})
            return replace(placed, placement=unmoved, gain=gain, kept=True)
        if self.cluster is None:
            return replace(placed, gain=None if refit else gain)
        kept = kept_experts(rows.astype(int), old, survivors(old, gpus, earlier.get("lost", ())))
        after = p.expert_of_slot.reshape(len(rows), gpus, -1)
        moved = migration(kept, after, options["expert_bytes"], self._links(self.cluster))
        return replace(placed, gain=None if refit else gain, migration=moved)

    def _links(self, cluster: str) -> Links:
        from moewright.case.catalogue.hardware_catalogue import load_cluster
        from moewright.placement.migration import Links

        found = load_cluster(cluster)
        nodes = self.options["nodes"]
        each = self.options["gpus"] // nodes if nodes > 1 else found.gpus_per_node
        return Links(found.node.bandwidth, found.fabric.bandwidth, each)


def _held_out(table: np.ndarray, options: dict[str, Any]) -> float | None:
    """Balancedness on the later windows of a placement on the earlier ones alone."""
    if table.ndim != 3 or len(table) < 2 or options.get("budget") is not None or options["slots"] < options["gpus"]:
        return None
    from moewright.placement.expert_placement import evenness, host_loads
    from moewright.placement.search.solve import place

    half = len(table) // 2
    if not (table.sum(axis=(1, 2)) > 0).all():
        return None
    p = place(table[:half] if half > 1 else table[0], **options)
    layers, gpus = p.gpu_load.shape
    held, share = (x.reshape(layers, gpus, -1) for x in (p.expert_of_slot, p.share))
    return float(np.mean([evenness(host_loads(window, held, share)).mean() for window in table[half:]]))


def _ids(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and len(part) < 8 for part in parts):
        raise SpecError(f"got {text[:40]!r}; expected GPUs such as 7,12", field="--lost")
    return tuple(sorted({int(part) for part in parts}))
