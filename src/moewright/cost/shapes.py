"""What one rank works on: its tokens, its share of each tensor, its context."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from moewright.case.case import Case
from moewright.case.model import Attention, LatentAttention, LinearAttention, SoftmaxAttention
from moewright.case.precision import Precision, element_bytes
from moewright.case.tensors import Tensor
from moewright.case.workload import Kind, Workload
from moewright.cost.network import Group, group
from moewright.cost.table import Numbers, Table


@dataclass(frozen=True, slots=True)
class Shapes:
    """Per chunk (micro-batch, or half of one under two_batch) and attention rank.

    ``tokens``: tokens an attention group (tp ranks) works on. ``own``: those a rank holds between
    attention and experts (tokens/tp under all_to_all, all of them under replicated). ``routed``: tokens
    whose experts are in one stage. The groups are those the collectives run in.
    """

    sequences: Numbers
    tokens: Numbers
    own: Numbers
    routed: Numbers
    tp: Group
    cp: Group
    ep: Group
    etp: Group
    stage: Group
    pp: Group


def shapes(case: Case, t: Table) -> Shapes:
    """The shapes of every candidate in ``t``."""
    w, cluster = case.workload, case.cluster
    sequences = t.sequences / t.chunks
    per_sequence = 1 if w.kind is Kind.DECODE else w.sequence / t.cp
    tokens = sequences * per_sequence
    own = np.where(t.replicated, tokens, np.ceil(tokens / t.tp))
    routed = np.where(t.replicated, tokens, tokens * t.dp * t.cp)
    return Shapes(
        sequences,
        tokens,
        own,
        routed,
        tp=group("tp", t.tp, np.ones_like(t.tp), cluster),
        cp=group("cp", t.cp, t.tp, cluster),
        ep=group("ep", t.ep, t.etp, cluster),
        etp=group("etp", t.etp, np.ones_like(t.etp), cluster),
        stage=group("stage", t.stage, np.ones_like(t.stage), cluster),
        pp=group("pp", t.pp, t.stage, cluster),
    )


def head_share(attention: Attention, axis: str, tp: Numbers) -> Numbers:
    """Part of the heads (or KV heads, at least one) that each of ``tp`` ranks holds."""
    if axis == "heads":
        return 1 / tp
    count = attention.kv_heads
    return np.maximum(1, np.ceil(count / tp)) / count


def tensor_share(tensor: Tensor, attention: Attention, t: Table) -> Numbers:
    """Part of ``tensor`` that one rank holds."""
    if tensor.shard in ("heads", "kv_heads"):
        return head_share(attention, tensor.shard, t.tp)
    if tensor.shard == "width":
        return 1 / t.tp
    if tensor.shard == "vocabulary":  # rows that do not divide evenly: the fullest rank's
        return np.ceil(tensor.rows / t.tp) / tensor.rows
    if tensor.shard == "experts":
        return (1 + t.redundant / tensor.count) / t.ep / t.etp
    return np.ones_like(t.tp, dtype=float)


def weight_bytes(tensors: Iterable[Tensor], attention: Attention, precision: Precision, t: Table) -> Numbers:
    """Bytes of one rank's share of ``tensors``."""
    return sum(
        (precision.tensor_bytes(x) * tensor_share(x, attention, t) for x in tensors),
        start=np.zeros_like(t.tp, dtype=float),
    )


def gemm_flops(tensors: Iterable[Tensor], attention: Attention, t: Table) -> Numbers:
    """FLOPs that one token costs in one rank's share of the matrices of ``tensors``: 2 · rows · columns."""
    return sum(
        (2.0 * x.parameters * tensor_share(x, attention, t) for x in tensors if x.gemm),
        start=np.zeros_like(t.tp, dtype=float),
    )


def visible_pairs(attention: Attention, w: Workload) -> float:
    """Query-key pairs of one sequence that ``attention`` computes: S² (half of it when causal) for a
    prompt, the context for a decode step; a window, chunk or sparse index caps what a query sees."""
    cap, s = attention_cap(attention), w.sequence
    if w.kind is Kind.DECODE:
        return float(min(s, cap) if cap else s)
    chunk = attention.chunk if isinstance(attention, SoftmaxAttention) else None
    if not w.causal:
        return float(s * s)
    if chunk:
        return (s // chunk) * chunk * chunk / 2 + (s % chunk) ** 2 / 2
    return s * s / 2 if not cap or s <= cap else cap * s - cap * cap / 2


def attention_cap(attention: Attention) -> int | None:
    """Most keys that one query attends to, or None."""
    if isinstance(attention, SoftmaxAttention):
        return attention.window or attention.chunk or (attention.indexer.top_k if attention.indexer else None)
    if isinstance(attention, LatentAttention) and attention.indexer:
        return attention.indexer.top_k
    return None


def cache_bytes(attention: Attention, precision: Precision, tp: Numbers) -> tuple[Numbers, Numbers]:
    """(bytes per cached token, bytes per sequence whatever its length) on one of ``tp`` ranks.

    GQA: 2 · its KV heads · head_dim; MLA: rank + rope, not divided (DeepSeek-V2, arXiv 2405.04434 §2.1);
    a sparse index: one fp8 key and its fp32 scale; gated delta: an fp32 state and the convolution's tail.
    """
    b, zero = element_bytes(precision.kv_cache), np.zeros_like(tp, dtype=float)
    if isinstance(attention, SoftmaxAttention):
        heads = head_share(attention, "kv_heads", tp) * attention.kv_heads
        index = attention.indexer.key_bytes if attention.indexer else 0.0
        return heads * (0.0 if attention.shared_cache else attention.head_dim + attention.v_dim) * b + index, zero
    if isinstance(attention, LinearAttention):
        return zero, attention.sequence_bytes(b) / tp
    return zero + attention.token_bytes(b), zero + attention.sequence_bytes(b)


def cached_tokens(attention: Attention, sequence: int) -> int:
    """Tokens of a sequence that ``attention`` keeps: all, or its window's or chunk's."""
    window = (attention.window or attention.chunk) if isinstance(attention, SoftmaxAttention) else None
    return min(sequence, window) if window else sequence
