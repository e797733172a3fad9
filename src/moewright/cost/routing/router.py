"""The router, and with which chance each expert is among a token's choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.model import MoeFfn
from moewright.cost.arrays import Array


@dataclass(frozen=True, slots=True)
class Router:
    """``top_k`` of ``experts``, chosen without repetition among the experts of ``top_groups`` of ``groups`` equal
    groups (1 of 1: no limit; DeepSeek-V3's is 4 of 8, arXiv 2412.19437 §2.1.2)."""

    experts: int
    top_k: int
    groups: int = 1
    top_groups: int = 1

    @staticmethod
    def of(ffn: MoeFfn) -> Router:
        """The router of an MoE feed-forward."""
        return Router(ffn.experts, ffn.top_k, ffn.groups, ffn.top_groups)

    @property
    def limited(self) -> bool:
        return self.top_groups < self.groups


def chances(load: Array, top_k: int) -> Array:
    """Chance of each expert to be among a token's ``top_k``, in proportion to ``load`` but at most 1; they sum to
    ``top_k``."""
    chance = np.zeros(len(load))
    free = load > 0
    for _ in range(top_k + 1):
        left = top_k - float(chance[~free].sum())
        chance[free] = left * load[free] / load[free].sum() if free.any() else 0.0
        over = free & (chance >= 1)
        if not over.any():
            break
        chance[over], free = 1.0, free & ~over
    return np.minimum(chance, 1.0)


def feasible_shares(loads: Array, top_k: int) -> Array:
    """Shares of copies [layers, experts], rows of sum 1, of ``loads`` of any scale: in proportion, but none above
    1/``top_k``, since no token is sent to an expert twice."""
    return np.stack([chances(row, top_k) for row in loads]) / top_k


def zipf_loads(experts: int, exponent: float) -> Array:
    """Shares of ``experts`` experts under Zipf's law: rank r gets r^−exponent. Shape [experts], sum 1."""
    loads = np.arange(1, experts + 1, dtype=float) ** -exponent
    return np.asarray(loads / loads.sum())
