"""Workers of one phase: how fast a prefill worker is, and a decode worker at every load."""

from __future__ import annotations

import numpy as np

from moewright.case.case import Case
from moewright.case.serving import Serving
from moewright.case.strategy import Strategy
from moewright.cost.table import Table
from moewright.serving.engines.deployment import Workers
from moewright.serving.engines.engine import Engine
from moewright.serving.engines.steady import Terms, held_load
from moewright.serving.planner.pools import Decode, Prefill
from moewright.serving.step import StepModel

#: powers of two of requests that a decode worker is priced at
LOADS = 14


def prefills_of(own: Case, table: Table, engine: Engine, s: Serving) -> list[Prefill]:
    """Workers of each strategy of ``table``, by formulas."""
    model = StepModel(own, table, engine)
    columns = _prefill_columns(model, own, engine, s, Terms(model, s, engine), np.zeros(len(table)))
    return [_prefill(table.row(i)[0], own.cluster.gpus, row) for i, row in enumerate(columns)]


def prefill_of(w: Workers, engine: Engine, s: Serving) -> Prefill:
    """The worker as its own model prices its steps."""
    terms = Terms(w.model, s, engine.without_host() if w.measured else engine)
    (row,) = _prefill_columns(w.model, w.case, engine, s, terms, np.zeros(1))
    return _prefill(w.strategy, w.gpus // w.count, row)


def _prefill(strategy: Strategy, gpus: int, row: list[float]) -> Prefill:
    rate, alone, full, sent, ranks = row
    return Prefill(strategy, gpus, rate, alone, full, sent, int(ranks))


def _prefill_columns(
    model: StepModel, own: Case, engine: Engine, s: Serving, terms: Terms, none: np.ndarray
) -> list[list[float]]:
    """Prompts in full budgets on every attention-dp rank, and one alone: requests a second, seconds of the one and of
    the full step, of the cache's way; and ranks."""
    budget = float(engine.max_num_batched_tokens)
    together = max(1.0, budget // terms.prompt)  # prompts in a step
    tokens = none + min(budget, together * terms.prompt)
    steps = float(terms.passes(np.array(budget)))
    full = terms.seconds(tokens / max(1.0, steps), none, model.dp * tokens / max(1.0, steps)) * steps
    rate = model.dp * together / full
    alone = np.minimum(tokens, terms.prompt) / max(1.0, steps)
    one = terms.seconds(alone, none, alone) * steps
    host = engine.before(one, 0.0, len(own.model.layers)) + engine.host_apart
    fabric = own.cluster.fabric
    sent = s.input.mean * model.capacity.token_bytes / fabric.bandwidth + fabric.latency
    columns = (rate, one + host, np.maximum(full, one) + host, sent + none, model.dp + none)
    return [list(row) for row in zip(*(np.asarray(x, dtype=float).tolist() for x in columns), strict=True)]


def decodes_of(own: Case, table: Table, engine: Engine, s: Serving) -> list[Decode]:
    """Workers of each strategy of ``table``, by formulas."""
    every = table.take(np.repeat(np.arange(len(table)), LOADS))
    model = StepModel(own, every, engine)
    steps, capacity = _steps(model, s, engine, np.tile(_loads(), len(table)), Terms(model, s, engine))
    steps, capacity = steps.reshape(-1, LOADS), capacity.reshape(-1, LOADS)[:, 0]
    return [
        Decode(table.row(i)[0], own.cluster.gpus, steps[i], int(capacity[i]))
        for i in range(len(table))
        if capacity[i] >= 1
    ]


def decode_of(w: Workers, engine: Engine, s: Serving) -> Decode:
    """The worker as its own model prices its steps."""
    terms = Terms(w.model, s, engine.without_host() if w.measured else engine)
    steps, capacity = _steps(w.model, s, engine, _loads(), terms)
    return Decode(w.strategy, w.gpus // w.count, steps, int(np.ravel(capacity)[0]))


def _loads() -> np.ndarray:
    return np.asarray(2.0 ** np.arange(LOADS))


def _steps(
    model: StepModel, s: Serving, engine: Engine, loads: np.ndarray, terms: Terms
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of a step at ``loads``, beyond what a worker holds as at that; and what it holds."""
    most = np.asarray(held_load(model, s, engine) * model.dp, dtype=float)
    load = np.minimum(loads, np.maximum(most, 1.0))
    return terms.seconds(np.zeros(len(load)), load / model.dp), most
