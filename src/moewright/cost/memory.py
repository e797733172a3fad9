"""Bytes that the fullest rank holds, by kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.model import Attention, LatentAttention, Layer, LinearAttention, MoeFfn, SoftmaxAttention
from moewright.case.precision import element_bytes
from moewright.case.tensors import layer_tensors, vocabulary_tensors
from moewright.case.workload import Kind
from moewright.cost.operations import Pricing
from moewright.cost.shapes import cache_bytes, cached_tokens, weight_bytes
from moewright.cost.table import Numbers
from moewright.cost.vocabulary import head_tokens

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


@dataclass(frozen=True, slots=True)
class LayerMemory:
    """Bytes one layer adds to a rank of its stage: weights by line, and the KV cache of its sequences."""

    weights: dict[str, Numbers]
    kv_cache: Numbers


def layer_memory(p: Pricing, layer: Layer) -> LayerMemory:
    """Weights and cache of one layer, for every candidate."""
    model, t = p.case.model, p.table
    weights: dict[str, Numbers] = {line: np.zeros_like(t.tp, dtype=float) for line in LINES.values()}
    for tensor in layer_tensors(layer, model.hidden_size):
        line = LINES[tensor.kind]
        weights[line] = weights[line] + weight_bytes([tensor], layer.attention, model.precision, t)
    per_token, per_sequence = cache_bytes(layer.attention, model.precision, t.tp)
    held = cached_tokens(layer.attention, p.case.workload.sequence) / t.cp
    return LayerMemory(weights, t.sequences * (per_token * held + per_sequence))


def vocabulary_weights(p: Pricing, first: bool, last: bool) -> dict[str, Numbers]:
    """Bytes of embedding (first stage) and head, final norm (last stage; a tied embedding is its head)."""
    model, t = p.case.model, p.table
    lines: dict[str, Numbers] = {}
    attention = model.layers[0].attention
    for tensor in vocabulary_tensors(model):
        embedding = tensor.name == "embedding"
        here = (first or (last and model.tied_embeddings)) if embedding else last
        if here:
            line = LINES[tensor.kind]
            held = weight_bytes([tensor], attention, model.precision, t)
            lines[line] = lines.get(line, 0.0) + held
    return lines


def activation_bytes(p: Pricing) -> Numbers:
    """Peak of what lives inside one micro-batch: the residual stream, twice (a sum is not made in place),
    and the widest operation's inputs and outputs. Under two_batch both halves are alive."""
    model, s, t = p.case.model, p.shapes, p.table
    act = element_bytes(model.precision.activations)
    peak: Numbers = np.zeros_like(t.tp, dtype=float)
    for layer, _ in model.layer_kinds():
        inner = _attention_width(layer.attention) / t.tp
        peak = np.maximum(peak, s.tokens * (model.hidden_size * act + 2.0 * (inner + model.hidden_size)))
        if isinstance(layer.ffn, MoeFfn):
            copies = s.routed * layer.ffn.top_k / t.ep * p.loads[layer.ffn].straggler
            ups = 2 if layer.ffn.gated else 1
            wide = 2.0 * ups * layer.ffn.width / t.etp + act * layer.ffn.width / t.etp + 2.0 * model.hidden_size
            peak = np.maximum(peak, copies * wide)
        else:
            peak = np.maximum(peak, s.tokens * 2.0 * (3 * layer.ffn.width / t.tp + model.hidden_size))
    if model.vocab_size:
        logits = head_tokens(p) * model.vocab_size / np.where(p.case.workload.kind is Kind.FORWARD, t.tp, 1)
        peak = np.maximum(peak, 2.0 * logits)
    halves = np.where(t.two_batch, 2, 1)
    return halves * (2 * 2.0 * s.own * model.hidden_size + peak)


def _attention_width(attention: Attention) -> float:
    """Elements per token of queries, keys, values and outputs, all heads."""
    if isinstance(attention, SoftmaxAttention):
        gate = attention.heads * attention.head_dim if attention.output_gate else 0
        return (
            attention.heads * (attention.head_dim + attention.v_dim)
            + gate
            + attention.kv_heads * (attention.head_dim + attention.v_dim)
        )
    if isinstance(attention, LinearAttention):
        return 2 * attention.key_heads * attention.key_dim + 3 * attention.value_heads * attention.value_dim
    assert isinstance(attention, LatentAttention)  # others are refused when the case is read
    return attention.heads * (2 * (attention.nope_dim + attention.rope_dim) + 2 * attention.value_dim)


def buffer_bytes(p: Pricing) -> Numbers:
    """Communication buffers: tokens gathered over tp, what dispatch sends and the fullest rank receives,
    the sums of replicated, the message between pipeline stages."""
    model, s, t = p.case.model, p.shapes, p.table
    precision, hidden = model.precision, model.hidden_size
    width = hidden * element_bytes(precision.activations)
    gathered = np.where(t.tp > 1, s.own * t.tp * width, 0.0)
    exchanged: Numbers = np.zeros_like(gathered)
    for load in p.loads.values():
        both = hidden * (element_bytes(precision.dispatch) + element_bytes(precision.combine))
        arrived = s.own * load.ranks * load.straggler * np.where(t.etp > 1, 1 + t.etp, 1)
        moved = np.where(t.ep * t.etp > 1, (s.own * load.ranks + arrived) * both, 0.0)
        exchanged = np.maximum(exchanged, moved)
    summed = s.tokens * hidden * element_bytes(precision.combine)
    stage = np.where(t.pp > 1, 2 * s.own * hidden * 2.0, 0.0)
    halves = np.where(t.two_batch, 2, 1)
    return halves * (gathered + np.where(t.replicated, summed, exchanged)) + stage
