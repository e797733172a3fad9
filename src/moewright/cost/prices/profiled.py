"""Seconds by the points of a machine's own profile (``moewright measure``), the rest by the roofline.

The executor's own way is priced: a product is a kernel a matrix, an uneven exchange is preceded by one of counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moewright.case.cluster import Cluster
from moewright.case.model import SoftmaxAttention
from moewright.case.precision import Precision
from moewright.cost.arrays import Array, array, where
from moewright.cost.network import Group
from moewright.cost.prices.price import Origin, Priced
from moewright.cost.prices.profile_curves import curve_seconds
from moewright.cost.prices.roofline import Roofline
from moewright.cost.work import AttentionScores, Collective, GroupedProducts, Products, Stream, Work


@dataclass(frozen=True, slots=True)
class Profiled:
    """The price of work on a cluster whose device holds ``measured`` points."""

    cluster: Cluster
    precision: Precision

    def price(self, work: Sequence[Work]) -> list[Priced]:
        """One ``Priced`` for each of ``work``: interpolated where the profile has its operation."""
        plain = Roofline(self.cluster, self.precision)
        out = []
        for w in work:
            known = self._seconds(w)
            seconds = where(w.happens, plain.seconds(w) if known is None else known, 0.0)
            origin = Origin.DERIVED if known is None else Origin.INTERPOLATED
            out.append(Priced(w, seconds, np.full(seconds.shape, origin, dtype=np.int8)))
        return out

    def _seconds(self, w: Work) -> Array | None:
        shape = w.shape
        if isinstance(shape, Products):
            return self._products(w, shape)
        if isinstance(shape, GroupedProducts):
            key = (array(float(shape.hidden)), shape.ups * shape.width)
            one = self._curve("experts", key, shape.copies / np.maximum(shape.active, 1.0))
            return None if one is None else one * shape.active
        if isinstance(shape, AttentionScores):
            return self._attention(w, shape)
        if isinstance(shape, Stream):
            if not shape.norms:
                return None
            one = self._curve("norms", (), w.traffic / 4 / 2 / shape.norms)
            return None if one is None else shape.norms * one
        return self._collective(shape)

    def _curve(self, operation: str, key: tuple[Array, ...], size: Array, scaled: bool = True) -> Array | None:
        return curve_seconds(self.cluster.device.measured, operation, key, size, scaled)

    def _products(self, w: Work, p: Products) -> Array | None:
        """Each product's curve over its rows; a router's with the choice of experts."""
        if p.kind == "router":
            m = p.matrices[0]
            known = self._curve("router", (m.depth, m.columns), m.rows)
            if known is not None:
                return known
        seconds = np.zeros(w.flops.shape)
        for m in p.matrices:
            one = self._curve("gemm", (m.columns, m.depth), m.rows)
            if one is None:  # a profile without is refused when it is read
                return None
            seconds = seconds + one
        return seconds

    def _attention(self, w: Work, s: AttentionScores) -> Array | None:
        if not isinstance(s.attention, SoftmaxAttention):
            return None
        name, size = ("attention_decode", w.traffic) if s.decodes else ("attention_prefill", w.flops)
        return self._curve(name, (array(float(s.attention.head_dim)),), size, scaled=False)

    def _collective(self, c: Collective) -> Array | None:
        size = c.to_ranks if c.collective == "all_to_all" else c.buffer
        members = np.minimum(c.group.size, 2.0) if c.collective == "send" else c.group.size
        seconds = self._curve(c.collective, (members,), size)
        if seconds is None:
            return None
        return seconds + (self._counts(c.group) if c.counted else 0.0)

    def _counts(self, g: Group) -> Array:
        """The executor's exchange of counts, of a number to each member."""
        known = self._curve("all_to_all", (g.size,), 8.0 * g.size)
        return np.zeros(g.size.shape) if known is None else where(g.size > 1, known, 0.0)
