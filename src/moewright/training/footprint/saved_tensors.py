"""What a layer keeps of a micro-batch between its forward and its backward pass, tensor by tensor.

After Korthikanti et al. (arXiv 2205.05198 §4) for attention that never stores its scores (FlashAttention), and for the
experts as Megatron-Core and Transformer Engine keep them: the inputs of products in the recipe's format, the inputs of
activation functions, the residual stream. ``modules``: the recomputations (``MODULES``) that do without a tensor.
"""

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
    NoAttention,
    SoftmaxAttention,
)
from moewright.case.train.recipe import Recipe
from moewright.cost.arrays import Array, array
from moewright.cost.work import Pass

#: bytes of an element of the residual stream, and of what attention and activation functions keep
WIDE = 2.0
#: bytes of an expert's score that the router keeps: fp32 logits and probabilities, and which were chosen
_SCORE = 9.0


@dataclass(frozen=True, slots=True)
class Saved:
    """``bytes`` [rows] of a micro-batch on a rank."""

    name: str
    bytes: Array
    modules: tuple[str, ...] = ()


def saved_tensors(p: Pass, layer: Layer, recipe: Recipe) -> list[Saved]:
    """Tensors that ``layer`` keeps; its own input first, which a full recomputation keeps too."""
    b, hidden = p.batch, p.case.model.hidden_size
    saved: list[Saved] = []
    if not isinstance(layer.attention, NoAttention):
        saved.append(Saved("attention_input", WIDE * hidden * b.own))
        saved.append(Saved("attention_norm", recipe.saved * hidden * b.own, ("layernorm",)))
        saved += _attention(p, layer.attention, recipe)
    ffn = layer.ffn
    if isinstance(ffn, MoeFfn):
        saved.append(Saved("ffn_input", WIDE * hidden * b.own))
        saved.append(Saved("ffn_norm", WIDE * hidden * b.own, ("layernorm",)))
        saved += _experts(p, ffn, recipe)
    elif ffn.width:
        width = b.tokens * ffn.width / array(p.table.tp)
        saved.append(Saved("ffn_input", WIDE * hidden * b.own))
        saved.append(Saved("ffn_norm", recipe.saved * hidden * b.own, ("layernorm",)))
        saved.append(Saved("dense_up", WIDE * (2 if ffn.gated else 1) * width, ("mlp",)))
        saved.append(Saved("dense_activation", recipe.saved * width, ("mlp",)))
    first, *others = saved
    return [first, *(Saved(x.name, x.bytes, (*x.modules, "full")) for x in others)]


def kept_bytes(saved: list[Saved], modules: tuple[str, ...]) -> Array:
    """Bytes that are kept where ``modules`` are computed again."""
    return sum((x.bytes for x in saved if not set(x.modules) & set(modules)), start=np.zeros(1))


def _attention(p: Pass, a: Attention, recipe: Recipe) -> list[Saved]:
    tokens, tp = p.batch.tokens, array(p.table.tp)
    if isinstance(a, LatentAttention):
        ranks = (a.q_rank or 0) + a.kv_rank
        expanded = a.heads * (2 * (a.nope_dim + a.rope_dim) + a.value_dim)
        own = p.batch.own  # latents stay divided over tp
        return [
            Saved("latents", WIDE * (ranks + a.rope_dim) * own),
            Saved("latent_norms", recipe.saved * ranks * tokens, ("mla_up_proj",)),
            Saved("query_key_value", WIDE * expanded / tp * tokens, ("mla_up_proj",)),
            *_core(tokens / tp, a.heads, a.value_dim, recipe),
        ]
    if isinstance(a, SoftmaxAttention):
        queries, keys = a.heads * a.head_dim, a.kv_heads * a.head_dim
        normed = (queries + keys) if a.qk_norm != "none" else 0
        gate = queries if a.output_gate else 0
        whole = queries + keys + a.kv_heads * a.v_dim + gate
        return [
            Saved("query_key_value", WIDE * whole / tp * tokens),
            Saved("query_key_before_norm", WIDE * normed / tp * tokens, ("layernorm",)),
            *_core(tokens / tp, a.heads, a.v_dim, recipe),
        ]
    if isinstance(a, CompressedAttention):
        wide = 2 * a.heads * a.head_dim / tp + a.q_rank + 2 * a.head_dim + a.output_groups * a.output_rank / tp
        return [Saved("query_key_value", WIDE * wide * tokens), *_core(tokens / tp, a.heads, a.head_dim, recipe)]
    if isinstance(a, LinearAttention):
        inner = a.value_heads * a.value_dim
        projected = a.conv_channels + inner + a.value_heads
        return [
            Saved("state_projections", WIDE * (projected + a.conv_channels) / tp * tokens),
            Saved("state_output", WIDE * 2 * inner / tp * tokens),
        ]
    return []


def _core(tokens: Array, heads: int, value_dim: int, recipe: Recipe) -> list[Saved]:
    """Attention's output, which the output projection keeps too (in its own format, where that is another), and the
    fp32 sum of each query's scores."""
    again = recipe.saved if recipe.compute != "bf16" else 0.0
    return [
        Saved("attention_output", (WIDE + again) * heads * value_dim * tokens),
        Saved("score_sums", 4.0 * heads * tokens, ("core_attn",)),
    ]


def _experts(p: Pass, ffn: MoeFfn, recipe: Recipe) -> list[Saved]:
    b, t, hidden = p.batch, p.table, p.case.model.hidden_size
    ups = 2 if ffn.gated else 1
    copies = expert_copies(p, ffn)
    width = copies * ffn.width / array(t.etp)
    shared = b.tokens * ffn.shared_width / array(t.tp)
    latent = recipe.saved * 2.0 * (ffn.latent or 0) * b.own
    gathered = recipe.saved * hidden * b.tokens * float(ffn.shared_width > 0) * (t.tp > 1)
    own = "shared_experts"
    return [
        Saved("router_scores", _SCORE * (ffn.experts + ffn.zero_experts) * b.own, ("moe",)),
        Saved("expert_input", recipe.saved * ffn.token_width(hidden) * copies, ("moe",)),
        Saved("expert_up", WIDE * ups * width, ("moe",)),
        Saved("expert_activation", recipe.saved * width, ("moe", "moe_act")),
        Saved("latent", latent, ("moe",)),
        Saved("shared_input", gathered, ("moe", own)),
        Saved("shared_up", WIDE * (2 if ffn.shared_gated else 1) * shared, ("moe", own)),
        Saved("shared_activation", recipe.saved * shared, ("moe", own)),
    ]


def expert_copies(p: Pass, ffn: MoeFfn) -> Array:
    """Copies of tokens that the experts of the fullest rank work on."""
    return p.batch.routed * ffn.working / array(p.table.ep) * p.loads[ffn].straggler


def working_bytes(p: Pass, layer: Layer) -> Array:
    """The most that lives beside what is kept, inside the backward pass of ``layer``: gradients of an expert's output,
    activation and input of it, or of attention's output, queries, keys and values."""
    b, t, hidden = p.batch, p.table, p.case.model.hidden_size
    a, ffn = layer.attention, layer.ffn
    residual = 2 * WIDE * hidden * b.own
    heads = np.zeros(1)
    if isinstance(a, LatentAttention):
        heads = WIDE * a.heads * 2 * (2 * (a.nope_dim + a.rope_dim) + 2 * a.value_dim) / array(t.tp) * b.tokens
    elif isinstance(a, SoftmaxAttention):
        heads = WIDE * 2 * (a.heads + a.kv_heads) * (a.head_dim + a.v_dim) / array(t.tp) * b.tokens
    if isinstance(ffn, MoeFfn):
        ups = 2 if ffn.gated else 1
        inner = WIDE * expert_copies(p, ffn) * (ffn.token_width(hidden) + (ups + 1) * ffn.width / array(t.etp))
    else:
        inner = WIDE * b.tokens * 4 * ffn.width / array(t.tp)
    return residual + np.maximum(heads, inner)
