"""How many GPUs it takes: a cluster in other sizes, and the fewest of its GPUs on which a model fits."""

from __future__ import annotations

import numpy as np

from moewright.case.case import Case
from moewright.case.strategy import Strategy
from moewright.cost.arrays import Array, Bools
from moewright.cost.table import Table
from moewright.errors import InfeasibleError
from moewright.planning.choosing.gpu_sizes import NODES, resized, sizes
from moewright.planning.naming import strategy_name
from moewright.serving.engines.capacity import Capacity, capacity
from moewright.serving.engines.engine import Engine
from moewright.serving.engines.strategies import legal
from moewright.units import format_bytes


def held(found: Capacity, table: Table, tokens: int) -> Array:
    """Requests of ``tokens`` tokens that all ranks of each row hold."""
    return np.asarray(np.floor(np.maximum(found.tokens, 0.0) / tokens) * table.dp * table.replicas)


def fewest_gpus(case: Case, engine: Engine, tokens: int, requests: int = 1) -> tuple[int, Strategy] | None:
    """The fewest GPUs on which some strategy that ``engine`` runs holds ``requests`` requests of ``tokens`` tokens,
    and the one that holds most there; None where 64 nodes do not."""
    for gpus in sizes(case.cluster):
        own = resized(case, gpus)
        try:
            table, _ = legal(own, engine)
        except InfeasibleError:
            continue
        many = held(capacity(own, table, engine, tokens), table, tokens)
        if many.max() >= requests:
            best = np.where(usual(own, table), many, 0.0 * many - 1)
            return gpus, table.row(int((best if best.max() >= requests else many).argmax()))[0]
    return None


def too_small(case: Case, table: Table, engine: Engine, tokens: int) -> str:
    """By how much the best row of ``table`` misses one request of ``tokens`` tokens, and the fewest GPUs that do."""
    found = capacity(case, table, engine, tokens)
    missing = tokens * found.token_bytes - found.kv_cache
    row = int(np.argmin(missing))
    weights, usable = (float(np.broadcast_to(part, missing.shape)[row]) for part in (found.weights, found.usable))
    fewest = fewest_gpus(case, engine, tokens)
    way = f"{NODES[-1]} nodes of them do not either"
    if fewest is not None:
        way = f"the fewest that do are {fewest[0]}, as {strategy_name(fewest[1], case.model)}"
    return (
        f"{format_bytes(float(missing[row]))} a GPU are missing (weights {format_bytes(weights)}; {engine.name} takes "
        f"{format_bytes(usable)}); {way}"
    )


def usual(case: Case, table: Table) -> Bools:
    """Rows of no more pipeline stages than nodes, whose tp groups stay in a node."""
    node = case.cluster.gpus_per_node
    return np.asarray((table.pp <= max(1, case.cluster.gpus // node)) & (table.tp <= node))
