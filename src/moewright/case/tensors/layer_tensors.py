"""The weights of a model as a list of tensors: parameters, bytes, GEMM FLOPs and shards all derive from it.

Shapes follow the reference implementations in Hugging Face transformers; tests compare the totals with
those, to the last parameter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from moewright.case.model import (
    Attention,
    CompressedAttention,
    DenseFfn,
    Ffn,
    LatentAttention,
    Layer,
    LinearAttention,
    ModelSpec,
    MoeFfn,
    SoftmaxAttention,
)
from moewright.case.tensors.linear_tensors import linear_tensors
from moewright.case.tensors.tensor import Tensor
from moewright.case.tensors.tensor import vector as _vector

__all__ = [
    "Tensor",
    "active_parameters",
    "all_tensors",
    "attention_tensors",
    "ffn_tensors",
    "layer_attention_tensors",
    "layer_ffn_tensors",
    "layer_tensors",
    "linear_tensors",
    "norm_tensors",
    "total_parameters",
    "vocabulary_tensors",
]


def attention_tensors(attention: Attention, hidden: int) -> list[Tensor]:
    """Tensors of one attention."""
    return [*_own_tensors(attention, hidden), *attention.extra]


def _own_tensors(attention: Attention, hidden: int) -> Iterator[Tensor]:
    if isinstance(attention, SoftmaxAttention):
        return _softmax(attention, hidden)
    if isinstance(attention, LatentAttention):
        return _latent(attention, hidden)
    if isinstance(attention, CompressedAttention):
        return _compressed(attention, hidden)
    if isinstance(attention, LinearAttention):
        return linear_tensors(attention, hidden)
    return iter(())


def _softmax(a: SoftmaxAttention, hidden: int) -> Iterator[Tensor]:
    queries = a.heads * a.head_dim * (2 if a.output_gate else 1)
    keys, values = a.kv_heads * a.head_dim, a.kv_heads * a.v_dim
    if a.q_rank:
        yield Tensor("q_a_proj", a.q_rank, hidden, "attention")
        yield _vector("q_a_norm", a.q_rank, "norm")
    yield Tensor("q_proj", queries, a.q_rank or hidden, "attention", "heads")
    if a.shared_cache:
        keys = values = 0
    else:
        yield Tensor("k_proj", keys, hidden, "attention", "kv_heads")
    if a.tied_values:
        values = 0
    if values:
        yield Tensor("v_proj", values, hidden, "attention", "kv_heads")
    yield Tensor("o_proj", hidden, a.heads * a.v_dim, "attention", "heads")
    if a.qkv_bias:
        yield _vector("q_bias", queries, "attention", "heads")
        yield _vector("kv_bias", keys + values, "attention", "kv_heads")
    if a.output_bias:
        yield _vector("o_bias", hidden, "attention")
    if a.qk_norm == "head":
        yield _vector("qk_norm", a.head_dim, "norm", count=1 if a.shared_cache else 2)
    elif a.qk_norm == "full":
        yield _vector("q_norm", a.heads * a.head_dim, "norm", "heads")
        if keys:
            yield _vector("k_norm", keys, "norm", "kv_heads")
    if a.sinks:
        yield _vector("sinks", a.heads, "attention", "heads")
    if a.indexer is not None and not a.indexer.shared:
        i = a.indexer  # MiniMax-M3
        yield Tensor("indexer_q", i.heads * i.dim, hidden, "attention")
        yield Tensor("indexer_k", i.dim, hidden, "attention")
        yield _vector("indexer_norms", i.dim, "norm", count=2)


def _latent(a: LatentAttention, hidden: int) -> Iterator[Tensor]:
    queries = a.heads * (a.nope_dim + a.rope_dim)
    if a.q_rank is None:
        yield Tensor("q_proj", queries, hidden, "attention", "heads")
    else:
        yield Tensor("q_a_proj", a.q_rank, hidden, "attention")
        yield _vector("q_a_norm", a.q_rank, "norm")
        yield Tensor("q_b_proj", queries, a.q_rank, "attention", "heads")
    yield Tensor("kv_a_proj", a.kv_rank + a.rope_dim, hidden, "attention")
    yield _vector("kv_a_norm", a.kv_rank, "norm")
    yield Tensor("kv_b_proj", a.heads * (a.nope_dim + a.value_dim), a.kv_rank, "attention", "heads")
    yield Tensor("o_proj", hidden, a.heads * a.value_dim, "attention", "heads")
    if a.bias:
        if a.q_rank is not None:
            yield _vector("q_a_bias", a.q_rank, "attention")
        yield _vector("kv_a_bias", a.kv_rank + a.rope_dim, "attention")
        yield _vector("o_bias", hidden, "attention")
    if a.indexer is not None and not a.indexer.shared:
        i = a.indexer
        yield Tensor("indexer_q", i.heads * i.dim, a.q_rank or hidden, "attention")
        yield Tensor("indexer_k", i.dim, hidden, "attention")
        yield _vector("indexer_k_norm", i.dim, "norm", count=2)  # a LayerNorm: weight and bias
        yield Tensor("indexer_weights", i.heads, hidden, "attention")


def _compressed(a: CompressedAttention, hidden: int) -> Iterator[Tensor]:
    yield Tensor("q_a_proj", a.q_rank, hidden, "attention")
    yield _vector("q_a_norm", a.q_rank, "norm")
    yield Tensor("q_b_proj", a.heads * a.head_dim, a.q_rank, "attention", "heads")
    yield Tensor("kv_proj", a.head_dim, hidden, "attention")
    yield _vector("kv_norm", a.head_dim, "norm")
    # each group of heads has a matrix of its own
    yield Tensor(
        "o_a_proj", a.output_groups * a.output_rank, a.heads * a.head_dim // a.output_groups, "attention", "heads"
    )
    yield Tensor("o_b_proj", hidden, a.output_groups * a.output_rank, "attention", "heads")
    yield _vector("sinks", a.heads, "attention", "heads")
    if a.ratio:
        yield from _compressor("compressor", a.head_dim, a.overlap, a.ratio, hidden)
    if a.ratio and a.indexer is not None:
        i = a.indexer
        yield from _compressor("indexer", i.dim, a.overlap, a.ratio, hidden)
        yield Tensor("indexer_q", i.heads * i.dim, a.q_rank, "attention")
        yield Tensor("indexer_weights", i.heads, hidden, "attention")


def _compressor(name: str, width: int, series: int, ratio: int, hidden: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}_kv", series * width, hidden, "attention")
    yield Tensor(f"{name}_gate", series * width, hidden, "attention")
    yield _vector(f"{name}_bias", ratio * series * width, "norm")
    yield _vector(f"{name}_norm", width, "norm")


def ffn_tensors(ffn: Ffn, hidden: int) -> list[Tensor]:
    """Tensors of one feed-forward: dense, or router, experts and shared experts."""
    if isinstance(ffn, DenseFfn):
        if not ffn.width:
            return []
        return list(_mlp("dense", ffn.width, hidden, ffn.gated, ffn.bias, "dense", "width"))
    choices = ffn.experts + ffn.zero_experts
    tensors = [Tensor("router", choices, hidden, "router")]
    if ffn.router_bias:
        tensors.append(_vector("router_bias", choices, "router"))
    tensors += _mlp(
        "expert", ffn.width, ffn.token_width(hidden), ffn.gated, ffn.bias, "experts", "experts", ffn.experts
    )
    if ffn.latent:  # every token goes down before dispatch, and up after combine
        tensors.append(Tensor("latent_down", ffn.latent, hidden, "shared_experts"))
        tensors.append(Tensor("latent_up", hidden, ffn.latent, "shared_experts"))
    if ffn.shared_width:
        tensors += _mlp(
            "shared", ffn.shared_width, hidden, ffn.shared_gated, ffn.shared_bias, "shared_experts", "width"
        )
    if ffn.shared_gate:
        tensors.append(Tensor("shared_gate", 1, hidden, "shared_experts"))
    return [*tensors, *ffn.extra]


def _mlp(
    name: str, width: int, hidden: int, gated: bool, bias: bool, kind: str, shard: str, count: int = 1
) -> Iterator[Tensor]:
    ups = 2 if gated else 1
    yield Tensor(f"{name}_up", ups * width, hidden, kind, shard, count)
    yield Tensor(f"{name}_down", hidden, width, kind, shard, count)
    if bias:
        yield _vector(f"{name}_up_bias", ups * width, kind, shard, count)
        # the down bias is not divided with the width: one rank adds it
        yield _vector(f"{name}_down_bias", hidden, kind, shard if shard == "experts" else "none", count)


def norm_tensors(layer: Layer, hidden: int) -> list[Tensor]:
    """The norm vectors around a layer."""
    count = layer.norms * (2 if layer.norm_bias else 1)
    return [_vector("norms", hidden, "norm", count=count)] if count else []


def layer_tensors(layer: Layer, hidden: int) -> list[Tensor]:
    """All tensors of one layer."""
    return [
        *layer_attention_tensors(layer, hidden),
        *layer_ffn_tensors(layer, hidden),
        *_with_formats(norm_tensors(layer, hidden), layer),
        *_with_formats(layer.extra, layer),
    ]


def layer_attention_tensors(layer: Layer, hidden: int) -> list[Tensor]:
    """Tensors of the attention of ``layer``, each with the number format that it has there."""
    return _with_formats(attention_tensors(layer.attention, hidden), layer)


def layer_ffn_tensors(layer: Layer, hidden: int) -> list[Tensor]:
    """Tensors of the feed-forward of ``layer``, each with the number format that it has there."""
    return _with_formats(ffn_tensors(layer.ffn, hidden), layer)


def _with_formats(tensors: Iterable[Tensor], layer: Layer) -> list[Tensor]:
    own = dict(layer.formats)
    return [replace(t, format=own[t.name]) if t.name in own else t for t in tensors]


def vocabulary_tensors(model: ModelSpec) -> list[Tensor]:
    """Embedding, head (none of its own where tied), and the final norm."""
    tensors: list[Tensor] = []
    if model.vocab_size:
        tensors.append(Tensor("embedding", model.vocab_size, model.hidden_size, "vocabulary", "vocabulary", gemm=False))
        if not model.tied_embeddings:
            tensors.append(Tensor("head", model.vocab_size, model.hidden_size, "vocabulary", "vocabulary"))
        if model.head_bias:
            tensors.append(_vector("head_bias", model.vocab_size, "vocabulary", "vocabulary"))
    if model.final_norm:
        biased = 2 if model.layers and model.layers[-1].norm_bias else 1
        tensors.append(_vector("final_norm", model.hidden_size, "norm", count=biased))
    return [*tensors, *model.extra]


def all_tensors(model: ModelSpec) -> Iterator[tuple[Tensor, int]]:
    """Every tensor of the model with how many layers have it."""
    for layer, positions in model.layer_kinds():
        for tensor in layer_tensors(layer, model.hidden_size):
            yield tensor, len(positions)
    for tensor in vocabulary_tensors(model):
        yield tensor, 1


def parameters_by_kind(model: ModelSpec) -> Counter[str]:
    """Parameters by the kind of their tensor; 0 of a kind that the model has not."""
    counts: Counter[str] = Counter()
    for tensor, layers in all_tensors(model):
        counts[tensor.kind] += tensor.parameters * layers
    return counts


def total_parameters(model: ModelSpec) -> int:
    """Parameters, multi-token-prediction layers not counted."""
    return sum(tensor.parameters * layers for tensor, layers in all_tensors(model))


def active_parameters(model: ModelSpec) -> int:
    """Parameters that one token passes: top_k of the experts, and all else, the embedding as the one row
    it looks up (a tied embedding counts whole: it is the head)."""
    active = 0
    for layer, positions in model.layer_kinds():
        ffn = layer.ffn
        for tensor in layer_tensors(layer, model.hidden_size):
            size = tensor.parameters
            if tensor.shard == "experts" and isinstance(ffn, MoeFfn):
                size = round(size // ffn.experts * ffn.working)
            active += size * len(positions)
    for tensor in vocabulary_tensors(model):
        looked_up = tensor.shard == "vocabulary" and not tensor.gemm and tensor.columns > 1
        whole = not looked_up or (tensor.name == "embedding" and model.tied_embeddings)
        active += tensor.parameters if whole else tensor.columns
    return active
