"""Seconds of the kernels of one rank on a device: measured tables where there are any, else the roofline.

Every function takes arrays of sizes and gives seconds of the same shape. ``floor`` is the roofline at full peaks, which
no figure may beat: a table's row that does is lifted to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from moewright.case.cluster import Cluster, Device
from moewright.case.precision import element_bytes, format_unit, plain_format
from moewright.cost import network
from moewright.cost.silicon import Found, Tables, collectives
from moewright.cost.silicon import kernels as measured

Array = np.ndarray

#: how tokens choose experts in the measured tables: a power law of 1.2 is nearest to what the models' own
#: routing shows without balancing (published loads of DeepSeek-V3: the fullest of 8 ranks 1.9 times the mean)
SKEW = "power_law_1.2"
TAGS = ("measured", "interpolated", "derived")


@dataclass(frozen=True)
class Kernels:
    """``tables`` None: only the roofline. ``tags``: seconds given out so far by how they came to be: ``measured`` (the
    shape's own series), ``interpolated`` between shapes, ``derived`` from another shape or by formula."""

    cluster: Cluster
    tables: Tables | None = None
    skew: str = SKEW
    tags: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TAGS, 0.0))

    @property
    def device(self) -> Device:
        return self.cluster.device

    def gemm(self, rows: Array, n: float, k: float, form: str) -> Array:
        """[rows, k] · [k, n]."""
        n, k = max(round(n), 1), max(round(k), 1)
        found = measured.gemm(self.tables, n, k, table_format(form)) if self.tables else None
        flops, traffic = 2.0 * rows * n * k, element_bytes(form) * n * k + rows * (k * activation_bytes(form) + 2.0 * n)
        return self._seconds(found, (rows,), flops, traffic, form)

    def experts(self, tokens: Array, sizes: tuple[int, int, int, int], tp: int, ep: int, form: str) -> Array:
        """Experts of the fullest of ``ep`` ranks, for ``tokens`` of all of them; ``sizes``: hidden, width, top-k,
        experts. Three matrices each."""
        hidden, width, top_k, count = sizes
        found = None
        if self.tables:
            found = measured.experts(self.tables, hidden, width, top_k, count, tp, ep, table_format(form), self.skew)
        one = 3.0 * hidden * width / tp
        copies = tokens * top_k / ep
        active = count / ep * (1 - (1 - top_k / count) ** tokens)
        flops, traffic = 2.0 * copies * one, active * one * element_bytes(form) + copies * hidden * 4.0
        if found is None and ep > 1:  # the fullest rank against the mean, as the power law of the tables has it
            flops, traffic = flops * 1.5, traffic * 1.1
        return self._seconds(found, (tokens,), flops, traffic, form, lift=0.5)

    def prefill_attention(
        self, tokens: Array, pairs: Array, heads: int, kv_heads: int, dim: int, window: int, kv: str
    ) -> Array:
        """Causal attention of new ``tokens`` that see ``pairs`` keys in all: prompts of 2·pairs/tokens each."""
        length = np.maximum(2.0 * pairs / np.maximum(tokens, 1), 1.0)
        found = measured.prefill_attention(self.tables, heads, kv_heads, dim, window, kv) if self.tables else None
        seen = np.minimum(pairs, tokens * window) if window else pairs
        flops, traffic = 4.0 * seen * heads * dim, tokens * 2.0 * dim * (2 * heads + 2 * kv_heads)
        return self._seconds(found, (tokens / length, length), flops, traffic, "bf16", lift=0.0)

    def decode_attention(
        self, sequences: Array, context: Array, heads: int, kv_heads: int, dim: int, window: int, kv: str
    ) -> Array:
        """One new token of each of ``sequences``, against ``context`` tokens each."""
        seen = np.minimum(context, window) if window else context
        found = measured.decode_attention(self.tables, heads, kv_heads, dim, window, kv) if self.tables else None
        traffic = sequences * seen * 2.0 * kv_heads * dim * (1 if kv == "fp8" else 2)
        at = seen if found is not None and window else context
        return self._seconds(found, (sequences, at), sequences * seen * 4.0 * heads * dim, traffic, "bf16", lift=0.0)

    def latent(
        self,
        phase: str,
        sequences: Array,
        length: Array,
        heads: int,
        form: str,
        kv: str,
        sparse: str,
        fall: tuple[Array, Array],
    ) -> Array:
        """A whole latent-attention block; ``fall``: its FLOPs and bytes for the roofline."""
        found = (
            measured.latent_module(self.tables, phase, heads, table_format(form), kv, sparse) if self.tables else None
        )
        return self._seconds(found, (sequences, length), *fall, form, lift=0.0)

    def linear(self, phase: str, size: Array, key_heads: int, value_heads: int, fall: tuple[Array, Array]) -> Array:
        """The gated delta rule for tokens (context) or sequences (generation)."""
        found = measured.linear_attention(self.tables, phase, key_heads, value_heads) if self.tables else None
        return self._seconds(found, (size,), *fall, "bf16", lift=0.0)

    def all_reduce(self, size: Array, gpus: int) -> Array:
        """All-reduce of ``size`` bytes over ``gpus`` neighbours."""
        return self._collective("all_reduce", size, gpus)

    def all_gather(self, size: Array, gpus: int) -> Array:
        """All-gather (or reduce-scatter) of ``size`` bytes in all over ``gpus`` neighbours."""
        return self._collective("all_gather", size, gpus)

    def exchange(self, sent: Array, gpus: int) -> Array:
        """All-to-all in which a rank sends ``sent`` bytes, evenly to the others of ``gpus``."""
        g = network.group("ep", np.asarray(gpus), np.asarray(1), self.cluster)
        sent = np.asarray(sent, dtype=float)
        seconds = network.exchange_seconds(g, sent, sent, self.cluster, False) + self.device.launch
        return self._told("derived", np.asarray(seconds))

    def _told(self, tag: str, seconds: Array) -> Array:
        self.tags[tag] += float(np.sum(seconds))
        return seconds

    def stream(self, traffic: Array, launches: float = 1.0) -> Array:
        """Element-wise work: bytes through memory, and the launches."""
        d = self.device
        return np.asarray(traffic / (d.memory_bandwidth * d.bandwidth_utilization) + launches * d.launch)

    def _collective(self, kind: str, size: Array, gpus: int) -> Array:
        if gpus <= 1:
            return np.zeros_like(np.asarray(size, dtype=float))
        found = None
        if self.tables:
            found = (
                collectives.all_reduce(self.tables, gpus)
                if kind == "all_reduce"
                else collectives.exchange(self.tables, kind, gpus)
            )
        if found is not None and gpus <= self.cluster.gpus_per_node:
            return self._told(found.tag, found(size))
        g = network.group("tp", np.asarray(gpus), np.asarray(1), self.cluster)
        seconds = network.reduce_seconds if kind == "all_reduce" else network.gather_seconds
        return self._told("derived", np.asarray(seconds(g, np.asarray(size, dtype=float), self.cluster)))

    def _seconds(
        self, found: Found | None, at: tuple[Array, ...], flops: Array, traffic: Array, form: str, lift: float = 1.0
    ) -> Array:
        """The measured time, no less than ``lift`` of the roofline at full peaks; else the roofline as delivered."""
        d = self.device
        peak, reach = d.flops[unit(form, d)], d.memory_bandwidth
        if found is None:
            busy = np.maximum(flops / (peak * d.mfu), traffic / (reach * d.bandwidth_utilization))
            return self._told("derived", np.asarray(np.where(busy > 0, busy + d.launch, 0.0)))
        floor = np.maximum(flops / peak, traffic / reach) * lift
        return self._told(found.tag, np.asarray(np.where(flops > 0, np.maximum(found(*at), floor), 0.0)))


def table_format(form: str) -> str:
    """A format as the tables group them."""
    return {"nvfp4": "fp4"}.get(form, plain_format(form))


def unit(form: str, device: Device) -> str:
    """The narrowest matrix unit of ``device`` that takes ``form``."""
    wanted = format_unit(form)
    order = ("fp4", "fp8", "bf16", "fp16", "fp32")
    for name in order[order.index(wanted) if wanted in order else 2 :]:
        if name in device.flops:
            return name
    return next(iter(device.flops))


def activation_bytes(form: str) -> float:
    return 2.0 if form == "bf16" else 1.0
