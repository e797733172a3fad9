"""The plan nearest to one that an engine cannot run which it can, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import log2

import numpy as np

from moewright.case.case import Case
from moewright.case.serving import Disaggregated
from moewright.case.serving import Pool as PoolSpec
from moewright.case.strategy import Strategy
from moewright.cost.table import Table
from moewright.errors import MoewrightError
from moewright.launch.exporters.engine_export import refusals
from moewright.launch.launch_plan import LaunchPlan
from moewright.launch.read_launch import pass_launch, serving_launch
from moewright.planning.search import evaluate
from moewright.planning.space import space
from moewright.serving.engines.deployment import engine_of, worker_case
from moewright.serving.engines.steady import held_load, steady_state
from moewright.serving.engines.strategies import legal
from moewright.serving.planner.candidates import every_choice
from moewright.serving.planner.option import Choice
from moewright.serving.step import StepModel
from moewright.units import format_count, format_seconds

#: candidates of a pool that are tried, the nearest first
TRIED = 200


@dataclass(frozen=True, slots=True)
class Nearest:
    """``plan`` that the engine runs, and ``case`` that plans it; ``seconds`` of a token, or of a pass, and ``output``
    tokens/s a GPU (None of a pass), each with the refused plan's beside it (None where that cannot be priced)."""

    plan: LaunchPlan
    case: Case
    seconds: tuple[float, float | None]
    output: tuple[float, float | None] | None

    @property
    def text(self) -> str:
        """``NAME (a token takes 38 ms, 12 % more; …)``."""
        what = "a pass" if self.output is None else "a token"
        parts = [f"{what} takes {format_seconds(self.seconds[0])}{_change(*self.seconds)}"]
        if self.output is not None:
            parts.append(f"a GPU gives {format_count(self.output[0])} tokens/s{_change(*self.output)}")
        return f"{self.plan.name} ({'; '.join(parts)}; by the formulas)"


def _change(new: float, old: float | None) -> str:
    if not old:
        return ""
    percent = round(100 * (new / old - 1))
    return ", as much" if percent == 0 else f", {abs(percent)} % {'more' if percent > 0 else 'less'}"


def nearest(plan: LaunchPlan) -> Nearest | None:
    """What the plan's engine can run, nearest to ``plan`` by its sizes; None where no candidate fits and is run."""
    return _of_pass(plan) if plan.case.serving is None else _of_serving(plan)


def distance(table: Table, meant: Strategy) -> np.ndarray:
    """Doublings by which each row's sizes differ from those of ``meant``, a half for each kind that does."""
    a, e = meant.attention, meant.experts
    sizes = (
        (table.replicas, meant.replicas),
        (table.pp, meant.pp),
        (table.dp * table.repeated, a.dp * a.repeated),
        (table.cp, a.cp),
        (table.tp, a.tp),
        (table.dcp, a.dcp),
        (table.ep, e.ep),
        (table.etp, e.tp),
    )
    total = sum((np.abs(np.log2(column) - log2(size)) for column, size in sizes), start=np.zeros(len(table)))
    total = total + 0.5 * (table.two_batch != (meant.overlap == "two_batch"))
    total = total + 0.5 * (table.replicated != (e.dispatch == "replicated"))
    return np.asarray(total + 0.5 * (table.redundant != e.redundant))


def _ordered(table: Table, meant: Strategy) -> Iterator[Strategy]:
    """Rows of ``table`` other than ``meant``, the nearest first."""
    for i in np.argsort(distance(table, meant), kind="stable")[:TRIED]:
        strategy, _ = table.row(int(i))
        if strategy != meant:
            yield strategy


def _first(plan: LaunchPlan, pool: int, table: Table, meant: Strategy) -> Strategy | None:
    """The nearest row that the engine runs in the place of a pool (replicas beside it)."""

    def with_pool(strategy: Strategy) -> LaunchPlan:
        one = replace(strategy, replicas=1, micro_batches=1)
        pools = list(plan.pools)
        count = pools[pool].count if plan.apart else strategy.replicas
        pools[pool] = replace(pools[pool], strategy=one, count=count)
        return replace(plan, pools=tuple(pools))

    reasons = {r.text for r in refusals(plan, plan.engine)}
    for strategy in _ordered(table, meant):
        left = refusals(with_pool(strategy), plan.engine)
        if not left or (plan.apart and len({r.text for r in left} & reasons) < len(reasons)):
            return strategy
    return None


def _of_serving(plan: LaunchPlan) -> Nearest | None:
    case = plan.case
    assert case.serving is not None
    engine = engine_of(case)
    if plan.apart:
        return _of_pools(plan)
    pool = plan.pools[0]
    meant = replace(pool.strategy, replicas=pool.count)
    table, _ = legal(replace(case, strategy=None), engine)
    spare = table.replicas * table.pp * table.stage == case.cluster.gpus
    found = _first(plan, 0, table.take(spare), meant)
    if found is None:
        return None
    fixed = replace(case, strategy=found.spec)
    return _priced(plan, fixed)


def _of_pools(plan: LaunchPlan) -> Nearest | None:
    """Each pool that is refused gets the nearest of its own size."""
    case = plan.case
    assert case.serving is not None
    engine = engine_of(case)
    specs = []
    for i, pool in enumerate(plan.pools):
        own = worker_case(replace(case, strategy=None), pool.gpus)
        alone = replace(plan, pools=(pool,))
        strategy: Strategy | None = pool.strategy
        if refusals(alone, plan.engine):
            table, _ = legal(own, engine)
            strategy = _first(plan, i, table.take(table.replicas == 1), pool.strategy)
        if strategy is None:
            return None
        specs.append(PoolSpec(pool.gpus, strategy.spec, pool.count))
    serving = case.serving
    fixed = replace(case, serving=replace(serving, disaggregated=Disaggregated(*specs)))
    return _priced(plan, fixed)


def _priced(plan: LaunchPlan, fixed: Case) -> Nearest | None:
    """``fixed`` beside the refused plan, both at the concurrency planned."""
    new = _choice(_at(fixed, plan.concurrency))
    if new is None:
        return None
    made = serving_launch(fixed, new, plan.version)
    if refusals(made, plan.engine):
        return None
    tpot, output = refused_figures(plan) or (None, None)
    return Nearest(made, fixed, (new.tpot, tpot), (new.output_per_gpu, output))


def refused_figures(plan: LaunchPlan) -> tuple[float, float] | None:
    """Seconds of a token and output tokens/s a GPU that the refused plan would have in the steady state, if its engine
    ran it; None of pools apart, and where it does not hold a request."""
    case, pool = plan.case, plan.pools[0]
    serving = case.serving
    if serving is None or plan.apart or plan.concurrency is None:
        return None
    engine = engine_of(case)
    model = StepModel(case, Table.one(replace(pool.strategy, replicas=pool.count), pool.count), engine)
    ranks = pool.count * pool.strategy.attention.dp
    held = held_load(model, serving, engine)
    if float(held[0]) < 1:
        return None
    state = steady_state(model, serving, engine, np.minimum(plan.concurrency / ranks, held))
    output = float(state.rate[0]) * ranks * serving.output.mean / plan.gpus
    return float(state.tpot[0]), output


def _at(case: Case, concurrency: int | None) -> Case:
    if case.serving is None or not case.serving.concurrency or concurrency is None:
        return case
    return replace(case, serving=replace(case.serving, concurrency=(concurrency,)))


def _choice(case: Case) -> Choice | None:
    try:
        found, _, _ = every_choice(case, waiting=True)
    except MoewrightError:
        return None
    return max(found, key=lambda c: c.output_per_gpu, default=None)


def _of_pass(plan: LaunchPlan) -> Nearest | None:
    case, pool = plan.case, plan.pools[0]
    meant = replace(pool.strategy, replicas=pool.strategy.replicas * pool.count)
    try:
        table = space(replace(case, strategy=None)).table
    except MoewrightError:
        return None
    whole = table.replicas * table.pp * table.stage == case.cluster.gpus

    def runs(strategy: Strategy) -> LaunchPlan | None:
        try:
            made = pass_launch(case, evaluate(case, strategy), plan.engine, plan.version)
        except MoewrightError:  # does not fit
            return None
        return None if refusals(made, plan.engine) else made

    return _pass_found(plan, case, meant, table.take(whole), runs)


def _pass_found(
    plan: LaunchPlan, case: Case, meant: Strategy, table: Table, runs: Callable[[Strategy], LaunchPlan | None]
) -> Nearest | None:
    for strategy in _ordered(table, meant):
        made = runs(strategy)
        if made is not None:
            seconds = made.expected[0].value, plan.expected[0].value
            return Nearest(made, replace(case, strategy=strategy.spec), seconds, None)
    return None
