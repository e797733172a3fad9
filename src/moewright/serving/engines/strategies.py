"""The strategies that an engine runs and loads, and a user's own completed as it does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from moewright.case.case import Case
from moewright.case.strategy import Dispatch, Strategy, StrategySpec
from moewright.case.workload import Kind, Workload
from moewright.cost.table import Table
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.complete import complete
from moewright.planning.engine_layouts import nearest, refusals, runs
from moewright.planning.naming import strategy_name
from moewright.planning.space import space
from moewright.serving.engines.engine import Engine


def engine_strategy(case: Case, want: StrategySpec, engine: Engine) -> Strategy:
    """``want`` completed, as ``engine`` runs it. Where one attention group is the whole stage, engines keep all tokens
    on every rank: dispatch is replicated unless it is said otherwise. Raises SpecError, InfeasibleError (with the
    nearest strategy that the engine runs)."""
    full = complete(replace(want, micro_batches=1), case)
    stage = (full.dp or 1) * (full.tp or 1) * (full.cp or 1) * (full.repeated or 1)
    if want.dispatch is None and full.dp == 1 and full.cp == 1 and stage > 1:
        full = replace(full, dispatch=Dispatch.REPLICATED)
    if (full.cp or 1) > 1:
        raise SpecError(
            f"got {full.cp}; engines decode with parts of a sequence on ranks of tp: write tp and dcp in place of cp",
            file=case.file,
            field="strategy.attention.cp",
        )
    # overlap needs an even batch, which a step has or has not: legal here
    batch = 2 * (full.replicas or 1) * (full.dp or 1)
    step = Workload(Kind.DECODE, (batch,), case.workload.sequence)
    table = space(replace(case, workload=step, strategy=full)).table
    one = table.take(slice(int(np.argmin(table.micro_batches)), None)).take(slice(0, 1))
    strategy = one.row(0)[0]
    reasons = [reason for _, reason in refusals(engine.name, engine.layouts, case.model, one, searched=False)]
    if reasons:
        instead = _instead(case, strategy, engine)
        raise InfeasibleError(f"{strategy_name(strategy, case.model)} does not load: {'; '.join(reasons)}{instead}")
    return strategy


def _instead(case: Case, strategy: Strategy, engine: Engine) -> str:
    """The nearest strategy on as many GPUs that ``engine`` runs, as the end of a message."""
    try:
        table, _ = legal(replace(case, strategy=None), engine)
    except InfeasibleError:
        return f"; {engine.name} runs none on these GPUs"
    near = nearest(strategy, table)
    return f"; the nearest that does: {strategy_name(near, case.model)}" if near else ""


def legal(case: Case, engine: Engine) -> tuple[Table, Counter[str]]:
    """The strategies that ``engine`` runs and loads: prompts and decodes on the same ranks, no micro-batches of their
    own, tokens replicated where one attention group is the stage, and as its ``layouts`` say; the others by reason."""
    if case.strategy is not None:
        s = engine_strategy(case, case.strategy, engine)
        return Table.of([s], [s.replicas * s.attention.dp]), Counter()
    t, rejected = step_table(case)
    t = t.take(runs(engine.name, engine.layouts, case.model, t, rejected))
    if not len(t):
        reasons = "; ".join(f"{reason} ({n})" for reason, n in rejected.most_common(4))
        raise InfeasibleError(f"{engine.name} runs no strategy on {case.cluster.gpus} GPUs: {reasons}")
    return t, rejected


def step_table(case: Case) -> tuple[Table, Counter[str]]:
    """Every strategy that an engine could be asked for on all GPUs of ``case``, and reasons of those that are none."""
    step = Workload(Kind.DECODE, (case.cluster.gpus,), case.workload.sequence)
    found = space(replace(case, workload=step))
    t = found.table
    # both ways of one layout stand in the space; engines have one of the two
    keep = (t.micro_batches == 1) & ~t.two_batch & (t.repeated == 1)
    keep &= np.where((t.dp > 1) | (t.stage == 1), ~t.replicated, t.replicated)
    # reasons of what is not in this space: overlap, batches
    return t.take(keep), Counter({r: n for r, n in found.rejected.items() if not r.startswith(("two_batch", "batch"))})
