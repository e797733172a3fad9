"""Where routed tokens go: distinct destinations, active experts, and the straggler among the ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from moewright.case.model import MoeFfn
from moewright.cost.table import Numbers, over_unique

#: expected tokens per rank above which the normal law with a skewness term replaces the exact sum
_LARGE = 64.0


@dataclass(frozen=True, slots=True)
class Router:
    """``top_k`` of ``experts``, chosen uniformly without repetition among the experts of ``top_groups``
    of ``groups`` equal groups, themselves chosen uniformly (1 of 1: no limit; DeepSeek-V3's is 4 of 8,
    arXiv 2412.19437 §2.1.2)."""

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

    @property
    def eligible(self) -> float:
        """Experts of the groups that a token may choose from."""
        return self.experts * self.top_groups / self.groups


def distinct_destinations(destinations: Numbers, r: Router) -> Numbers:
    """Expected number of ``destinations``, equal and contiguous parts of the experts, that one token's
    experts fall in: N · (1 − C(E − E/N, k) / C(E, k)).

    With limited groups a part no larger than a group is eligible with chance M/G, and then is one of
    E' = E·M/G experts' parts; a part of several groups has a hypergeometric number of eligible ones.
    """
    n = np.asarray(destinations, dtype=float)
    if not r.limited:
        return n * (1 - _missed(r.experts / n, r.experts, r.top_k))
    size = r.experts / r.groups
    inside = n * r.top_groups / r.groups * (1 - _missed(np.minimum(r.experts / n, size), r.eligible, r.top_k))
    several = r.groups / n  # groups in one part, where more than one
    hit = np.zeros_like(n)
    for eligible in range(1, r.top_groups + 1):
        hit = hit + _hypergeometric(eligible, several, r) * (1 - _missed(eligible * size, r.eligible, r.top_k))
    return np.where(n >= r.groups, inside, np.minimum(n * hit, np.minimum(n, r.top_groups)))


def placed_destinations(r: Router, loads: np.ndarray, parts: np.ndarray, replicas: np.ndarray) -> float:
    """Expected number of parts in which one token's experts are, mean over layers, where experts of unequal ``loads``
    [layers, experts] lie as ``parts`` [layers, parts, slots] say, with ``replicas`` [layers, experts] of each:
    Σ 1 − Π (1 − chance / replicas)^c over their slots.

    ``chance`` is that of an expert to be among a token's; c makes even loads in equal parts exact, where experts are
    drawn without repetition. Limits to groups are left out: a placement by load scatters the groups over the parts.
    Tests compare with simulation.
    """
    layers, count = parts.shape[:2]
    if count == 1:
        return 1.0
    chance = np.stack([_chances(row, r.top_k) for row in loads])
    rows = np.arange(layers)[:, None, None]
    each = np.minimum(chance[rows, parts] / replicas[rows, parts], 1 - 1e-12)
    even = r.experts / count
    plain = even * math.log1p(-min(r.top_k / r.experts, 1 - 1e-12))
    exact = math.log(max(float(_missed(even, r.experts, r.top_k)), 1e-12))
    return float((1 - np.exp(exact / plain * np.log1p(-each).sum(axis=2))).sum(axis=1).mean())


def _chances(load: np.ndarray, top_k: int) -> np.ndarray:
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


def _missed(part: Numbers, experts: float, top_k: int) -> Numbers:
    """C(experts − part, k) / C(experts, k): no expert of a part is chosen."""
    missed = np.ones_like(np.asarray(part, dtype=float))
    for i in range(top_k):
        missed = missed * np.maximum(experts - part - i, 0) / (experts - i)
    return missed


def _hypergeometric(x: int, part: Numbers, r: Router) -> Numbers:
    """Chance that ``x`` of the chosen groups are among the ``part`` groups of one destination."""
    chance = np.full_like(np.asarray(part, dtype=float), float(math.comb(r.top_groups, x)))
    for i in range(x):
        chance = chance * np.maximum(part - i, 0) / (r.groups - i)
    for i in range(r.top_groups - x):
        chance = chance * np.maximum(r.groups - part - i, 0) / (r.groups - x - i)
    return chance


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


def straggler(tokens: Numbers, r: Router, ranks: Numbers) -> Numbers:
    """Expected largest number of routed copies on one of ``ranks`` ranks over their mean, when ``tokens``
    tokens are routed by ``r``.

    A rank's count is a sum over tokens of how many of its experts one chooses, of mean k/n and the variance
    of ``_variance``. The sum's law is matched by a binomial of that mean and variance (by the normal with a
    Cornish-Fisher skewness term where the mean is large or the variance exceeds it), the largest of n taken
    as of independent ones, and its excess scaled by sqrt(n/(n−1)) since the counts add up to a constant.
    Tests compare with simulation.
    """
    return over_unique(lambda t, n: _straggler(t, n, r), tokens, ranks)


def _variance(ranks: float, r: Router) -> float:
    """Variance of the number of experts of one of ``ranks`` ranks that a token chooses: m + pairs·P − m²,
    over ordered pairs of the rank's experts and the chance P that both are chosen."""
    mean, part, size = r.top_k / ranks, r.experts / ranks, r.experts / r.groups
    near = min(part, size)  # experts of a rank that are of one group
    both = r.top_k * (r.top_k - 1) / (r.eligible * max(r.eligible - 1, 1))
    pairs = part * (near - 1) * r.top_groups / r.groups
    if part > near:
        pairs += part * (part - near) * r.top_groups * (r.top_groups - 1) / (r.groups * (r.groups - 1))
    return max(mean + pairs * both - mean * mean, 0.0)


@lru_cache(maxsize=65536)
def _straggler(tokens: float, ranks: float, r: Router) -> float:
    if ranks <= 1 or tokens <= 0 or r.top_k >= r.experts:
        return 1.0
    mean = tokens * r.top_k / ranks
    variance = tokens * _variance(ranks, r)
    if variance <= 0:
        return 1.0
    success = 1 - variance / mean
    if mean <= _LARGE and success > 0:
        largest = _largest_binomial(mean / success, success, ranks)
    else:
        first, second = _normal_maximum(round(ranks))
        skew = (1 - 2 * success) / math.sqrt(variance)
        largest = mean + math.sqrt(variance) * (first + skew / 6 * (second - 1))
    return 1 + (largest - mean) * math.sqrt(ranks / (ranks - 1)) / mean


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


def skewed_straggler(tokens: float, r: Router, shares: np.ndarray) -> float:
    """Mean over layers of the largest rank's copies over the mean, for ranks whose expected ``shares``
    [layers, ranks] (rows sum to 1) are unequal: the straggler of equal shares, times how much larger the mean largest
    of 256 seeded samples is than that of equal shares under the same noise. So both are on one scale, and equal
    shares are the limit. Samples are normal counts with each rank's mean Tk·share and variance Tk·share·(1 − share)."""
    ranks = shares.shape[1]
    even = straggler(tokens, r, float(ranks))
    copies = max(tokens * r.top_k, 1.0)
    return float(even) * max(
        _largest_sampled(copies, shares) / _largest_sampled(copies, np.full((1, ranks), 1 / ranks)), 1
    )


def _largest_sampled(copies: float, shares: np.ndarray) -> float:
    spread = np.sqrt(shares * np.maximum(1 - shares, 0) / copies)  # of one rank, a share may exceed 1 by rounding
    return float(np.maximum(shares + _noise(shares.shape[1]) * spread, 0).max(axis=2).mean())


@lru_cache(maxsize=256)
def _noise(ranks: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((256, 1, ranks))


def zipf_loads(experts: int, exponent: float) -> np.ndarray:
    """Shares of ``experts`` experts under Zipf's law: rank r gets r^−exponent. Shape [experts], sum 1."""
    loads = np.arange(1, experts + 1, dtype=float) ** -exponent
    return np.asarray(loads / loads.sum())
