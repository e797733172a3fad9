"""The work of a layer on the fullest rank, under every strategy at once.

Order of a layer under all_to_all: [gather tokens over tp] projections, attention, output projection
[reduce-scatter over tp], router, dispatch, [gather over etp], experts, [reduce-scatter over etp], combine.
Each tp rank then owns 1/tp of its group's tokens, so no copy of a token is dispatched twice. Under
replicated every rank of the stage holds all tokens; one all-reduce after attention, one after experts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moewright.case.model import (
    Attention,
    DenseFfn,
    LatentAttention,
    Layer,
    LinearAttention,
    MoeFfn,
    NoAttention,
    SoftmaxAttention,
)
from moewright.case.precision import element_bytes
from moewright.case.tensors.layer_tensors import Tensor, layer_attention_tensors, layer_ffn_tensors
from moewright.cost.arrays import Array, Bools, array, where
from moewright.cost.attention import (
    busiest_share,
    cache_bytes,
    cache_copies,
    decode_flops,
    decode_traffic,
    expanded_tokens,
    prompt_flops,
    prompt_traffic,
)
from moewright.cost.network import Group, sent_bytes
from moewright.cost.shapes import divided_share, tensor_share
from moewright.cost.work import AttentionScores, Collective, GroupedProducts, Matrix, Pass, Products, Stream, Work

#: bytes that tell a rank one choice of the router: the expert (32 bits) and its weight (fp32)
CHOICE = 8
#: what the work on weights of a kind is counted as
GROUPS = {"attention": "attention", "dense": "dense", "shared_experts": "dense", "router": "router"}
#: second products of a pair, whose input is divided instead of their output
_INNER = ("o_proj", "o_a_proj", "out_proj", "_down")
#: products after attention
OUTPUTS = ("o_proj", "o_a_proj", "o_b_proj", "out_proj")


def layer_work(p: Pass, layer: Layer) -> list[Work]:
    """All work of ``layer``; what a strategy does not have counts 0 there."""
    a = layer.attention
    tensors = layer_attention_tensors(layer, p.case.model.hidden_size)
    outputs = [x for x in tensors if x.name in OUTPUTS]
    inputs = [x for x in tensors if x.name not in OUTPUTS]
    block = "latent" if isinstance(a, LatentAttention) else ""
    work = [_elementwise(p, layer)]
    if tensors:
        work += [*_token_gather(p, "attention_gather"), *_context_gather(p, a)]
        work.append(_products(p, "attention_projections", inputs, a, "attention", p.batch.tokens, block))
        work += _scores(p, a, block)
        work.append(_products(p, "output_projection", outputs, a, "attention", p.batch.tokens, block))
        work += _partial_sums(p, "attention_reduce")
    return work + (_dense(p, layer) if isinstance(layer.ffn, DenseFfn) else _experts(p, layer, layer.ffn))


def everywhere(p: Pass) -> Bools:
    """True for every strategy of the pass."""
    return np.ones(p.batch.tokens.shape, dtype=np.bool_)


def _products(
    p: Pass, name: str, tensors: list[Tensor], a: Attention, kind: str, tokens: Array, block: str = ""
) -> Work:
    """Matrix products of ``tokens`` tokens with a rank's share of ``tensors``, weights read once."""
    precision, t = p.case.model.precision, p.table
    act = element_bytes(precision.activations)
    flops, traffic = np.zeros(tokens.shape), np.zeros(tokens.shape)
    matrices: dict[tuple[int, bool, bool], Matrix] = {}
    for x in tensors:
        share = tensor_share(x, a, t)
        traffic = traffic + precision.tensor_bytes(x) * share
        if not x.gemm:
            continue
        expanded = x.name == "kv_b_proj"
        rows = expanded_tokens(x, a, p.batch) if expanded else tokens
        flops = flops + 2.0 * x.parameters * share * rows
        # the divided axis is the input's for the second product of a pair, else the output's
        inner, part = x.name.endswith(_INNER), divided_share(x, a, t)
        columns, depth = (x.rows * 1.0, x.columns * part) if inner else (x.rows * part, x.columns * 1.0)
        traffic = traffic + rows * (columns * 2.0 + depth * act)
        # products of the same input are one kernel
        key = (x.columns, inner, expanded)
        before = matrices[key].columns if key in matrices else 0.0
        matrices[key] = Matrix(rows, array(before + x.count * columns), array(depth))
    shape = Products(kind, tuple(matrices.values()))
    return Work(name, GROUPS[kind], shape, flops, traffic, tokens > 0, block)


def _elementwise(p: Pass, layer: Layer) -> Work:
    """Each norm reads the residual and the sum to add, and writes both: 4 passes of 2-byte elements. The other small
    kernels of a layer move little beside these, and are counted as launches."""
    own = p.batch.own
    traffic = layer.norms * 4 * 2.0 * own * p.case.model.hidden_size
    kernels = where(own > 0, layer.norms + small_kernels(layer, p.case.model.precision.weight("attention")), 0.0)
    return Work("norms", "elementwise", Stream(kernels, layer.norms), np.zeros(own.shape), traffic, own > 0)


def small_kernels(layer: Layer, form: str) -> float:
    """Element-wise kernels of a layer beside its norms that no product or attention holds: rotary embedding with the
    writing of the cache, norms of queries and keys, quantising each product's input (of weights in ``form``), choosing
    experts, activations, sums. Counted from the engines' own layer code; fused ones count once."""
    a, ffn = layer.attention, layer.ffn
    quantised = 2.0 * (form not in ("bf16", "fp16", "fp32"))
    count = 0.0
    if isinstance(a, SoftmaxAttention):
        count += 1.0 + (a.qk_norm != "none") + quantised + a.output_gate
    elif isinstance(a, LinearAttention):
        count += 4.0 + quantised  # the split, decay gates, gated norm, output's reshaping
    if isinstance(ffn, MoeFfn):
        return count + 2.0 + (2.0 + ffn.shared_gate if ffn.shared_width else 0.0)
    return count + 1.0 + quantised


def _scores(p: Pass, a: Attention, block: str) -> list[Work]:
    """Attention of the chunk's prompts, and of its decoding sequences: two kernels."""
    b, precision = p.batch, p.case.model.precision
    tp, cp, dcp = array(p.table.tp), array(p.table.cp), array(p.table.dcp)
    prompts = prompt_flops(a, b) / tp / cp * busiest_share(a, b, cp)
    # under dcp a rank has its group's heads, and a part of their keys
    fewer, part = tp / dcp, replace(b, context=b.context / dcp)
    works = [
        Work(
            "attention",
            "attention",
            AttentionScores(a, b, tp, cp, False),
            prompts,
            prompt_traffic(a, precision, tp, cp, b),
            b.prompts * b.new > 0,
            block,
        ),
        Work(
            "attention",
            "attention",
            AttentionScores(a, part, fewer, cp, True, dcp),
            decode_flops(a, part) / fewer,
            decode_traffic(a, precision, tp, part),
            b.decodes > 0,
            block,
        ),
    ]
    before, after = _dcp_exchange(p, a)
    return [*before, *(w for w in works if np.any(w.happens)), *after]


# --- collectives ---


def collective_work(name: str, collective: str, g: Group, buffer: Array, happens: Bools, counted: bool = False) -> Work:
    """A collective over a whole ``buffer`` of bytes."""
    happens = happens & (g.size > 1) & (buffer > 0)
    size = where(happens, buffer, 0.0)
    shape = Collective(collective, g, size, sent_bytes(collective, g.size, size), counted=counted)
    none = np.zeros(size.shape)
    return Work(name, "communication", shape, none, none, happens)


def _token_gather(p: Pass, name: str) -> list[Work]:
    """all_to_all: tokens divided over tp come together before heads or widths are divided."""
    width = p.case.model.hidden_size * element_bytes(p.case.model.precision.activations)
    return [collective_work(name, "all_gather", p.groups.tp, p.batch.own * p.table.tp * width, ~p.table.replicated)]


def _partial_sums(p: Pass, name: str) -> list[Work]:
    """Partial sums of the tp ranks: reduce-scatter under all_to_all, all-reduce under replicated."""
    width, g = p.case.model.hidden_size * element_bytes(p.case.model.precision.combine), p.groups.tp
    scattered = p.batch.own * p.table.tp * width
    return [
        collective_work(name, "reduce_scatter", g, scattered, ~p.table.replicated),
        collective_work(name, "all_reduce", g, p.batch.tokens * width, p.table.replicated),
    ]


def _dcp_exchange(p: Pass, a: Attention) -> tuple[list[Work], list[Work]]:
    """Decode context parallelism, before and after the scores. The ranks of dcp gather each other's queries; each has
    the outputs of all of these over its own keys, and the logarithms of their sums, by which they are added up (vLLM
    ``cp_lse_ag_out_rs``): an all-gather of 4 B a head, a reduce-scatter of the outputs. A prompt's chunk after cached
    tokens gathers their keys. MLA's queries and outputs are as wide as its latent (absorbed)."""
    if cache_copies(a, 1) is None or isinstance(a, NoAttention) or not np.any(p.table.dcp > 1):
        return [], []
    b, t, g = p.batch, p.table, p.groups.dcp
    assert isinstance(a, SoftmaxAttention | LatentAttention)
    wide, out = (a.kv_rank + a.rope_dim, a.kv_rank) if isinstance(a, LatentAttention) else (a.head_dim, a.v_dim)
    heads = b.decodes * a.heads * t.dcp / t.tp
    token, _ = cache_bytes(a, p.case.model.precision, array(t.tp))
    happens = t.dcp > 1
    past = b.prompts * b.past * token
    before = [
        collective_work("cached_keys_gather", "all_gather", g, past, happens),
        collective_work("query_gather", "all_gather", g, heads * wide * 2.0, happens),
    ]
    after = [
        collective_work("score_sum_gather", "all_gather", g, heads * t.dcp * 4.0, happens),
        collective_work("attention_output_reduce", "reduce_scatter", g, heads * out * 2.0, happens),
    ]
    return before, after


def _context_gather(p: Pass, a: Attention) -> list[Work]:
    """Context parallelism: the ranks of cp gather each other's keys and values."""
    if isinstance(a, LinearAttention):
        return []
    per_token, _ = cache_bytes(a, p.case.model.precision, array(p.table.tp))
    buffer = p.batch.tokens * p.table.cp * per_token
    return [collective_work("context_gather", "all_gather", p.groups.cp, buffer, p.table.cp > 1)]


# --- feed-forwards ---


def _dense(p: Pass, layer: Layer) -> list[Work]:
    tensors = layer_ffn_tensors(layer, p.case.model.hidden_size)
    if not tensors:
        return []
    return [
        *_token_gather(p, "dense_gather"),
        _products(p, "dense", tensors, layer.attention, "dense", p.batch.tokens),
        *_partial_sums(p, "dense_reduce"),
    ]


def _experts(p: Pass, layer: Layer, ffn: MoeFfn) -> list[Work]:
    """Router, dispatch, experts, combine, and the shared experts."""
    t, precision = p.table, p.case.model.precision
    a, tensors = layer.attention, layer_ffn_tensors(layer, p.case.model.hidden_size)
    router = [x for x in tensors if x.kind == "router"]
    shared = [x for x in tensors if x.kind == "shared_experts"]
    leader = t.replicated & t.leader & (t.tp > 1)
    told = p.batch.own * ffn.top_k * CHOICE
    work = [
        _products(p, "router", router, a, "router", p.batch.own),
        collective_work("gate_broadcast", "broadcast", p.groups.tp, told, leader),
        *_exchange(p, ffn, "dispatch"),
        _grouped(p, ffn, tensors),
        *_exchange(p, ffn, "combine"),
    ]
    if shared:
        work += [
            *_token_gather(p, "shared_gather"),
            _products(p, "shared_experts", shared, a, "shared_experts", p.batch.tokens),
            _partial_sums(p, "shared_reduce")[0],
        ]
    width = p.case.model.hidden_size * element_bytes(precision.combine)
    summed = p.batch.tokens * width
    return [*work, collective_work("combine", "all_reduce", p.groups.stage, summed, t.replicated)]


def _exchange(p: Pass, ffn: MoeFfn, name: str) -> list[Work]:
    """``dispatch`` with the gathering of an expert's slices, or ``combine`` after their reduction."""
    t, b, load, g = p.table, p.batch, p.loads[ffn], p.groups.ep
    precision = p.case.model.precision
    dispatch = name == "dispatch"
    hidden = ffn.token_width(p.case.model.hidden_size)
    width = hidden * element_bytes(precision.dispatch if dispatch else precision.combine)
    far_ranks, far_nodes = load.ranks * (g.size - 1) / g.size, load.nodes * (g.nodes - 1) / g.nodes
    happens = ~t.replicated & (t.ep > 1) & (b.own > 0)
    # decode's low-latency kernels send straight to the destination (DeepEP, low-latency mode)
    forwarding = (b.low_latency == 0) & p.case.cluster.forwarding
    sent, none = where(happens, b.own * far_ranks * width, 0.0), np.zeros(b.own.shape)
    shape = Collective(
        "all_to_all",
        g,
        none,
        sent,
        sent * load.straggler,
        where(happens, b.own * far_nodes * width * load.straggler, 0.0),
        where(happens, b.own, 0.0),
        where(happens, b.routed * width, 0.0),
        forwarding,
        counted=dispatch,
        ffn=ffn,
    )
    travel = Work(name, "communication", shape, none, none, happens)
    received = b.own * load.ranks * load.straggler  # distinct tokens that reach the fullest rank
    slices, kind = ("expert_gather", "all_gather") if dispatch else ("expert_reduce", "reduce_scatter")
    met = collective_work(slices, kind, p.groups.etp, received * t.etp * width, ~t.replicated, counted=dispatch)
    return [travel, met] if dispatch else [met, travel]


def _grouped(p: Pass, ffn: MoeFfn, tensors: list[Tensor]) -> Work:
    """The experts of the fullest rank: its copies' FLOPs, and the weights of its active experts read."""
    t, b, precision, load = p.table, p.batch, p.case.model.precision, p.loads[ffn]
    hidden = ffn.token_width(p.case.model.hidden_size)
    copies = b.routed * ffn.working / t.ep * load.straggler
    experts = [x for x in tensors if x.kind == "experts"]
    one = sum(x.rows * x.columns for x in experts if x.gemm) / t.etp
    stored = sum(precision.tensor_bytes(x) / x.count for x in experts) / t.etp
    act, ups, width = element_bytes(precision.activations), 2 if ffn.gated else 1, ffn.width / t.etp
    elements = act * (hidden + width) + 2.0 * (ups * width + hidden)
    # fused kernels of replicated tokens keep room for every copy, whosever expert it goes to
    room = where(t.replicated, b.routed * ffn.working, copies)
    shape = GroupedProducts(
        ffn,
        hidden,
        ups,
        b.routed,
        copies,
        load.active,
        room,
        width,
        array(t.ep),
        array(t.etp),
        load.straggler,
        ~t.replicated & (t.ep > 1),
        b.low_latency > 0,
    )
    return Work("experts", "experts", shape, 2.0 * one * copies, load.active * stored + copies * elements, copies > 0)
