"""Calibrate deployments on half of their measured points, and judge the other half.

Run: python -m benchmarks.calibration [--most N] [WORD…]. Deployments of benchmarks/data/serving.csv (one model, system,
engine and version, layout) with twelve settings or more, the one with most rows of each model, system and engine;
``WORD``: only those whose names hold all of them. Settings in the order of prompt, answer and concurrency: every other
one is given to ``moewright calibrate``, and errors are those of the rest, as they are predicted before and after.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from moewright.case.case import Case
from moewright.case.file.calibration_file import TERMS
from moewright.case.serving import EngineSpec, Lengths, Serving, Spread
from moewright.case.strategy import StrategySpec
from moewright.errors import MoewrightError
from moewright.serving.calibration.benchmark_files import MeasuredPoint
from moewright.serving.calibration.factors import calibrate, predicted
from moewright.serving.validation.row_steps import case_of, default_folder, facts_of
from moewright.serving.validation.rows import Row, read_rows

DATA = Path(__file__).parent / "data" / "serving.csv"
FEWEST = 12
#: mean length ÷ length asked for, where clients draw lengths (from 0.8 of it on)
DRAWN = 0.9


def deployments() -> dict[str, list[Row]]:
    """Rows of a setting each, by deployment."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for r in read_rows(DATA)[0]:
        if not r.apart:
            key = (r.model, r.system, r.engine, r.precision, str(r.decode.sizes), r.raw["backend_version"])
            groups[key].append(r)
    out: dict[str, list[Row]] = {}
    for key, rows in sorted(groups.items(), key=lambda item: -len(item[1])):
        settings = {(r.input, r.output, r.concurrency): r for r in reversed(rows)}  # the first of a setting
        if len(settings) >= FEWEST:
            out.setdefault(" ".join(key[:3]), [settings[k] for k in sorted(settings)])
    return out


def measured(rows: list[Row], tables: Path | None) -> tuple[Case, list[MeasuredPoint]]:
    """The deployment of these rows, and a point each."""
    layout = facts_of(rows[:1], tables)[0][0].layout
    base = case_of(rows[0])
    cluster = replace(base.cluster, gpus=layout.gpus, gpus_per_node=min(base.cluster.gpus_per_node, layout.gpus))
    strategy = StrategySpec(replicas=1, pp=layout.pp, dp=layout.dp, tp=layout.tp, ep=layout.ep, etp=layout.etp)
    one = Lengths(Spread.FIXED, 1.0)
    case = replace(
        base, cluster=cluster, strategy=strategy, serving=Serving(one, one, (1,), engine=EngineSpec(rows[0].engine))
    )
    points = []
    for r in rows:
        share = DRAWN if facts_of([r], tables)[0][0].input < r.input else 1.0
        points.append(MeasuredPoint("row", "", r.input * share, r.output * share, r.concurrency, r.ttft, r.tpot))
    return case, points


def judged(case: Case, points: list[MeasuredPoint], tables: Path | None) -> tuple[np.ndarray, str]:
    """Median errors of the points not given, TTFT and TPOT before and after, and the factors taken."""
    found = calibrate(case, points[::2], tables)
    errors = []
    for p in points[1::2]:
        both = [predicted(case, p, c, tables) for c in (None, found.calibration)]
        errors.append([abs(float(s[i]) / (p.ttft, p.tpot)[i] - 1) for i in (0, 1) for s in both])
    factors = " ".join(f"{n} {found.calibration.factor(n):.2f}" for n in TERMS if n in found.told)
    return np.median(np.array(errors), axis=0), factors or "all left at 1"


def main(arguments: list[str]) -> None:
    most = int(arguments[arguments.index("--most") + 1]) if "--most" in arguments else 1000
    words = [a for a in arguments if not a.startswith("--") and not a.isdigit()]
    tables = default_folder(None)
    if tables is None:
        raise SystemExit("no measured tables: pip install 'moewright[silicon]'")
    print(f"{'deployment':38s} points   TTFT before  after   TPOT before  after   factors taken")
    table = []
    for name, rows in deployments().items():
        if len(table) == most or not all(w in name for w in words):
            continue
        try:
            case, points = measured(rows, tables)
            medians, factors = judged(case, points, tables)
        except MoewrightError as error:
            print(f"{name:38s} {str(error)[:90]}")
            continue
        table.append(medians)
        a, b, c, d = medians
        print(f"{name:38s} {len(points):6d} {a:13.1%} {b:6.1%} {c:13.1%} {d:6.1%}   {factors}", flush=True)
    if table:
        a, b, c, d = np.median(np.array(table), axis=0)
        print(f"{f'median of {len(table)} deployments':45s} {a:13.1%} {b:6.1%} {c:13.1%} {d:6.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
