"""Prefill and decode apart: which workers, and how many of each.

A prefill worker computes prompts one budget after another; with n requests in flight a decode worker finishes
n / (O·T) a second (``pools.py`` has the queue between them). Every pair of workers is tried at every concurrency, with
every number of decode workers and as many prefill workers as the other GPUs make; where cost is the objective, as few.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from moewright.case.case import Case
from moewright.case.serving import Pool, Serving
from moewright.case.workload import Objective
from moewright.cost.table import Table
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.complete import divisors
from moewright.planning.naming import strategy_name
from moewright.serving.engines.deployment import engine_of, longest, serving_of, worker_case
from moewright.serving.engines.engine import Engine
from moewright.serving.engines.strategies import legal
from moewright.serving.planner.option import Choice
from moewright.serving.planner.phases import decodes_of, prefills_of
from moewright.serving.planner.pools import Decode, Pair, Prefill, fastest_decodes, fastest_prefills, pairs_of
from moewright.serving.step import StepModel

#: numbers of workers of a pair that are kept at a concurrency: the most throughput, and the fastest tokens
KEPT = 6
#: by so much the formulas may be off where they say that a limit is missed
SLACK = 1.5


def disaggregated_choices(case: Case) -> tuple[list[Choice], Counter[str], int]:
    """Every pair of pools worth trying, as choices; what is left out; how many workers were priced."""
    s, engine = serving_of(case), engine_of(case)
    assert s.disaggregated is not None
    if not s.concurrency:
        raise SpecError(
            "is missing; disaggregated plans are searched at a concurrency (a rate can be served with pools in full)",
            file=case.file,
            field="workload.concurrency",
        )
    _check_sizes(case, s)
    pools = s.disaggregated
    rejected: Counter[str] = Counter()
    prefills = [
        w for of in _sizes(case, pools.prefill, "prefill", engine, rejected) for w in prefills_of(*of, engine, s)
    ]
    decodes = [w for of in _sizes(case, pools.decode, "decode", engine, rejected) for w in decodes_of(*of, engine, s)]
    if not prefills or not decodes:
        raise InfeasibleError("no worker holds one request beside the weights in the GPUs that a pool may have")
    choices = [
        c for d in fastest_decodes(decodes) for p in fastest_prefills(prefills) for c in _pair_choices(case, s, p, d)
    ]
    if not choices:
        raise InfeasibleError(_no_pair(case, s, prefills, decodes))
    return choices, +rejected, len(prefills) + len(decodes)


def _pair_choices(case: Case, s: Serving, p: Prefill, d: Decode) -> list[Choice]:
    """Pools of these workers, at every concurrency."""
    assert s.disaggregated is not None
    counts = s.disaggregated.prefill.replicas, s.disaggregated.decode.replicas
    thrifty = case.goal.objective is Objective.COST
    pairs = pairs_of(p, d, case.cluster.gpus, s.concurrency, s.steps, counts, thrifty)
    if s.automatic:  # powers of two stand for what can be in flight
        pairs = [x for x in pairs if x.flight >= x.asked]
    return [
        _choice(case, s, p, d, x) for c in s.concurrency for x in _kept(case, s, [x for x in pairs if x.asked == c])
    ]


def _kept(case: Case, s: Serving, pairs: list[Pair]) -> list[Pair]:
    """Of pairs for one concurrency those that may be the best: that hold it, about within the limits if any are."""
    limits = case.goal.limits
    for slack in (SLACK, float("inf")):
        good = [
            x
            for x in pairs
            if (limits.ttft is None or x.ttft <= slack * limits.ttft)
            and (limits.tpot is None or x.step / s.per_step <= slack * limits.tpot)
        ]
        if good:
            break
    else:
        return []
    rows = sorted(good, key=lambda x: (x.held < x.asked, -x.rate))[:KEPT]
    rows += sorted(good, key=lambda x: (x.held < x.asked, x.step))[:KEPT]
    return list(dict.fromkeys(rows))


def _check_sizes(case: Case, s: Serving) -> None:
    """Raises SpecError where the pools that are given have no room."""
    assert s.disaggregated is not None
    given = {n: getattr(s.disaggregated, n) for n in ("prefill", "decode")}
    sizes = {n: (p.gpus or 1) * (p.replicas or 1) for n, p in given.items()}
    if sum(sizes.values()) <= case.cluster.gpus:
        return
    words = [f"{n} {size}" if given[n].gpus else f"{n} at least {size}" for n, size in sizes.items()]
    raise SpecError(
        f"{' and '.join(words)} GPUs are more than cluster.gpus {case.cluster.gpus}",
        file=case.file,
        field="workload.disaggregated",
    )


def _no_pair(case: Case, s: Serving, prefills: list[Prefill], decodes: list[Decode]) -> str:
    """Why no pools came of the workers."""
    assert s.disaggregated is not None
    pools = s.disaggregated
    least = [min(p.gpus for p in prefills), min(d.gpus for d in decodes)]
    counts = [pools.prefill.replicas or 1, pools.decode.replicas or 1]
    if sum(n * g for n, g in zip(counts, least, strict=True)) > case.cluster.gpus:
        return (
            f"the smallest pools that hold the model are {counts[0]} × {least[0]} GPUs for prefill and {counts[1]} × "
            f"{least[1]} for decode, more than cluster.gpus {case.cluster.gpus}"
        )
    return f"no pools have as few as {max(s.concurrency)} requests in flight"


def _choice(case: Case, s: Serving, p: Prefill, d: Decode, pair: Pair) -> Choice:
    """``pair`` as a choice of the plan."""
    gpus = pair.x * p.gpus, pair.y * d.gpus
    names = [strategy_name(w.strategy, case.model).removeprefix("R1 · ") for w in (p, d)]
    return Choice(
        f"{pair.x} × prefill {names[0]} + {pair.y} × decode {names[1]}",
        (p.strategy, d.strategy),
        gpus,
        (pair.x, pair.y),
        pair.flight,
        pair.asked,
        pair.held,
        pair.ttft,
        pair.step / s.per_step,
        pair.rate,
        pair.rate * s.output.mean / sum(gpus),
        case.cluster.gpus - sum(gpus),
        case.cluster.device.measured is None,
    )


def _sizes(case: Case, pool: Pool, phase: str, engine: Engine, rejected: Counter[str]) -> list[tuple[Case, Table]]:
    """Workers of one phase that hold a request, as the case of one and a table of their strategies: of every size that
    leaves GPUs for the other phase, or of the spec's."""
    sizes = [pool.gpus] if pool.gpus else [g for g in divisors(case.cluster.gpus) if g < case.cluster.gpus]
    fitting = []
    for gpus in sizes:
        try:
            own = worker_case(case, gpus, f"workload.disaggregated.{phase}")
        except SpecError:
            if pool.gpus:
                raise
            continue
        table = _of_size(own, pool, engine, rejected)
        if table is not None:
            fitting.append((own, table))
    return fitting


def _of_size(own: Case, pool: Pool, engine: Engine, rejected: Counter[str]) -> Table | None:
    try:
        table, excluded = legal(replace(own, strategy=pool.strategy), engine)
    except InfeasibleError as error:
        if pool.strategy is not None:
            raise
        rejected[str(error)] += 1
        return None
    rejected += excluded
    table = table.take(table.replicas == 1)
    if not len(table):
        return None
    fits = np.atleast_1d(StepModel(own, table, engine).kv_tokens) >= longest(serving_of(own))
    rejected["does not hold one request beside the weights"] += int((~fits).sum())
    return table.take(fits) if fits.any() else None
