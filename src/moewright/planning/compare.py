"""Why a strategy loses to another: by which term, and from which bandwidth, latency or batch on it wins."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from moewright.case.case import Case
from moewright.case.strategy import Overlap, Strategy
from moewright.case.workload import Kind, Objective
from moewright.cost.table import Table
from moewright.errors import MoewrightError
from moewright.planning.evaluate import evaluate_table
from moewright.planning.naming import strategy_name
from moewright.planning.record import Comparison, Crossing, Plan

#: how far from today's value a crossing is looked for, as a factor either way
REACH = 256.0
_POINTS = 17
#: what is varied, one at a time
QUANTITIES = ("fabric bandwidth", "node bandwidth", "fabric latency", "node latency", "memory bandwidth", "batch")
#: how far up a batch is looked for
BATCHES = 1024.0


class Rankings(Protocol):
    """What a search returns, as far as this module needs it."""

    def row(self, index: int) -> tuple[Strategy, int]: ...


def compare_with(case: Case, best: Plan, other: Plan, search: Callable[[Case], Rankings]) -> Comparison:
    """The terms by which ``other`` is slower than ``best``, and each crossing, solved by bisection; at a
    crossing's far side the whole search is run again, to tell what would be best there."""
    ours, theirs = terms(case, best), terms(case, other)
    differences = {n: theirs.get(n, 0.0) - ours.get(n, 0.0) for n in dict.fromkeys([*theirs, *ours])}
    ordered = dict(sorted(differences.items(), key=lambda item: -abs(item[1])))
    crossings = tuple(_crossing(case, best, other, quantity, search) for quantity in QUANTITIES)
    work = "token" if case.workload.kind is Kind.DECODE else "sequence"
    per = "pass" if case.goal.objective is Objective.LATENCY else work
    return Comparison(other, sum(theirs.values()) / sum(ours.values()), per, ours, theirs, ordered, crossings)


def terms(case: Case, plan: Plan) -> dict[str, float]:
    """What the objective counts, by term: seconds of a pass; or, for throughput and cost, seconds between
    batches when the pipeline is kept full, per sequence (decode: per token)."""
    if case.goal.objective is Objective.LATENCY:
        return dict(plan.latency.breakdown)
    period = plan.batch / plan.throughput.sequences_per_second
    parts = dict(plan.latency.breakdown)
    if plan.strategy.pp > 1:  # of the bubble, what the next batches do not fill
        filled = period - plan.latency.seconds
        parts["pipeline_idle"] = parts.pop("pipeline_bubble") + parts.pop("stage_transfer") + filled
    # sums of terms leave a rest of rounding
    return {name: seconds / plan.batch for name, seconds in parts.items() if abs(seconds) > 1e-12 * period}


def vary(case: Case, quantity: str, value: float) -> Case:
    """``case`` with one quantity at another value (SI units)."""
    c = case.cluster
    if quantity == "batch":
        return replace(case, workload=replace(case.workload, batch=(int(value),)))
    if quantity == "memory bandwidth":
        return replace(case, cluster=replace(c, device=replace(c.device, memory_bandwidth=value)))
    tier, figure = quantity.split()
    if tier == "fabric":
        return replace(case, cluster=replace(c, fabric=replace(c.fabric, **{figure: value})))
    return replace(case, cluster=replace(c, node=replace(c.node, **{figure: value})))


def today(case: Case, quantity: str, batch: int) -> float:
    """The quantity's present value."""
    c = case.cluster
    return {
        "fabric bandwidth": c.fabric.bandwidth,
        "node bandwidth": c.node.bandwidth,
        "fabric latency": c.fabric.latency,
        "node latency": c.node.latency,
        "memory bandwidth": c.device.memory_bandwidth,
        "batch": float(batch),
    }[quantity]


def _crossing(case: Case, best: Plan, other: Plan, quantity: str, search: Callable[[Case], Rankings]) -> Crossing:
    now = today(case, quantity, best.batch)
    latency = case.goal.objective is Objective.LATENCY

    def lead(value: float) -> float:
        """Seconds by which ``other`` is slower at ``value``, relative to the best there."""
        there = vary(case, quantity, value)
        batch = int(value) if quantity == "batch" else best.batch
        found = [evaluate_table(there, Table.one(p.strategy, batch)) for p in (best, other)]
        times = [float((e.seconds if latency else e.period)[0]) for e in found]
        return times[1] / times[0] - 1

    found = None
    if now > 0:
        found = _batch_crossing(lead, best, other) if quantity == "batch" else _solve(lead, now)
    there = ""
    if found is not None and found != now:
        try:
            beyond = found if quantity == "batch" else found * (1.001 if found > now else 0.999)
            found_there = search(replace(vary(case, quantity, beyond), strategy=None)).row(0)[0]
            there = strategy_name(found_there, case.model)
        except MoewrightError:
            there = "nothing fits"
    if quantity == "batch":
        unit = math.lcm(_divisor(best.strategy), _divisor(other.strategy))
        return Crossing(quantity, now, found, float(min(unit, now)), now * BATCHES, there)
    return Crossing(quantity, now, found, now / REACH, now * REACH, there)


def _solve(lead: Callable[[float], float], now: float) -> float | None:
    """The value nearest to ``now`` (on a log scale) at which ``lead`` reaches 0: a scan outwards to
    bracket it, then bisection to one part in 10⁹."""
    steps = range(1, _POINTS)
    for step in steps:
        for sign in (1, -1):
            near = now * REACH ** (sign * (step - 1) / (_POINTS - 1))
            far = now * REACH ** (sign * step / (_POINTS - 1))
            if lead(far) <= 0 < lead(near):
                return _bisect(lead, near, far)
    return None


def _bisect(lead: Callable[[float], float], loses: float, wins: float) -> float:
    while abs(math.log(wins / loses)) > 1e-9:
        middle = math.sqrt(loses * wins)
        loses, wins = (middle, wins) if lead(middle) > 0 else (loses, middle)
    return wins


def _batch_crossing(lead: Callable[[float], float], best: Plan, other: Plan) -> float | None:
    """The nearest multiple or fraction of today's batch, by powers of two, that both can divide."""
    unit = math.lcm(_divisor(best.strategy), _divisor(other.strategy))
    factor = 2.0
    while factor <= BATCHES:
        for value in (best.batch * factor, best.batch / factor):
            if value >= unit and value % unit == 0 and lead(value) <= 0:
                return value
        factor *= 2
    return None


def _divisor(s: Strategy) -> int:
    """What a batch must be a multiple of."""
    halves = 2 if s.overlap is Overlap.TWO_BATCH else 1
    return s.replicas * s.attention.dp * s.micro_batches * halves
