"""Bytes that the fullest rank holds, by kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.model import (
    Attention,
    CompressedAttention,
    LatentAttention,
    Layer,
    LinearAttention,
    MoeFfn,
    SoftmaxAttention,
)
from moewright.case.precision import element_bytes
from moewright.case.tensors.layer_tensors import layer_tensors, vocabulary_tensors
from moewright.case.workload import Kind
from moewright.cost.arrays import Array, Ints, array, where
from moewright.cost.attention import cache_bytes, cached_tokens, head_share
from moewright.cost.exchange_buffers import low_latency_bytes
from moewright.cost.pipeline import by_pp, stage_counts
from moewright.cost.shapes import weight_bytes
from moewright.cost.work import Pass

#: a tensor's kind → its line of the memory table
LINES = {
    "attention": "attention",
    "experts": "experts",
    "shared_experts": "shared_experts",
    "router": "router",
    "vocabulary": "vocabulary",
    "dense": "other",
    "norm": "other",
}
#: lines of the memory table, the cache last
MEMORY_LINES = ("attention", "experts", "shared_experts", "router", "vocabulary", "other", "kv_cache")


@dataclass(frozen=True, slots=True)
class LayerMemory:
    """Bytes one layer adds to a rank of its stage: weights by line, and the KV cache of its sequences."""

    weights: dict[str, Array]
    kv_cache: Array


def layer_memory(p: Pass, layer: Layer) -> LayerMemory:
    """Weights and cache of one layer, for every candidate; the cache of all a rank's sequences."""
    model, t = p.case.model, p.table
    weights: dict[str, Array] = {line: np.zeros(t.tp.shape) for line in LINES.values()}
    for tensor in layer_tensors(layer, model.hidden_size):
        line = LINES[tensor.kind]
        weights[line] = weights[line] + weight_bytes([tensor], layer.attention, model.precision, t)
    per_token, per_sequence = cache_bytes(layer.attention, model.precision, array(t.tp))
    kept = np.ceil(cached_tokens(layer.attention, p.case.workload.sequence) / t.cp / t.dcp)
    return LayerMemory(weights, t.sequences * (per_token * kept + per_sequence))


def vocabulary_weights(p: Pass, first: bool, last: bool) -> dict[str, Array]:
    """Bytes of embedding (first stage) and head, final norm (last stage; a tied embedding is its head)."""
    model, t = p.case.model, p.table
    lines: dict[str, Array] = {}
    attention = model.layers[0].attention
    for tensor in vocabulary_tensors(model):
        embedding = tensor.name == "embedding"
        here = (first or (last and model.tied_embeddings)) if embedding else last
        if here:
            line = LINES[tensor.kind]
            share = weight_bytes([tensor], attention, model.precision, t)
            lines[line] = lines.get(line, np.zeros(1)) + share
    return lines


def stage_memory(p: Pass, in_flight: Array) -> dict[str, Array]:
    """Bytes by line on the stage that holds most; the caches of ``in_flight`` batches."""
    model, rows = p.case.model, len(p.table)
    kinds = [layer_memory(p, layer) for layer, _ in model.layer_kinds()]
    held = np.array([[*(k.weights[line] for line in MEMORY_LINES[:-1]), k.kv_cache * in_flight] for k in kinds])

    def one(pp: int, mine: Ints) -> tuple[Array, ...]:
        stages = np.einsum("pk,klr->plr", stage_counts(model, pp).astype(float), held[:, :, mine])
        for stage in {0, pp - 1}:
            for line, weight in vocabulary_weights(p, stage == 0, stage == pp - 1).items():
                stages[stage, MEMORY_LINES.index(line)] += weight[mine]
        fullest = stages.sum(axis=1).argmax(axis=0)
        return tuple(stages[fullest, :, np.arange(len(mine))].T)

    return dict(zip(MEMORY_LINES, by_pp(p.table.pp, rows, one), strict=True))


# --- what lives inside a micro-batch ---


def activation_parts(p: Pass) -> dict[str, Array]:
    """Peak bytes of what lives inside one micro-batch, by the operation at whose end it is reached: the residual
    stream, twice (a sum is not made in place), and that operation's inputs and outputs. Under two_batch both halves are
    alive."""
    model, b, t = p.case.model, p.batch, p.table
    act, hidden = element_bytes(model.precision.activations), model.hidden_size
    widest: dict[str, Array] = {}

    def reaches(name: str, size: Array) -> None:
        widest[name] = np.maximum(widest.get(name, np.zeros(size.shape)), size)

    for layer, _ in model.layer_kinds():
        inner = b.tokens * attention_width(layer.attention, t.tp) + gathered_keys(p, layer.attention) / t.tp
        reaches("attention", b.tokens * hidden * (act + 2.0) + 2.0 * inner)
        ffn = layer.ffn
        if isinstance(ffn, MoeFfn):
            load = p.loads[ffn]
            copies = b.routed * ffn.working / t.ep * load.straggler
            # replicated tokens: fused kernels keep room for every copy, whosever expert it goes to
            room = where(t.replicated, b.routed * ffn.working, copies)
            ups = 2 if ffn.gated else 1
            reaches("experts", room * ((2.0 * ups + act) * ffn.width / t.etp + 2.0 * ffn.token_width(hidden)))
        elif ffn.width:
            reaches("dense", b.tokens * 2.0 * ((3 if ffn.gated else 2) * ffn.width / t.tp + hidden))
    if model.vocab_size:
        logits = b.logits * model.vocab_size / where(np.asarray(p.case.workload.kind is Kind.FORWARD), t.tp, 1)
        reaches("head", 2.0 * logits)
    residual = 2 * 2.0 * b.own * hidden
    return {name: t.halves * (residual + size) for name, size in widest.items()}


def activation_bytes(p: Pass) -> Array:
    """The largest of ``activation_parts``."""
    return np.asarray(np.max(np.stack(list(activation_parts(p).values())), axis=0))


def attention_width(a: Attention, tp: Ints) -> Array:
    """Elements per token of queries, keys, values and outputs on one of ``tp`` ranks. Sparse attention prefills in the
    latent's space: queries and outputs of each head are as wide as the latent."""
    ranks, whole = array(tp), 0.0
    if isinstance(a, SoftmaxAttention):
        gate = a.heads * a.head_dim if a.output_gate else 0
        both = a.head_dim + a.v_dim
        return (a.heads * both + gate) / ranks + head_share(a, "kv_heads", ranks) * a.kv_heads * both
    if isinstance(a, LinearAttention):
        whole = 2 * a.key_heads * a.key_dim + 3 * a.value_heads * a.value_dim
    elif isinstance(a, CompressedAttention):  # its one key is every rank's
        return 2 * a.heads * a.head_dim / ranks + a.head_dim
    elif isinstance(a, LatentAttention) and a.indexer:
        absorbed = (a.kv_rank + a.rope_dim) + a.kv_rank
        whole = a.heads * (a.nope_dim + a.rope_dim + absorbed + a.value_dim)
    elif isinstance(a, LatentAttention):
        whole = a.heads * (2 * (a.nope_dim + a.rope_dim) + 2 * a.value_dim)
    return whole / ranks


def gathered_keys(p: Pass, a: Attention) -> Array:
    """Elements of keys and values, all heads, that a rank of cp holds beside its own tokens': it gathers the whole
    prompt's, and with MLA expands them."""
    others = where(p.table.cp > 1, p.batch.tokens * (p.table.cp - 1), 0.0)
    if isinstance(a, SoftmaxAttention):
        return others * a.kv_heads * (a.head_dim + a.v_dim)
    if not isinstance(a, LatentAttention):
        return np.zeros(others.shape)
    if a.indexer:
        return others * (a.kv_rank + a.rope_dim) * p.table.tp  # latents are not divided over tp
    return others * a.heads * (a.nope_dim + a.rope_dim + a.value_dim)


def buffer_parts(p: Pass) -> dict[str, Array]:
    """Communication buffers by what they hold: tokens gathered over tp, what dispatch sends and the fullest rank
    receives (or the sums of replicated; in decode on clusters with DeepEP what its low-latency kernels reserve), the
    message between pipeline stages."""
    model, b, t = p.case.model, p.batch, p.table
    precision, hidden = model.precision, model.hidden_size
    gathered = where(t.tp > 1, b.own * t.tp * hidden * element_bytes(precision.activations), 0.0)
    exchanged: Array = np.zeros(gathered.shape)
    formats = element_bytes(precision.dispatch) + element_bytes(precision.combine)
    for ffn, load in p.loads.items():
        both = ffn.token_width(hidden) * formats
        arrived = b.own * load.ranks * load.straggler * where(t.etp > 1, 1 + t.etp, 1)
        moved = where(t.ep * t.etp > 1, (b.own * load.ranks + arrived) * both, 0.0)
        exchanged = np.maximum(exchanged, moved)
    if p.case.cluster.forwarding and p.case.workload.kind is Kind.DECODE and model.moe is not None:
        # low-latency kernels reserve room for every rank's tokens at every expert
        experts = array(model.moe.experts + t.redundant)
        reserved = low_latency_bytes(np.ceil(b.own), model.moe.token_width(hidden), experts)
        exchanged = np.where((t.ep > 1) & (b.own > 0), np.maximum(exchanged, reserved), exchanged)
    summed = b.tokens * hidden * element_bytes(precision.combine)
    stage = where(t.pp > 1, 2 * b.own * hidden * 2.0, 0.0)
    return {
        "token_gather": t.halves * gathered,
        "dispatch_combine": t.halves * where(t.replicated, summed, exchanged),
        "stage_transfer": stage,
    }


def buffer_bytes(p: Pass) -> Array:
    """All communication buffers together."""
    return np.asarray(sum(buffer_parts(p).values(), start=np.zeros(1)))
