"""The scoreboard: errors of predictions by metric and kind of row, and whether the best layout is the one predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from moewright.serving.validation.predictions import Prediction


@dataclass(frozen=True, slots=True)
class Error:
    """Absolute percentage errors (as fractions) of ``rows`` rows, and the bias: the median of predicted over measured,
    less 1."""

    rows: int
    median_ape: float
    mean_ape: float
    p90_ape: float
    bias: float


@dataclass(frozen=True, slots=True)
class Choices:
    """Over ``choices`` sets of rows that differ in layout only: how often the layout predicted to give the lowest TPOT
    a GPU measures best, and how much above the best the predicted one measures, in the mean; ``without``: how much one
    does that is chosen without a prediction."""

    choices: int
    agreement: float
    mean_loss: float
    without: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """``choices``, ``agreement`` and ``mean_loss`` of all sets of layouts (``fewest_gpus``: the loss of taking that of
    the fewest GPUs), and of those of as many GPUs alone (``same_gpus``; without a prediction: any of them)."""

    choices: int
    agreement: float
    mean_loss: float
    fewest_gpus: float
    same_gpus: Choices


_BY: dict[str, Callable[[Prediction], str]] = {
    "model": lambda p: p.row.model,
    "system": lambda p: p.row.system,
    "backend": lambda p: p.row.engine,
    "layout": lambda p: ("apart: " if p.row.apart else "") + p.layout,
}


def error_of(predicted: np.ndarray, measured: np.ndarray) -> Error:
    """Errors of seconds predicted against measured; arrays [rows], at least one."""
    ratio = predicted / measured
    ape = np.abs(ratio - 1)
    median, high = np.percentile(ape, [50, 90])
    return Error(len(ape), float(median), float(ape.mean()), float(high), float(np.median(ratio) - 1))


def errors(found: Sequence[Prediction], metric: str) -> dict[str, object]:
    """``median_ape``, ``mean_ape``, ``p90_ape``, ``bias`` and the same ``by`` model, system, backend and layout."""
    total: dict[str, object] = asdict(_error(found, metric))
    total["by"] = {
        kind: {name: asdict(_error(group, metric)) for name, group in grouped(found, key).items()}
        for kind, key in _BY.items()
    }
    return total


def grouped(found: Sequence[Prediction], key: Callable[[Prediction], str]) -> dict[str, list[Prediction]]:
    """Predictions by ``key``, the largest group first."""
    groups: dict[str, list[Prediction]] = {}
    for p in found:
        groups.setdefault(key(p), []).append(p)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))


def _error(found: Sequence[Prediction], metric: str) -> Error:
    predicted = np.array([getattr(p, metric) for p in found])
    return error_of(predicted, np.array([getattr(p.row, metric) for p in found]))


def covered(found: Sequence[Prediction], metric: str) -> float:
    """The share of rows whose measured time lies in the predicted range."""
    ranges = [(getattr(p, f"{metric}_range"), getattr(p.row, metric)) for p in found]
    return float(np.mean([low <= measured <= high for (low, high), measured in ranges]))


def ranking(found: Sequence[Prediction]) -> Ranking:
    """Choices are rows of one model, system, engine, precision, lengths and concurrency; what is compared is the time
    of a token times the GPUs it takes, a layout measured more than once by its median."""
    every = _choices(found, _setting, lambda measured, gpus: measured[min(gpus, key=gpus.__getitem__)])
    same = _choices(
        found, lambda p: f"{p.gpus} {_setting(p)}", lambda measured, gpus: float(np.mean(list(measured.values())))
    )
    return Ranking(every.choices, every.agreement, every.mean_loss, every.without, same)


def _choices(
    found: Sequence[Prediction],
    key: Callable[[Prediction], str],
    unpredicted: Callable[[dict[str, float], dict[str, int]], float],
) -> Choices:
    """``unpredicted``: what a choice without a prediction measures, from what each layout measures, and its GPUs."""
    hits, losses, without = 0, [], []
    for group in grouped(found, key).values():
        layouts = grouped(group, lambda p: p.layout)
        if len(layouts) < 2:
            continue
        measured = {n: float(np.median([p.row.tpot * p.gpus for p in ps])) for n, ps in layouts.items()}
        predicted = {n: float(np.median([p.tpot * p.gpus for p in ps])) for n, ps in layouts.items()}
        chosen, best = min(predicted, key=predicted.__getitem__), min(measured, key=measured.__getitem__)
        hits += chosen == best
        losses.append(measured[chosen] / measured[best] - 1)
        without.append(unpredicted(measured, {n: ps[0].gpus for n, ps in layouts.items()}) / measured[best] - 1)
    if not losses:
        return Choices(0, 0.0, 0.0, 0.0)
    return Choices(len(losses), hits / len(losses), float(np.mean(losses)), float(np.mean(without)))


def _setting(p: Prediction) -> str:
    r = p.row
    return repr((r.model, r.system, r.engine, r.precision, r.apart, r.input, r.output, r.concurrency))
