"""The host's seconds of each engine, fitted; and what ``moewright serve`` and ``plan`` are worth beside measured rows.

Run: python -m benchmarks.simulated [COUNT] [--write]. COUNT rows (400) of benchmarks/data/serving.csv, of MoE models
with prefill and decode together, drawn at random for a seed. Three steps:

1. ``host: step``, for steps priced by formulas: TPOT of the steady state (``engines/steady.py``, with which ``plan``
   searches) beside the measured one. Measured kernels come with constants of their own, which hold it.
2. ``host: request, wait, launch, prompt`` (``Engine.before``; of SGLang ``queue`` too): TTFT of the scheduler's
   simulation, steps priced by measured kernels, beside the measured one. What is simulated is what was measured: where
   lengths are drawn (InferenceMAX) ten times as many requests as clients, all of whom start at once, and every request
   counts; else clients whose start was left out.
3. The errors of both, and the intervals of measured over predicted, by layouts that the fit has not seen.

Whether drafts were on is in no column: rows of DeepSeek under TensorRT-LLM count in the errors, not in the fit of step.
``--write`` keeps the seconds in ``serving/engines`` and the intervals in ``serving/validation/simulated.yaml``.
"""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import yaml
from scipy.optimize import least_squares, minimize_scalar

from benchmarks.serving import DATA, layout_key
from moewright.case.case import Case
from moewright.case.serving import ENGINE_FILES, ENGINES, EngineSpec, Lengths, Serving, Spread, Start
from moewright.case.strategy import StrategySpec
from moewright.case.workload import Kind, Workload
from moewright.cost.table import Table
from moewright.serving.engines.deployment import workers_of
from moewright.serving.engines.engine import fitted_constants, load_engine
from moewright.serving.engines.steady import Terms, steady_state
from moewright.serving.simulation.simulate import request_steps, simulate_pools
from moewright.serving.step import StepModel
from moewright.serving.validation.predictions import SIMULATED
from moewright.serving.validation.row_steps import Facts, default_folder, facts_of, model_of, strategy_of
from moewright.serving.validation.row_steps import case_of as row_case
from moewright.serving.validation.rows import read_rows

FOLDS = 5
#: request (s), wait (steps), launch (s a layer), prompt (factor), queue (share): where the fit starts, and its limits
_TERMS = {
    "request": (5e-3, 1e-4, 1.0),
    "wait": (1.0, 1e-2, 30.0),
    "launch": (5e-4, 1e-6, 1e-2),
    "prompt": (1.2, 1.0, 3.0),
    "queue": (0.1, 1e-3, 1.0),
}
#: engines of which a share of the others' prompts is fitted that the simulated scheduler does not put before a request
_QUEUES = ("sglang",)
#: requests of InferenceMAX for each client
ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Simulated:
    """Seconds of one row without the host's share of TTFT; of its prompt and of a decode step; requests beside it."""

    tpot: float
    ttft: float
    prompt: float
    decode: float
    others: float


def case_of(f: Facts) -> Case:
    """The case that a row tells; lengths are drawn where the collection's mean is below the nominal one."""
    r, lay = f.row, f.layout
    drawn = f.input < r.input
    kind, low = (Spread.UNIFORM, 0.8) if drawn else (Spread.FIXED, 1.0)
    lengths = (Lengths(kind, r.input, low, 1.0), Lengths(kind, r.output, low, 1.0))
    clients = round(r.concurrency)
    s = Serving(
        *lengths,
        concurrency=(clients,),
        requests=max(ROUNDS * clients, 20),
        engine=EngineSpec(r.engine),
        start=Start.TOGETHER if drawn else Start.SPREAD,
    )
    base = row_case(r)
    strategy = StrategySpec(replicas=1, pp=lay.pp, dp=lay.dp, tp=lay.tp, ep=lay.ep, etp=lay.etp)
    workload = Workload(Kind.DECODE, (clients,), round(s.resident))
    cluster = replace(base.cluster, gpus=lay.gpus)
    return replace(base, cluster=cluster, workload=workload, strategy=strategy, serving=s)


def simulated(f: Facts) -> Simulated | str:
    """A row's simulation with measured kernels; a reason where the planner does not take its layout."""
    case = case_of(f)
    engine, clients = load_engine(f.row.engine), round(f.row.concurrency)
    assert case.serving is not None
    assert case.strategy is not None
    try:
        w = workers_of(case, case.strategy, engine, tables=default_folder(None))
        found = simulate_pools(case, (w,), clients, engine=engine.without_host())
    except Exception as error:
        return " ".join(str(error).split())[:90]
    tpot = found.tpot.mean if found.tpot else float("nan")
    return Simulated(tpot, found.ttft.mean, *request_steps(w, case.serving, engine, clients))


def steady(facts: list[Facts], step: float, terms: dict[str, float] | None = None) -> np.ndarray:
    """TPOT and TTFT [2, rows] of the steady state by formulas, with ``step`` host seconds a step."""
    host = {"host_step": step, "host_sequence": 0.0, **{f"host_{n}": v for n, v in (terms or {}).items()}}
    alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for i, f in enumerate(facts):
        r = f.row
        alike[r.engine, r.model, r.system, r.precision, r.input, r.output].append(i)
    out = np.empty((2, len(facts)))
    for rows in alike.values():
        case = case_of(facts[rows[0]])
        assert case.serving is not None
        strategies = [strategy_of(facts[i].layout) for i in rows]
        case = replace(case, cluster=replace(case.cluster, gpus=max(x.gpus for x in strategies)))
        engine = replace(load_engine(facts[rows[0]].row.engine), **host)
        model = StepModel(case, Table.of(strategies, [x.attention.dp for x in strategies]), engine)
        load = np.array([max(facts[i].row.concurrency / facts[i].layout.dp, 1.0) for i in rows])
        state, terms_of = steady_state(model, case.serving, engine, load), Terms(model, case.serving, engine)
        out[:, rows] = state.tpot, state.ttft + _burst(terms_of, load)
    return out


def _burst(t: Terms, load: np.ndarray) -> np.ndarray:
    """Seconds that a start of all clients at once adds to the mean TTFT of ``ROUNDS`` requests each: the first of each
    waits for half of the others' prompts."""
    if t.serving.start is Start.SPREAD:
        return 0 * load
    return np.asarray(np.maximum(load - 1, 0) * t.alone(load) / (2 * ROUNDS))


def fit_step(facts: list[Facts], tpot: np.ndarray) -> float:
    """Host seconds of a step that leave the least error of TPOT's logarithm."""

    def loss(log: float) -> float:
        found = steady(facts, float(np.exp(log)))[0]
        return float(np.abs(np.log(found / tpot)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log((5e-5, 1e-2)), method="bounded", options={"xatol": 0.1}).x))


def fit_request(
    name: str, found: list[Simulated], layers: np.ndarray, ttft: np.ndarray, seen: np.ndarray
) -> dict[str, float]:
    """The engine's terms of a request's first token, from the rows ``seen``, held weakly to where they start."""
    terms = {n: x for n, x in _TERMS.items() if n != "queue" or name in _QUEUES}
    start, low, high = np.log(np.array(list(terms.values()))).T

    def values(logs: np.ndarray) -> dict[str, float]:
        return dict(zip(terms, np.exp(logs).tolist(), strict=True))

    def residuals(logs: np.ndarray) -> np.ndarray:
        errors = np.log(first_token(values(logs), found, layers) / ttft)[seen] / 0.15
        return np.concatenate([errors, logs - start])  # a factor e from the start counts as one deviation

    return {"queue": 0.0} | values(least_squares(residuals, start, loss="soft_l1", bounds=(low, high)).x)


def first_token(values: dict[str, float], found: list[Simulated], layers: np.ndarray) -> np.ndarray:
    """TTFT of the rows with these terms."""
    terms = {f"host_{name}": v for name, v in values.items()}
    e = replace(load_engine("vllm").without_host(), **terms)
    each = zip(found, layers.tolist(), strict=True)
    return np.array([x.ttft + float(e.before(x.prompt, x.decode, n, x.others)[0]) for x, n in each])


def main(arguments: list[str]) -> None:
    named = [a for a in arguments if not a.startswith("--")]
    rows, _, _ = read_rows(DATA)
    rows = [r for r in rows if not r.apart and model_of(r.model).moe]
    picked = np.random.default_rng(0).choice(len(rows), min(int(named[0]) if named else 400, len(rows)), replace=False)
    every, _ = facts_of([rows[i] for i in sorted(picked)], default_folder(None))
    facts = [f for f in every if f.layout.dp <= 8]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(simulated, facts, chunksize=4))
    kept = [i for i, v in enumerate(found) if isinstance(v, Simulated)]
    for reason in sorted({v for v in found if isinstance(v, str)}):
        print("not simulated:", reason, sum(v == reason for v in found))
    ratios = {"simulated": np.full((2, len(facts)), np.nan), "formulas": np.full((2, len(facts)), np.nan)}
    for name in ENGINES:
        mine = np.array([i for i in kept if facts[i].row.engine == name])
        step, terms = one_engine(name, mine, facts, found, ratios)
        print(f"{name}: host step {step:.3g} s; " + "  ".join(f"{n} {v:.3g}" for n, v in terms.items()))
        if "--write" in arguments:
            write_host(name, step, terms, len(mine))
    board = {kind: _report(kind, r, facts) for kind, r in ratios.items()}
    if "--write" in arguments:
        about = f"{len(kept)} rows of {DATA.name} by benchmarks/simulated.py, {date.today()}, layouts held out"
        SIMULATED.write_text(yaml.safe_dump({"source": about, **board}, sort_keys=False), encoding="utf-8")


def one_engine(
    name: str, mine: np.ndarray, facts: list[Facts], found: list[Simulated | str], ratios: dict[str, np.ndarray]
) -> tuple[float, dict[str, float]]:
    """An engine's constants of all its rows; predicted over measured of each by constants fitted without its layout."""
    own, sims = [facts[i] for i in mine], [x for x in (found[i] for i in mine) if isinstance(x, Simulated)]
    measured = np.array([[f.row.tpot for f in own], [f.row.ttft for f in own]])
    layers = np.array([f.layers for f in own])
    known = np.array([not (name == "trtllm" and "DeepSeek" in f.row.model) for f in own])
    keys = np.array([layout_key(f) for f in own])
    names = np.unique(keys)
    fold = (np.random.default_rng(0).permutation(len(names)) % FOLDS)[np.searchsorted(names, keys)]
    for k in range(FOLDS):
        values, out = fit_request(name, sims, layers, measured[1], fold != k), np.flatnonzero(fold == k)
        both = np.array([[x.tpot for x in sims], first_token(values, sims, layers)])
        ratios["simulated"][:, mine[out]] = (both / measured)[:, out]
    step = fit_step([f for f, k in zip(own, known, strict=True) if k], measured[0][known])
    terms = fit_request(name, sims, layers, measured[1], np.ones(len(own), dtype=bool))
    ratios["formulas"][:, mine] = steady(own, step, terms) / measured
    return step, terms


def _report(kind: str, ratio: np.ndarray, facts: list[Facts]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Errors printed; the 10th and 90th percentile of measured over predicted, by engine and of all."""
    board: dict[str, dict[str, list[float]]] = {}
    for name in (*ENGINES, "all"):
        mine = np.array([name in ("all", f.row.engine) for f in facts])
        for i, metric in enumerate(("TPOT", "TTFT")):
            r = ratio[i][mine & np.isfinite(ratio[i])]
            p50, p90 = np.percentile(np.abs(r - 1), [50, 90])
            print(f"{kind:9s} {name:7s} {metric} {len(r)} rows: ratio {np.median(r):.3f}, "
                  f"error median {p50:.1%} p90 {p90:.1%}")  # fmt: skip
        ends = [[round(float(v), 3) for v in np.nanpercentile(1 / ratio[i][mine], [10, 90])] for i in range(2)]
        board[name] = {"tpot": ends[0], "ttft": ends[1]}
    return {"together": board}


def write_host(name: str, step: float, terms: dict[str, float], rows: int) -> None:
    """Replace the seconds of an engine's profile, and what they rest on."""
    file = ENGINE_FILES / f"{name}.yaml"
    text = file.read_text(encoding="utf-8")
    apart = fitted_constants(name, "tables")["apart_host"]
    host = (
        f"host: {{step: {step * 1e3:.3g} ms, sequence: 0 us, request: {terms['request'] * 1e3:.3g} ms, "
        f"wait: {terms['wait']:.3g}, launch: {terms['launch'] * 1e6:.3g} us, prompt: {terms['prompt']:.4g}, "
        f"queue: {terms['queue']:.3g}, apart: {apart * 1e3:.3g} ms}}"
    )
    about = (
        f'host: "fitted by benchmarks/simulated.py on {rows} rows of benchmarks/data/serving.csv, {date.today()} '
        '(apart: by benchmarks/serving.py, on those with prefill and decode apart)"'
    )
    text = re.sub(r"^host: .*$", host, text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^  host: .*$", f"  {about}", text, count=1, flags=re.MULTILINE)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
