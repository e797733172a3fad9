"""The weights of a model as a list of tensors: parameters, bytes, GEMM FLOPs and shards all derive from it.

Shapes follow the reference implementations in Hugging Face transformers; tests compare the totals with
those, to the last parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from moewright.case.model import (
    Attention,
    DenseFfn,
    Ffn,
    LatentAttention,
    Layer,
    ModelSpec,
    MoeFfn,
    SoftmaxAttention,
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """``count`` equal tensors of ``rows × columns`` (output × input; a vector has ``columns = 1`` and
    ``gemm = False``). ``kind`` is the class whose precision and memory line it falls under, ``shard``
    the axis it is divided over: heads, kv_heads, width, experts, vocabulary or none (every rank holds it)."""

    name: str
    rows: int
    columns: int
    kind: str
    shard: str = "none"
    count: int = 1
    gemm: bool = True

    @property
    def parameters(self) -> int:
        return self.rows * self.columns * self.count


def _vector(name: str, size: int, kind: str, shard: str = "none", count: int = 1) -> Tensor:
    return Tensor(name, size, 1, kind, shard, count, gemm=False)


def attention_tensors(attention: Attention, hidden: int) -> list[Tensor]:
    """Tensors of one attention."""
    if isinstance(attention, SoftmaxAttention):
        return list(_softmax(attention, hidden))
    if isinstance(attention, LatentAttention):
        return list(_latent(attention, hidden))
    a = attention
    keys, values = a.key_heads * a.key_dim, a.value_heads * a.value_dim
    return [
        Tensor("in_proj_qk", 2 * keys, hidden, "attention", "kv_heads"),
        Tensor("in_proj_vz", 2 * values, hidden, "attention", "heads"),
        Tensor("in_proj_ba", 2 * a.value_heads, hidden, "attention", "heads"),
        Tensor("conv1d", 2 * keys + values, a.conv_kernel, "attention", "kv_heads", gemm=False),
        _vector("dt_bias", a.value_heads, "attention", "heads"),
        _vector("A_log", a.value_heads, "attention", "heads"),
        _vector("norm", a.value_dim, "norm"),
        Tensor("out_proj", hidden, values, "attention", "heads"),
    ]


def _softmax(a: SoftmaxAttention, hidden: int) -> Iterator[Tensor]:
    queries = a.heads * a.head_dim * (2 if a.output_gate else 1)
    keys, values = a.kv_heads * a.head_dim, a.kv_heads * a.v_dim
    yield Tensor("q_proj", queries, hidden, "attention", "heads")
    yield Tensor("k_proj", keys, hidden, "attention", "kv_heads")
    yield Tensor("v_proj", values, hidden, "attention", "kv_heads")
    yield Tensor("o_proj", hidden, a.heads * a.v_dim, "attention", "heads")
    if a.qkv_bias:
        yield _vector("q_bias", queries, "attention", "heads")
        yield _vector("kv_bias", keys + values, "attention", "kv_heads")
    if a.output_bias:
        yield _vector("o_bias", hidden, "attention")
    if a.qk_norm == "head":
        yield _vector("qk_norm", a.head_dim, "norm", count=2)
    elif a.qk_norm == "full":
        yield _vector("q_norm", a.heads * a.head_dim, "norm", "heads")
        yield _vector("k_norm", keys, "norm", "kv_heads")
    if a.sinks:
        yield _vector("sinks", a.heads, "attention", "heads")


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


def ffn_tensors(ffn: Ffn, hidden: int) -> list[Tensor]:
    """Tensors of one feed-forward: dense, or router, experts and shared experts."""
    if isinstance(ffn, DenseFfn):
        return list(_mlp("dense", ffn.width, hidden, ffn.gated, ffn.bias, "dense", "width"))
    tensors = [Tensor("router", ffn.experts, hidden, "router")]
    if ffn.router_bias:
        tensors.append(_vector("router_bias", ffn.experts, "router"))
    tensors += _mlp("expert", ffn.width, hidden, ffn.gated, ffn.bias, "experts", "experts", ffn.experts)
    if ffn.shared_width:
        tensors += _mlp(
            "shared", ffn.shared_width, hidden, ffn.shared_gated, ffn.shared_bias, "shared_experts", "width"
        )
    if ffn.shared_gate:
        tensors.append(Tensor("shared_gate", 1, hidden, "shared_experts"))
    return tensors


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
    return attention_tensors(layer.attention, hidden) + ffn_tensors(layer.ffn, hidden) + norm_tensors(layer, hidden)


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
    return tensors


def all_tensors(model: ModelSpec) -> Iterator[tuple[Tensor, int]]:
    """Every tensor of the model with how many layers have it."""
    for layer, positions in model.layer_kinds():
        for tensor in layer_tensors(layer, model.hidden_size):
            yield tensor, len(positions)
    for tensor in vocabulary_tensors(model):
        yield tensor, 1


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
                size = size // ffn.experts * ffn.top_k
            active += size * len(positions)
    for tensor in vocabulary_tensors(model):
        untied_lookup = tensor.name == "embedding" and not model.tied_embeddings
        active += model.hidden_size if untied_lookup else tensor.parameters
    return active
