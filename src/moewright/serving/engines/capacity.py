"""How many tokens of KV cache a rank holds beside its weights, by each engine's own rule."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.workload import Kind, Workload
from moewright.cost.table import Numbers, Table
from moewright.planning.evaluate import MEMORY_LINES, evaluate_table
from moewright.serving.engines.engine import Engine


@dataclass(frozen=True, slots=True)
class Capacity:
    """Of the fullest GPU: bytes of weights, of activations and buffers at a full step, and of one cached token (of
    a sequence of mean length: windows and states count as they are). ``tokens``: KV tokens that one attention-dp
    rank holds; below 0 where not even the weights fit."""

    weights: Numbers
    activations: Numbers
    token_bytes: Numbers
    tokens: Numbers


def capacity(case: Case, table: Table, engine: Engine, length: float) -> Capacity:
    """KV capacity for sequences of ``length`` tokens in all.

    ``total``: share · memory − weights − activations; ``static``: share · memory − weights; ``free``: share ·
    (memory − weights − activations). The cluster's own ``reserve`` does not apply: the share stands for it.
    """
    ones = np.ones_like(table.pp)
    rows = replace(table, batch=table.replicas * table.dp, micro_batches=ones, two_batch=ones < 0)
    full = Workload(Kind.PREFILL, case.workload.batch, engine.max_num_batched_tokens)
    e = evaluate_table(replace(case, workload=full), rows)
    weights = sum(e.memory[line] for line in MEMORY_LINES if line != "kv_cache")
    activations = e.activations + e.buffers
    long = max(1, round(length))
    d = evaluate_table(replace(case, workload=Workload(Kind.DECODE, case.workload.batch, long)), rows)
    token = d.memory["kv_cache"] / np.maximum(d.in_flight, 1) / long
    memory, share = case.cluster.device.memory, engine.gpu_memory_utilization
    if engine.memory == "total":
        free = share * memory - weights - activations
    elif engine.memory == "static":
        free = share * memory - weights
    else:
        free = share * (memory - weights - activations)
    tokens = np.floor(free / np.maximum(token, 1e-9) / engine.kv_block) * engine.kv_block
    return Capacity(weights, activations, token, tokens)
