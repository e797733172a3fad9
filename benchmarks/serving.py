"""Fit the constants of the serving closed form, few and physical, and judge them on rows they have not seen.

Run: python -m benchmarks.serving [--write] [FILE.csv]. Without a file: benchmarks/data/serving.csv, 2,610 rows of
NVIDIA AIConfigurator's public collection (github.com/ai-dynamo/aiconfigurator, Apache-2.0). Constants minimise a robust
absolute error of the logarithms of TPOT and TTFT; each is held near its prior (1 for a factor) by a weak penalty. Every
error printed is that of rows whose layout, or whole system, or whole model was left out of the fit. ``--write`` keeps
the constants of all rows and the intervals of the held-out errors in ``serving/validation/fitted.yaml``, those of an
engine in its file under ``case/catalogue/engines``, and every row's held-out prediction in ``results/``.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from datetime import date
from pathlib import Path

import numpy as np
import yaml
from scipy.optimize import least_squares

from moewright.case.serving import ENGINE_FILES
from moewright.serving.validation.closed_form import Batch, Constants, EngineConstants, SharedConstants, tpot_ttft
from moewright.serving.validation.predictions import FITTED, kind_of
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
_SHARED = [f.name for f in fields(SharedConstants)]
_OF_ENGINE = [f.name for f in fields(EngineConstants)]


def unpack(vector: np.ndarray, engines: list[str]) -> Constants:
    """The constants that a vector of logarithms (exponents plain) stands for: the shared ones, then each engine's."""
    names = _SHARED + _OF_ENGINE * len(engines)
    values = [float(v) if n in _PLAIN else float(np.exp(v)) for n, v in zip(names, vector, strict=True)]
    size, first = len(_OF_ENGINE), len(_SHARED)
    parts = {e: values[first + i * size : first + (i + 1) * size] for i, e in enumerate(engines)}
    return Constants(SharedConstants(*values[:first]), {e: EngineConstants(*v) for e, v in parts.items()})


def priors(engines: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The prior's vector, and the spread of each entry."""
    names = _SHARED + _OF_ENGINE * len(engines)
    centre = [_PRIOR[n][0] if n in _PLAIN else float(np.log(_PRIOR[n][0])) for n in names]
    return np.array(centre), np.array([_PRIOR[n][1] for n in names])


def fit(x: Batch, tpot: np.ndarray, ttft: np.ndarray, engines: list[str]) -> Constants:
    """The constants of these rows. Rows with workers not stated weigh a quarter; rows that name one layout of prefill
    and decode together over more than 8 attention-dp ranks (a deployment of both, written as one) not at all."""
    centre, spread = priors(engines)
    weight = np.where(x.apart & (x.workers == 0), 0.25, np.where(~x.apart & (x.dp > 8), 0.0, 1.0))

    def residuals(vector: np.ndarray) -> np.ndarray:
        a, b = tpot_ttft(x, unpack(vector, engines))
        errors = np.log(a / tpot) / 0.05 * weight, np.log(b / ttft) / 0.15 * weight
        return np.concatenate([*errors, (vector - centre) / spread * 2])

    # rows of one setting often stand in two heaps (drafts on or off, which no column tells): the second loss settles
    # between them less than the first, which alone would depend on where it starts
    start = least_squares(residuals, centre, loss="soft_l1").x
    return unpack(least_squares(residuals, start, loss="cauchy").x, engines)


def held_out(x: Batch, tpot: np.ndarray, ttft: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of every row by constants fitted without its group (at most eight folds of groups)."""
    names = np.unique(groups)
    fold = np.random.default_rng(0).permutation(len(names)) % min(8, len(names))
    of = fold[np.searchsorted(names, groups)]
    out = np.empty(len(groups)), np.empty(len(groups))
    parts = [np.flatnonzero(of != k) for k in np.unique(of)]
    engines = sorted(set(x.engine.tolist()))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        fits = list(pool.map(fit, *zip(*((x.take(p), tpot[p], ttft[p], engines) for p in parts), strict=True)))
    for k, found in zip(np.unique(of), fits, strict=True):
        mine = np.flatnonzero(of == k)
        out[0][mine], out[1][mine] = tpot_ttft(x.take(mine), found)
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
    sets: dict[str, dict[str, object]] = {}
    for name, folder in (("tables", default_folder(None)), ("roofline", None)):
        if name == "tables" and folder is None:
            raise SystemExit("no measured tables: pip install 'moewright[silicon]'")
        print(f"\nPriced with: {name}")
        facts, unpriced = facts_of(rows, folder)
        for s in unpriced:
            print(f"line {s.line}: {s.reason}")
        sets[name] = one_set(facts, full=name == "tables")
    if "--write" in arguments:
        write(sets, sorted({r.model for r in rows}), len(rows), path.name)


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
    engines = sorted(set(x.engine.tolist()))
    constants = fit(x, tpot, ttft, engines)
    shared = {n: _rounded(getattr(constants.shared, n)) for n in _SHARED}
    own = {e: {n: _rounded(getattr(c, n)) for n in _OF_ENGINE} for e, c in constants.engines.items()}
    for name, values in (("shared", shared), *own.items()):
        print(f"  {name}: " + ", ".join(f"{n} {v:g}" for n, v in values.items()))
    if full:
        keep(facts, out)
    ranges = intervals(facts, out["layout"], tpot, ttft, seen=True)
    if "model" in out:
        ranges |= intervals(facts, out["model"], tpot, ttft, seen=False)
    return {"constants": shared, "engines": own, "intervals": ranges}


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
    facts: list[Facts], out: tuple[np.ndarray, np.ndarray], tpot: np.ndarray, ttft: np.ndarray, seen: bool
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """The 10th and 90th percentile of measured over predicted, by kind of row and by engine where it has enough.
    ``seen``: whether other rows of the model were in the fit of ``out``."""
    kinds = np.array([kind_of(not f.row.apart, f.row.decode.workers is not None, f.wide, seen) for f in facts])
    engine = np.array([f.row.engine for f in facts])
    return {
        kind: {
            name: {
                metric: [float(round(v, 3)) for v in np.percentile(measured[a] / predicted[a], [10, 90])]
                for metric, predicted, measured in (("tpot", out[0], tpot), ("ttft", out[1], ttft))
            }
            for name in ("all", *np.unique(engine).tolist())
            if (a := (kinds == kind) & ((engine == name) | (name == "all"))).sum() >= (ENOUGH if name != "all" else 1)
        }
        for kind in np.unique(kinds).tolist()
    }


def write(sets: dict[str, dict[str, object]], models: list[str], rows: int, source: str) -> None:
    """Keep both sets beside the code that reads them, and each engine's constants in its own file."""
    about = (
        f"fitted on {rows} rows of {source} (NVIDIA AIConfigurator's collection, Apache-2.0) on {date.today()}; "
        "intervals: 10th and 90th percentile of measured over predicted, the layout (or, where a model was not "
        "seen, the model) left out"
    )
    plain = {name: {k: v for k, v in one.items() if k != "engines"} for name, one in sets.items()}
    text = yaml.safe_dump({"source": about, "models": models, **plain}, sort_keys=False, width=110)
    FITTED.write_text(text, encoding="utf-8")
    for file in ENGINE_FILES.glob("*.yaml"):
        old = file.read_text(encoding="utf-8")
        for name, one in sets.items():
            engines = one["engines"]
            assert isinstance(engines, dict)
            if file.stem in engines:
                values = ", ".join(f"{n}: {v:g}" for n, v in engines[file.stem].items())
                old = re.sub(rf"(?m)^  {name}: \{{speed.*$", f"  {name}: {{{values}}}", old)
        file.write_text(old, encoding="utf-8")


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main(sys.argv[1:])
