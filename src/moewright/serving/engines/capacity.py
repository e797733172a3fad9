"""How many tokens of KV cache a rank holds beside its weights, by each engine's own rule."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.workload import Kind, Workload
from moewright.cost.arrays import Array
from moewright.cost.batch import batch_of
from moewright.cost.memory import MEMORY_LINES, activation_bytes, buffer_bytes, stage_memory
from moewright.cost.table import Table
from moewright.planning.evaluate import pass_of
from moewright.serving.engines.engine import Engine


@dataclass(frozen=True, slots=True)
class Capacity:
    """Of the fullest GPU: bytes of weights, of activations and buffers at a full step, and of one cached token (of
    a sequence of mean length: windows and states count as they are). ``tokens``: KV tokens that one attention-dp
    rank holds; below 0 where not even the weights fit."""

    weights: Array
    activations: Array
    token_bytes: Array
    tokens: Array


def capacity(case: Case, table: Table, engine: Engine, length: float) -> Capacity:
    """KV capacity for sequences of ``length`` tokens in all.

    ``total``: share · memory − weights − activations; ``static``: share · memory − weights; ``free``: share ·
    (memory − weights − activations). The cluster's own ``reserve`` does not apply: the share stands for it.
    """
    ones = np.ones_like(table.pp)
    rows = replace(table, batch=table.replicas * table.dp, micro_batches=ones, two_batch=ones < 0)
    full = replace(case, workload=Workload(Kind.PREFILL, case.workload.batch, engine.max_num_batched_tokens))
    p = pass_of(full, rows, batch_of(full.workload, rows))
    lines = stage_memory(p, np.ones(len(rows)))
    weights = sum((lines[line] for line in MEMORY_LINES if line != "kv_cache"), start=np.zeros(1))
    activations = activation_bytes(p) + buffer_bytes(p)
    long = max(1, round(length))
    decode = replace(case, workload=Workload(Kind.DECODE, case.workload.batch, long))
    token = stage_memory(replace(p, case=decode), np.ones(len(rows)))["kv_cache"] / long
    memory, share = case.cluster.device.memory, engine.gpu_memory_utilization
    if engine.memory == "total":
        free = share * memory - weights - activations
    elif engine.memory == "static":
        free = share * memory - weights
    else:
        free = share * (memory - weights - activations)
    tokens = np.floor(free / np.maximum(token, 1e-9) / engine.kv_block) * engine.kv_block
    return Capacity(weights, activations, token, tokens)
