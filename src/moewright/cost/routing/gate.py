"""The router's law as samples: which experts each token chooses, without repetition.

Even loads are drawn uniformly; with limited groups as DeepSeek-V3's gate does (arXiv 2412.19437 §2.1.2: the groups of
the largest sums of their two best scores, scores independent and alike). Uneven loads are drawn so that every expert
is chosen in proportion to its load, but by no token twice: its chance to be among a token's k is at most 1. These
chances are the law of the closed forms too (``routing.chances``), so that sample and formula describe one gate.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from moewright.cost.arrays import Array, Ints
from moewright.cost.routing.router import Router, chances

#: tokens of the sample that stands for a router
POOL = 1 << 14
#: numbers drawn at a time
_BLOCK = 1 << 22


def choose(rng: np.random.Generator, tokens: int, r: Router, load: Array | None = None) -> Ints:
    """Experts of ``tokens`` tokens, shape [tokens, top_k]; ``load`` [experts] of any scale, None: even."""
    if load is None and not r.limited and r.top_k <= 16:
        return _floyd(rng, tokens, r)
    block = max(1, _BLOCK // r.experts)
    parts = [_block(rng, min(block, tokens - i), r, load) for i in range(0, tokens, block)]
    return np.concatenate(parts) if parts else np.empty((0, r.top_k), dtype=np.int64)


def _block(rng: np.random.Generator, tokens: int, r: Router, load: Array | None) -> Ints:
    if load is not None:
        return _systematic(rng, tokens, r.top_k, chances(load, r.top_k))
    scores = rng.random((tokens, r.experts), dtype=np.float32)
    if r.limited:
        spans = scores.reshape(tokens, r.groups, -1)
        best = np.partition(spans, -min(2, spans.shape[2]), axis=2)[:, :, -2:].sum(axis=2)
        out = np.argpartition(best, r.groups - r.top_groups, axis=1)[:, : r.groups - r.top_groups]
        np.put_along_axis(spans, out[:, :, None], -1.0, axis=1)
    return np.argpartition(-scores, r.top_k - 1, axis=1)[:, : r.top_k].astype(np.int64)


def _systematic(rng: np.random.Generator, tokens: int, top_k: int, chance: Array) -> Ints:
    """Systematic sampling in random order (Madow, Ann. Math. Stat. 20, 1949): experts in an order of the token's own
    lie end to end, each as long as its chance; every whole number after one random start picks the one it falls in.
    Inclusion is exactly by ``chance`` [experts], which sums to ``top_k``."""
    order = rng.random((tokens, len(chance)), dtype=np.float32).argsort(axis=1)
    ends = np.cumsum(chance[order], axis=1)
    ends *= top_k / ends[:, -1:]
    marks = np.floor(ends - rng.random((tokens, 1)) + 1)  # how many picks lie at or before each end
    marks[:, -1] = top_k
    hit = np.diff(marks, prepend=0.0, axis=1) > 0
    # rounding may put two picks on one expert of chance 1, or none: the likeliest others fill up
    key = np.where(hit, 2.0, 0.0) + chance[order]
    picked = np.argpartition(-key, top_k - 1, axis=1)[:, :top_k]
    return np.take_along_axis(order, picked, axis=1).astype(np.int64)


def _floyd(rng: np.random.Generator, tokens: int, r: Router) -> Ints:
    """Floyd's sampling without repetition (Bentley, Floyd, CACM 30(9), 1987), all tokens at once: the i-th
    draw is from 0 … E−k+i, and one that is already there gives way to E−k+i itself."""
    chosen = np.empty((r.top_k, tokens), dtype=np.int64)
    for i in range(r.top_k):
        last = r.experts - r.top_k + i
        drawn = rng.integers(0, last + 1, tokens)
        for before in chosen[:i]:
            drawn[drawn == before] = last
        chosen[i] = drawn
    return chosen.T


@lru_cache(maxsize=32)
def pool(r: Router) -> Ints:
    """``POOL`` tokens of ``r`` under even loads, from a fixed seed."""
    return choose(np.random.default_rng(0), POOL, r)


@lru_cache(maxsize=4096)
def simulated_destinations(parts: int, r: Router) -> float:
    """Mean number of ``parts``, equal and contiguous, that a token's experts fall in."""
    part = np.sort(pool(r) * parts // r.experts, axis=1)
    return float(1 + (np.diff(part, axis=1) > 0).sum(axis=1).mean())


@lru_cache(maxsize=4096)
def simulated_variance(parts: int, r: Router) -> float:
    """Variance of the number of a token's experts that fall in one of ``parts`` equal parts."""
    counts = _counted(pool(r)[:, None, :] * parts // r.experts, parts)
    return float((counts**2).mean() - counts.mean() ** 2)


@lru_cache(maxsize=4096)
def few_tokens(tokens: int, parts: int, r: Router) -> tuple[float, float]:
    """(mean largest number of copies of any part, mean largest number of experts with a token in any part) when
    ``tokens`` tokens choose among experts in ``parts`` equal parts."""
    chosen = pool(r)[: POOL // tokens * tokens].reshape(POOL // tokens, -1)
    copies = _counted(chosen * parts // r.experts, parts)
    distinct = np.sort(chosen, axis=1)
    repeated = np.diff(distinct, axis=1, prepend=-1) == 0
    place = np.where(repeated, parts, distinct * parts // r.experts)
    active = _counted(place, parts + 1)[:, :parts]
    return float(copies.max(axis=1).mean()), float(active.max(axis=1).mean())


def _counted(places: Ints, parts: int) -> Array:
    """How often each of ``parts`` stands in a row of ``places`` [rows, n], shape [rows, parts]."""
    rows = len(places)
    flat = places.reshape(rows, -1) + parts * np.arange(rows)[:, None]
    return np.bincount(flat.ravel(), minlength=rows * parts).reshape(rows, parts).astype(np.float64)
