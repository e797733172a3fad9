"""``moewright plan`` of a serving workload: the whole space in its steady state, its front simulated."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moewright.case.case import Case
from moewright.case.workload import Objective
from moewright.errors import InfeasibleError
from moewright.planning.naming import describe_case
from moewright.serving.engines.deployment import serving_of
from moewright.serving.planner.candidates import order_key, search_serving
from moewright.serving.planner.option import Choice, simulated
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

    # what holds the concurrency asked for goes first; the others are shown with what they hold
    order = sorted(
        choices, key=lambda c: (not c.holds and case.goal.objective is not Objective.LATENCY, *order_key(case, c))
    )
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
