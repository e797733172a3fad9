"""How many tokens of KV cache a rank holds beside its weights, by each engine's own rule."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.model import LatentAttention, MoeFfn
from moewright.case.precision import BIAS_BYTES
from moewright.case.workload import Kind, Workload
from moewright.cost.arrays import Array, array
from moewright.cost.batch import batch_of
from moewright.cost.exchange_buffers import low_latency_bytes
from moewright.cost.memory import MEMORY_LINES, activation_bytes, buffer_bytes, layer_memory, stage_memory
from moewright.cost.table import Table
from moewright.cost.work import Pass
from moewright.planning.evaluate import pass_of
from moewright.serving.engines.engine import Engine
from moewright.serving.engines.memory_rule import GIB, MemoryRule


@dataclass(frozen=True, slots=True)
class Capacity:
    """Bytes of the fullest GPU: ``total`` that the engine sees, of which ``usable`` is its budget (for ``static``
    rules that of weights and cache; the rest comes out of what is left); ``weights``, ``activations`` and
    communication ``buffers`` at the peak of start-up, CUDA ``graphs`` within the budget, ``other`` (context,
    libraries), and ``kv_cache``, below 0 where not even the weights fit. ``token_bytes``: of one cached token of a
    sequence of mean length (windows and states count as they are). ``tokens``: KV tokens that one attention-dp rank
    holds, in whole blocks."""

    rule: MemoryRule
    fraction: Array
    total: float
    usable: Array
    weights: Array
    activations: Array
    buffers: Array
    graphs: float
    other: Array
    kv_cache: Array
    token_bytes: Array
    tokens: Array

    def to_dict(self, engine: str, row: int = 0) -> dict[str, str | float | int]:
        """``memory`` of one GPU, in bytes, as JSON has it."""
        parts = ("usable", "weights", "activations", "buffers", "other", "kv_cache")
        return {
            "rule": f"{engine} from {self.rule.since} on: {self.rule.kind}",
            "fraction": _at(self.fraction, row),
            "capacity": self.total,
            **{part: _at(getattr(self, part), row) for part in parts},
            "graphs": self.graphs,
            "kv_tokens": max(0, int(_at(self.tokens, row))),
        }


def capacity(case: Case, table: Table, engine: Engine, length: float) -> Capacity:
    """KV capacity for sequences of ``length`` tokens in all, by the engine's ``MemoryRule``.

    ``total``: fraction · memory − weights − peak − other − graphs; ``static``: fraction · (memory − other) − weights;
    ``free``: fraction · (memory − weights − peak − other). Memory that other processes use is not known. The
    cluster's own ``reserve`` does not apply: the fraction stands for it.
    """
    rule, device = engine.memory, case.cluster.device
    ones = np.ones_like(table.pp)
    rows = replace(table, batch=table.replicas * table.dp, micro_batches=ones, two_batch=ones < 0)
    full = replace(case, workload=Workload(Kind.PREFILL, case.workload.batch, engine.max_num_batched_tokens))
    p = pass_of(full, rows, batch_of(full.workload, rows))
    lines = stage_memory(p, np.ones(len(rows)))
    weights = sum((lines[line] for line in MEMORY_LINES if line != "kv_cache"), start=np.zeros(1))
    weights = weights + lines["experts"] * (_padding(case, table, rule) - 1) + _latent_copies(case, table, rule)
    weights = weights + _prediction_weights(p, case) + BIAS_BYTES * case.model.tower_parameters / array(table.tp)
    buffers = buffer_bytes(p) + _reserved_buffers(p, engine, lines["experts"])
    sampled = min(rule.sampled_rows(device), engine.max_num_batched_tokens) * case.model.vocab_size * rule.sampler
    activations = np.maximum(activation_bytes(p), sampled - buffers)
    parts = int(np.max(table.dcp))
    long = -(-max(1, round(length)) // parts) * parts
    decode = replace(case, workload=Workload(Kind.DECODE, case.workload.batch, long))
    one = replace(p, case=decode)
    token = stage_memory(one, np.ones(len(rows)))["kv_cache"] / long
    token = token + drafted_layers(case) * layer_memory(one, case.model.layers[-1]).kv_cache / long
    total, other = rule.reported(device), rule.other_bytes(device, array(table.stage))
    other = other + (rule.multimodal * GIB if case.model.tower_parameters else 0.0)
    latent = any(isinstance(layer.attention, LatentAttention) for layer in case.model.layers)
    share = rule.fractions(device, table, latent)
    if engine.gpu_memory_utilization is not None:
        share = np.full(share.shape, engine.gpu_memory_utilization)
    graphs = rule.graph_bytes(device)
    if rule.kind == "total":
        usable = share * total
        cache = usable - weights - activations - buffers - other - graphs
    elif rule.kind == "static":
        usable = share * (total - other)
        cache = usable - weights
    else:
        cache = share * (total - weights - activations - buffers - other)
        usable = total - (1 - share) * np.maximum(cache / share, 0.0)
    tokens = np.floor(cache / np.maximum(token, 1e-9) / engine.kv_block) * engine.kv_block
    return Capacity(rule, share, total, usable, weights, activations, buffers, graphs, other, cache, token, tokens)


def drafted_layers(case: Case) -> int:
    """Multi-token-prediction layers that the engine loads for the drafts of ``case``: all that the weights carry."""
    return case.model.prediction_layers if case.serving and case.serving.speculative else 0


def _prediction_weights(p: Pass, case: Case) -> Array:
    """Weights of those layers, on the last stage: each a layer like the model's last, and the matrix that joins the
    hidden state with the embedding, both of them normed (DeepSeek-V3, arXiv 2412.19437 §2.2); embedding and head are
    the model's own."""
    count, hidden = drafted_layers(case), case.model.hidden_size
    if not count:
        return np.zeros(len(p.table))
    layer = sum(layer_memory(p, case.model.layers[-1]).weights.values(), start=np.zeros(len(p.table)))
    return np.asarray(count * (layer + BIAS_BYTES * (2 * hidden * hidden + 3 * hidden)))


def _reserved_buffers(p: Pass, engine: Engine, experts: Array) -> Array:
    """Buffers that the engine reserves whatever a step works on. Where tokens travel between nodes, or where the spec
    says so, DeepEP's: of its low-latency kernels, or ``deepep_buffer`` of each link of the others. Where experts have
    redundant slots, those of a layer once more, into which the next placement is read."""
    t, ffn = p.table, p.case.model.moe
    if ffn is None:
        return np.zeros(len(t))
    travel = (t.ep > 1) & ~t.replicated
    wide = travel & (t.stage > p.case.cluster.gpus_per_node) & p.case.cluster.forwarding
    tokens = np.full(len(t), float(engine.dispatch_tokens))
    low = low_latency_bytes(tokens, ffn.token_width(p.case.model.hidden_size), array(ffn.experts + t.redundant))
    kinds = {
        "auto": np.where(wide, low, 0.0),
        "none": np.zeros(len(t)),
        "deepep_low_latency": np.where(travel, low, 0.0),
        "deepep_high_throughput": np.where(travel, engine.deepep_buffer * np.where(wide, 2, 1), 0.0),
    }
    moe = np.maximum(1.0, np.ceil(len(p.case.model.moe_layers()) / t.pp))
    return np.asarray(kinds[engine.all_to_all] + np.where(t.redundant > 0, experts / moe, 0.0))


def _padding(case: Case, table: Table, rule: MemoryRule) -> Array:
    """Bytes of experts over those without padding: engines fill MXFP4's hidden size and width up to multiples."""
    ffn = next((layer.ffn for layer in case.model.layers if isinstance(layer.ffn, MoeFfn)), None)
    if ffn is None or case.model.precision.weight("experts") != "mxfp4":
        return np.ones(len(table))
    hidden, width = case.model.hidden_size, ffn.width / array(table.etp)
    rows, columns = rule.padding
    return np.asarray(np.ceil(hidden / rows) * rows / hidden * np.ceil(width / columns) * columns / width)


def _latent_copies(case: Case, table: Table, rule: MemoryRule) -> Array:
    """16-bit copies of MLA's key and value up-projections, which decode multiplies by (absorbed), of a stage."""
    if not rule.latent_copies:
        return np.zeros(len(table))
    latents = [layer.attention for layer in case.model.layers if isinstance(layer.attention, LatentAttention)]
    size = sum(2.0 * a.heads * (a.nope_dim + a.value_dim) * a.kv_rank for a in latents)
    stages = np.ceil(len(case.model.layers) / table.pp) / len(case.model.layers)
    return np.asarray(size * stages / table.tp)


def _at(values: Array, row: int) -> float:
    return float(np.broadcast_to(values, (max(row + 1, np.size(values)),))[row])
