"""TTFT and TPOT of measured rows, predicted, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from moewright.case.serving import ENGINES
from moewright.serving.engines.engine import fitted_constants
from moewright.serving.validation.closed_form import Batch, Constants, EngineConstants, SharedConstants, tpot_ttft
from moewright.serving.validation.row_steps import Facts, facts_of
from moewright.serving.validation.rows import Row, Skipped

FITTED = Path(__file__).parent / "fitted.yaml"
#: intervals of the scheduler's simulation with measured kernels, and of steps priced by formulas
SIMULATED = Path(__file__).parent / "simulated.yaml"

#: metric → (least, most) of measured over predicted that held 80 % of left-out rows
Interval = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds, with the range that held 80 % of left-out rows of the kind; ``held``: clients that KV holds at
    once; ``tags``: shares of the step's seconds that are measured, interpolated, derived. ``kind``: what the range
    rests on."""

    row: Row
    layout: str
    gpus: int
    ttft: float
    tpot: float
    ttft_range: tuple[float, float]
    tpot_range: tuple[float, float]
    held: float
    tags: dict[str, float]
    kind: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """The constants of the closed form, intervals by kind of row and engine ("all": where it has few rows), the models
    that they were fitted on, and the rows."""

    constants: Constants
    intervals: Mapping[str, Mapping[str, Interval]]
    models: frozenset[str]
    source: str


@cache
def fitted(tables: bool) -> Fitted:
    """Those for steps priced with measured tables, or by the roofline."""
    import yaml

    raw: dict[str, Any] = yaml.safe_load(FITTED.read_text(encoding="utf-8"))
    name = "tables" if tables else "roofline"
    engines = {e: EngineConstants(**constants) for e in ENGINES if (constants := fitted_constants(e, name))}
    intervals = {
        kind: {engine: {metric: (float(a), float(b)) for metric, (a, b) in of.items()} for engine, of in by.items()}
        for kind, by in raw[name]["intervals"].items()
    }
    shared = SharedConstants(**raw[name]["constants"])
    return Fitted(Constants(shared, engines), intervals, frozenset(raw["models"]), str(raw["source"]))


def kind_of(together: bool, workers_stated: bool, wide: bool, seen: bool) -> str:
    """The kind of a row, by which its range is chosen: where prefill and decode are, whether experts span nodes, and
    whether rows of its model were fitted on."""
    where = "together" if together else ("apart_stated" if workers_stated else "apart")
    return f"{where}{' wide' if wide else ''}{'' if seen else ' unseen'}"


def range_of(metric: str, seconds: float, kind: str, tables: bool, engine: str = "all") -> tuple[float, float]:
    """The seconds between which 80 % of left-out rows of ``kind`` and engine measured, where this much was predicted.
    Where no row of the kind was measured, the widest of the kinds that are nearest."""
    intervals = fitted(tables).intervals
    if kind in intervals:
        return _between(intervals[kind], engine, metric, seconds)
    plain = kind.replace(" wide", "").replace(" unseen", "")
    near = [i["all"][metric] for name, i in intervals.items() if name.startswith(plain)] or [(0.5, 2.0)]
    return seconds * min(low for low, _ in near), seconds * max(high for _, high in near)


def _between(intervals: Mapping[str, Interval], engine: str, metric: str, seconds: float) -> tuple[float, float]:
    low, high = intervals.get(engine, intervals["all"])[metric]
    return seconds * low, seconds * high


@cache
def _simulated() -> dict[str, Any]:
    import yaml

    raw: dict[str, Any] = yaml.safe_load(SIMULATED.read_text(encoding="utf-8"))
    return raw


def served_range(metric: str, seconds: float, apart: bool, tables: bool, engine: str = "all") -> tuple[float, float]:
    """As ``range_of``, for what ``serve`` simulates or ``plan`` searches: where prefill and decode are together, with
    intervals of its own errors; apart, those of the closed form's rows with workers stated."""
    if apart:
        return range_of(metric, seconds, "apart_stated", tables, engine)
    return _between(_simulated()["simulated" if tables else "formulas"]["together"], engine, metric, seconds)


def predict(
    rows: Sequence[Row], folder: Path | None, tell: Callable[[float], None] = lambda share: None
) -> tuple[list[Prediction], list[Skipped]]:
    """Predictions in the order of ``rows``, and the rows that could not be priced with the reason."""
    known = fitted(folder is not None).constants.engines
    skipped = [
        Skipped(r.line, f"engine {r.engine} has no fitted constants (fitted in its file under engines/)")
        for r in rows
        if r.engine not in known
    ]
    facts, unpriced = facts_of([r for r in rows if r.engine in known], folder, tell)
    skipped += unpriced
    if not facts:
        return [], skipped
    tpot, ttft = tpot_ttft(Batch.of(facts), fitted(folder is not None).constants)
    predictions = [
        _prediction(f, float(output), float(first), folder is not None)
        for f, output, first in zip(facts, tpot, ttft, strict=True)
    ]
    return predictions, skipped


def _times(workers: int | None) -> str:
    return f"{workers} × " if workers else ""


def _prediction(f: Facts, tpot: float, ttft: float, tables: bool) -> Prediction:
    name, gpus = f.layout.name, f.layout.gpus
    if f.row.apart:
        # workers that are not stated count as one, and are not named
        x, y = f.row.prefill.workers, f.row.decode.workers
        name = f"{_times(x)}prefill {f.prefill_layout.name}, {_times(y)}decode {name}"
        gpus = (x or 1) * f.prefill_layout.gpus + (y or 1) * gpus
    seen = f.row.model in fitted(tables).models
    kind, engine = kind_of(not f.row.apart, f.row.decode.workers is not None, f.wide, seen), f.row.engine
    return Prediction(
        f.row,
        name,
        gpus,
        ttft,
        tpot,
        range_of("ttft", ttft, kind, tables, engine),
        range_of("tpot", tpot, kind, tables, engine),
        f.held * f.layout.dp * (f.row.decode.workers or 1),
        f.tags,
        kind,
    )
