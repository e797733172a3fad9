"""Every strategy and concurrency of a serving workload in its steady state: what a plan chooses from."""

from __future__ import annotations

from collections import Counter

import numpy as np

from moewright.case.case import Case
from moewright.case.serving import Serving
from moewright.case.workload import Objective
from moewright.cost.table import Table
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.bounds import check_units
from moewright.planning.naming import strategy_name
from moewright.serving.engines.deployment import engine_of, longest, serving_of
from moewright.serving.engines.engine import Engine
from moewright.serving.engines.gpu_counts import too_small
from moewright.serving.engines.steady import held_load, load_at, steady_state
from moewright.serving.engines.strategies import legal
from moewright.serving.planner.option import Choice
from moewright.serving.step import StepModel
from moewright.units import format_seconds


def search_serving(case: Case) -> tuple[list[Choice], Counter[str], int]:
    """Every strategy at every concurrency that fits and meets the limits; what is left out by reason; how many."""
    choices, rejected, count = every_choice(case)
    return within_limits(case, choices, rejected), rejected, count


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
        from moewright.serving.planner.disaggregate import disaggregated_choices

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
            f"{case.cluster.device.name}: {too_small(case, table, engine, longest(s))}"
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


def within_limits(case: Case, choices: list[Choice], rejected: Counter[str]) -> list[Choice]:
    limits = {"ttft": case.goal.limits.ttft, "tpot": case.goal.limits.tpot}
    if not choices:
        raise InfeasibleError(nothing_of(case))
    for name, limit in limits.items():
        if limit is None:
            continue
        good = [c for c in choices if getattr(c, name) <= limit]
        if not good:
            fastest = min(choices, key=lambda c: float(getattr(c, name)))
            raise InfeasibleError(
                f"no strategy meets limits.{name} of {format_seconds(limit)}: the fastest takes "
                f"{format_seconds(getattr(fastest, name))}, {fastest.name} with {fastest.concurrency} in flight"
            )
        rejected[f"slower than limits.{name}"] += len(choices) - len(good)
        choices = good
    return choices


def nothing_of(case: Case) -> str:
    """Why there is no choice at all."""
    rate = serving_of(case).arriving
    if rate is None:
        return "no strategy serves a concurrency that is asked for"
    most = max(every_choice(case, waiting=True)[0], key=lambda c: c.rate, default=None)
    text = f"no strategy keeps up with the {rate:g} requests a second that are asked for"
    return text if most is None else f"{text}: the most is {most.rate:.4g}, by {most.name}"


def order_key(case: Case, c: Choice) -> tuple[float, ...]:
    """The less the better. What holds the requests asked for goes first. For throughput the GPUs that are left idle
    count too; for cost those used alone. At a rate all that keep up give the same throughput."""
    objective, closed = case.goal.objective, bool(serving_of(case).concurrency)
    seconds = (float(f"{c.tpot:.9g}"), float(f"{c.ttft:.9g}"))
    if objective is Objective.LATENCY or not closed:
        return (not c.holds, 0 if c.holds else -c.held, *seconds)
    output = c.output_per_gpu if objective is Objective.COST else c.of_cluster
    return (not c.holds, -float(f"{output:.9g}"), *seconds)
