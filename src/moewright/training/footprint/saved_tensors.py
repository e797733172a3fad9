"""What a layer keeps of a micro-batch between its forward and its backward pass, tensor by tensor.

After Korthikanti et al. (arXiv 2205.05198 §4) for attention that never stores its scores (FlashAttention), and for the
experts as Megatron-Core and Transformer Engine keep them: the inputs of products in the recipe's format, the inputs of
activation functions, the residual stream. ``modules``: the recomputations (``MODULES``) that do without a tensor. What
is frozen needs no input for the gradient of its weights (adapters do, in 16 bits), and below the lowest trained part
nothing is kept. ``moewright run`` counts the same tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from moewright.case.train.train_strategy import ContextExchange
from moewright.case.train.tuning import WHOLE, LayerTuning
from moewright.cost.arrays import Array, Bools, Ints, array, where
from moewright.cost.work import Pass
from moewright.training.layouts import EXCHANGES
from moewright.training.work.adapters import adapter_inputs

#: bytes of an expert's score that the router keeps: fp32 probabilities, the weights of those chosen, and which they are
_SCORE = 9.0
#: bytes of the weight of a copy, by which its expert's output is multiplied
_WEIGHT = 4.0
#: parts that read a layer's normed input of the feed-forward
_READERS = ("router", "shared_experts")


@dataclass(frozen=True, slots=True)
class Saved:
    """``bytes`` [rows] of a micro-batch on a rank. It is kept where any of ``parts`` is trained, or gradients pass what
    is ``depth`` deep in the layer (0: none do); else ``only`` for what computes again from it: sets of recomputations
    that keep it together."""

    name: str
    bytes: Array
    modules: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    depth: float = 0.0
    only: tuple[tuple[str, ...], ...] | None = None


def saved_tensors(
    p: Pass, layer: Layer, recipe: Recipe, tuning: LayerTuning = WHOLE, cp_comm_type: Ints | None = None
) -> list[Saved]:
    """Tensors that ``layer`` keeps; its own input first, which a full recomputation keeps too."""
    if not tuning.passes:
        return []
    swaps = cp_comm_type is not None and (cp_comm_type == EXCHANGES.index(ContextExchange.ALL_TO_ALL))
    k = _Kept(p, recipe, tuning, np.asarray(swaps & (p.table.cp > 1)))
    saved = [*_attention_side(k, layer), *_feed_forward_side(k, layer)]
    for name, part, elements in adapter_inputs(p, layer, tuning):
        saved.append(Saved(f"{name}_inner", recipe.wide * elements, _module_of(part, layer), (part,)))
    first, *others = (
        x if _wanted(x, tuning) else replace(x, only=_needed_again(x, saved, layer, tuning)) for x in saved
    )
    if first.only is not None:
        first = replace(first, only=(("full",), *first.only))
    return [first, *(replace(x, modules=(*x.modules, "full")) for x in others if x.only is None or x.only)]


def kept_bytes(saved: list[Saved], modules: tuple[str, ...]) -> Array:
    """Bytes that are kept where ``modules`` are computed again."""
    chosen = set(modules)
    left = (x for x in saved if x.only is None or any(chosen >= set(group) for group in x.only))
    return sum((x.bytes for x in left if not set(x.modules) & chosen), start=np.zeros(1))


def _wanted(x: Saved, tuning: LayerTuning) -> bool:
    return any(tuning.has(part) for part in x.parts) or (x.depth > 0 and tuning.reaches(x.depth))


def _needed_again(x: Saved, saved: list[Saved], layer: Layer, tuning: LayerTuning) -> tuple[tuple[str, ...], ...]:
    """Which recomputations need ``x`` as their input, though no gradient does: a norm's, of its output where that is
    wanted; a feed-forward's, of its normed input."""
    moe = isinstance(layer.ffn, MoeFfn)
    parts = {"moe": ("router", "experts", "shared_experts"), "shared_experts": ("shared_experts",)}
    inside = parts if moe else {"mlp": ("dense",)}
    active = tuple(m for m, own in inside.items() if tuning.reaches(5.0) or any(tuning.has(part) for part in own))
    if x.name == "ffn_norm":
        return tuple((m,) for m in active)
    if x.name in ("attention_input", "ffn_input"):
        normed = next(y for y in saved if y.name == {"attention_input": "attention_norm"}.get(x.name, "ffn_norm"))
        if _wanted(normed, tuning):
            return (("layernorm",),)
        return tuple(("layernorm", m) for m in active) if x.name == "ffn_input" else ()
    return ()


def _module_of(part: str, layer: Layer) -> tuple[str, ...]:
    moe = isinstance(layer.ffn, MoeFfn)
    return {"dense": ("mlp",), "experts": ("moe",), "shared_experts": ("moe", "shared_experts")}.get(part, ()) * (
        moe or part == "dense"
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the tensors of one layer are made of."""

    p: Pass
    recipe: Recipe
    tuning: LayerTuning
    swaps: Bools  # heads are exchanged for tokens before attention

    def input(self, name: str, elements: Array, part: str, modules: tuple[str, ...] = ()) -> Saved:
        """The input of products of ``part``: in the recipe's format, or in 16 bits for adapters alone."""
        adapted = part in self.tuning.adapted and part not in self.tuning.parts
        return Saved(name, (self.recipe.wide if adapted else self.recipe.saved) * elements, modules, (part,))

    def passing(
        self, name: str, elements: Array, depth: float, modules: tuple[str, ...] = (), parts: tuple[str, ...] = ()
    ) -> Saved:
        """What gradients that pass need, and those of ``parts``, in 16 bits."""
        return Saved(name, self.recipe.wide * elements, modules, parts, depth)


def _attention_side(k: _Kept, layer: Layer) -> list[Saved]:
    own, hidden, a = k.p.batch.own, k.p.case.model.hidden_size, layer.attention
    if isinstance(a, NoAttention):
        return []
    return [
        k.passing("attention_input", hidden * own, 0.5),  # the norm's
        k.input("attention_norm", hidden * own, "attention", ("layernorm",)),
        *_attention(k, a),
    ]


def _feed_forward_side(k: _Kept, layer: Layer) -> list[Saved]:
    b, hidden, ffn = k.p.batch, k.p.case.model.hidden_size, layer.ffn
    entering = k.passing("ffn_input", hidden * b.own, 4.0, (), ("norms",))
    if isinstance(ffn, MoeFfn):
        normed = Saved("ffn_norm", k.recipe.wide * hidden * b.own, ("layernorm",), _READERS)
        return [entering, normed, *_experts(k, ffn)]
    if not ffn.width:
        return []
    width = b.tokens * ffn.width / array(k.p.table.tp)
    return [
        entering,
        k.input("ffn_norm", hidden * b.own, "dense", ("layernorm",)),
        k.passing("dense_up", (2 if ffn.gated else 1) * width, 5.0, ("mlp",), ("dense",)),
        k.input("dense_activation", width, "dense", ("mlp",)),
    ]


def _attention(k: _Kept, a: Attention) -> list[Saved]:
    tokens, tp = k.p.batch.tokens, array(k.p.table.tp)
    if isinstance(a, LatentAttention):
        ranks = (a.q_rank or 0) + a.kv_rank
        expanded = a.heads * (2 * (a.nope_dim + a.rope_dim) + a.value_dim)
        latents = (ranks + a.rope_dim) * k.p.batch.own  # these stay divided over tp
        return [
            k.passing("latents", latents, 1.5),
            k.input("latent_norms", ranks * tokens, "attention", ("mla_up_proj",)),
            k.passing("query_key_value", expanded / tp * tokens, 1.5, ("mla_up_proj",)),
            *_core(k, tokens / tp, a.heads, a.value_dim),
        ]
    if isinstance(a, SoftmaxAttention):
        queries, keys = a.heads * a.head_dim, a.kv_heads * a.head_dim
        normed = (queries + keys) if a.qk_norm != "none" else 0
        gate = queries if a.output_gate else 0
        whole = queries + keys + a.kv_heads * a.v_dim + gate
        return [
            k.passing("query_key_value", whole / tp * tokens, 1.5),
            k.passing("query_key_before_norm", normed / tp * tokens, 1.5, ("layernorm",)),
            *_core(k, tokens / tp, a.heads, a.v_dim),
        ]
    if isinstance(a, CompressedAttention):
        wide = 2 * a.heads * a.head_dim / tp + a.q_rank + 2 * a.head_dim + a.output_groups * a.output_rank / tp
        return [k.passing("query_key_value", wide * tokens, 1.5), *_core(k, tokens / tp, a.heads, a.head_dim)]
    if isinstance(a, LinearAttention):
        inner = a.value_heads * a.value_dim
        projected = a.conv_channels + inner + a.value_heads
        return [
            k.passing("state_projections", (projected + a.conv_channels) / tp * tokens, 1.5),
            k.passing("state_output", 2 * inner / tp * tokens, 1.5),
        ]
    return []


def _core(k: _Kept, tokens: Array, heads: int, value_dim: int) -> list[Saved]:
    """Attention's output, which the output projection keeps too (in its own format, where that is another), and the
    fp32 sum of each query's scores."""
    output = heads * value_dim * tokens
    swapped = where(k.swaps, output, 0.0)
    found = [
        k.passing("attention_output", output, 1.5),
        Saved("score_sums", 4.0 * heads * tokens, ("core_attn",), depth=1.5),
    ]
    if np.any(swapped):  # as attention computed it, and as it came back
        found.append(k.passing("exchanged_output", swapped, 1.5, ("core_attn",)))
    if k.recipe.saved != k.recipe.wide and "attention" in k.tuning.parts:
        found.append(k.input("attention_output_cast", output, "attention"))
    return found


def _experts(k: _Kept, ffn: MoeFfn) -> list[Saved]:
    b, t, hidden = k.p.batch, k.p.table, k.p.case.model.hidden_size
    copies = expert_copies(k.p, ffn)
    width = copies * ffn.width / array(t.etp)
    shared = b.tokens * ffn.shared_width / array(t.tp)
    own, routed = ("moe", "shared_experts"), ("router", "experts")
    return [
        Saved("router_scores", _SCORE * (ffn.experts + ffn.zero_experts) * b.own, ("moe",), ("router",), 5.0),
        k.input("expert_input", ffn.token_width(hidden) * copies, "experts", ("moe",)),
        k.passing("expert_up", (2 if ffn.gated else 1) * width, 5.0, ("moe",), routed),
        Saved("copy_weights", _WEIGHT * copies, ("moe",), routed, 5.0),
        k.input("expert_activation", width, "experts", ("moe", "moe_act")),
        k.input("latent", 2.0 * (ffn.latent or 0) * b.own, "shared_experts", ("moe",)),
        k.passing("shared_up", (2 if ffn.shared_gated else 1) * shared, 5.0, own, own[1:]),
        k.input("shared_activation", shared, "shared_experts", own),
    ]


def expert_copies(p: Pass, ffn: MoeFfn) -> Array:
    """Copies of tokens that the experts of the fullest rank work on."""
    return p.batch.routed * ffn.working / array(p.table.ep) * p.loads[ffn].straggler


def working_bytes(p: Pass, layer: Layer, recipe: Recipe) -> Array:
    """The most that lives beside what is kept, inside the backward pass of ``layer``: gradients of an expert's output,
    activation and input of it, or of attention's output, queries, keys and values."""
    b, t, hidden, wide = p.batch, p.table, p.case.model.hidden_size, recipe.wide
    a, ffn = layer.attention, layer.ffn
    residual = 2 * wide * hidden * b.own
    heads = np.zeros(1)
    if isinstance(a, LatentAttention):
        heads = wide * a.heads * 2 * (2 * (a.nope_dim + a.rope_dim) + 2 * a.value_dim) / array(t.tp) * b.tokens
    elif isinstance(a, SoftmaxAttention):
        heads = wide * 2 * (a.heads + a.kv_heads) * (a.head_dim + a.v_dim) / array(t.tp) * b.tokens
    if isinstance(ffn, MoeFfn):
        ups = 2 if ffn.gated else 1
        inner = wide * expert_copies(p, ffn) * (ffn.token_width(hidden) + (ups + 1) * ffn.width / array(t.etp))
    else:
        inner = wide * b.tokens * 4 * ffn.width / array(t.tp)
    return residual + np.maximum(heads, inner)
