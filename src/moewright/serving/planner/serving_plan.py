"""``moewright plan`` of a serving workload: the whole space in its steady state, and simulations until none that was
not simulated could be better than the best of those that were."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moewright.case.case import Case
from moewright.errors import InfeasibleError
from moewright.planning.naming import describe_case
from moewright.serving.engines.deployment import serving_of
from moewright.serving.planner.candidates import every_choice, nothing_of, order_key, within_limits
from moewright.serving.planner.option import Choice
from moewright.serving.planner.trials import Forecast, Trials
from moewright.units import format_seconds

#: choices of the front that are simulated
FRONT = 6
#: simulations until the best is certain, and more for each alternative
TRIES = 24
TRIES_EACH = 2
SLOW = "slower than the limits when simulated, or like one that was"

Tell = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class ServingPlan:
    """What a search for serving comes to. ``rejected``: reason → candidates. All of ``best``, ``alternatives`` and
    ``frontier`` are simulated and within the limits; the alternatives are in order, and none is better than the best.
    ``frontier``: no other has more throughput and more tokens a second for a user; most tokens for a user first."""

    case: Case
    candidates: int
    rejected: dict[str, int]
    search_seconds: float
    best: Choice
    alternatives: tuple[Choice, ...]
    frontier: tuple[Choice, ...]

    def within(self, choice: Choice) -> bool:
        """Whether the choice, which was simulated, is within the limits."""
        return _meets(self.case, choice)

    def to_dict(self) -> dict[str, Any]:
        """The object that ``plan --json`` prints."""
        described = describe_case(self.case)
        s = serving_of(self.case)
        described["workload"] = {
            "kind": "serving",
            "input": s.input.mean,
            "output": s.output.mean,
            "concurrency": list(s.concurrency),
            "rate": s.arriving,
            "engine": s.engine.name,
        }
        return {
            **described,
            "spec": self.case.document,
            "candidates": self.candidates,
            "rejected": self.rejected,
            "search_seconds": self.search_seconds,
            "best": self.best.to_dict(),
            "alternatives": [c.to_dict() for c in self.alternatives],
            "frontier": [c.to_dict() for c in self.frontier],
        }


def plan_serving(case: Case, top: int = 5, tell: Tell = lambda share: None, tables: Path | None = None) -> ServingPlan:
    """The best strategy and concurrency for ``case`` under its limits, and the frontier; ``tables``: measured kernels
    that the simulations price steps with.

    Raises SpecError, and InfeasibleError where nothing is legal, fits or meets the limits.
    """
    start = time.perf_counter()
    choices, rejected, count = every_choice(case)
    if not choices:
        raise InfeasibleError(nothing_of(case))
    tell(0.2)
    trials = Trials(case, tables)
    # what holds the requests asked for, and only where nothing does the others
    for holds in (True, False):
        some = [c for c in choices if c.holds is holds]
        best = _search(trials, some, tell)
        if best is not None:
            break
    else:
        within_limits(case, choices, Counter())  # raises where no steady state meets them either
        raise InfeasibleError(f"no strategy meets the limits when it is simulated: {_nearest(trials.runs.values())}")
    _spread(trials, some, top, tell)
    ranked = _ranked(trials, some)
    best, others = ranked[0], _layouts(ranked, top)
    return ServingPlan(
        case,
        count,
        dict(_left_out(trials, choices, rejected).most_common()),
        time.perf_counter() - start,
        best,
        tuple(others),
        tuple(_frontier(ranked)),
    )


def _search(trials: Trials, choices: list[Choice], tell: Tell) -> Choice | None:
    """The best of ``choices`` that are within the limits when simulated: the most hopeful is simulated until none could
    be better than the best so far. None where none is within."""
    case, tries = trials.case, 0
    while tries < TRIES:
        ranked = _ranked(trials, choices)
        hopeful = [f for f in _open(trials, choices) if _within(case, f.hoped)]
        if not hopeful:
            break
        hopeful.sort(key=lambda f: order_key(case, f.hoped))
        first = hopeful[0]
        if ranked and order_key(case, ranked[0].seen) <= order_key(case, first.hoped):
            break
        if trials.price([f.choice for f in hopeful], choices):
            continue
        trials.run(first.choice)
        tries += 1
        tell(0.2 + 0.5 * tries / TRIES)
    return next(iter(_ranked(trials, choices)), None)


def _spread(trials: Trials, choices: list[Choice], top: int, tell: Tell) -> None:
    """Simulates the ``top`` other layouts, and what may be on the frontier."""
    case = trials.case
    for i in range(TRIES_EACH * top):
        if len(_layouts(_ranked(trials, choices), top)) >= top:
            break
        known = {c.name for c in _ranked(trials, choices)}
        left = [f for f in _open(trials, choices) if f.choice.name not in known and _within(case, f.likely)]
        if not left:
            break
        trials.run(min(left, key=lambda f: order_key(case, f.likely)).choice)
        tell(0.7 + 0.15 * (i + 1) / (TRIES_EACH * top))
    likely = {f.choice: f.likely for f in _open(trials, choices) if _within(case, f.likely)}
    likely |= {c: c.seen for c in _ranked(trials, choices)}
    front = _front(likely, lambda c: likely[c])
    for i in np.unique(np.linspace(0, len(front) - 1, min(FRONT, len(front))).astype(int)):
        if front[i].simulation is None:
            trials.run(front[i])


def _open(trials: Trials, choices: list[Choice]) -> list[Forecast]:
    """Forecasts of those that were not simulated."""
    return trials.forecast([c for c in choices if c not in trials.runs])


def _ranked(trials: Trials, choices: list[Choice]) -> list[Choice]:
    """Those of ``choices`` that were simulated and are within the limits, the best first."""
    runs = [trials.runs[c] for c in choices if c in trials.runs]
    good = [c for c in runs if _meets(trials.case, c)]
    return sorted(good, key=lambda c: order_key(trials.case, c.seen))


def _layouts(ranked: list[Choice], top: int) -> list[Choice]:
    """The best of each other layout, in order."""
    best: dict[str, Choice] = {}
    for c in ranked:
        best.setdefault(c.name, c)
    return list(best.values())[1 : top + 1]


def _frontier(ranked: list[Choice]) -> list[Choice]:
    return _front(ranked, lambda c: c.seen)


def _front(choices: Iterable[Choice], seen: Callable[[Choice], Choice]) -> list[Choice]:
    """Those that no other beats in a user's and in a GPU's tokens/s, the fastest for a user first."""
    front: list[Choice] = []
    for c in sorted(choices, key=lambda c: (seen(c).tpot, -seen(c).of_cluster)):
        if not front or seen(c).of_cluster > seen(front[-1]).of_cluster * (1 + 1e-9):
            front.append(c)
    return front


def _left_out(trials: Trials, choices: list[Choice], rejected: Counter[str]) -> Counter[str]:
    """Reasons, with what misses the limits in its steady state or when simulated."""
    limits = trials.case.goal.limits
    for f in [*_open(trials, choices), *(Forecast(c, run.seen, run.seen) for c, run in trials.runs.items())]:
        names = [n for n in ("ttft", "tpot") if (limit := getattr(limits, n)) and getattr(f.choice, n) > limit]
        if not _within(trials.case, f.likely):
            rejected[f"slower than limits.{names[0]}" if names else SLOW] += 1
    return +rejected


def _within(case: Case, c: Choice) -> bool:
    """Whether the figures of ``c`` are within the limits."""
    limits = case.goal.limits
    return (limits.ttft is None or c.ttft <= limits.ttft) and (limits.tpot is None or c.tpot <= limits.tpot)


def _meets(case: Case, choice: Choice) -> bool:
    """Whether the simulated means are within the limits, and the rate is kept up with."""
    assert choice.simulation is not None
    return _within(case, choice.seen) and choice.simulation.keeps_up is not False


def _nearest(runs: Iterable[Choice]) -> str:
    """What the fastest of the simulated take."""
    outcomes = [c.simulation for c in runs if c.simulation is not None]
    tpot = min((o.tpot.mean for o in outcomes if o.tpot is not None), default=0.0)
    ttft = min((o.ttft.mean for o in outcomes), default=0.0)
    return f"the least TTFT of those tried is {format_seconds(ttft)}, the least TPOT {format_seconds(tpot)}"
