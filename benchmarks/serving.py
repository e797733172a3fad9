"""Fit the constants of the serving closed form, few and physical, and judge them on rows they have not seen.

Run: python -m benchmarks.serving [--write] [FILE.csv]. Without a file: benchmarks/data/serving.csv, 2,610 rows of
NVIDIA AIConfigurator's public collection (github.com/ai-dynamo/aiconfigurator, Apache-2.0). Constants minimise a soft
absolute error of the logarithms of TPOT and TTFT; each is held near its prior (1 for a factor) by a weak penalty. Every
error printed is that of rows whose layout, or whole system, or whole model was left out of the fit. ``--write`` keeps
the constants of all rows and the intervals of the held-out errors in ``src/moewright/serve/fitted.yaml``, and every
row's held-out prediction in ``results/``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from datetime import date
from pathlib import Path

import numpy as np
import yaml
from scipy.optimize import least_squares

from moewright.cost.silicon import ENGINES
from moewright.serving.validation.closed_form import Batch, Constants, tpot_ttft, with_implementations
from moewright.serving.validation.row_steps import Facts, default_folder, facts_of, model_of
from moewright.serving.validation.rows import read_rows

DATA = Path(__file__).parent / "data" / "serving.csv"
#: rows of a kind and an engine from which they have an interval of their own
ENOUGH = 40

#: constant → (prior, spread): of the logarithm for factors and seconds, plain for exponents
_PRIOR: dict[str, tuple[float, float]] = {
    "speed": (1.0, 0.3),
    "communication": (1.0, 0.3),
    "small": (1.0, 0.3),
    "interference": (1.0, 0.3),
    "spread": (0.5, 0.5),
    "accepted": (1.2, 0.3),
    "accepted_growth": (0.1, 0.2),
    "apart_accepted": (2.0, 0.5),
    "apart_growth": (0.1, 0.2),
    "host": (0.02, 1.0),
    "prompt": (1.0, 0.3),
    "launch": (5e-4, 1.0),
    "poll": (1.0, 1.0),
    "queue": (0.1, 1.0),
    "queue_spread": (0.5, 0.3),
    "apart_host": (0.1, 1.0),
    "apart_queue": (0.5, 1.0),
    "apart_queue_growth": (0.7, 0.3),
    "stated_queue": (0.3, 1.0),
}
_PLAIN = {"accepted_growth", "spread", "apart_growth", "queue_spread", "apart_queue_growth"}
_BY_ENGINE = {f.name for f in fields(Constants) if "tuple" in str(f.type)}


def unpack(vector: np.ndarray) -> Constants:
    """The constants that a vector of logarithms (exponents plain) stands for."""
    values, at = {}, 0
    for f in fields(Constants):
        size = 3 if f.name in _BY_ENGINE else 1
        part = vector[at : at + size]
        part = part if f.name in _PLAIN else np.exp(part)
        values[f.name] = tuple(map(float, part)) if size == 3 else float(part[0])
        at += size
    return Constants(**values)


def priors() -> tuple[np.ndarray, np.ndarray]:
    """The prior's vector, and the spread of each entry."""
    centre, spread = [], []
    for f in fields(Constants):
        value, width = _PRIOR[f.name]
        size = 3 if f.name in _BY_ENGINE else 1
        centre += [value if f.name in _PLAIN else np.log(value)] * size
        spread += [width] * size
    return np.array(centre), np.array(spread)


#: what one fit gives: the constants, and factors of TPOT and TTFT by engine and model
Fit = tuple[Constants, dict[str, tuple[float, float]]]
#: rows of an engine and model that its factors' distance from 1 is halved at, and rounds of both fits in turn
_DRAW, _ROUNDS = 5, 3


def fit(x: Batch, tpot: np.ndarray, ttft: np.ndarray) -> Fit:
    """Constants and implementations in turn: the one of what the other leaves."""
    factors: dict[str, tuple[float, float]] = {}
    one = np.ones(len(tpot))
    constants = fit_constants(x, tpot, ttft)
    for _ in range(_ROUNDS - 1):
        factors = implementations(x, constants, tpot, ttft)
        left = with_implementations(x, (one, one), factors)
        constants = fit_constants(x, tpot / left[0], ttft / left[1])
    return constants, implementations(x, constants, tpot, ttft)


def implementations(x: Batch, c: Constants, tpot: np.ndarray, ttft: np.ndarray) -> dict[str, tuple[float, float]]:
    """By engine and model the median of measured over predicted, drawn to 1 where there are few rows."""
    a, b = tpot_ttft(x, c)
    counted = ~x.apart & (x.dp <= 8)
    found = {}
    for pair in np.unique(x.pair[counted]).tolist():
        mine = counted & (x.pair == pair)
        trust = mine.sum() / (mine.sum() + _DRAW)
        logs = (np.median(np.log(measured[mine] / of[mine])) for measured, of in ((tpot, a), (ttft, b)))
        first, second = (float(np.exp(trust * v)) for v in logs)
        found[pair] = (first, second)
    return found


def predictions(x: Batch, found: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of TPOT and TTFT."""
    return with_implementations(x, tpot_ttft(x, found[0]), found[1])


def fit_constants(x: Batch, tpot: np.ndarray, ttft: np.ndarray) -> Constants:
    """The constants of these rows. Rows with workers not stated weigh a quarter; rows that name one layout of prefill
    and decode together over more than 8 attention-dp ranks (a deployment of both, written as one) not at all."""
    centre, spread = priors()
    weight = np.where(x.apart & (x.workers == 0), 0.25, np.where(~x.apart & (x.dp > 8), 0.0, 1.0))

    def residuals(vector: np.ndarray) -> np.ndarray:
        a, b = tpot_ttft(x, unpack(vector))
        errors = np.log(a / tpot) / 0.05 * weight, np.log(b / ttft) / 0.15 * weight
        return np.concatenate([*errors, (vector - centre) / spread * 2])

    return unpack(least_squares(residuals, centre, loss="soft_l1").x)


def held_out(x: Batch, tpot: np.ndarray, ttft: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of every row by constants fitted without its group (at most eight folds of groups)."""
    names = np.unique(groups)
    fold = np.random.default_rng(0).permutation(len(names)) % min(8, len(names))
    of = fold[np.searchsorted(names, groups)]
    out = np.empty(len(groups)), np.empty(len(groups))
    parts = [np.flatnonzero(of != k) for k in np.unique(of)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        fits = list(pool.map(fit, *zip(*((x.take(p), tpot[p], ttft[p]) for p in parts), strict=True)))
    for k, found in zip(np.unique(of), fits, strict=True):
        mine = np.flatnonzero(of == k)
        out[0][mine], out[1][mine] = predictions(x.take(mine), found)
    return out


def layout_key(f: Facts) -> str:
    r = f.row
    return "|".join((r.model, r.system, r.engine, r.precision, str(r.apart), f.prefill_layout.name, f.layout.name))


KINDS: dict[str, Callable[[Facts], str]] = {
    "layout": layout_key,
    "system": lambda f: f.row.system,
    "model": lambda f: f.row.model,
}


def _line(name: str, predicted: np.ndarray, measured: np.ndarray) -> None:
    ape = np.abs(predicted / measured - 1)
    p = np.percentile(ape, [50, 90])
    print(f"{name:58s} {len(ape):5d} rows  median {p[0]:6.1%}  mean {ape.mean():6.1%}  p90 {p[1]:6.1%}")


def main(arguments: list[str]) -> None:
    named = [a for a in arguments if not a.startswith("--")]
    path = Path(named[0]) if named else DATA
    rows, skipped, _ = read_rows(path)
    print(f"{len(rows)} rows, {len(skipped)} skipped")
    sets: dict[str, object] = {}
    for name, folder in (("tables", default_folder(None)), ("roofline", None)):
        if name == "tables" and folder is None:
            raise SystemExit("no measured tables: pip install 'moewright[silicon]'")
        print(f"\nPriced with: {name}")
        sets[name] = one_set([facts_of(row, folder) for row in rows], full=name == "tables")
    if "--write" in arguments:
        write(sets, len(rows), path.name)


def one_set(facts: list[Facts], full: bool) -> dict[str, object]:
    """Held-out errors printed, constants of all rows and intervals returned. ``full``: systems and models too."""
    x = Batch.of(facts)
    tpot, ttft = np.array([f.row.tpot for f in facts]), np.array([f.row.ttft for f in facts])
    moe = np.array([model_of(f.row.model).moe is not None for f in facts])
    stated = moe & x.apart & (x.workers > 0)
    masks = {
        "together": moe & ~x.apart,
        "apart": moe & x.apart,
        "apart, workers stated": stated,
        "all but workers not stated": moe & (~x.apart | stated),
        "all": moe,
    }
    out: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for kind, key in list(KINDS.items())[: None if full else 1]:
        out[kind] = held_out(x, tpot, ttft, np.array([key(f) for f in facts]))
        for name, mask in masks.items():
            _line(f"TPOT, MoE {name}, {kind} held out", out[kind][0][mask], tpot[mask])
            _line(f"TTFT, MoE {name}, {kind} held out", out[kind][1][mask], ttft[mask])
    constants, factors = fit(x, tpot, ttft)
    for f in fields(Constants):
        print(f"  {f.name} = {_rounded(getattr(constants, f.name))}")
    made = {pair: {"tpot": _rounded(a), "ttft": _rounded(b)} for pair, (a, b) in factors.items()}
    for pair, of in made.items():
        print(f"  {pair}: TPOT × {of['tpot']}, TTFT × {of['ttft']}")
    if full:
        keep(facts, out)
    return {
        "constants": {f.name: _rounded(getattr(constants, f.name)) for f in fields(Constants)},
        "implementations": made,
        "intervals": intervals(x, out["layout"], tpot, ttft),
    }


def keep(facts: list[Facts], out: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Every row's measured seconds and what constants fitted without its layout, system or model predict."""
    rows = []
    for i, f in enumerate(facts):
        predicted = {kind: [float(f"{v[i]:.4g}") for v in both] for kind, both in out.items()}
        r = f.row
        moe = model_of(r.model).moe is not None
        stated = r.decode.workers is not None
        place = {"line": r.line, "model": r.model, "system": r.system, "backend": r.engine}
        rows.append(
            {
                **place,
                "moe": moe,
                "apart": r.apart,
                "stated": stated,
                "measured": [r.tpot, r.ttft],
                "held_out": predicted,
            }
        )
    target = Path(__file__).parent / "results" / f"serving-{date.today()}.json"
    lines = ",\n".join(json.dumps(row) for row in rows)
    target.write_text(f'{{"date": "{date.today()}", "rows": [\n{lines}\n]}}\n', encoding="utf-8")


def intervals(
    x: Batch, out: tuple[np.ndarray, np.ndarray], tpot: np.ndarray, ttft: np.ndarray
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """The 10th and 90th percentile of measured over predicted, by kind of row and by engine where it has enough."""
    kinds = {"together": ~x.apart, "apart": x.apart & (x.workers == 0), "apart_stated": x.apart & (x.workers > 0)}
    engines = {"all": np.ones(len(tpot), dtype=bool), **{name: x.engine == i for i, name in enumerate(ENGINES)}}
    return {
        kind: {
            engine: {
                metric: [float(round(v, 3)) for v in np.percentile(measured[a & b] / predicted[a & b], [10, 90])]
                for metric, predicted, measured in (("tpot", out[0], tpot), ("ttft", out[1], ttft))
            }
            for engine, b in engines.items()
            if engine == "all" or (a & b).sum() >= ENOUGH
        }
        for kind, a in kinds.items()
    }


def write(sets: dict[str, object], rows: int, source: str) -> None:
    """Keep both sets beside the code that reads them."""
    about = (
        f"fitted on {rows} rows of {source} (NVIDIA AIConfigurator's collection, Apache-2.0) on {date.today()}; "
        "intervals: 10th and 90th percentile of measured over predicted, layouts held out"
    )
    target = Path(__file__).parents[1] / "src" / "moewright" / "serve" / "fitted.yaml"
    text = yaml.safe_dump({"source": about, **sets}, sort_keys=False, width=110)
    target.write_text(text, encoding="utf-8")


def _rounded(value: float | tuple[float, ...]) -> float | list[float]:
    if isinstance(value, tuple):
        return [float(f"{v:.4g}") for v in value]
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main(sys.argv[1:])
