"""What attention of each kind does: query-key pairs, FLOPs, bytes of cache. All per sequence and over all heads,
unless said otherwise; ranks take their share of the heads.

Softmax: 2 · pairs · heads · (d_qk + d_v). MLA prompts the same with d_qk = nope + rope; decode and sparse attention
work on the latent (absorbed form, DeepSeek-V2, arXiv 2405.04434 §2.1.2): d_qk = rank + rope, d_v = rank. Gated delta
rule (arXiv 2412.06464): 3 products with the d_k × d_v state a token.
"""

from __future__ import annotations

import numpy as np

from moewright.case.model import (
    Attention,
    CompressedAttention,
    LatentAttention,
    LinearAttention,
    NoAttention,
    SoftmaxAttention,
)
from moewright.case.precision import Precision, element_bytes
from moewright.case.tensors.layer_tensors import Tensor
from moewright.case.workload import Kind, Workload
from moewright.cost.arrays import Array, Bools, array, over_unique, where
from moewright.cost.batch import Batch


def attention_cap(a: Attention) -> int | None:
    """Most keys that one query attends to, or None."""
    if isinstance(a, SoftmaxAttention):
        return a.window or a.chunk or (a.indexer.top_k if a.indexer else None)
    if isinstance(a, LatentAttention) and a.indexer:
        return a.indexer.top_k
    return None


def _in_chunks(a: Attention) -> bool:
    return isinstance(a, SoftmaxAttention) and bool(a.chunk) and not a.window


def _capped_sum(position: Array, cap: float | None) -> Array:
    """Σ of min(x, ``cap``) over x from 0 to ``position`` (a continuous sum)."""
    if not cap:
        return position**2 / 2
    return where(position <= cap, position**2 / 2, cap * position - cap**2 / 2)


def _seen_up_to(position: Array, a: Attention) -> Array:
    """Σ over the queries of positions below ``position`` of the keys that each sees."""
    if isinstance(a, CompressedAttention):
        most = a.indexer.top_k if a.indexer else None
        entries = _capped_sum(position / a.ratio, most) * a.ratio if a.ratio else 0.0
        return _capped_sum(position, a.window) + entries
    cap = attention_cap(a)
    if cap and _in_chunks(a):
        return np.floor(position / cap) * cap**2 / 2 + np.mod(position, cap) ** 2 / 2
    return _capped_sum(position, cap)


def prompt_pairs(a: Attention, new: Array, past: Array, causal: bool = True) -> Array:
    """Query-key pairs of ``new`` tokens after ``past`` ones: (past + new)²/2 − past²/2 where causal, less where a
    window, a chunk or a sparse index caps what a query sees; new · (past + new) where not."""
    if not causal:
        return new * (past + new)
    return _seen_up_to(past + new, a) - _seen_up_to(past, a)


def decode_keys(a: Attention, context: Array, spread: bool = False) -> Array:
    """Keys that a decoding sequence's token sees of ``context``, itself included. In chunks (Llama 4) those since its
    chunk began, ((context − 1) mod chunk) + 1; where contexts are ``spread``, the mean over a chunk's positions."""
    if isinstance(a, CompressedAttention):
        entries = context / a.ratio if a.ratio else 0.0 * context
        entries = np.minimum(entries, a.indexer.top_k) if a.indexer else entries
        return np.minimum(context, a.window) + entries
    cap = attention_cap(a)
    if not cap:
        return context
    if _in_chunks(a):
        inside = np.mod(context - 1, cap) + 1
        return where(context <= cap, context, (cap + 1) / 2 if spread else inside)
    return np.minimum(context, cap)


def absorbed(a: LatentAttention, b: Batch) -> Bools:
    """Where prompts attend in the latent's own space instead of expanding keys and values: always under a sparse index,
    and where that is less work for tokens after cached ones, whose latents would all be expanded again. Engines
    choose by thresholds of their own (SGLang, vLLM: by the length of the prefix); the lesser work is taken."""
    if a.indexer:
        return np.ones(b.prompts.shape, dtype=np.bool_)
    pairs = prompt_pairs(a, b.new, b.past, b.causal)
    again = 2.0 * b.past * a.kv_rank * a.heads * (a.nope_dim + a.value_dim)
    return np.asarray((b.past > 0) & (pairs * a.absorbed_pair_flops < again + pairs * a.pair_flops))


def expanded_tokens(x: Tensor, a: Attention, b: Batch) -> Array:
    """Tokens that every rank multiplies ``x`` with. All but MLA's expansion of latents see the rank's own; that is
    given the whole prompt's by every rank of cp, and the cached tokens before it (but where the batch
    ``expands_own``)."""
    if x.name != "kv_b_proj" or not isinstance(a, LatentAttention) or b.expands_own:
        return b.tokens
    whole = b.prompts * (b.new + b.past) + b.decodes
    return where(absorbed(a, b), b.tokens, whole)


def expanded_by_all(x: Tensor, a: Attention) -> bool:
    """Whether every rank of cp multiplies ``x`` with the tokens of all: they gather MLA's latents, and each expands
    those of the whole prompt to keys and values (absorbed forms, of sparse attention, expand nothing)."""
    return x.name == "kv_b_proj" and isinstance(a, LatentAttention) and a.indexer is None


def prompt_flops(a: Attention, b: Batch) -> Array:
    """FLOPs of scores and values (or of the state) of all prompts of the chunk."""
    pairs = prompt_pairs(a, b.new, b.past, b.causal)
    of_pair: Array | float = a.pair_flops
    if isinstance(a, LatentAttention):
        of_pair = where(absorbed(a, b), a.absorbed_pair_flops, a.pair_flops)
    all_pairs = b.new * b.past + b.new**2 / 2 if b.causal else b.new * (b.past + b.new)
    return b.prompts * (pairs * of_pair + a.index_flops * all_pairs + a.state_flops * b.new)


def busiest_share(a: Attention, b: Batch, cp: Array) -> Array:
    """FLOPs of the busiest of ``cp`` ranks over the mean. Each has two of 2·cp equal blocks of new tokens, the i-th and
    the i-th from the end: even where a query sees all that is before it, not under a window, a chunk or an index, of
    which early tokens see less."""
    capped = attention_cap(a) is not None or isinstance(a, CompressedAttention)
    if not capped or not b.causal or not np.any(cp > 1):
        return np.ones(np.broadcast_shapes(cp.shape, b.new.shape))
    every = a.index_flops
    of_pair = a.absorbed_pair_flops if isinstance(a, LatentAttention) else a.pair_flops  # an index is why it is here

    def ratio(new: float, past: float, ranks: float) -> float:
        if ranks == 1 or new == 0:
            return 1.0
        edges = array(past + new * np.arange(2 * int(ranks) + 1) / (2 * ranks))
        flops = np.diff(_seen_up_to(edges, a)) * of_pair + np.diff(edges**2 / 2) * every
        of_rank = flops[: int(ranks)] + flops[: int(ranks) - 1 : -1]
        return float(of_rank.max() / of_rank.mean())

    return over_unique(ratio, b.new, b.past, cp)


def decode_flops(a: Attention, b: Batch) -> Array:
    """FLOPs of scores and values (or of the state) of all decoding sequences of the chunk."""
    of_pair = a.absorbed_pair_flops if isinstance(a, LatentAttention) else a.pair_flops
    keys = decode_keys(a, b.context, b.spread)
    return b.decodes * (keys * of_pair + a.index_flops * b.context + a.state_flops)


def score_flops(a: Attention, w: Workload) -> float:
    """FLOPs of one sequence's scores and values under the workload ``w``, all heads."""
    none, one = np.zeros(1), np.ones(1)
    size = none + w.sequence
    if w.kind is Kind.DECODE:
        return float(decode_flops(a, Batch(none, none, none, one, size, one, one, one, one))[0])
    return float(prompt_flops(a, Batch(one, size, none, none, none, size, size, size, size, w.causal))[0])


# --- bytes ---


def head_share(a: Attention, axis: str, tp: Array) -> Array:
    """Part of the heads (or KV heads, at least one) that each of ``tp`` ranks holds."""
    if axis == "heads" or not a.kv_heads:
        return 1 / tp
    count = a.kv_heads
    return np.maximum(1, np.ceil(count / tp)) / count


def cache_copies(a: Attention, tp: int) -> int | None:
    """How many of ``tp`` ranks keep the same keys and values, and could keep a part of them each; None where they
    cannot: a query then sees a window or what an index chooses, or there is a state and no keys."""
    if isinstance(a, NoAttention):
        return tp
    if isinstance(a, LatentAttention):
        return None if a.indexer else tp
    if isinstance(a, SoftmaxAttention) and not (a.window or a.chunk or a.indexer or a.sinks or a.shared_cache):
        return max(1, tp // a.kv_heads)
    return None


def index_bytes(a: Attention) -> float:
    """Bytes of a cached token's key in the layer's own sparse index; none where it has none."""
    if isinstance(a, SoftmaxAttention | LatentAttention) and a.indexer:
        return a.indexer.key_bytes
    if isinstance(a, CompressedAttention) and a.indexer and a.ratio:
        return a.indexer.key_bytes / a.ratio
    return 0.0


def cache_bytes(a: Attention, precision: Precision, tp: Array) -> tuple[Array, Array]:
    """(bytes per cached token, bytes per sequence whatever its length) on one of ``tp`` ranks.

    GQA: 2 · its KV heads · head_dim; MLA: rank + rope, not divided (DeepSeek-V2, arXiv 2405.04434 §2.1);
    a sparse index: one fp8 key and its fp32 scale; a linear state: fp32, and the convolution's tail.
    """
    b, zero = element_bytes(precision.kv_cache), np.zeros(np.shape(tp))
    if isinstance(a, SoftmaxAttention):
        width = 0.0 if a.shared_cache else (a.head_dim + a.v_dim) * b
        return head_share(a, "kv_heads", array(tp)) * a.kv_heads * width + index_bytes(a), zero
    if isinstance(a, LinearAttention):
        return zero, a.sequence_bytes(b) / array(tp)
    return zero + a.token_bytes(b), zero + a.sequence_bytes(b)


def cached_tokens(a: Attention, sequence: int) -> int:
    """Tokens of a sequence that ``a`` keeps: all, or its window's or chunk's."""
    return sequence if a.most_cached is None else min(sequence, a.most_cached)


def query_bytes(a: Attention) -> float:
    """Queries read and outputs written per token, 2-byte elements, all heads."""
    if isinstance(a, SoftmaxAttention):
        return 2.0 * a.heads * (a.head_dim + a.v_dim)
    if isinstance(a, LatentAttention):
        return 2.0 * a.heads * (2 * a.nope_dim + a.rope_dim + 2 * a.value_dim)
    if isinstance(a, CompressedAttention):
        return 4.0 * a.heads * a.head_dim
    if isinstance(a, LinearAttention):
        return 2.0 * (2 * a.key_heads * a.key_dim + 3 * a.value_heads * a.value_dim)
    return 0.0


def _key_bytes(a: Attention, precision: Precision, tp: Array) -> Array:
    """Bytes that a query reads of one key that it sees."""
    if isinstance(a, CompressedAttention):  # entries and the window's keys are alike
        return np.zeros(np.shape(tp)) + a.head_dim * element_bytes(precision.kv_cache)
    return cache_bytes(a, precision, tp)[0] - index_bytes(a)


def prompt_traffic(a: Attention, precision: Precision, tp: Array, cp: Array, b: Batch) -> Array:
    """Memory bytes of a rank's prompt attention: its queries and outputs, its keys and values written, and the keys
    that are seen of the cached tokens, their index and a state read once."""
    token, state = cache_bytes(a, precision, tp)
    fresh = b.prompts * b.new / cp
    windowed = isinstance(a, SoftmaxAttention) and not a.indexer
    reach = decode_keys(a, b.past, True) if windowed or isinstance(a, CompressedAttention) else b.past
    cached = reach * _key_bytes(a, precision, tp) + b.past * index_bytes(a)
    return fresh * (token + query_bytes(a) / tp) + b.prompts * (cached + where(b.past > 0, state, 0.0))


def decode_traffic(a: Attention, precision: Precision, tp: Array, b: Batch) -> Array:
    """Memory bytes of a rank's decode attention: the keys that are seen, every key of a sparse index of the layer's
    own, and a state read and written."""
    _, state = cache_bytes(a, precision, tp)
    moves = 2 * state if isinstance(a, LinearAttention) else 0.0
    keys = decode_keys(a, b.context, b.spread)
    return b.decodes * (keys * _key_bytes(a, precision, tp) + b.context * index_bytes(a) + moves)
