"""``moewright plan`` of a serving workload: the whole space in its steady state, its front simulated."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moewright.cost.table import Table
from moewright.errors import InfeasibleError, SpecError
from moewright.plan.describe import describe_case, strategy_name
from moewright.plan.evaluate import check_units
from moewright.serve.choice import Choice, simulated
from moewright.serve.engine import Engine
from moewright.serve.setting import engine_of, legal, longest, pools_of, serving_of
from moewright.serve.steady import held_load, load_at, steady_state
from moewright.serve.step import StepModel
from moewright.spec.case import Case
from moewright.spec.serving import Serving
from moewright.spec.workload import Objective
from moewright.units import format_seconds

#: choices of the front that are simulated, and requests of each
FRONT = 6
#: alternatives that are simulated
MOST_ALTERNATIVES = 12
#: choices that are simulated until one is within the limits
TRIES = 24
MOST_REQUESTS = 6000

Tell = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class ServingPlan:
    """What a search for serving found. ``rejected``: reason → candidates. ``frontier``: no other has more throughput
    a GPU and more tokens a second for a user, by the formulas; most tokens for a user first. What is simulated to miss
    the limits is neither there nor among the alternatives."""

    case: Case
    candidates: int
    rejected: dict[str, int]
    search_seconds: float
    best: Choice
    alternatives: tuple[Choice, ...]
    frontier: tuple[Choice, ...]

    @property
    def by_throughput(self) -> bool:
        """Whether the most tokens/s a GPU are wanted."""
        return self.case.goal.objective is not Objective.LATENCY and bool(serving_of(self.case).concurrency)

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
    choices, rejected, count = search_serving(case)
    rejected += Counter()  # drops reasons that never applied
    tell(0.2)
    found: dict[Choice, Choice] = {}
    while True:  # what the steady state takes to be within the limits, the simulation may not
        best, alternatives, frontier = _ranked(case, choices, top)
        found[best] = simulated(case, best, MOST_REQUESTS, tables)
        if _meets(case, found[best]):
            break
        kept = _still(case, choices, found[best]) if len(found) < TRIES else []
        rejected["slower than the limits when simulated, or like one that was"] += len(choices) - len(kept)
        choices = kept
        if not choices:
            raise InfeasibleError(f"no strategy meets the limits when it is simulated: {_nearest(found.values())}")
    tell(0.5)
    more = [c for c in (*frontier[:FRONT], *alternatives[:MOST_ALTERNATIVES]) if c not in found]
    for i, choice in enumerate(more):
        if choice not in found:
            found[choice] = simulated(case, choice, MOST_REQUESTS, tables)
        tell(0.5 + 0.5 * (i + 1) / len(more))
    shown = [[found.get(c, c) for c in of] for of in (alternatives, frontier)]
    alternatives, frontier = ([c for c in of if c.simulation is None or _meets(case, c)] for of in shown)
    return ServingPlan(
        case,
        count,
        dict(rejected.most_common()),
        time.perf_counter() - start,
        found[best],
        tuple(alternatives),
        tuple(frontier) or (found[best],),
    )


def search_serving(case: Case) -> tuple[list[Choice], Counter[str], int]:
    """Every strategy at every concurrency that fits and meets the limits; what is left out by reason; how many."""
    choices, rejected, count = every_choice(case)
    return _within(case, choices, rejected), rejected, count


def every_choice(case: Case, waiting: bool = False) -> tuple[list[Choice], Counter[str], int]:
    """As ``search_serving``, whether it meets the limits or not. ``waiting``: with all in flight that were asked for,
    though some wait since the caches do not hold them, and at the most that is kept up with where a rate is not."""
    check_units(case)
    s, engine = serving_of(case), engine_of(case)
    if case.goal.objective is Objective.COST and case.cluster.device.price is None:
        raise SpecError(
            "got cost, but the device has no price; give cluster.device.price, such as 2.5 USD/h",
            file=case.file,
            field="objective",
        )
    if s.disaggregated is not None:
        from moewright.serve.disaggregate import disaggregated_choices

        return disaggregated_choices(case)
    return _aggregated(case, s, engine, waiting)


def _aggregated(case: Case, s: Serving, engine: Engine, waiting: bool) -> tuple[list[Choice], Counter[str], int]:
    table, rejected = legal(case, engine)
    model = StepModel(case, table, engine)
    fits = np.atleast_1d(model.kv_tokens) >= longest(s)
    rejected["does not hold one request beside the weights"] += int((~fits).sum())
    count = len(table)
    if not fits.any():
        raise InfeasibleError(
            f"no strategy holds one request of {longest(s)} tokens beside the weights on {case.cluster.gpus} × "
            f"{case.cluster.device.name}"
        )
    table = table.take(fits)
    loads = s.concurrency or (0,)
    rows = np.repeat(np.arange(len(table)), len(loads))
    asked = np.tile(np.array(loads, dtype=float), len(table))
    every = table.take(rows)
    return _steady(case, s, engine, every, asked, waiting), +rejected, count * len(loads)


def _steady(case: Case, s: Serving, engine: Engine, table: Table, asked: np.ndarray, waiting: bool) -> list[Choice]:
    """The steady state of each row at each concurrency (0: at the spec's rate), at what its caches hold, or ``waiting``
    at all of it."""
    model = StepModel(case, table, engine)
    ranks = table.replicas * table.dp
    most = held_load(model, s, engine)
    load = asked / ranks if s.concurrency else load_at(model, s, engine, (s.arriving or 1e-9) / ranks)
    if waiting:
        load = np.where(np.isfinite(load), load, most)
    state = steady_state(model, s, engine, load if waiting else np.minimum(load, most))
    found: list[Choice] = []
    seen: set[tuple[int, ...]] = set()
    for i in range(len(table)):
        strategy, _ = table.row(i)
        held = int(state.held[i] * ranks[i])
        offered = (
            (int(asked[i]) if waiting else min(int(asked[i]), held))
            if s.concurrency
            else max(1, round(float(min(load[i], 1e12)) * float(ranks[i])))
        )
        key = (hash(strategy), offered)
        if key in seen or held < 1 or not np.isfinite(load[i]):
            continue
        seen.add(key)
        rate = float(state.rate[i] * ranks[i])
        found.append(
            Choice(
                strategy_name(strategy, case.model),
                (strategy,),
                (strategy.gpus,),
                (strategy.replicas,),
                offered,
                int(asked[i]) if s.concurrency else None,
                held,
                float(state.ttft[i]),
                float(state.tpot[i]),
                rate,
                rate * s.output.mean / strategy.gpus,
                case.cluster.gpus - strategy.gpus,
                case.cluster.device.measured is None,
            )
        )
    return found


def _within(case: Case, choices: list[Choice], rejected: Counter[str]) -> list[Choice]:
    limits = {"ttft": case.goal.limits.ttft, "tpot": case.goal.limits.tpot}
    if not choices:
        raise InfeasibleError(_nothing(case))
    for name, limit in limits.items():
        if limit is None:
            continue
        good = [c for c in choices if getattr(c, name) <= limit]
        if not good:
            fastest = min(getattr(c, name) for c in choices)
            raise InfeasibleError(
                f"no strategy meets limits.{name} of {format_seconds(limit)}: "
                f"the fastest takes {format_seconds(fastest)}"
            )
        rejected[f"slower than limits.{name}"] += len(choices) - len(good)
        choices = good
    return choices


def _nothing(case: Case) -> str:
    """Why there is no choice at all."""
    rate = serving_of(case).arriving
    if rate is None:
        return "no strategy serves a concurrency that is asked for"
    most = max(every_choice(case, waiting=True)[0], key=lambda c: c.rate, default=None)
    text = f"no strategy keeps up with the {rate:g} requests a second that are asked for"
    return text if most is None else f"{text}: the most is {most.rate:.4g}, by {most.name}"


def _meets(case: Case, choice: Choice) -> bool:
    """Whether the simulated means are within the limits."""
    assert choice.simulation is not None
    return all(x.met for x in choice.simulation.limits.values())


def _still(case: Case, choices: list[Choice], missed: Choice) -> list[Choice]:
    """The choices left when ``missed`` was too slow: not itself, and of as many in flight or more only those that are
    within the limits with as much on top of the steady state."""
    o, limits = missed.simulation, case.goal.limits
    assert o is not None
    ttft = max(1.0, o.ttft.mean / missed.ttft)
    tpot = max(1.0, o.tpot.mean / missed.tpot) if o.tpot else 1.0

    def good(c: Choice) -> bool:
        if c == missed:
            return False
        slow = limits.ttft is not None and c.ttft * ttft > limits.ttft
        slow = slow or (limits.tpot is not None and c.tpot * tpot > limits.tpot)
        return c.concurrency < missed.concurrency or not slow

    return [c for c in choices if good(c)]


def _nearest(found: Iterable[Choice]) -> str:
    """What the fastest of the simulated take."""
    runs = [c.simulation for c in found if c.simulation is not None]
    tpot = min((o.tpot.mean for o in runs if o.tpot is not None), default=0.0)
    ttft = min(o.ttft.mean for o in runs)
    return f"the least TTFT of those tried is {format_seconds(ttft)}, the least TPOT {format_seconds(tpot)}"


def _ranked(case: Case, choices: list[Choice], top: int) -> tuple[Choice, list[Choice], list[Choice]]:
    """(best, the ``top`` next layouts, the frontier)."""

    def key(c: Choice) -> tuple[float, ...]:
        return _key(case, c)

    # what holds the concurrency asked for goes first; the others are shown with what they hold
    order = sorted(choices, key=lambda c: (not c.holds and case.goal.objective is not Objective.LATENCY, *key(c)))
    best = order[0]
    seen = {best.name}
    others: list[Choice] = []
    for c in order:
        if c.name not in seen and len(others) < top:
            seen.add(c.name)
            others.append(c)
    front: list[Choice] = []
    for c in sorted(choices, key=lambda c: (c.tpot, -c.output_per_gpu)):
        if not front or c.output_per_gpu > front[-1].output_per_gpu * (1 + 1e-9):
            front.append(c)
    if len(front) > 24:
        front = [front[i] for i in np.unique(np.linspace(0, len(front) - 1, 24).astype(int))]
    picked = np.unique(np.linspace(0, len(front) - 1, min(FRONT, len(front))).astype(int))
    # the simulated ones first in the list of what to simulate, the order by speed comes back in the plan
    return best, others, [front[i] for i in picked] if len(front) > FRONT else front


def _key(case: Case, c: Choice) -> tuple[float, ...]:
    """The less the better. At a rate all that keep up give the same throughput."""
    if case.goal.objective is Objective.LATENCY or not serving_of(case).concurrency:
        return (float(f"{c.tpot:.9g}"), c.ttft)
    return (-float(f"{c.output_per_gpu:.9g}"), c.tpot)


def chosen(case: Case, concurrency: int | None = None) -> Case:
    """``case`` with the strategy and the concurrency that are served: its own strategy, or the one that is best in the
    steady state there; of several concurrencies the last (or ``concurrency``), of ``auto`` the best. Those that
    hold the requests and meet the limits go first; where none does, the one that misses them by the least is taken.
    Raises SpecError, and InfeasibleError where nothing is legal or fits."""
    s = serving_of(case)
    if concurrency:
        s = replace(s, concurrency=(concurrency,), rate=None)
    elif s.concurrency and not s.automatic:
        s = replace(s, concurrency=s.concurrency[-1:])
    case = replace(case, serving=s)
    if s.disaggregated is not None:
        pools_of(case, engine_of(case))  # all that a simulation needs is given
    if not s.automatic and (case.strategy is not None or s.disaggregated is not None):
        return case
    choices, _, _ = every_choice(case, waiting=True)
    if not choices:
        raise InfeasibleError(_nothing(case))
    best = min(choices, key=lambda c: (_miss(case, c), not c.holds, *_key(case, c)))
    if s.concurrency:
        case = replace(case, serving=replace(s, concurrency=(best.concurrency,)))
    return case if s.disaggregated is not None else replace(case, strategy=case.strategy or best.specs[0])


def _miss(case: Case, c: Choice) -> float:
    """By how many times ``c`` misses the limit, or the rate, that it misses most; 1 where it meets all."""
    limits, rate = case.goal.limits, serving_of(case).arriving
    times = [1.0]
    if limits.ttft is not None:
        times.append(c.ttft / limits.ttft)
    if limits.tpot is not None:
        times.append(c.tpot / limits.tpot)
    if rate is not None:
        times.append(rate / max(c.rate, 1e-12))
    return max(times)
