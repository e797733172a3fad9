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
from moewright.serve.setting import engine_of, legal, longest, serving_of
from moewright.serve.steady import held_load, load_at, steady_state
from moewright.serve.step import StepModel
from moewright.spec.case import Case
from moewright.spec.serving import Serving
from moewright.spec.workload import Objective
from moewright.units import format_seconds

#: choices of the front that are simulated, and requests of each
FRONT = 6
#: choices that are simulated until one is within the limits
TRIES = 24
MOST_REQUESTS = 6000

Tell = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class ServingPlan:
    """What a search for serving found. ``rejected``: reason → candidates. ``frontier``: no other has more throughput
    a GPU and more tokens a second for a user; most tokens for a user first."""

    case: Case
    candidates: int
    rejected: dict[str, int]
    search_seconds: float
    best: Choice
    alternatives: tuple[Choice, ...]
    frontier: tuple[Choice, ...]

    def to_dict(self) -> dict[str, Any]:
        """The object that ``plan --json`` prints."""
        described = describe_case(self.case)
        s = serving_of(self.case)
        described["workload"] = {
            "kind": "serving",
            "input": s.input.mean,
            "output": s.output.mean,
            "concurrency": list(s.concurrency),
            "rate": s.rate,
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
    for i, choice in enumerate(frontier[:FRONT]):
        if choice not in found:
            found[choice] = simulated(case, choice, MOST_REQUESTS, tables)
        tell(0.5 + 0.5 * (i + 1) / len(frontier))
    return ServingPlan(
        case,
        count,
        dict(rejected.most_common()),
        time.perf_counter() - start,
        found[best],
        tuple(alternatives),
        tuple(found.get(c, c) for c in frontier),
    )


def search_serving(case: Case) -> tuple[list[Choice], Counter[str], int]:
    """Every strategy at every concurrency that fits and meets the limits; what is left out by reason; how many."""
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

        choices, rejected, count = disaggregated_choices(case)
    else:
        choices, rejected, count = _aggregated(case, s, engine)
    return _within(case, choices, rejected), rejected, count


def _aggregated(case: Case, s: Serving, engine: Engine) -> tuple[list[Choice], Counter[str], int]:
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
    return _steady(case, s, engine, every, asked), +rejected, count * len(loads)


def _steady(case: Case, s: Serving, engine: Engine, table: Table, asked: np.ndarray) -> list[Choice]:
    """The steady state of each row at each concurrency (0: at the spec's rate), at what its caches hold."""
    model = StepModel(case, table, engine)
    ranks = table.replicas * table.dp
    load = asked / ranks if s.concurrency else load_at(model, s, engine, (s.rate or 1e-9) / ranks)
    state = steady_state(model, s, engine, np.minimum(load, held_load(model, s, engine)))
    found: list[Choice] = []
    seen: set[tuple[int, ...]] = set()
    for i in range(len(table)):
        strategy, _ = table.row(i)
        held = int(state.held[i] * ranks[i])
        offered = min(int(asked[i]), held) if s.concurrency else round(float(min(load[i], 1e12)) * float(ranks[i]))
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
            )
        )
    return found


def _within(case: Case, choices: list[Choice], rejected: Counter[str]) -> list[Choice]:
    limits = {"ttft": case.goal.limits.ttft, "tpot": case.goal.limits.tpot}
    if not choices:
        raise InfeasibleError("no strategy keeps up with the rate that is asked for")
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


def _meets(case: Case, choice: Choice) -> bool:
    """Whether the simulated means are within the limits."""
    o, limits = choice.simulation, case.goal.limits
    assert o is not None
    slow = limits.ttft is not None and o.ttft.mean > limits.ttft
    return not (slow or (limits.tpot is not None and o.tpot is not None and o.tpot.mean > limits.tpot))


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
        if case.goal.objective is Objective.LATENCY:
            return (float(f"{c.tpot:.9g}"), c.ttft)
        return (-float(f"{c.output_per_gpu:.9g}"), c.tpot)

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


def chosen(case: Case) -> Case:
    """``case`` with a strategy: its own, or the best of the steady state."""
    s = serving_of(case)
    if case.strategy is not None or s.disaggregated is not None:
        return case
    choices, _, _ = search_serving(case)
    best = _ranked(case, choices, 0)[0]
    return replace(case, strategy=best.specs[0])
