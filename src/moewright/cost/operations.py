"""The operations of a layer on the fullest rank, for every candidate at once.

Order of a layer under all_to_all: [gather tokens over tp] projections, attention, output projection
[reduce-scatter over tp], router, dispatch, [gather over etp], experts, [reduce-scatter over etp], combine.
Each tp rank then owns 1/tp of its group's tokens, so no copy of a token is dispatched twice. Under
replicated every rank of the stage holds all tokens; one all-reduce after attention, one after experts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from moewright.case.case import Case
from moewright.case.cluster import Cluster
from moewright.case.model import (
    Attention,
    DenseFfn,
    LatentAttention,
    Layer,
    LinearAttention,
    MoeFfn,
    SoftmaxAttention,
)
from moewright.case.precision import element_bytes
from moewright.case.tensors import Tensor, layer_attention_tensors, layer_ffn_tensors
from moewright.case.workload import Kind
from moewright.cost import measured, network
from moewright.cost.efficiency import PADDING, latent_decode_seconds, passes_seconds, worked_flops
from moewright.cost.network import Group
from moewright.cost.roofline import compute_seconds, unit_of
from moewright.cost.shapes import (
    Shapes,
    attention_cap,
    cache_bytes,
    gemm_flops,
    head_share,
    visible_pairs,
    weight_bytes,
)
from moewright.cost.table import Numbers, Table

#: bytes that tell a rank one choice of the router: the expert (32 bits) and its weight (fp32)
CHOICE = 8


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a layer, per chunk. ``flops`` and ``traffic`` (memory bytes) of a rank; for a
    collective also its name, its group, and the ``bytes`` that leave the rank."""

    name: str
    seconds: Numbers
    flops: Numbers = 0.0
    traffic: Numbers = 0.0
    collective: str = ""
    group: Group | None = None
    bytes: Numbers = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """What routing does to a stage: ``straggler`` ≥ 1, the fullest rank's copies over the mean;
    ``active``: experts with any token on the rank that has the most; ``ranks``, ``nodes``: distinct ones that hold
    any of a token's experts."""

    straggler: Numbers
    active: Numbers
    ranks: Numbers
    nodes: Numbers


@dataclass(frozen=True, slots=True)
class Pricing:
    """A case and a table with the shapes that all operations share."""

    case: Case
    table: Table
    shapes: Shapes
    loads: dict[MoeFfn, Load] = field(default_factory=dict)


def layer_operations(p: Pricing, layer: Layer) -> list[Operation]:
    """All operations of ``layer``; those that a candidate does not have cost it 0."""
    tensors = layer_attention_tensors(layer, p.case.model.hidden_size)
    operations = [_norms(p, layer), *_token_gather(p, "attention_gather"), *_context(p, layer.attention)]
    operations += [_projections(p, layer.attention, tensors), _scores(p, layer.attention)]
    operations += [_output(p, layer.attention, tensors), *_attention_sum(p, "attention_reduce")]
    if isinstance(layer.ffn, DenseFfn):
        return operations + (_dense(p, layer) if layer.ffn.width else [])
    return operations + _experts(p, layer, layer.ffn)


def _gemm(p: Pricing, name: str, tensors: list[Tensor], attention: Attention, kind: str, tokens: Numbers) -> Operation:
    """Matrix products of ``tokens`` tokens with a rank's share of ``tensors``, weights read once."""
    precision, t = p.case.model.precision, p.table
    flops = gemm_flops(tensors, attention, t) * tokens
    again = [x for x in tensors if expanded_by_all(x, attention)]
    if again:
        flops = flops + gemm_flops(again, attention, t) * tokens * (t.cp - 1)
    act = element_bytes(precision.activations)
    traffic = weight_bytes(tensors, attention, precision, t)
    products: dict[tuple[int, bool, bool], tuple[Numbers, Numbers, Numbers]] = {}
    for x in (x for x in tensors if x.gemm):
        # the divided axis is the input's for the second product of a pair, else the output's
        inner = x.name.endswith(("o_proj", "out_proj", "_down"))
        share = _share(x, attention, t)
        rows, columns = (1.0, share) if inner else (share, 1.0)
        worked = tokens * t.cp if x in again else tokens
        traffic = traffic + worked * (x.rows * rows * 2.0 + x.columns * columns * act)
        # products of the same input are one kernel
        key = (x.columns, inner, x in again)
        wide = products[key][1] if key in products else 0.0
        products[key] = (worked, wide + x.count * x.rows * rows, x.columns * columns)
    device = p.case.cluster.device
    if device.measured is not None:
        return Operation(name, _measured_products(p, name, tensors, list(products.values())), flops, traffic)
    if device.kernels is None:
        return _compute(p, name, flops, traffic, kind)
    seconds = compute_seconds(
        worked_flops(products.values(), device), traffic, device, unit_of(precision, kind, device)
    )
    return Operation(name, np.where(flops > 0, seconds, 0.0), flops, traffic)


def _measured_products(
    p: Pricing, name: str, tensors: list[Tensor], products: list[tuple[Numbers, Numbers, Numbers]]
) -> Numbers:
    """From a profile: each product's curve over its rows; a router's with the choice of experts."""
    profile = p.case.cluster.device.measured
    if name == "router":
        router = next(x for x in tensors if x.gemm)
        found = measured.seconds(profile, "router", (router.columns, router.rows), products[0][0])
        if found is not None:
            return found
    total: Numbers = 0.0
    for rows, columns, depth in products:
        one = measured.seconds(profile, "gemm", (columns, depth), rows)
        assert one is not None  # a profile without is refused
        total = total + one
    return total


def expanded_by_all(x: Tensor, attention: Attention) -> bool:
    """Whether every rank of cp multiplies ``x`` with the tokens of all: they gather MLA's latents, and each expands
    those of the whole prompt to keys and values (absorbed forms, of sparse attention, expand nothing)."""
    return x.name == "kv_b_proj" and isinstance(attention, LatentAttention) and attention.indexer is None


def _share(x: Tensor, attention: Attention, t: Table) -> Numbers:
    if x.shard in ("heads", "kv_heads"):
        return head_share(attention, x.shard, t.tp)
    return 1 / t.tp if x.shard in ("width", "vocabulary") else 1.0


def _compute(p: Pricing, name: str, flops: Numbers, traffic: Numbers, kind: str) -> Operation:
    device = p.case.cluster.device
    unit = unit_of(p.case.model.precision, kind, device)
    return Operation(name, compute_seconds(flops, traffic, device, unit), flops, traffic)


def _norms(p: Pricing, layer: Layer) -> Operation:
    """Each norm reads the residual and the sum to add, and writes both: 4 passes of 2-byte elements."""
    traffic = layer.norms * 4 * 2.0 * p.shapes.own * p.case.model.hidden_size
    known = measured.seconds(p.case.cluster.device.measured, "norms", (), traffic / 4 / 2 / max(layer.norms, 1))
    if known is not None:
        return Operation("norms", layer.norms * known, traffic=traffic)
    return _compute(p, "norms", np.zeros_like(traffic), traffic, "attention")


def _projections(p: Pricing, attention: Attention, tensors: list[Tensor]) -> Operation:
    inputs = [x for x in tensors if x.name not in ("o_proj", "out_proj")]
    return _gemm(p, "attention_projections", inputs, attention, "attention", p.shapes.tokens)


def _output(p: Pricing, attention: Attention, tensors: list[Tensor]) -> Operation:
    outputs = [x for x in tensors if x.name in ("o_proj", "out_proj")]
    return _gemm(p, "output_projection", outputs, attention, "attention", p.shapes.tokens)


def _scores(p: Pricing, attention: Attention) -> Operation:
    """Scores and weighted values (or the linear state's update and read), and the reading of the cache."""
    flops = score_flops(attention, p.case) * p.shapes.sequences / p.table.tp / p.table.cp
    per_token, per_sequence = cache_bytes(attention, p.case.model.precision, p.table.tp)
    w = p.case.workload
    if w.kind is Kind.DECODE:
        cap = attention_cap(attention)
        read = min(w.sequence, cap) if cap else w.sequence
        traffic = p.shapes.sequences * (per_token * read + 2 * per_sequence)
        if isinstance(attention, LatentAttention) and attention.indexer:
            traffic = traffic + p.shapes.sequences * attention.indexer.key_bytes * (w.sequence - read)
    else:
        traffic = p.shapes.tokens * (per_token + _query_bytes(attention) / p.table.tp)
    if isinstance(attention, SoftmaxAttention):
        decode = w.kind is Kind.DECODE
        name, size = ("attention_decode", traffic) if decode else ("attention_prefill", flops)
        known = measured.seconds(p.case.cluster.device.measured, name, (attention.head_dim,), size, scaled=False)
        if known is not None:
            return Operation("attention", known, flops, traffic)
    operation = _compute(p, "attention", flops, traffic, "attention_scores")
    if w.kind is Kind.DECODE and isinstance(attention, LatentAttention):
        return replace(operation, seconds=operation.seconds + latent_decode_seconds(p.case.cluster.device))
    return operation


def _query_bytes(attention: Attention) -> float:
    """Queries read and outputs written per token, 2-byte elements, all heads."""
    if isinstance(attention, SoftmaxAttention):
        return 2.0 * attention.heads * (attention.head_dim + attention.v_dim)
    if isinstance(attention, LatentAttention):
        return 2.0 * attention.heads * (attention.nope_dim + attention.rope_dim + 3 * attention.value_dim)
    assert isinstance(attention, LinearAttention)
    return 2.0 * (2 * attention.key_heads * attention.key_dim + 3 * attention.value_heads * attention.value_dim)


def score_flops(attention: Attention, case: Case) -> float:
    """FLOPs of one sequence's scores and values, all heads.

    Softmax: 2 · pairs · heads · (d_qk + d_v). MLA prompts the same with d_qk = nope + rope; decode and
    sparse attention work on the latent (absorbed form, arXiv 2405.04434 §2.1.2): d_qk = rank + rope,
    d_v = rank. Gated delta rule (arXiv 2412.06464): 3 products with the d_k × d_v state per token.
    """
    w = case.workload
    pairs = visible_pairs(attention, w)
    if isinstance(attention, SoftmaxAttention):
        return 2.0 * pairs * attention.heads * (attention.head_dim + attention.v_dim)
    if isinstance(attention, LinearAttention):
        tokens = 1 if w.kind is Kind.DECODE else w.sequence
        return tokens * attention.state_flops
    assert isinstance(attention, LatentAttention)
    a = attention
    if w.kind is Kind.DECODE or a.indexer:
        flops = 2.0 * pairs * a.heads * (2 * a.kv_rank + a.rope_dim)
    else:
        flops = 2.0 * pairs * a.heads * (a.nope_dim + a.rope_dim + a.value_dim)
    if a.indexer:
        causal = 2 if w.causal else 1
        all_pairs = w.sequence if w.kind is Kind.DECODE else w.sequence**2 / causal
        flops += all_pairs * a.index_flops
    return flops


_SECONDS: dict[str, Callable[[Group, Numbers, Cluster], Numbers]] = {
    "all_reduce": network.reduce_seconds,
    "broadcast": network.broadcast_seconds,
    "reduce_scatter": partial(network.gather_seconds, collective="reduce_scatter"),
}


def _collective(p: Pricing, name: str, collective: str, g: Group, buffer: Numbers, happens: Numbers) -> Operation:
    cluster = p.case.cluster
    seconds = _SECONDS.get(collective, network.gather_seconds)(g, buffer, cluster)
    sent = network.sent_bytes(collective, g.size, buffer)
    return Operation(
        name, np.where(happens, seconds, 0.0), collective=collective, group=g, bytes=np.where(happens, sent, 0.0)
    )


def _token_gather(p: Pricing, name: str) -> list[Operation]:
    """all_to_all: tokens divided over tp come together before heads or widths are divided."""
    s, act = p.shapes, element_bytes(p.case.model.precision.activations)
    buffer = s.own * p.table.tp * p.case.model.hidden_size * act
    return [_collective(p, name, "all_gather", s.tp, buffer, ~np.asarray(p.table.replicated))]


def _attention_sum(p: Pricing, name: str) -> list[Operation]:
    """Partial sums of the tp ranks: reduce-scatter under all_to_all, all-reduce under replicated."""
    s, replicated = p.shapes, np.asarray(p.table.replicated)
    width = p.case.model.hidden_size * element_bytes(p.case.model.precision.combine)
    return [
        _collective(p, name, "reduce_scatter", s.tp, s.own * p.table.tp * width, ~replicated),
        _collective(p, name, "all_reduce", s.tp, s.tokens * width, replicated),
    ]


def _context(p: Pricing, attention: Attention) -> list[Operation]:
    """Context parallelism: the ranks of cp gather each other's keys and values."""
    if isinstance(attention, LinearAttention):
        return []
    per_token, _ = cache_bytes(attention, p.case.model.precision, p.table.tp)
    buffer = p.shapes.tokens * p.table.cp * per_token
    return [_collective(p, "context_gather", "all_gather", p.shapes.cp, buffer, p.table.cp > 1)]


def _dense(p: Pricing, layer: Layer) -> list[Operation]:
    tensors = layer_ffn_tensors(layer, p.case.model.hidden_size)
    return [
        *_token_gather(p, "dense_gather"),
        _gemm(p, "dense", tensors, layer.attention, "dense", p.shapes.tokens),
        *_attention_sum(p, "dense_reduce"),
    ]


def _experts(p: Pricing, layer: Layer, ffn: MoeFfn) -> list[Operation]:
    """Router, dispatch, experts, combine, and the shared experts."""
    t, s, precision = p.table, p.shapes, p.case.model.precision
    hidden, replicated, load = p.case.model.hidden_size, np.asarray(t.replicated), p.loads[ffn]
    tensors = layer_ffn_tensors(layer, hidden)
    router = [x for x in tensors if x.kind == "router"]
    shared = [x for x in tensors if x.kind == "shared_experts"]
    operations = [_gemm(p, "router", router, layer.attention, "router", s.own)]

    happens = replicated & np.asarray(t.leader) & (np.asarray(t.tp) > 1)
    operations.append(_collective(p, "gate_broadcast", "broadcast", s.tp, s.own * ffn.top_k * CHOICE, happens))

    ranks, nodes = load.ranks, load.nodes
    far_ranks, far_nodes = ranks * (t.ep - 1) / t.ep, nodes * (s.ep.nodes - 1) / s.ep.nodes
    # decode's low-latency kernels send straight to the destination (DeepEP, low-latency mode)
    forwarding = p.case.cluster.forwarding and p.case.workload.kind is not Kind.DECODE
    received = s.own * ranks * load.straggler  # distinct tokens that reach the fullest rank

    for name, collective_format in (("dispatch", precision.dispatch), ("combine", precision.combine)):
        width = ffn.token_width(hidden) * element_bytes(collective_format)
        seconds = network.exchange_seconds(
            s.ep,
            s.own * far_ranks * width * load.straggler,
            s.own * far_nodes * width * load.straggler,
            p.case.cluster,
            forwarding,
        )
        if name == "dispatch" and p.case.cluster.device.measured is not None:
            # the executor's exchange of counts, of a number to each member
            seconds = seconds + network.exchange_seconds(s.ep, 8.0 * t.ep, 0.0, p.case.cluster, False)
        operations.append(
            Operation(
                name,
                np.where(replicated, 0.0, seconds),
                collective="all_to_all",
                group=s.ep,
                bytes=np.where(replicated, 0.0, s.own * far_ranks * width),
            )
        )
        etp_name = "expert_gather" if name == "dispatch" else "expert_reduce"
        etp_kind = "all_gather" if name == "dispatch" else "reduce_scatter"
        gathered = _collective(p, etp_name, etp_kind, s.etp, received * t.etp * width, ~replicated)
        if name == "dispatch" and p.case.cluster.device.measured is not None:
            counts = network.exchange_seconds(s.etp, 8.0 * t.etp, 0.0, p.case.cluster, False)
            gathered = replace(gathered, seconds=gathered.seconds + np.where(replicated, 0.0, counts))
        operations.append(gathered)
    operations.insert(4, _grouped_gemm(p, ffn, tensors, load))
    if shared:
        operations += [
            *_token_gather(p, "shared_gather"),
            _gemm(p, "shared_experts", shared, layer.attention, "shared_experts", s.tokens),
            *[o for o in _attention_sum(p, "shared_reduce") if o.collective == "reduce_scatter"],
        ]
    width = hidden * element_bytes(precision.combine)
    operations.append(_collective(p, "combine", "all_reduce", s.stage, s.tokens * width, replicated))
    return operations


def _grouped_gemm(p: Pricing, ffn: MoeFfn, tensors: list[Tensor], load: Load) -> Operation:
    """The experts of the fullest rank: its copies' FLOPs, and the weights of its active experts read."""
    t, s, precision = p.table, p.shapes, p.case.model.precision
    hidden = ffn.token_width(p.case.model.hidden_size)
    copies = s.routed * ffn.working / t.ep * load.straggler
    experts = [x for x in tensors if x.kind == "experts"]
    one = sum(x.rows * x.columns for x in experts if x.gemm) / t.etp
    stored = sum(x.rows * x.columns for x in experts) * element_bytes(precision.tensor_format(experts[0])) / t.etp
    act = element_bytes(precision.activations)
    ups = 2 if ffn.gated else 1
    width = ffn.width / t.etp
    elements = act * (hidden + width) + 2.0 * (ups * width + hidden)
    flops, traffic = 2.0 * one * copies, load.active * stored + copies * elements
    device = p.case.cluster.device
    key = (hidden, ups * width)
    known = measured.seconds(device.measured, "experts", key, copies / np.maximum(load.active, 1.0))
    if known is not None:
        return Operation("experts", known * load.active, flops, traffic)
    if device.kernels is None:
        return _compute(p, "experts", flops, traffic, "experts")
    active = np.maximum(load.active, 1.0)
    products = ((copies / active, ups * width, hidden), (copies / active, hidden, width))
    worked = worked_flops(products, device, active, PADDING)
    # fused kernels of replicated tokens keep room for every copy, whosever expert it goes to
    room = np.where(t.replicated, s.routed * ffn.working, copies)
    seconds = compute_seconds(worked, traffic, device, unit_of(precision, "experts", device))
    return Operation("experts", seconds + passes_seconds(room, width, ups, hidden, device), flops, traffic)
