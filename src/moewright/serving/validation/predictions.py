"""TTFT and TPOT of measured rows, predicted, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from moewright.errors import MoewrightError
from moewright.serving.validation.closed_form import Batch, Constants, tpot_ttft, with_implementations
from moewright.serving.validation.row_steps import Facts, facts_of
from moewright.serving.validation.rows import Row, Skipped

FITTED = Path(__file__).parent / "fitted.yaml"
#: intervals of the scheduler's simulation with measured kernels, and of steps priced by formulas
SIMULATED = Path(__file__).parent / "simulated.yaml"


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds, with the range that held 80 % of held-out rows of the kind; ``held``: clients that KV holds at
    once; ``tags``: shares of the step's seconds that are measured, interpolated, derived."""

    row: Row
    layout: str
    gpus: int
    ttft: float
    tpot: float
    ttft_range: tuple[float, float]
    tpot_range: tuple[float, float]
    held: float
    tags: dict[str, float]


@dataclass(frozen=True, slots=True)
class Fitted:
    """The constants of the closed form, factors of TPOT and TTFT by engine and model ("vllm gpt-oss-120b"), the
    intervals (measured over predicted) by kind of row, engine ("all": where it has few rows) and metric, and what they
    were fitted on."""

    constants: Constants
    implementations: dict[str, tuple[float, float]]
    intervals: dict[str, dict[str, dict[str, tuple[float, float]]]]
    source: str


@cache
def fitted(tables: bool) -> Fitted:
    """Those for steps priced with measured tables, or by the roofline."""
    import yaml

    raw: dict[str, Any] = yaml.safe_load(FITTED.read_text(encoding="utf-8"))
    found = raw["tables" if tables else "roofline"]
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found["constants"].items()}
    intervals = {
        kind: {engine: {metric: (float(a), float(b)) for metric, (a, b) in of.items()} for engine, of in each.items()}
        for kind, each in found["intervals"].items()
    }
    factors = {pair: (float(f["tpot"]), float(f["ttft"])) for pair, f in found["implementations"].items()}
    return Fitted(Constants(**values), factors, intervals, str(raw["source"]))


def range_of(metric: str, seconds: float, kind: str, tables: bool, engine: str = "all") -> tuple[float, float]:
    """The seconds between which 80 % of held-out rows of ``kind`` (together, apart, apart_stated) and engine measured,
    where this much was predicted."""
    return _between(fitted(tables).intervals[kind], engine, metric, seconds)


def _between(
    intervals: dict[str, dict[str, tuple[float, float]]], engine: str, metric: str, seconds: float
) -> tuple[float, float]:
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
    facts: list[Facts] = []
    skipped: list[Skipped] = []
    for i, row in enumerate(rows):
        try:
            facts.append(facts_of(row, folder))
        except MoewrightError as error:
            skipped.append(Skipped(row.line, " ".join(str(error).split())))
        tell((i + 1) / len(rows))
    if not facts:
        return [], skipped
    fit, x = fitted(folder is not None), Batch.of(facts)
    tpot, ttft = with_implementations(x, tpot_ttft(x, fit.constants), fit.implementations)
    found = []
    for f, output, first in zip(facts, tpot, ttft, strict=True):
        found.append(_prediction(f, float(output), float(first), folder is not None))
    return found, skipped


def _times(workers: int | None) -> str:
    return f"{workers} × " if workers else ""


def _kind(row: Row) -> str:
    if not row.apart:
        return "together"
    return "apart" if row.decode.workers is None else "apart_stated"


def _prediction(f: Facts, tpot: float, ttft: float, tables: bool) -> Prediction:
    name, gpus = f.layout.name, f.layout.gpus
    if f.row.apart:
        # workers that are not stated count as one, and are not named
        x, y = f.row.prefill.workers, f.row.decode.workers
        name = f"{_times(x)}prefill {f.prefill_layout.name}, {_times(y)}decode {name}"
        gpus = (x or 1) * f.prefill_layout.gpus + (y or 1) * gpus
    kind, engine = _kind(f.row), f.row.engine
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
    )
