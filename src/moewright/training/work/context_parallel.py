"""What the ranks of context parallelism send each other in a layer, by the kind of their exchange.

Queries, keys and values are those of attention as it is computed (MLA's expanded; latents and cached entries alone
where an index or a compression attends to these). Over n ranks of t tokens each: gathered, every rank has the others'
keys and values, which backward are gathered again and whose gradients are reduce-scattered (Megatron-Core,
docs/source/api-guide/context_parallel.rst); around a ring, n − 1 blocks pass forward, and backward n − 1 of keys and n
of their gradients, which come home; exchanged, each rank gives the heads of the others away and gets the tokens of its
own, and the outputs go back.
"""

from __future__ import annotations

import numpy as np

from moewright.case.model import Attention, LatentAttention, LinearAttention, NoAttention, SoftmaxAttention
from moewright.case.precision import Precision, element_bytes
from moewright.case.train.train_strategy import ContextExchange
from moewright.cost.arrays import Array, Bools, Ints, array, where
from moewright.cost.attention import cache_bytes
from moewright.cost.layer import collective_work
from moewright.cost.work import Collective, Pass, Stream, Work
from moewright.training.layouts import EXCHANGES

#: bytes an element that putting a ring's partial outputs together reads and writes a step: the part, and the sum twice
_CORRECTION = 6.0


def attends_plainly(a: Attention) -> bool:
    """Whether ``a`` multiplies queries with the keys of heads, not with what an index or a compression leaves."""
    return isinstance(a, SoftmaxAttention | LatentAttention) and not a.indexer


def exchange_reason(a: Attention, kind: ContextExchange, cp: int, tp: int) -> str:
    """Why ``a`` cannot exchange over cp in this way; empty where it can. Transformer Engine's rules: a ring has no
    windows, and heads (of keys too) must divide over all ranks that exchange them."""
    if isinstance(a, LinearAttention):
        return "a layer has a running state"
    if kind is ContextExchange.ALL_GATHER:
        return ""
    if not attends_plainly(a):
        return f"{kind} needs keys and values by head, and a layer has an index or compressed keys"
    if kind is ContextExchange.RING:
        windowed = isinstance(a, SoftmaxAttention) and bool(a.window or a.chunk)
        return "ring needs attention to all that came before, and a layer has a window" if windowed else ""
    heads = a.heads if isinstance(a, LatentAttention) else a.kv_heads
    if heads % (cp * tp) or a.heads % (cp * tp):
        return f"all_to_all needs a multiple of cp × tp, {cp * tp}, heads of queries and keys; a layer has {heads}"
    return ""


def key_bytes(a: Attention, precision: Precision, tp: Array) -> Array:
    """Bytes of a token's keys and values that travel, on one of ``tp`` ranks."""
    if isinstance(a, LatentAttention) and not a.indexer:
        width = a.heads * (a.nope_dim + a.rope_dim + a.value_dim)
        return width * element_bytes(precision.kv_cache) / array(tp)
    return cache_bytes(a, precision, tp)[0]


def _head_elements(a: Attention) -> tuple[int, int]:
    """(of queries, keys and values; of outputs) of a token, all heads."""
    if isinstance(a, LatentAttention):
        return a.heads * (2 * (a.nope_dim + a.rope_dim) + a.value_dim), a.heads * a.value_dim
    if isinstance(a, SoftmaxAttention):
        return a.heads * a.head_dim + a.kv_heads * (a.head_dim + a.v_dim), a.heads * a.v_dim
    return 0, 0


def context_work(p: Pass, a: Attention, chosen: Ints) -> tuple[list[Work], list[Work]]:
    """(work before attention's core, after it), forward; ``chosen``: the kind of each cell, as its position."""
    if isinstance(a, LinearAttention | NoAttention) or not np.any(p.table.cp > 1):
        return [], []
    b, t, g, precision = p.batch, p.table, p.groups.cp, p.case.model.precision
    keys = b.tokens * key_bytes(a, precision, array(t.tp))
    before, after = [], []
    gathers, rings, swaps = (_cells(chosen, kind) & (t.cp > 1) for kind in EXCHANGES)
    if gathers.any():
        before.append(collective_work("context_gather", "all_gather", g, keys * t.cp, gathers))
    if rings.any():
        before.append(_ring("context_ring", p, keys, array(t.cp) - 1, rings))
        size = where(rings, _CORRECTION * b.tokens * _head_elements(a)[1] / t.tp * (t.cp - 1), 0.0)
        none = np.zeros(size.shape)
        after.append(Work("ring_corrections", "elementwise", Stream(where(rings, t.cp - 1.0, 0.0)), none, size, rings))
    if swaps.any() and attends_plainly(a):
        entering, leaving = (b.tokens * n / t.tp * element_bytes(precision.kv_cache) for n in _head_elements(a))
        before.append(_swap("context_exchange", p, entering, swaps))
        after.append(_swap("context_return", p, leaving, swaps))
    return before, after


def _cells(chosen: Ints, kind: ContextExchange) -> Bools:
    return np.asarray(chosen == EXCHANGES.index(kind))


def _ring(name: str, p: Pass, block: Array, steps: Array, happens: Bools) -> Work:
    buffer = where(happens, block, 0.0)
    shape = Collective("ring", p.groups.cp, buffer, where(happens, block * steps, 0.0))
    none = np.zeros(buffer.shape)
    return Work(name, "communication", shape, none, none, happens)


def ring_gradient(w: Work, c: Collective) -> Work:
    """The way back of a ring: keys once more, and their gradients, which go all the way round."""
    sent = (2.0 * c.group.size - 1.0) * c.buffer
    shape = Collective("ring", c.group, c.buffer, np.asarray(where(w.happens, sent, 0.0)))
    return Work(f"{w.name}_gradient", w.group, shape, w.flops, w.traffic, w.happens)


def _swap(name: str, p: Pass, size: Array, happens: Bools) -> Work:
    n = p.table.cp
    sent = where(happens, size * (n - 1) / n, 0.0)
    none = np.zeros(sent.shape)
    shape = Collective("all_to_all", p.groups.cp, none, sent, sent, none)
    return Work(name, "communication", shape, none, none, happens)


def hidden_in_ring(ring: Array, core: Array, ranks: Array, back: bool) -> Array:
    """Seconds of a ``ring``'s transfers behind the ``core`` of attention, of which each of ``ranks`` steps is an equal
    part: the next block comes while one is computed. Backward a block and its gradient travel at once, and the last
    gradient comes home alone."""
    n = np.maximum(ranks, 1.0)
    hops = 2 * n - 1 if back else np.maximum(n - 1, 1.0)
    step = ring / hops * (2.0 if back else 1.0)
    return np.asarray((n - 1) * np.minimum(step, core / n))


def context_buffers(p: Pass, a: Attention, chosen: Ints) -> Array:
    """Bytes beside a rank's own keys and values while attention is computed: those of all ranks and their gradients,
    or of a ring the block at work, the one that comes, and the gradients of both."""
    if isinstance(a, LinearAttention | NoAttention) or not np.any(p.table.cp > 1):
        return np.zeros(len(p.table))
    keys = p.batch.tokens * key_bytes(a, p.case.model.precision, array(p.table.tp))
    gathered = where(_cells(chosen, ContextExchange.ALL_GATHER), 2.0 * keys * p.table.cp, 0.0)
    ring = where(_cells(chosen, ContextExchange.RING), 4.0 * keys, 0.0)
    return where(p.table.cp > 1, gathered + ring, 0.0)
