"""Seconds out of measured tables of kernels and collectives, operation by operation; what they do not have is left to
the roofline.

A table's figure is never below what the device's full peaks allow. Tables of attention hold whole prompts: a chunk
after cached tokens takes the prompt's measured efficiency at its length. Tables of experts hold one skew of routing:
another takes the table's seconds times the ratio of the two by the roofline, in which the fullest rank's copies and
active experts stand. Where engines may choose, the faster of two ways brings tokens to their experts: all tokens
gathered on every rank and experts computed there, or an all-to-all and the experts of those that came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from moewright.case.cluster import Cluster
from moewright.case.model import LatentAttention, LinearAttention, SoftmaxAttention
from moewright.case.precision import Precision, element_bytes, plain_format
from moewright.cost.arrays import Array, Bools, array, distinct_rows, where
from moewright.cost.attention import absorbed, cache_bytes, decode_keys, prompt_flops, prompt_pairs
from moewright.cost.prices.dispatch import faster
from moewright.cost.prices.price import Origin, Origins, Priced
from moewright.cost.prices.roofline import Roofline
from moewright.cost.prices.silicon import Found, Tables, collectives, kernels, wide
from moewright.cost.prices.silicon.tables import GEMM_FORMATS, MOE_FORMATS
from moewright.cost.routing.spread import typical_straggler
from moewright.cost.work import AttentionScores, Collective, GroupedProducts, Products, Stream, Work

#: the skew of routing in the tables of experts that is taken: nearest to what models show without balancing
SKEW = "power_law_1.2"
_ORIGIN = {"measured": Origin.MEASURED, "interpolated": Origin.INTERPOLATED, "derived": Origin.DERIVED}


@dataclass(frozen=True, slots=True)
class Look:
    """Seconds of every row, NaN where no table has it, and how they came to be."""

    seconds: Array
    origin: Origins


def per_shape(keys: Sequence[Array], sizes: Sequence[Array], find: Callable[..., Found | None]) -> Look:
    """``find(*key)`` of each distinct row of ``keys``, evaluated at that row's ``sizes``."""
    columns = np.broadcast_arrays(*keys, *sizes)
    shapes = np.stack(columns[: len(keys)], axis=1)
    distinct, position = distinct_rows(shapes)
    seconds = np.full(len(shapes), np.nan)
    origin = np.zeros(len(shapes), dtype=np.int8)
    for i, key in enumerate(distinct.tolist()):
        known = find(*(round(v) for v in key))
        if known is None:
            continue
        mine = position == i
        seconds[mine] = known(*(c[mine] for c in columns[len(keys) :]))
        origin[mine] = _ORIGIN[known.tag]
    return Look(seconds, origin)


@dataclass(frozen=True, slots=True)
class Measured:
    """The price of work by ``tables``, for a model in ``precision`` on ``cluster``."""

    cluster: Cluster
    precision: Precision
    tables: Tables

    @property
    def plain(self) -> Roofline:
        """What prices the rest."""
        return Roofline(self.cluster, self.precision, gathering=True)

    def price(self, work: Sequence[Work]) -> list[Priced]:
        """One ``Priced`` for each of ``work``."""
        priced = [self.finished(w, self._look(w)) for w in work]
        return self._dispatched(self._blocks(priced))

    def finished(self, w: Work, look: Look | None, floor: float = 0.0) -> Priced:
        """``look`` with the roofline where it has nothing, and none below ``floor`` of the roofline at full peaks."""
        by_formula = self.plain.seconds(w)
        if look is None:
            seconds = where(w.happens, by_formula, 0.0)
            return Priced(w, seconds, np.zeros(seconds.shape, dtype=np.int8))
        known = ~np.isnan(look.seconds)
        least = floor * self._at_peaks(w) if floor else 0.0
        seconds = where(known, np.maximum(np.nan_to_num(look.seconds), least), by_formula)
        seconds = where(w.happens, seconds, 0.0)
        return Priced(w, seconds, np.broadcast_to(np.where(known, look.origin, 0), seconds.shape).astype(np.int8))

    def _at_peaks(self, w: Work) -> Array:
        device = self.cluster.device
        kind = w.shape.kind if isinstance(w.shape, Products) else "experts"
        peak = device.flops[self.plain.unit(kind)]
        return np.maximum(w.flops / peak, w.traffic / device.memory_bandwidth)

    def _look(self, w: Work) -> Look | None:
        shape = w.shape
        if isinstance(shape, Products):
            return self._products(w, shape)
        if isinstance(shape, GroupedProducts):
            return self.local_experts(w, shape)
        if isinstance(shape, AttentionScores):
            return self._attention(shape)
        if isinstance(shape, Stream):
            return None
        return self._collective(shape)

    def form(self, kind: str) -> str:
        """The format of weights of ``kind`` as tables group them."""
        name = plain_format(self.precision.weight(kind))
        return {"nvfp4": "fp4", "fp16": "bf16"}.get(name, name)

    @property
    def kv(self) -> str:
        return "fp8" if element_bytes(self.precision.kv_cache) <= 1 else "bf16"

    # --- products ---

    def _products(self, w: Work, p: Products) -> Look | None:
        form = self.form(p.kind)
        if form not in GEMM_FORMATS:
            return None
        seconds, origin = np.zeros(w.flops.shape), np.full(w.flops.shape, Origin.MEASURED, dtype=np.int8)
        device, unit = self.cluster.device, self.cluster.device.flops[self.plain.unit(p.kind)]
        size = element_bytes(self.precision.weight(p.kind))
        for m in p.matrices:
            columns, depth = np.maximum(np.round(m.columns), 1.0), np.maximum(np.round(m.depth), 1.0)
            look = per_shape((columns, depth), (m.rows,), lambda n, k: kernels.gemm(self.tables, n, k, form))
            floor = np.maximum(
                2.0 * m.rows * columns * depth / unit,
                (size * columns * depth + m.rows * (depth * 1.0 + 2.0 * columns)) / device.memory_bandwidth,
            )
            seconds = seconds + np.maximum(look.seconds, floor)
            origin = np.minimum(origin, look.origin)
        return Look(seconds, origin)

    # --- experts where all tokens are ---

    def local_experts(self, w: Work, e: GroupedProducts) -> Look | None:
        """Experts of a rank that has all the stage's tokens before it."""
        form = self.form("experts")
        if form not in MOE_FORMATS:
            return None
        ffn = e.ffn

        def find(etp: int, ep: int) -> Found | None:
            sizes = (e.hidden, ffn.width, ffn.top_k, ffn.experts)
            return kernels.experts(self.tables, sizes, etp, ep, form, SKEW)

        look = per_shape((e.etp, e.ep), (np.maximum(e.tokens, 1e-9),), find)
        return replace(look, seconds=look.seconds * self._skew(w, e, typical_straggler(e.ep, 0.0)))

    def _skew(self, w: Work, e: GroupedProducts, of_table: Array) -> Array:
        """Seconds by the work's routing over those by the table's, both by the roofline."""
        ratio = of_table / np.maximum(e.straggler, 1e-9)
        stored = w.traffic - e.copies * self._copy_bytes(e)
        other = replace(
            w,
            shape=replace(e, copies=e.copies * ratio),
            flops=w.flops * ratio,
            traffic=stored + e.copies * ratio * self._copy_bytes(e),
        )
        return self.plain.seconds(w) / np.maximum(self.plain.seconds(other), 1e-30)

    def _copy_bytes(self, e: GroupedProducts) -> Array:
        act = element_bytes(self.precision.activations)
        return act * (e.hidden + e.width) + 2.0 * (e.ups * e.width + e.hidden)

    # --- attention ---

    def _attention(self, s: AttentionScores) -> Look | None:
        a, b = s.attention, s.batch
        if isinstance(a, LinearAttention):
            if a.rule not in ("gated_delta", "kda"):
                return None
            phase, size = ("generation", b.decodes) if s.decodes else ("context", b.prompts * b.new)
            heads = np.maximum(a.key_heads // s.tp, 1), np.maximum(a.value_heads // s.tp, 1)
            return per_shape(heads, (size,), lambda k, v: kernels.linear_attention(self.tables, phase, k, v))
        if not isinstance(a, SoftmaxAttention) or a.indexer or a.shared_cache:
            return None
        heads = np.maximum(a.heads // s.tp, 1), np.maximum(a.kv_heads // s.tp, 1)
        window = a.window or 0
        if s.decodes:
            keys = decode_keys(a, b.context, b.spread)
            return per_shape(
                heads,
                (np.maximum(b.decodes, 1e-9), np.maximum(keys, 1.0)),
                lambda h, k: kernels.decode_attention(self.tables, h, k, a.head_dim, window, self.kv),
            )
        # the prompt of the same length, by its share of the pairs
        length = b.past + b.new
        share = prompt_pairs(a, b.new, b.past, b.causal) / np.maximum(prompt_pairs(a, length, 0 * length), 1e-9)

        def whole(tokens: Array) -> Look:
            sizes = np.maximum(b.prompts, 1e-9), np.maximum(tokens, 1.0)
            return per_shape(
                heads, sizes, lambda h, k: kernels.prefill_attention(self.tables, h, k, a.head_dim, window, self.kv)
            )

        look, fresh = whole(length), whole(b.new)
        return replace(look, seconds=np.maximum(look.seconds * share, fresh.seconds) / s.cp)

    def _blocks(self, priced: list[Priced]) -> list[Priced]:
        """Latent attention's projections, scores and output as the tables hold them: one block of prompts and one of
        decodes, divided over the operations as the roofline divides them."""
        places = [i for i, x in enumerate(priced) if x.work.block == "latent"]
        scores = [i for i in places if isinstance(priced[i].work.shape, AttentionScores)]
        form = self.form("attention")
        if not scores or form not in GEMM_FORMATS:
            return priced
        rest = [i for i in places if i not in scores]
        by_formula = [self.plain.price([priced[i].work])[0].seconds for i in places]
        whole = sum(by_formula, start=np.zeros(1))
        looks = [self._latent(priced[i].work, priced, rest) for i in scores]
        shape = np.broadcast_shapes(whole.shape, *(look.seconds.shape for look in looks))
        total, origin = np.zeros(shape), np.full(shape, Origin.MEASURED, dtype=np.int8)
        for look, i in zip(looks, scores, strict=True):
            happens = priced[i].work.happens
            total = total + where(happens, look.seconds, 0.0)
            origin = np.where(happens, np.minimum(origin, look.origin), origin).astype(np.int8)
        known = ~np.isnan(total)
        scale = where(known, np.nan_to_num(total) / np.maximum(whole, 1e-30), 1.0)
        origin = np.where(known, origin, 0).astype(np.int8)
        out = list(priced)
        for i, seconds in zip(places, by_formula, strict=True):
            out[i] = Priced(priced[i].work, seconds * scale, origin)
        return out

    def _latent(self, w: Work, priced: list[Priced], rest: list[int]) -> Look:
        """A whole block of the scores ``w``: measured where its prompts begin at 0; a chunk after cached tokens by the
        roofline's ratio to the whole prompt of its length."""
        s = w.shape
        assert isinstance(s, AttentionScores)
        assert isinstance(s.attention, LatentAttention)
        a, b = s.attention, s.batch
        sparse = sparse_name(a)
        heads = np.maximum(a.heads // s.tp, 1)
        if s.decodes:
            sizes = np.maximum(b.decodes, 1e-9), np.maximum(b.context, 1.0)
            phase = "generation"
        else:
            sizes = np.maximum(b.prompts, 1e-9), np.maximum(b.new, 1.0)
            phase = "context"
        form, kv = self.form("attention"), self.kv
        look = per_shape((heads,), sizes, lambda h: kernels.latent_module(self.tables, phase, h, form, kv, sparse))
        if s.decodes:
            return self._of_own_heads(look, w, [priced[i].work for i in rest], s)
        if not np.any(b.past > 0):
            return look
        return replace(look, seconds=look.seconds + self._after_cached(s, a))

    def _of_own_heads(self, look: Look, w: Work, rest: list[Work], s: AttentionScores) -> Look:
        """A block of all the heads of a dcp group, whose projections are of a rank's own alone: by the roofline's
        ratio."""
        if not np.any(s.dcp > 1):
            return look
        scores = self.plain.price([w])[0].seconds
        others = sum((x.seconds for x in self.plain.price(rest)), start=np.zeros(1))
        return replace(look, seconds=look.seconds * (scores + others) / np.maximum(scores + others * s.dcp, 1e-30))

    def _after_cached(self, s: AttentionScores, a: LatentAttention) -> Array:
        """Seconds by the roofline of what ``past`` tokens add to latent attention of a prompt: the pairs with them, and
        their latents read and, unless the absorbed form is less work, expanded."""
        b, device = s.batch, self.cluster.device
        first = replace(b, past=0 * b.past)
        expanded = where(absorbed(a, b), 0.0, 2.0 * a.kv_rank * a.heads * (a.nope_dim + a.value_dim))
        flops = (prompt_flops(a, b) - prompt_flops(a, first) + b.prompts * b.past * expanded) / s.tp / s.cp
        token, _ = cache_bytes(a, self.precision, s.tp)
        rate = device.flops[self.plain.unit("attention_scores")] * device.mfu
        read = b.prompts * b.past * token / (device.memory_bandwidth * device.bandwidth_utilization)
        return np.maximum(flops / rate, read)

    # --- collectives ---

    def _collective(self, c: Collective) -> Look | None:
        if c.collective not in ("all_reduce", "all_gather", "reduce_scatter"):
            return None

        def find(gpus: int) -> Found | None:
            if gpus <= 1 or gpus > self.cluster.gpus_per_node:
                return None
            if c.collective == "all_reduce":
                return collectives.all_reduce(self.tables, gpus)
            return collectives.exchange(self.tables, c.collective, gpus)

        inside: Bools = c.group.local >= c.group.size
        look = per_shape((where(inside, c.group.size, 0.0),), (c.buffer,), find)
        return look

    # --- experts to which tokens travel ---

    def _dispatched(self, priced: list[Priced]) -> list[Priced]:
        """Dispatch, experts and combine by the faster way wherever tokens travel."""
        places = {x.work.name: i for i, x in enumerate(priced) if _on_the_way(x.work)}
        if len(places) < 3:
            return priced
        parts = [priced[places[name]] for name in ("dispatch", "experts", "combine")]
        e, travels = parts[1].work.shape, parts[0].work.happens
        assert isinstance(e, GroupedProducts)
        everywhere = np.ones(1, dtype=np.bool_)
        ways = [[self._gathered(parts[0]), parts[1], self._gathered(parts[2])]]
        possible = [everywhere]
        for low_latency, allowed in ((True, e.low_latency), (False, everywhere)):
            if np.any(allowed):
                ways.append([self._travelling(x, e, low_latency) for x in parts])
                possible.append(allowed)
        out = list(priced)
        chosen = faster([parts, *ways], [~travels, *(travels & p for p in possible)], travels)
        for name, x in zip(("dispatch", "experts", "combine"), chosen, strict=True):
            out[places[name]] = x
        return out

    def _gathered(self, x: Priced) -> Priced:
        """In place of dispatch or combine, an all-gather or reduce-scatter of all tokens of the stage."""
        c = x.work.shape
        assert isinstance(c, Collective)
        other = replace(c, collective="all_gather", buffer=c.everyone)
        return replace(self.finished(replace(x.work, shape=other), self._collective(other)), work=x.work)

    def _travelling(self, x: Priced, e: GroupedProducts, low_latency: bool) -> Priced:
        """Dispatch, experts or combine by the kernels of wide expert parallelism."""
        shape = x.work.shape
        if isinstance(shape, Collective):
            return self.finished(x.work, self._travel(x.work.name, shape, e.hidden, low_latency))
        return self.finished(x.work, self._travelled_experts(e, low_latency))

    def _travelled_experts(self, e: GroupedProducts, low_latency: bool) -> Look | None:
        """Experts of a rank to which tokens have travelled."""
        form, ffn = self.form("experts"), e.ffn
        if form not in MOE_FORMATS:
            return None
        sizes = (e.hidden, ffn.width, ffn.top_k, ffn.experts)
        return per_shape(
            (e.ep,), (e.tokens * e.straggler,), lambda ep: wide.experts(self.tables, sizes, ep, form, low_latency)
        )

    def _travel(self, name: str, c: Collective, hidden: int, low_latency: bool) -> Look:
        """Dispatch or combine by an engine's kernels; between numbers of ranks by the roofline's ratio."""
        assert c.ffn is not None
        sizes = (hidden, c.ffn.top_k, c.ffn.experts)
        return per_shape((c.group.size,), (array(c.tokens),), lambda ep: self._exchange(name, sizes, ep, low_latency))

    def _exchange(self, name: str, sizes: tuple[int, int, int], ep: int, low_latency: bool) -> Found | None:
        known = wide.exchange(self.tables, name, sizes, ep, low_latency)
        return None if known is None else known[0]


def sparse_name(a: LatentAttention) -> str:
    """The tables' name of the sparse attention of the sizes of ``a``; none where it is not sparse."""
    if a.indexer is None:
        return ""
    return "deepseek-ai/DeepSeek-V3.2" if a.heads >= 128 else "zai-org/GLM-5"


def _on_the_way(w: Work) -> bool:
    """Whether ``w`` is a part of bringing tokens to their experts."""
    if isinstance(w.shape, Collective):
        return w.shape.collective == "all_to_all" and bool(np.any(w.happens))
    return isinstance(w.shape, GroupedProducts)
