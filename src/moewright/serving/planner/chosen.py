"""What ``moewright serve`` serves where a spec leaves it open."""

from __future__ import annotations

from dataclasses import replace

from moewright.case.case import Case
from moewright.errors import InfeasibleError
from moewright.serving.engines.deployment import engine_of, pools_of, serving_of
from moewright.serving.planner.candidates import every_choice, nothing_of, order_key
from moewright.serving.planner.option import Choice


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
        raise InfeasibleError(nothing_of(case))
    best = min(choices, key=lambda c: (_miss(case, c), not c.holds, *order_key(case, c)))
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
