"""Element-wise kernels that training frameworks have beside products, norms and attention, and serving fuses or has
not."""

from __future__ import annotations

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
from moewright.case.tensors.layer_tensors import layer_attention_tensors, layer_ffn_tensors
from moewright.case.train.train_workload import Graphs, Training
from moewright.cost.arrays import Array, array, where
from moewright.cost.attention import prompt_pairs, query_bytes
from moewright.cost.shapes import tensor_share
from moewright.cost.work import Pass, Stream, Work

#: bytes of an element between kernels
_ELEMENT = 2.0
#: bytes that the router's kernels read and write for one expert's score: fp32 scores and choices, some ten times
_ROUTER_BYTES = 40.0
#: kernels of an activation that is not one: two clamps, a sigmoid, products, sums
_UNFUSED = 7.0


def streams(p: Pass, layer: Layer, training: Training) -> list[Work]:
    """What a training framework's kernels read and write beside products, norms and attention: rotary embedding and
    the joining of heads, casts to the recipe's format, the router's choice, bringing copies of tokens into the order of
    their experts and back, activations of dense and shared networks, and residual streams of hyper-connections."""
    b, hidden = p.batch, p.case.model.hidden_size
    ffn, a = layer.ffn, layer.attention
    tp = array(p.table.tp)
    fused = training.graphs is Graphs.FULL  # casts and permutations of experts are part of other kernels
    parts = {
        "heads": (b.tokens / tp * head_bytes(a), 2.0),
        "casts": (_cast_elements(p, layer, fused) * training.recipe.cast, 2.0),
    }
    picked = picked_key_bytes(a)
    if picked:  # every query reads the keys that its index picks for it alone
        seen = prompt_pairs(a, b.new, np.zeros_like(b.new)) / b.new
        parts["picked_keys"] = (b.tokens * seen * picked, 1.0)
    streams = sum(x.columns // hidden for x in layer.extra if x.name == "hyper_connection")
    if streams:  # before and after attention and the experts: three readings of all streams, two writings
        parts["residual_streams"] = (2.0 * 5.0 * streams * hidden * b.own * _ELEMENT, 10.0)
    if isinstance(ffn, MoeFfn):
        width = ffn.token_width(hidden)
        copies = b.routed * ffn.working / array(p.table.ep) * p.loads[ffn].straggler
        parts["router_choice"] = (b.own * ffn.experts * _ROUTER_BYTES, 4.0)
        if ffn.bias:  # biases and clamps before the activation: kernels of their own
            parts["biased_activation"] = (_UNFUSED * _ELEMENT * 3.0 * copies * ffn.width / array(p.table.etp), _UNFUSED)
        if not fused:
            parts["permutation"] = (2.0 * _ELEMENT * width * (b.own + copies), 2.0)
        inner = ffn.shared_width
    else:
        inner = ffn.width
    parts["activation"] = (b.tokens * 3.0 * inner / tp * _ELEMENT, float(inner > 0))
    none = np.zeros(b.own.shape)
    return [
        Work(name, "elementwise", Stream(where(size > 0, kernels, 0.0)), none, size + none, (size + none) > 0)
        for name, (size, kernels) in parts.items()
        if np.any(size > 0)
    ]


def picked_key_bytes(a: Attention) -> float:
    """Bytes of a key that an index picks for one query, of all heads; 0 where there is no index."""
    if isinstance(a, LatentAttention) and a.indexer:
        return _ELEMENT * (a.kv_rank + a.rope_dim)
    if isinstance(a, CompressedAttention) and a.indexer:
        return _ELEMENT * a.head_dim
    return _ELEMENT * a.kv_heads * (a.head_dim + a.v_dim) if isinstance(a, SoftmaxAttention) and a.indexer else 0.0


def head_bytes(a: Attention) -> float:
    """Bytes of a token, all heads, that are read and written to bring queries, keys and values to attention: rotary
    embedding in place, the joined projections taken apart; MLA's expanded keys and values put together anew; a linear
    state's convolution, and the gated norm after it."""
    if isinstance(a, LatentAttention):
        expanded, keys = a.nope_dim + a.value_dim, a.nope_dim + a.rope_dim
        return _ELEMENT * a.heads * (2 * a.rope_dim + expanded + keys + a.value_dim)
    if isinstance(a, SoftmaxAttention):
        rotated, joined = (a.heads + a.kv_heads) * a.head_dim, a.kv_heads * (a.head_dim + a.v_dim)
        return _ELEMENT * 2.0 * (rotated + a.heads * a.head_dim + joined)
    return (4.0 if isinstance(a, LinearAttention) else 2.0) * query_bytes(a)


def _cast_elements(p: Pass, layer: Layer, fused: bool) -> Array:
    """Elements of a rank's products' inputs, of those that are cast to a narrower format: each input once."""
    b, t, hidden = p.batch, p.table, p.case.model.hidden_size
    inputs: dict[tuple[int, bool], Array] = {}
    tensors = [*layer_attention_tensors(layer, hidden), *layer_ffn_tensors(layer, hidden)]
    for x in tensors:
        if not x.gemm or x.kind not in ("attention", "shared_experts", "dense"):
            continue
        second = x.name.endswith(("o_proj", "out_proj", "_down"))
        share = tensor_share(x, layer.attention, t) if second else np.ones(t.tp.shape)
        inputs[x.columns, second] = b.tokens * x.columns * share
    total = sum(inputs.values(), start=np.zeros(b.tokens.shape))
    ffn = layer.ffn
    if isinstance(ffn, MoeFfn) and not fused:
        copies = b.routed * ffn.working / array(t.ep) * p.loads[ffn].straggler
        total = total + copies * (ffn.token_width(hidden) + ffn.width / array(t.etp))
    return total


def expanded_share(layer: Layer, hidden: int) -> float:
    """Share of the FLOPs of attention's input projections that expand latents to queries, keys and values (MLA)."""
    if not isinstance(layer.attention, LatentAttention):
        return 0.0
    sizes = {x.name: x.parameters for x in layer_attention_tensors(layer, hidden) if x.gemm}
    outputs = ("o_proj",)
    inputs = sum(size for name, size in sizes.items() if name not in outputs)
    return (sizes.get("q_b_proj", 0) + sizes.get("kv_b_proj", 0)) / inputs
