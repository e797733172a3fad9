"""Where routed tokens go: distinct destinations, active experts, and the straggler among the ranks."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from moewright.cost.table import Numbers, over_unique

#: expected tokens per rank above which the normal law with a skewness term replaces the exact sum
_LARGE = 64.0


def distinct_destinations(groups: Numbers, experts: int, top_k: int, limit: Numbers | None = None) -> Numbers:
    """Expected number of ``groups`` equal groups of experts that one token's ``top_k`` experts fall in:
    N · (1 − C(E − E/N, k) / C(E, k)), uniform routing without repetition. ``limit``: at most so many."""
    share = experts / groups
    missed = np.ones_like(np.asarray(groups, dtype=float))
    for i in range(top_k):
        missed = missed * np.maximum(experts - share - i, 0) / (experts - i)
    expected = groups * (1 - missed)
    return expected if limit is None else np.minimum(expected, limit)


def active_share(tokens: Numbers, experts: int, top_k: int) -> Numbers:
    """Chance that a given expert gets any of ``tokens`` tokens: 1 − (1 − k/E)^T."""
    return -np.expm1(tokens * math.log1p(-top_k / experts)) if top_k < experts else np.minimum(tokens, 1) * 1.0


def active_experts(tokens: Numbers, experts: int, top_k: int, groups: Numbers, slots: Numbers) -> Numbers:
    """Experts with any token on the rank that has the most of them: the expected largest of ``groups``
    counts, each Binomial(``slots``, active_share) (the slight dependence between experts is left out)."""
    return over_unique(_largest_active, active_share(tokens, experts, top_k), groups, slots)


def _largest_active(share: float, groups: float, slots: float) -> float:
    if share >= 1 - 1e-12:
        return slots
    return _largest_binomial(slots, share, groups)


def straggler(tokens: Numbers, experts: int, top_k: int, groups: Numbers) -> Numbers:
    """Expected largest number of routed copies on one of ``groups`` ranks over their mean, when
    ``tokens`` tokens choose ``top_k`` of ``experts`` uniformly.

    A rank's count is a sum of hypergeometric draws: mean Tk/n, variance T·k·(1/n)(1−1/n)(E−k)/(E−1). Its
    law is matched by a binomial of that mean and variance (by the normal with a Cornish-Fisher skewness
    term where the mean is large), the largest of n taken as of independent ones, and its excess scaled by
    sqrt(n/(n−1)) since the counts add up to a constant. Tests compare with simulation.
    """
    return over_unique(lambda t, n: _straggler(t, n, experts, top_k), tokens, groups)


@lru_cache(maxsize=65536)
def _straggler(tokens: float, groups: float, experts: int, top_k: int) -> float:
    if groups <= 1 or tokens <= 0 or top_k >= experts:
        return 1.0
    mean = tokens * top_k / groups
    variance = mean * (1 - 1 / groups) * (experts - top_k) / (experts - 1)
    success = 1 - variance / mean
    if mean <= _LARGE:
        largest = _largest_binomial(mean / success, success, groups)
    else:
        first, second = _normal_maximum(round(groups))
        skew = (1 - 2 * success) / math.sqrt(variance)
        largest = mean + math.sqrt(variance) * (first + skew / 6 * (second - 1))
    return 1 + (largest - mean) * math.sqrt(groups / (groups - 1)) / mean


def _largest_binomial(trials: float, success: float, count: float) -> float:
    """Expected largest of ``count`` independent Binomial(trials, success): Σ_x 1 − F(x)^count."""
    mean, spread = trials * success, math.sqrt(trials * success * (1 - success))
    top = max(1, min(math.ceil(trials), math.ceil(mean + (10 + math.log(count)) * spread + 20)))
    x = np.arange(top)
    steps = np.log(np.maximum(trials - x, 1e-300) / (x + 1) * (success / (1 - success)))
    logs = trials * math.log1p(-success) + np.concatenate(([0.0], np.cumsum(steps)[:-1]))
    below = np.minimum(np.cumsum(np.exp(logs)), 1.0)
    return float(np.sum(1 - below**count))


@lru_cache(maxsize=4096)
def _normal_maximum(count: int) -> tuple[float, float]:
    """First and second moment of the largest of ``count`` standard normals, by quadrature."""
    z = np.linspace(-9.0, 12.0, 6001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    below = np.minimum(np.cumsum(density) * (z[1] - z[0]), 1.0)
    weight = np.diff(below**count, prepend=0.0)
    weight /= weight.sum()
    return float(weight @ z), float(weight @ (z * z))


def skewed_straggler(tokens: float, top_k: int, shares: np.ndarray) -> float:
    """Mean over layers of the largest rank's copies over the mean, for ranks whose expected ``shares``
    [layers, ranks] (rows sum to 1) are unequal: the largest of 256 seeded samples of normal counts with
    each rank's mean Tk·share and variance Tk·share·(1 − share)."""
    copies = max(tokens * top_k, 1.0)
    noise = np.random.default_rng(0).standard_normal((256, 1, shares.shape[1]))
    spread = np.sqrt(shares * (1 - shares) / copies)
    largest = np.maximum(shares + noise * spread, 0).max(axis=2)
    return float(largest.mean() * shares.shape[1])


def zipf_loads(experts: int, exponent: float) -> np.ndarray:
    """Shares of ``experts`` experts under Zipf's law: rank r gets r^−exponent. Shape [experts], sum 1."""
    loads = np.arange(1, experts + 1, dtype=float) ** -exponent
    return np.asarray(loads / loads.sum())
