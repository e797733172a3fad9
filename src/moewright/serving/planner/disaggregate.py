"""Prefill and decode apart: which workers, and how many of each.

A prefill worker computes prompts one budget after another; with n requests in flight a decode worker finishes
n / (O·T) a second. A prompt waits as in a queue of random arrivals and fixed service (M/D/1, Pollaczek–Khinchine:
ρ/2(1 − ρ) services). For the concurrencies that are asked for ``pairs.py`` finds what pools do; under ``auto``, pools
of x and y workers serve X = min(0.9·x·prefill rate, y·decode rate) requests a second, and what is then in flight
follows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.serving import Pool, Serving
from moewright.case.strategy import Strategy
from moewright.cost.table import Table
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.complete import divisors
from moewright.planning.naming import strategy_name
from moewright.serving.engines.deployment import engine_of, legal, longest, serving_of, worker_case
from moewright.serving.engines.engine import Engine
from moewright.serving.engines.steady import Terms, held_load
from moewright.serving.planner.option import Choice
from moewright.serving.planner.pools import MOST_LOAD, Decode, Pair, Prefill, best_of, pairs_of
from moewright.serving.step import StepModel

#: powers of two of requests that a decode worker is priced at
LOADS = 14
#: decode workers of each size that are combined with prefill workers
MOST_DECODES = 24


@dataclass(frozen=True, slots=True)
class Worker:
    """``rate``: requests a second. Prefill: ``seconds`` of a prompt. Decode: seconds a token, with ``load`` requests
    in flight on the worker, of ``held`` that fit."""

    strategy: Strategy
    gpus: int
    rate: float
    seconds: float
    load: int
    held: int
    transfer: float


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
    prefills = _workers(case, pools.prefill, "prefill", engine, s, rejected)
    decodes = _workers(case, pools.decode, "decode", engine, s, rejected)
    if not prefills or not decodes:
        raise InfeasibleError("no worker holds one request beside the weights in the GPUs that a pool may have")
    find = _automatic if s.automatic else _asked
    choices = find(case, s, _fastest(case, prefills), decodes)
    if not choices:
        raise InfeasibleError(_no_pair(case, s, prefills, decodes))
    return choices, +rejected, len(prefills) + len(decodes)


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


def _no_pair(case: Case, s: Serving, prefills: list[Worker], decodes: list[Worker]) -> str:
    """Why no pools came of the workers."""
    assert s.disaggregated is not None
    pools = s.disaggregated
    least = [min(w.gpus for w in of) for of in (prefills, decodes)]
    counts = [pools.prefill.replicas or 1, pools.decode.replicas or 1]
    if sum(n * g for n, g in zip(counts, least, strict=True)) > case.cluster.gpus:
        return (
            f"the smallest pools that hold the model are {counts[0]} × {least[0]} GPUs for prefill and {counts[1]} × "
            f"{least[1]} for decode, more than cluster.gpus {case.cluster.gpus}"
        )
    return f"no pools have as few as {max(s.concurrency)} requests in flight"


def _fastest(case: Case, prefills: list[Worker]) -> list[Worker]:
    """Of each size, the one of the highest rate whose prompts are within the limit; the fastest where none is."""
    limit = case.goal.limits.ttft
    fast = [w for w in prefills if limit is None or w.seconds <= limit]
    if not fast:
        return [min((w for w in prefills if w.gpus == g), key=lambda w: w.seconds) for g in {w.gpus for w in prefills}]
    return [max((w for w in fast if w.gpus == g), key=lambda w: w.rate) for g in sorted({w.gpus for w in fast})]


def _automatic(case: Case, s: Serving, prefills: list[Worker], decodes: list[Worker]) -> list[Choice]:
    """Pools by the decode workers' loads."""
    assert s.disaggregated is not None
    counts = s.disaggregated.prefill.replicas, s.disaggregated.decode.replicas
    return [c for d in _front(decodes) for p in prefills for c in _pairs(case, s, p, d, *counts)]


def _asked(case: Case, s: Serving, prefills: list[Worker], decodes: list[Worker]) -> list[Choice]:
    """Pools at every concurrency that is asked for."""
    assert s.disaggregated is not None
    counts = s.disaggregated.prefill.replicas, s.disaggregated.decode.replicas
    found = []
    for d in best_of(_curves(decodes, s)):
        for w in prefills:
            p = Prefill(w.strategy, w.gpus, w.rate, w.seconds, w.transfer)
            for pair in pairs_of(p, d, case.cluster.gpus, s.concurrency, s.steps, *counts, case.goal.limits.ttft):
                found.append(_choice(case, s, w, d.strategy, d.gpus, pair, pair.step / s.per_step))
    return found


def _curves(decodes: list[Worker], s: Serving) -> list[Decode]:
    """Of each decode strategy its steps at powers of two, beyond what it holds as at that."""
    found: dict[Strategy, list[Worker]] = {}
    for w in decodes:
        found.setdefault(w.strategy, []).append(w)
    curves = []
    for strategy, of in found.items():
        loads = np.array([w.load for w in of], dtype=float)
        steps = np.interp(2.0 ** np.arange(LOADS), loads, [w.seconds * s.per_step for w in of])
        curves.append(Decode(strategy, of[0].gpus, steps, of[0].held))
    return curves


def _choice(case: Case, s: Serving, p: Worker, decode: Strategy, gpus: int, pair: Pair, tpot: float) -> Choice:
    """``pair`` as a choice of the plan."""
    used = pair.x * p.gpus + pair.y * gpus
    names = (strategy_name(x, case.model).removeprefix("R1 · ") for x in (p.strategy, decode))
    return Choice(
        "{} × prefill {} + {} × decode {}".format(*(v for of in zip((pair.x, pair.y), names, strict=True) for v in of)),
        (p.strategy, decode),
        (pair.x * p.gpus, pair.y * gpus),
        (pair.x, pair.y),
        pair.flight,
        pair.asked or None,
        pair.held,
        pair.ttft,
        tpot,
        pair.rate,
        pair.rate * s.output.mean / used,
        case.cluster.gpus - used,
        case.cluster.device.measured is None,
    )


def _workers(case: Case, pool: Pool, phase: str, engine: Engine, s: Serving, rejected: Counter[str]) -> list[Worker]:
    """Workers of one phase: of every size that leaves GPUs for the other, or of the spec's."""
    sizes = [pool.gpus] if pool.gpus else [g for g in divisors(case.cluster.gpus) if g < case.cluster.gpus]
    found: list[Worker] = []
    for gpus in sizes:
        try:
            own = worker_case(case, gpus, f"workload.disaggregated.{phase}")
        except SpecError:
            if pool.gpus:
                raise
            continue
        found += _of_size(own, pool, phase, engine, s, rejected)
    return found


def _of_size(own: Case, pool: Pool, phase: str, engine: Engine, s: Serving, rejected: Counter[str]) -> list[Worker]:
    want = pool.strategy
    try:
        table, excluded = legal(replace(own, strategy=want), engine)
    except InfeasibleError as error:
        if want is not None:
            raise
        rejected[str(error)] += 1
        return []
    rejected += excluded
    table = table.take(table.replicas == 1)
    if not len(table):
        return []
    model = StepModel(own, table, engine)
    fits = np.atleast_1d(model.kv_tokens) >= longest(s)
    rejected["does not hold one request beside the weights"] += int((~fits).sum())
    if not fits.any():
        return []
    table = table.take(fits)
    return _prefill(own, table, engine, s) if phase == "prefill" else _decode(own, table, engine, s)


def _prefill(own: Case, table: Table, engine: Engine, s: Serving) -> list[Worker]:
    """Prompts in full budgets on every attention-dp rank: their seconds, and those of one alone."""
    model = StepModel(own, table, engine)
    terms = Terms(model, s, engine)
    budget = float(engine.max_num_batched_tokens)
    together = max(1.0, budget // terms.prompt)  # prompts in a step
    tokens = np.full(len(table), min(budget, together * terms.prompt))
    none = np.zeros(len(table))
    full = terms.seconds(tokens, none, model.dp * tokens)
    chunks = terms.prompt / np.minimum(tokens, terms.prompt)
    rate = model.dp * together / (full * chunks)
    alone = terms.seconds(np.minimum(tokens, terms.prompt), none, np.minimum(tokens, terms.prompt)) * chunks
    alone = alone + engine.before(alone, 0.0, len(own.model.layers)) + engine.host_apart
    fabric = own.cluster.fabric
    transfer = s.input.mean * model.capacity.token_bytes / fabric.bandwidth + fabric.latency
    held = held_load(model, s, engine) * model.dp
    return [
        Worker(table.row(i)[0], own.cluster.gpus, float(rate[i]), float(alone[i]), 0, int(held[i]), float(transfer[i]))
        for i in range(len(table))
    ]


def _decode(own: Case, table: Table, engine: Engine, s: Serving) -> list[Worker]:
    """Decode alone, at powers of two of load up to what a worker holds."""
    loads = np.array([1 << i for i in range(LOADS)], dtype=float)
    rows, asked = np.repeat(np.arange(len(table)), len(loads)), np.tile(loads, len(table))
    table = table.take(rows)
    model = StepModel(own, table, engine)
    terms = Terms(model, s, engine)
    held = held_load(model, s, engine) * model.dp
    load = np.minimum(asked, held)
    step = terms.seconds(np.zeros(len(load)), np.maximum(load, 1e-3) / model.dp)
    rate = load / (terms.steps * step)
    good = (load >= 1) & (asked < 2 * held)
    return [
        Worker(
            table.row(i)[0],
            own.cluster.gpus,
            float(rate[i]),
            float(step[i] / terms.each),
            int(load[i]),
            int(held[i]),
            0.0,
        )
        for i in np.flatnonzero(good).tolist()
    ]


def _front(workers: list[Worker]) -> list[Worker]:
    """Of each size, those that no other beats in seconds a token and in rate."""
    kept: list[Worker] = []
    for gpus in sorted({w.gpus for w in workers}):
        best, mine = 0.0, []
        for w in sorted((w for w in workers if w.gpus == gpus), key=lambda w: (w.seconds, -w.rate)):
            if w.rate > best * (1 + 1e-9):
                best = w.rate
                mine.append(w)
        kept += mine[-MOST_DECODES:]
    return kept


def _pairs(case: Case, s: Serving, p: Worker, d: Worker, most_x: int | None, most_y: int | None) -> list[Choice]:
    """x prefill and y decode workers, for every y that leaves room; x as many as keep up, or all that fit."""
    found = []
    gpus = case.cluster.gpus
    for y in [most_y] if most_y else range(1, (gpus - p.gpus) // d.gpus + 1):
        room = (gpus - y * d.gpus) // p.gpus
        x = most_x or min(room, max(1, int(np.ceil(y * d.rate / (MOST_LOAD * p.rate)))))
        if room < 1 or x > room:
            continue
        rate = min(MOST_LOAD * x * p.rate, y * d.rate)
        busy = rate / (x * p.rate)
        ttft = p.seconds * (1 + busy / (2 * (1 - busy))) + p.transfer
        flight = rate * (ttft + s.steps * d.seconds * s.per_step)
        offered = max(1, round(flight))
        if offered > max(s.concurrency):
            continue  # more in flight than any client count offers
        held = y * d.held + int(np.ceil(rate * ttft))  # beside those that decode, those still in prefill
        pair = Pair(x, y, 0, offered, held, ttft, d.seconds, rate)
        found.append(_choice(case, s, p, d.strategy, d.gpus, pair, d.seconds))
    return found
