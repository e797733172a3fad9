"""How near predictions of training steps come: errors by model and GPU kind, and which of two layouts is preferred."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from moewright.training.validation.measured_steps import MeasuredStep, Unread
from moewright.training.validation.predicted_steps import PredictedStep

ADDED = ("predicted_tokens_s_gpu", "predicted_s_per_step", "predicted_peak_mem_gib", "predicted_layout")


def relative_errors(predicted: Sequence[PredictedStep], quantity: str) -> list[tuple[PredictedStep, float]]:
    """Rows whose ``quantity`` (tokens_s_gpu, peak_memory) is measured, with |predicted / measured − 1|."""
    measured: Callable[[PredictedStep], float | None]
    made: Callable[[PredictedStep], float]
    if quantity == "tokens_s_gpu":
        measured, made = (lambda p: p.row.tokens_s_gpu), (lambda p: p.tokens_s_gpu)
    else:
        measured, made = (lambda p: p.row.peak), (lambda p: p.peak)
    pairs = [(p, measured(p)) for p in predicted]
    return [(p, abs(made(p) / value - 1)) for p, value in pairs if value]


def summary(errors: Sequence[float]) -> dict[str, Any]:
    """Rows, and the median, mean and 90th percentile of absolute errors (0.1: 10 %)."""
    if not errors:
        return {"rows": 0, "median_ape": None, "mean_ape": None, "p90_ape": None}
    values = np.asarray(errors)
    return {
        "rows": len(errors),
        "median_ape": float(np.median(values)),
        "mean_ape": float(values.mean()),
        "p90_ape": float(np.quantile(values, 0.9)),
    }


def errors_of(predicted: Sequence[PredictedStep], quantity: str) -> dict[str, Any]:
    """The summary of ``quantity``, and by model and by GPU kind."""
    found = relative_errors(predicted, quantity)
    by: dict[str, Any] = {}
    for name in ("model", "gpu_kind"):
        groups: dict[str, list[float]] = defaultdict(list)
        for p, error in found:
            groups[p.row.model.name if name == "model" else p.row.raw["gpu_kind"]].append(error)
        by[name] = {group: summary(errors) for group, errors in sorted(groups.items())}
    return {**summary([error for _, error in found]), "by": by}


def preferred(predicted: Sequence[PredictedStep]) -> dict[str, Any]:
    """Of two layouts of one model on as many GPUs of a kind, measured in one release at one format: how often the
    faster one is predicted to be."""
    groups: dict[tuple[Any, ...], list[PredictedStep]] = defaultdict(list)
    for p in predicted:
        r = p.row
        if r.tokens_s_gpu:
            groups[r.model.name, r.gpu_kind, r.cluster.gpus, r.sequence, r.raw.get("source", "")].append(p)
    right = pairs = 0
    for group in groups.values():
        for one, other in combinations(group, 2):
            measured = (one.row.tokens_s_gpu or 0.0) - (other.row.tokens_s_gpu or 0.0)
            pairs += measured != 0
            right += measured * (one.tokens_s_gpu - other.tokens_s_gpu) > 0
    return {"pairs": pairs, "right": right}


def step_board(
    rows: Sequence[MeasuredStep], predicted: Sequence[PredictedStep], unread: Sequence[Unread], fitted_on: str
) -> dict[str, Any]:
    """What ``validate --json`` prints of training steps."""
    lines = sorted(unread, key=lambda u: u.line)
    total = len({r.line for r in rows} | {u.line for u in unread})
    return {
        "kind": "training",
        "rows": total,
        "predicted": len(predicted),
        "skipped": dict(Counter(re.sub(r"\s+", " ", u.reason) for u in lines).most_common()),
        "skipped_lines": [{"line": u.line, "reason": u.reason} for u in lines],
        "tokens_s_gpu": errors_of(predicted, "tokens_s_gpu"),
        "peak_memory": errors_of(predicted, "peak_memory"),
        "ranking": preferred(predicted),
        "fitted": fitted_on,
    }


def with_step_predictions(
    rows: Sequence[MeasuredStep], predicted: Sequence[PredictedStep], columns: Sequence[str]
) -> str:
    """CSV text: the rows that could be read, as they were, and the predictions (empty where there is none)."""
    by_line = {p.row.line: p for p in predicted}
    out = io.StringIO()
    writer = csv.DictWriter(out, [*columns, *ADDED], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        p = by_line.get(row.line)
        values = () if p is None else (p.tokens_s_gpu, p.seconds, p.peak / 2**30)
        added = {name: f"{value:.6g}" for name, value in zip(ADDED, values, strict=False)}
        writer.writerow({**row.raw, **added, "predicted_layout": p.strategy.name if p else ""})
    return out.getvalue()
