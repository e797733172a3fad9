"""What a regression on every column makes of the rows: a bound on what their columns tell, not a predictor of ours.

Run: pip install scikit-learn; python -m benchmarks.ceiling RESULTS.json (``results/serving-DATE.json``). Boosted trees
and a random forest get model, engine, system, format, every parallel size, lengths, concurrency, workers and our own
prediction of each row, and learn what it is off by. A row is judged by trees that have not seen its layout (as our
constants are); for comparison, by trees that have seen other rows of its layout.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np

from benchmarks.serving import DATA

_NAMES = ("backend", "model_path", "system", "precision", "mode")


def features(raw: dict[str, str], predicted: list[float]) -> list[float]:
    """The numbers of a row, its concurrency and our prediction in logarithms."""
    stated = re.search(r"silicon_concurrency=(\d+)", raw["silicon_data_source"])
    batch = raw["batch_size"] or raw["decode_batch_size"] or "1"
    dp = raw["attention_dp_size"] or raw["decode_attention_dp_size"] or "1"
    clients = float(stated[1]) if stated else float(batch) * max(float(dp), 1.0)
    sizes = [float(v or -1) for k, v in raw.items() if k.endswith(("_size", "_workers")) or k in ("isl", "osl")]
    return [np.log(clients), *np.log(predicted), *sizes]


def _hot(raws: list[dict[str, str]]) -> np.ndarray:
    """A column of 0 and 1 for every name."""
    columns = [(n, v) for n in _NAMES for v in sorted({raw[n] for raw in raws})]
    return np.array([[float(raw[n] == v) for n, v in columns] for raw in raws])


def _layout(raw: dict[str, str]) -> str:
    sizes = (v for k, v in raw.items() if k.endswith("_size") and "batch" not in k)
    return "|".join([*(raw[n] for n in _NAMES), *sizes])


def main(results: Path) -> None:
    from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

    lines = list(csv.DictReader(DATA.open(encoding="utf-8")))
    rows = [r for r in json.loads(results.read_text(encoding="utf-8"))["rows"] if r["moe"]]
    learners = {
        "boosted trees": lambda: HistGradientBoostingRegressor(
            loss="absolute_error", max_iter=150, learning_rate=0.05, max_leaf_nodes=12, min_samples_leaf=8
        ),
        "random forest": lambda: ExtraTreesRegressor(400, min_samples_leaf=2),
    }
    for kind, mine in (
        ("together", [r for r in rows if not r["apart"]]),
        ("apart, workers not stated", [r for r in rows if r["apart"] and not r["stated"]]),
    ):
        raws = [lines[r["line"] - 2] for r in mine]
        x = np.hstack([[features(raw, r["held_out"]["layout"]) for raw, r in zip(raws, mine, strict=True)], _hot(raws)])
        layouts = np.array([_layout(raw) for raw in raws])
        for i, metric in enumerate(("TPOT", "TTFT")):
            ours = np.array([r["held_out"]["layout"][i] for r in mine])
            measured = np.array([r["measured"][i] for r in mine])
            target = np.log(measured / ours)
            _line(kind, metric, "ours, layout held out", ours, measured)
            for said, groups in (("layout held out", layouts), ("equal rows held out", target.round(9))):
                found, at = np.unique(groups, return_inverse=True)
                fold = (np.random.default_rng(1).permutation(len(found)) % 8)[at]
                for name, make in learners.items():
                    off = np.empty(len(target))
                    for k in range(8):
                        off[fold == k] = make().fit(x[fold != k], target[fold != k]).predict(x[fold == k])
                    _line(kind, metric, f"{name}, {said}", ours * np.exp(off), measured)


def _line(kind: str, metric: str, what: str, predicted: np.ndarray, measured: np.ndarray) -> None:
    p50, p90 = np.percentile(np.abs(predicted / measured - 1), [50, 90])
    print(f"{kind:26s} {metric} {what:36s} {len(measured):5d} rows  median {p50:6.1%}  p90 {p90:6.1%}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
