"""Measured points of a deployment → a factor for each term of the prediction.

The logarithms of the factors, x, are the least of

    Σ over points ((log TPOT_measured − log TPOT(x)) / e)² + ((log TTFT_measured − log TTFT(x)) / (3e))² + Σ (x / p)²

(Gauss–Newton, large residuals weighing less: soft L1): e is what a run differs by from the next, p how far a term may
be off before anything is measured. So a term that few points tell of is drawn to 1, and the spread of each is what the
points leave open (the inverse of the normal matrix, times how well they agree). Predictions are simulated; they change
with x by the shares of the terms. Only terms that settings left out are predicted better with change (``left_out``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moewright.case.case import Case
from moewright.case.file.calibration_file import TERMS, CalibratedTerm, Calibration
from moewright.case.serving import Lengths, Spread, Start
from moewright.case.workload import Kind, Workload
from moewright.serving.calibration.benchmark_files import MeasuredPoint
from moewright.serving.calibration.left_out import Evidence, choose, fitted, robust
from moewright.serving.engines.deployment import engine_of, serving_of, workers_of
from moewright.serving.simulation.simulate import simulate_pools
from moewright.serving.step import Step

#: e: relative difference of two runs of one setup in TPOT; TTFT differs by three times as much
NOISE = 0.04
TTFT_NOISE = 3.0
#: p: of the errors of predictions that were not calibrated, one standard deviation of their logarithm
PRIOR = 0.35
ROUNDS = 3
#: the term that a deployment of too few settings to leave one out may change
_ALONE = "decode_base"

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Compared:
    """A measured point beside predictions: before, and with the calibration."""

    point: MeasuredPoint
    ttft: float
    tpot: float
    ttft_calibrated: float
    tpot_calibrated: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """``told``: the terms that have a factor of their own; ``left_at_one``: the others, with why. ``left_out``: median
    errors of TTFT and TPOT of settings that were left out in turn, (before, calibrated by the others); None where there
    are too few."""

    calibration: Calibration
    compared: tuple[Compared, ...]
    told: frozenset[str]
    left_at_one: dict[str, str]
    left_out: tuple[tuple[float, float], tuple[float, float]] | None


def case_at(case: Case, point: MeasuredPoint, calibration: Calibration | None) -> Case:
    """``case`` with the lengths, the concurrency and the clients' start of ``point``."""
    lengths = [Lengths(Spread.FIXED, max(1.0, round(n))) for n in (point.input, point.output)]
    clients = max(1, round(point.concurrency))
    s = replace(serving_of(case), input=lengths[0], output=lengths[1], concurrency=(clients,), rate=None, trace=None)
    if point.requests is not None and point.statistic == "mean":  # the burst at the start counts in no median
        s = replace(s, requests=max(point.requests, 1), start=Start.TOGETHER)
    step = Workload(Kind.DECODE, (clients,), max(1, round(s.resident)))
    return replace(case, serving=s, workload=step, calibration=calibration)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Seconds that terms stand before, not calibrated: of a step that decodes one sequence (the host's included), what
    the others of a rank add, what one prompt adds, and a request's wait beside steps."""

    base: float
    growth: float
    prompt: float
    first: float


def predicted(case: Case, point: MeasuredPoint, calibration: Calibration | None, tables: Path | None) -> Array:
    """TTFT and TPOT of a point, simulated. Raises SpecError, InfeasibleError."""
    own = case_at(case, point, calibration)
    assert own.strategy is not None
    engine = engine_of(own)
    w = workers_of(own, own.strategy, engine, tables=tables)
    o = simulate_pools(own, (w,), engine=engine)
    return np.array([o.ttft.mean, o.tpot.mean if o.tpot else float("nan")])


def _parts(case: Case, point: MeasuredPoint, tables: Path | None) -> _Parts:
    own = case_at(case, point, None)
    assert own.strategy is not None
    s, engine = serving_of(own), engine_of(own)
    w = workers_of(own, own.strategy, engine, tables=tables)
    host = 0.0 if w.measured else engine.host_step
    dp = float(w.model.dp[0])
    load = s.concurrency[0] / (w.count * dp)
    batch = max(1.0, min(load, w.held(s, engine) / (w.count * dp)))
    prompt, context = s.input.mean, s.resident
    fresh, decodes = np.array([0.0, 0.0, prompt]), np.array([1.0, batch, batch])
    step = Step(fresh, fresh * prompt / 2, decodes, decodes * context, (fresh + decodes) * dp)
    one, all_of_them, with_prompt = (float(x) for x in np.broadcast_to(w.model.seconds(step), (3,)))
    added = with_prompt - all_of_them
    wait = engine.before(added, all_of_them, len(own.model.layers), max(batch - 1, 0.0))
    return _Parts(one + host, all_of_them - one, added, float(wait[0]))


def _shares(parts: _Parts, now: Array, factors: dict[str, float]) -> Array:
    """d log (TTFT, TPOT) / d log factor [2, terms]: the shares of the terms in what is predicted now. What is left of
    TPOT is prompts that decoding waits for; what is left of TTFT waits for prompts, and the steps under way."""
    base, growth = factors["decode_base"] * parts.base, factors["decode_growth"] * parts.growth
    ttft, tpot = float(now[0]), float(now[1])
    whole = max(tpot, base + growth)
    decode = {"decode_base": base / whole, "decode_growth": growth / whole, "prompt": (whole - base - growth) / whole}
    wait = min(factors["first_token"] * parts.first / ttft, 1.0)
    prompt = min(factors["prompt"] * parts.prompt / ttft, 1 - wait)
    left = 1 - wait - prompt
    first = {"first_token": wait, "prompt": prompt + 0.8 * left, "decode_base": 0.1 * left, "decode_growth": 0.1 * left}
    return np.array([[row.get(name, 0.0) for name in TERMS] for row in (first, decode)])


def calibrate(
    case: Case,
    points: Sequence[MeasuredPoint],
    tables: Path | None,
    source: str = "",
    tell: Callable[[float], None] = lambda share: None,
) -> Calibrated:
    """The calibration of ``case``'s deployment by ``points``. Raises SpecError, InfeasibleError."""
    names = tuple(TERMS)
    plain = Calibration(source=source)
    measured = np.array([[p.ttft or float("nan"), p.tpot] for p in points])
    weights = np.where(np.isnan(measured), 0.0, np.array([1 / (TTFT_NOISE * NOISE), 1 / NOISE]))
    done = 0

    def simulated(calibration: Calibration | None) -> Array:
        nonlocal done
        rows = []
        for p in points:
            rows.append(predicted(case, p, calibration, tables))
            done += 1
            tell(min(1.0, done / len(points) / (ROUNDS + 2)))
        return np.array(rows)

    parts = [_parts(case, p, tables) for p in points]
    first = simulated(None)
    target = np.nan_to_num(np.log(measured) - np.log(first))
    plainly = np.array([_shares(part, row, dict.fromkeys(names, 1.0)) for part, row in zip(parts, first, strict=True)])
    evidence = Evidence(plainly / plainly.sum(-1, keepdims=True), target, weights, _settings(points), PRIOR)
    choice = choose(evidence, (names.index(_ALONE),))
    own = list(choice.active)
    x = fitted(evidence, choice.active)
    found = _calibration(x, plain) if own else plain
    now = simulated(found) if own else first
    normal = np.eye(len(own)) / PRIOR**2
    for _ in range(ROUNDS if own else 0):
        factors = {name: found.factor(name) for name in names}
        jacobian = np.array([_shares(part, row, factors) for part, row in zip(parts, now, strict=True)])[..., own]
        residual = np.nan_to_num(np.log(measured) - np.log(now)) * weights
        normal, step = _step(jacobian, residual, weights, x[own])
        x[own] = np.clip(x[own] + step, -1.5, 1.5)
        found = _calibration(x, plain)
        now = simulated(found)
        if np.abs(step).max() < 0.02:
            break
    tell(1.0)
    left = np.nan_to_num(np.log(measured) - np.log(now)) * weights
    agreement = max(1.0, float((left**2).sum()) / max(int((weights > 0).sum()) - len(own), 1))
    spreads = np.full(len(names), PRIOR)
    spreads[own] = np.sqrt(np.diag(np.linalg.inv(normal)) * agreement)
    rows_of = zip(points, first.tolist(), now.tolist(), strict=True)
    compared = tuple(Compared(p, before[0], before[1], after[0], after[1]) for p, before, after in rows_of)
    return Calibrated(
        _calibration(x, plain, spreads, len(points), choice.active),
        compared,
        frozenset(names[i] for i in own),
        {names[i]: why for i, why in choice.reasons.items()},
        choice.errors,
    )


def _step(jacobian: Array, residual: Array, weights: Array, x: Array) -> tuple[Array, Array]:
    """The normal matrix, and the step of Gauss and Newton from ``x``."""
    again = robust(residual)
    rows = (jacobian * (weights * again)[:, :, None]).reshape(-1, len(x))
    normal = rows.T @ rows + np.eye(len(x)) / PRIOR**2
    gradient = rows.T @ (residual * again).ravel() - x / PRIOR**2
    return normal, np.clip(np.linalg.solve(normal, gradient), -0.7, 0.7)


def _settings(points: Sequence[MeasuredPoint]) -> NDArray[np.int64]:
    """A number for each point, equal where lengths and requests in flight are."""
    rows = [(round(p.input), round(p.output), round(p.concurrency)) for p in points]
    numbers = {row: i for i, row in enumerate(dict.fromkeys(rows))}
    return np.array([numbers[row] for row in rows], dtype=np.int64)


def _calibration(
    x: Array, plain: Calibration, spreads: Array | None = None, points: int = 0, active: tuple[int, ...] = ()
) -> Calibration:
    terms = {
        name: CalibratedTerm(
            math.exp(x[i]), 0.0 if spreads is None else float(spreads[i]), points if i in active else 0
        )
        for i, name in enumerate(TERMS)
    }
    return plain.with_terms(terms)
