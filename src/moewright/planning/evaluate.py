"""Seconds, memory and throughput of every candidate of a table at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from moewright.case.case import Case
from moewright.case.model import Attention, MoeFfn
from moewright.case.precision import element_bytes
from moewright.case.tensors import layer_tensors, vocabulary_tensors
from moewright.case.workload import Kind
from moewright.cost import memory, network, routing
from moewright.cost.network import group
from moewright.cost.operations import Load, Operation, Pricing, layer_operations, score_flops
from moewright.cost.roofline import unit_of
from moewright.cost.shapes import attention_cap, cache_bytes, cached_tokens, shapes
from moewright.cost.table import Numbers, Table, over_unique
from moewright.cost.vocabulary import embedding_operations, head_operations
from moewright.errors import InfeasibleError
from moewright.placement.experts import place_experts, rank_shares, replicas_of
from moewright.placement.ranks import stage_layers

MEMORY_LINES = ("attention", "experts", "shared_experts", "router", "vocabulary", "other", "kv_cache")


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """One kind of layer: its operations (per chunk), and seconds of one micro-batch with what overlap hides."""

    operations: list[Operation]
    seconds: Numbers
    hidden: Numbers


@dataclass(frozen=True, slots=True)
class Evaluation:
    """``seconds``: latency of the batch (decode: one step). ``period``: seconds between batches when the
    pipeline is kept full, ``in_flight`` of them in it. ``slowest``: the stage that sets the pace.
    ``memory``: bytes by line of the
    fullest stage, ``memory_total`` with activations and buffers."""

    pricing: Pricing
    layers: list[LayerTimes]
    embedding: list[Operation]
    head: list[Operation]
    seconds: Numbers
    period: Numbers
    slowest: Numbers
    in_flight: Numbers
    transfer: Numbers
    memory: dict[str, Numbers]
    activations: Numbers
    buffers: Numbers
    memory_total: Numbers
    straggler: Numbers


def evaluate_table(case: Case, table: Table) -> Evaluation:
    """Price every row of ``table`` (or its one row of scalars)."""
    check_units(case)
    s = shapes(case, table)
    pricing = Pricing(case, table, s, {m: expert_load(case, table, s.routed, m) for m in moes(case)})
    kinds = case.model.layer_kinds()
    layers = [_layer_times(pricing, layer_operations(pricing, layer)) for layer, _ in kinds]
    embedding, head = embedding_operations(pricing), head_operations(pricing)
    chunks_per_micro = np.where(table.two_batch, 2, 1)
    ends = (
        _total(embedding) * chunks_per_micro,
        _total(head) * chunks_per_micro,
    )
    boundary = s.own * chunks_per_micro * case.model.hidden_size * element_bytes(case.model.precision.residual)
    transfer = network.send_seconds(s.pp, boundary, case.cluster)
    seconds, period, slowest = _pipeline(case, table, [x.seconds for x in layers], ends, transfer)
    # a pipeline that is kept full holds the caches of all batches in it
    in_flight = np.ceil(seconds / period - 1e-9)
    lines = _memory(pricing, in_flight)
    activations, buffers = memory.activation_bytes(pricing), memory.buffer_bytes(pricing)
    total = sum(lines.values()) + activations + buffers
    first = next(iter(pricing.loads.values()), None)
    factor = first.straggler if first else np.ones_like(table.pp, dtype=float)
    return Evaluation(
        pricing,
        layers,
        embedding,
        head,
        seconds,
        period,
        slowest,
        in_flight,
        transfer,
        lines,
        activations,
        buffers,
        total,
        factor,
    )


def check_units(case: Case) -> None:
    """Raises InfeasibleError where the device has no matrix unit for a precision of the model."""
    for kind in ("attention", "experts", "shared_experts", "dense", "router", "vocabulary", "attention_scores"):
        try:
            unit_of(case.model.precision, kind, case.cluster.device)
        except KeyError as error:
            device = case.cluster.device
            formats = ", ".join(device.flops)
            raise InfeasibleError(
                f"device {device.name} has no matrix unit for {kind} in "
                f"{case.model.precision.weight(kind)} ({error.args[0]}); it has {formats}"
            ) from None


def moes(case: Case) -> list[MoeFfn]:
    return list(dict.fromkeys(x.ffn for x in case.model.layers if isinstance(x.ffn, MoeFfn)))


def _total(operations: list[Operation]) -> Numbers:
    return sum((o.seconds for o in operations), start=0.0)


def expert_load(case: Case, table: Table, routed: Numbers, moe: MoeFfn) -> Load:
    slots = (moe.experts + table.redundant) / table.ep
    tokens, law = np.ceil(routed), routing.Router.of(moe)
    nodes = group("ep", table.ep, table.etp, case.cluster).nodes
    # an uneven routing touches fewer experts than a uniform one: its count is the safe side
    active = routing.active_experts(tokens, moe.experts, moe.top_k, table.ep, slots)
    if case.routing.uniform and not np.any(table.redundant):
        there = (routing.distinct_destinations(n, law) for n in (table.ep, nodes))
        return Load(routing.straggler(tokens, law, table.ep), active, *there)
    loads = expert_loads(case, moe)

    @cache
    def placed(ep: float, redundant: float) -> np.ndarray:
        return place_experts(loads, int(ep), int(redundant))

    @cache
    def shares(ep: float, redundant: float) -> np.ndarray:  # ranks with replicas of an expert share its load
        return rank_shares(loads, placed(ep, redundant))

    def fullest(count: float, ep: float, redundant: float) -> float:
        if case.routing.uniform and not redundant:
            return float(routing.straggler(count, law, ep))
        return routing.skewed_straggler(count, law, shares(ep, redundant))

    def distinct(parts: float, ep: float, redundant: float) -> float:
        if (case.routing.uniform and not redundant) or ep % parts:
            return float(routing.distinct_destinations(parts, law))
        held = placed(ep, redundant)
        copies = replicas_of(held, moe.experts)
        return routing.placed_destinations(law, loads, held.reshape(len(loads), int(parts), -1), copies)

    there = (over_unique(distinct, n, table.ep, table.redundant) for n in (table.ep, nodes))
    return Load(over_unique(fullest, tokens, table.ep, table.redundant), active, *there)


def expert_loads(case: Case, moe: MoeFfn) -> np.ndarray:
    """Expected shares of copies per expert, shape [layers (or 1), experts], rows of sum 1."""
    r = case.routing
    if r.loads is not None:
        loads = np.asarray(r.loads, dtype=float)
    else:  # exponent 0: all alike
        loads = routing.zipf_loads(moe.experts, r.zipf or 0.0)[None, :]
    return np.asarray(loads / loads.sum(axis=1, keepdims=True))


def _layer_times(p: Pricing, operations: list[Operation]) -> LayerTimes:
    """Two-batch overlap: while one half computes, the other communicates; the first half's computation
    and the last half's communication are exposed: 2·max(C, X) + min(C, X) of a half's C and X."""
    compute = _total([o for o in operations if not o.collective])
    exchange = _total([o for o in operations if o.collective])
    two = np.asarray(p.table.two_batch)
    hidden = np.where(two, np.minimum(compute, exchange), 0.0)
    return LayerTimes(operations, (compute + exchange) * np.where(two, 2, 1) - hidden, hidden)


def stage_counts(case: Case, pp: int) -> np.ndarray:
    """Layers of each kind on each stage, shape [pp, kinds]."""
    kinds = case.model.layer_kinds()
    kind_of = np.empty(len(case.model.layers), dtype=int)
    for i, (_, positions) in enumerate(kinds):
        kind_of[positions] = i
    return np.array([np.bincount(kind_of[list(r)], minlength=len(kinds)) for r in stage_layers(len(kind_of), pp)])


def _by_pp(pp: Numbers, function: Callable[[int, object], tuple[Numbers, ...]], parts: int) -> list[Numbers]:
    """``function(pp, rows)`` for the rows of each distinct ``pp``, put back together."""
    if np.ndim(pp) == 0:
        return list(function(int(pp), ...))
    out = [np.empty(len(pp)) for _ in range(parts)]
    for value in np.unique(pp):
        rows = np.flatnonzero(pp == value)
        for column, piece in zip(out, function(int(value), rows), strict=True):
            column[rows] = piece
    return list(out)


def _pick(values: Numbers, rows: Any) -> Numbers:
    return np.asarray(values, dtype=float)[rows] if rows is not ... else values


def _pipeline(
    case: Case, table: Table, times: list[Numbers], ends: tuple[Numbers, Numbers], transfer: Numbers
) -> tuple[Numbers, Numbers, Numbers]:
    """(latency, period, slowest stage) from the seconds of one micro-batch in each kind of layer.

    Stages of t_s seconds and m micro-batches: the first takes Σ t_s and a transfer per boundary, each
    further one the slowest stage's time (Narayanan et al., arXiv 2104.04473 §2.2, without the backward
    pass). A decode step returns to the first stage: m micro-batches go round in max(m·max t, Σ t + p·x).
    """

    def one(pp: int, rows: object) -> tuple[Numbers, ...]:
        counts = stage_counts(case, pp)
        stages = sum(
            (counts[:, i][:, None] * np.atleast_1d(_pick(t, rows))[None, :] for i, t in enumerate(times)),
            start=np.zeros((pp, 1)),
        )
        stages[0] = stages[0] + _pick(ends[0], rows)
        stages[-1] = stages[-1] + _pick(ends[1], rows)
        slowest, through = stages.max(axis=0), stages.sum(axis=0)
        m, hop = _pick(table.micro_batches, rows), np.atleast_1d(_pick(transfer, rows))
        if case.workload.kind is Kind.DECODE:
            latency = np.maximum(m * slowest, through + (pp if pp > 1 else 0) * hop)
            period = latency
        else:
            latency = through + (m - 1) * np.maximum(slowest, hop) + (pp - 1) * hop
            period = m * np.maximum(slowest, hop)
        values = latency, period, stages.argmax(axis=0).astype(float)
        return values if rows is not ... else tuple(v[0] for v in values)

    seconds, period, slowest = _by_pp(table.pp, one, 3)
    return seconds, period, slowest


def _memory(p: Pricing, in_flight: Numbers) -> dict[str, Numbers]:
    """Bytes by line on the stage that holds most."""
    table, case = p.table, p.case
    kinds = [memory.layer_memory(p, layer) for layer, _ in case.model.layer_kinds()]

    def one(pp: int, rows: object) -> tuple[Numbers, ...]:
        counts = stage_counts(case, pp)
        n = 1 if rows is ... else len(np.asarray(rows))
        held = np.zeros((pp, len(MEMORY_LINES), n))
        for i, kind in enumerate(kinds):
            each = [np.atleast_1d(_pick(kind.weights[line], rows)) for line in MEMORY_LINES[:-1]]
            each.append(np.atleast_1d(_pick(kind.kv_cache * in_flight, rows)))
            held += counts[:, i][:, None, None] * np.array([np.broadcast_to(e, n) for e in each])[None]
        for stage in {0, pp - 1}:
            for line, weight in memory.vocabulary_weights(p, stage == 0, stage == pp - 1).items():
                held[stage, MEMORY_LINES.index(line)] += np.atleast_1d(_pick(weight, rows))
        fullest = held.sum(axis=1).argmax(axis=0)
        chosen = held[fullest, :, np.arange(n)].T
        return tuple(chosen if rows is not ... else chosen[:, 0])

    return dict(zip(MEMORY_LINES, _by_pp(table.pp, one, len(MEMORY_LINES)), strict=True))


def model_flops(case: Case, batch: int) -> dict[str, float]:
    """Kind of tensor → FLOPs of one pass of the unsharded model over ``batch`` sequences."""
    w, model = case.workload, case.model
    tokens = float(batch * (1 if w.kind is Kind.DECODE else w.sequence))
    flops: dict[str, float] = {"attention_scores": 0.0}
    for layer, positions in model.layer_kinds():
        flops["attention_scores"] += score_flops(layer.attention, case) * batch * len(positions)
        for tensor in layer_tensors(layer, model.hidden_size):
            if tensor.gemm:
                ffn = layer.ffn
                share = ffn.top_k / ffn.experts if tensor.shard == "experts" and isinstance(ffn, MoeFfn) else 1.0
                work = 2.0 * tensor.parameters * share * tokens * len(positions)
                flops[tensor.kind] = flops.get(tensor.kind, 0.0) + work
    if model.vocab_size:
        logits = tokens if w.kind is Kind.FORWARD else float(batch)
        flops["vocabulary"] = 2.0 * logits * model.vocab_size * model.hidden_size
    return flops


def bound_seconds(case: Case, batch: int) -> tuple[float, str]:
    """The time no strategy beats, and why: all FLOPs at all GPUs' delivered rate, or the bytes that some
    GPU must read at least once (each active weight, each cached key) at all GPUs' delivered bandwidth."""
    device, gpus, model, w = case.cluster.device, case.cluster.gpus, case.model, case.workload
    compute = sum(
        value / (device.flops[unit_of(model.precision, kind, device)] * device.mfu * gpus)
        for kind, value in model_flops(case, batch).items()
    )
    tokens = batch * (1 if w.kind is Kind.DECODE else w.sequence)
    read = 0.0
    for layer, positions in model.layer_kinds():
        for tensor in layer_tensors(layer, model.hidden_size):
            share = 1.0
            if tensor.shard == "experts" and isinstance(layer.ffn, MoeFfn):
                share = float(routing.active_share(tokens, layer.ffn.experts, layer.ffn.top_k))
            size = model.precision.tensor_bytes(tensor)
            read += size * share * len(positions)
        if w.kind is Kind.DECODE:
            per_token, per_sequence = cache_bytes(layer.attention, model.precision, 1)
            kept = _read_tokens(case, layer.attention)
            read += batch * (float(per_token) * kept + float(per_sequence)) * len(positions)
    for tensor in vocabulary_tensors(model):
        if tensor.name == "head" or (tensor.name == "embedding" and model.tied_embeddings):
            read += model.precision.tensor_bytes(tensor)
    moved = read / (device.memory_bandwidth * device.bandwidth_utilization * gpus)
    if compute >= moved:
        return compute, "FLOPs at the delivered rate of all GPUs"
    return moved, "bytes read once at the delivered memory bandwidth of all GPUs"


def _read_tokens(case: Case, attention: Attention) -> int:
    cap = attention_cap(attention)
    held = cached_tokens(attention, case.workload.sequence)
    return min(held, cap) if cap else held
