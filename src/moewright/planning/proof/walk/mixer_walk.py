"""What one sequence does to a mixer of each kind: keys that its queries see, counted query by query, products of each
pair, tensors read and written, and what is cached of it. Per sequence; heads of all ranks unless said otherwise."""

from __future__ import annotations

from typing import Final

import numpy as np

from moewright.case.attention_kinds import (
    Attention,
    CompressedAttention,
    Indexer,
    LatentAttention,
    LinearAttention,
    SoftmaxAttention,
)
from moewright.planning.proof.walk.scene import Floats

#: queries that are counted at most; of longer prompts every n-th stands for n of them
_QUERIES: Final = 1 << 15
#: products of a token with the d_k × d_v state: reading what is known of its key, writing, reading for its query
_STATE: Final = {
    "gated_delta": ("recall", "write", "read"),
    "kda": ("recall", "write", "read"),
    "lightning": ("write", "read"),
    "mamba1": ("write", "read"),
    "mamba2": ("write", "read"),
    "convolution": (),
}
#: bytes of a number between kernels
WIDE: Final = 2.0


def queries(sequence: int, cp: int, rank: int) -> tuple[Floats, float]:
    """Positions of the queries of rank ``rank`` of ``cp`` (the first and the last of its 2·cp blocks, folded), in the
    middle of each so that the diagonal counts half, and how many queries each stands for."""
    block = sequence / (2 * cp)
    step = max(1.0, np.ceil(sequence / cp / _QUERIES))
    offsets = np.arange(step / 2, block + 1e-9, step) if cp > 1 else np.arange(step / 2, sequence + 1e-9, step)
    if cp == 1:
        return offsets, sequence / len(offsets)
    both = np.concatenate([offsets + rank * block, offsets + (2 * cp - 1 - rank) * block])
    return both, sequence / cp / len(both)


def _least(values: Floats, most: float) -> Floats:
    return np.asarray(np.minimum(values, most), dtype=np.float64)


def keys_seen(a: Attention, position: Floats) -> Floats:
    """Keys (or entries of several) that a query sees with ``position`` tokens up to itself."""
    if isinstance(a, CompressedAttention):
        entries = position / a.ratio if a.ratio else np.zeros_like(position)
        if a.indexer:
            entries = _least(entries, a.indexer.top_k)
        return _least(position, a.window) + entries
    if isinstance(a, SoftmaxAttention):
        if a.window:
            return _least(position, a.window)
        if a.chunk:
            return np.asarray(position - np.floor(position / a.chunk) * a.chunk)
    if isinstance(a, SoftmaxAttention | LatentAttention):
        return _least(position, a.indexer.top_k) if a.indexer else position
    return np.zeros_like(position)


def decode_seen(a: Attention, context: float) -> float:
    """Keys that the newest of ``context`` tokens sees, itself among them."""
    if isinstance(a, SoftmaxAttention) and a.chunk and not a.window:
        return (context - 1) % a.chunk + 1
    return float(keys_seen(a, np.array([context]))[0])


def _indexed(a: Attention) -> tuple[Indexer, float] | None:
    """The layer's own index, and the cached tokens to one of its keys."""
    if isinstance(a, SoftmaxAttention | LatentAttention | CompressedAttention) and a.indexer and not a.indexer.shared:
        ratio = float(a.ratio) if isinstance(a, CompressedAttention) else 1.0
        return (a.indexer, ratio) if ratio else None
    return None


def pair_flops(a: Attention, absorbed: bool) -> float:
    """A query with a key, a score with a value: two products, a multiplication and an addition a number."""
    if isinstance(a, SoftmaxAttention):
        return a.heads * (2.0 * a.head_dim + 2.0 * a.v_dim)
    if isinstance(a, LatentAttention):
        query = a.kv_rank + a.rope_dim if absorbed else a.nope_dim + a.rope_dim
        return a.heads * (2.0 * query + 2.0 * (a.kv_rank if absorbed else a.value_dim))
    return a.heads * (2.0 * a.head_dim + 2.0 * a.head_dim) if isinstance(a, CompressedAttention) else 0.0


def state_flops(a: Attention) -> float:
    """Of one token."""
    if not isinstance(a, LinearAttention):
        return 0.0
    return sum(2.0 * a.value_heads * a.key_dim * a.value_dim for _ in _STATE[a.rule])


def index_flops(a: Attention, cached: Floats) -> Floats:
    """Scores of a query with every key of the index."""
    found = _indexed(a)
    return found[0].heads * found[0].dim * 2.0 * cached / found[1] if found else np.zeros_like(cached)


def prompt_work(a: Attention, sequence: int, cp: int, causal: bool) -> float:
    """FLOPs of a prompt's scores and values (or state), of the busiest rank of ``cp``, heads of all ranks."""
    absorbed = isinstance(a, LatentAttention) and a.indexer is not None
    most = 0.0
    for rank in range(cp):
        position, weight = queries(sequence, cp, rank)
        seen = keys_seen(a, position) if causal else np.full_like(position, sequence)
        cached = position if causal else np.full_like(position, sequence)
        flops = seen * pair_flops(a, absorbed) + index_flops(a, cached) + state_flops(a)
        most = max(most, float(flops.sum() * weight))
    return most


def decode_work(a: Attention, context: float) -> float:
    """FLOPs of one new token after ``context`` ones, itself among them."""
    seen = decode_seen(a, context) * pair_flops(a, isinstance(a, LatentAttention))
    return seen + float(index_flops(a, np.array([context]))[0]) + state_flops(a)


# --- what is cached, and read ---


def kv_heads_of(a: Attention, tp: int) -> int:
    """Different KV heads that the query heads of one of ``tp`` ranks read, of the rank with most."""
    if not a.kv_heads:
        return 0
    each, served = a.heads // tp, a.heads // a.kv_heads
    return max(len({h // served for h in range(t * each, (t + 1) * each)}) for t in range(min(tp, a.heads)))


def key_bytes(a: Attention, element: float, tp: int) -> float:
    """Bytes that a query reads of one key and value on a rank."""
    if isinstance(a, SoftmaxAttention):
        return 0.0 if a.shared_cache else kv_heads_of(a, tp) * (a.head_dim + a.v_dim) * element
    if isinstance(a, LatentAttention):
        return (a.kv_rank + a.rope_dim) * element
    return a.head_dim * element if isinstance(a, CompressedAttention) else 0.0


def index_key_bytes(a: Attention) -> float:
    """Bytes of the index a cached token: 8-bit numbers and one 32-bit scale a key."""
    found = _indexed(a)
    return (found[0].dim + 4.0) / found[1] if found else 0.0


def token_bytes(a: Attention, element: float, tp: int) -> float:
    """Bytes that one more token leaves on a rank."""
    if isinstance(a, CompressedAttention):
        return a.head_dim * element / a.ratio + index_key_bytes(a) if a.ratio else 0.0
    return key_bytes(a, element, tp) + index_key_bytes(a)


def state_bytes(a: Attention, element: float, tp: int) -> float:
    """Bytes of a sequence on a rank, however long it is: an fp32 state and the convolution's last inputs; of
    compressed attention its window, and numbers with their gates of entries that are not full."""
    if isinstance(a, LinearAttention):
        channels = a.value_heads * a.value_dim
        if a.rule not in ("mamba1", "convolution"):
            channels += 2 * a.key_heads * a.key_dim
        matrix = 4.0 * a.value_heads * a.key_dim * a.value_dim if _STATE[a.rule] else 0.0
        return (matrix + WIDE * channels * (a.conv_kernel - 1)) / tp
    if isinstance(a, CompressedAttention):
        width = a.head_dim + (a.indexer.dim if a.indexer else 0)
        kept = 3 if a.indexer else 1  # an entry, and with overlap both series of the one before
        return a.window * a.head_dim * element + kept * a.ratio * width * 2 * 4.0
    return 0.0


def tokens_kept(a: Attention, sequence: int) -> int:
    """Tokens of a sequence that stay in the cache."""
    if isinstance(a, SoftmaxAttention) and (a.window or a.chunk):
        return min(sequence, a.window or a.chunk or 0)
    return sequence


def kernel_bytes(a: Attention) -> float:
    """Bytes of a token, all heads, that attention's kernel reads (queries, expanded keys and values) and writes."""
    if isinstance(a, SoftmaxAttention):
        return WIDE * (a.heads * a.head_dim + a.heads * a.v_dim)
    if isinstance(a, LatentAttention):
        queries_, keys = a.nope_dim + a.rope_dim, a.nope_dim
        return WIDE * a.heads * (queries_ + keys + a.value_dim + a.value_dim)
    if isinstance(a, CompressedAttention):
        return WIDE * a.heads * 2 * a.head_dim
    if isinstance(a, LinearAttention):  # queries, keys, values, their gate, outputs
        return WIDE * (2 * a.key_heads * a.key_dim + 3 * a.value_heads * a.value_dim)
    return 0.0


def alive_numbers(a: Attention, tp: int) -> float:
    """Numbers of a token on a rank when attention ends: queries, keys, values, outputs; of sparse latent attention
    queries and outputs as wide as the latent, too."""
    if isinstance(a, SoftmaxAttention):
        queries_ = a.heads * a.head_dim * (2 if a.output_gate else 1)
        held = kv_heads_of(a, tp) * (a.head_dim + a.v_dim)
        return (queries_ + a.heads * a.v_dim) / tp + held
    if isinstance(a, LinearAttention):
        return (2 * a.key_heads * a.key_dim + 3 * a.value_heads * a.value_dim) / tp
    if isinstance(a, CompressedAttention):
        return (a.heads * a.head_dim + a.heads * a.head_dim) / tp + a.head_dim  # all share the one key
    if not isinstance(a, LatentAttention):
        return 0.0
    head = a.nope_dim + a.rope_dim + a.value_dim
    if a.indexer:
        head += a.kv_rank + a.rope_dim + a.kv_rank
    else:
        head += a.nope_dim + a.rope_dim + a.value_dim
    return a.heads * head / tp
