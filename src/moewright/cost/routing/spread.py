"""Where routed tokens go: distinct destinations, active experts, and the straggler among the ranks."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from moewright.cost.arrays import Array, Ints, array, over_unique
from moewright.cost.routing.gate import few_tokens, simulated_destinations, simulated_variance
from moewright.cost.routing.router import Router, chances

#: expected tokens per rank above which the normal law with a skewness term replaces the exact sum
_LARGE = 64.0
#: tokens up to which the largest of the ranks is simulated: so few leave the ranks far from independent
FEW = 16


def distinct_destinations(destinations: ArrayLike, r: Router) -> Array:
    """Expected number of ``destinations``, equal and contiguous parts of the experts, that one token's experts fall
    in: N · (1 − C(E − E/N, k) / C(E, k)); with limited groups by a sample of the gate."""
    n = array(destinations)
    if r.limited:
        return over_unique(lambda parts: simulated_destinations(round(parts), r), n)
    return n * (1 - _missed(r.experts / n, r.experts, r.top_k))


#: turns (all that there are of up to 4 replicas) and layers that are looked at: more hardly change how many parts a
#: token reaches
_TURNS, _LAYERS = 12, 4


def placed_destinations(r: Router, loads: Array, parts: Array, replicas: Array) -> float:
    """Expected number of parts in which one token's experts are, where experts of unequal ``loads`` [layers, experts]
    lie as ``parts`` [layers, parts, slots] say, with ``replicas`` [layers, experts] of each; the mean over ``_LAYERS``
    of the layers. All of a token's experts are read from the replicas of its turn.

    A token chooses k experts, none twice, by chances in proportion to loads: of all sets of k the probability is taken
    in proportion to the product of its experts' odds (conditional Poisson sampling; Chen, Dempster, Liu, Biometrika
    81(3), 1994). It misses a part with e_k(odds of the experts elsewhere) / e_k(all odds), e_k the elementary symmetric
    polynomial; even loads in equal parts give ``distinct_destinations``. Limits to groups are left out: a placement by
    load scatters the groups over the parts. Tests list all sets, and follow tokens.
    """
    count = parts.shape[1]
    if count == 1:
        return 1.0
    some = np.unique(np.linspace(0, len(parts) - 1, _LAYERS).astype(int))
    layers, loads, parts, replicas = len(some), loads[some], parts[some], replicas[some]
    turns = min(math.lcm(*(int(n) for n in np.unique(replicas))), _TURNS)
    where = parts_in_turn(parts, replicas, np.arange(turns))
    odds = np.stack([_odds(tuple(chances(row, r.top_k).tolist()), r.top_k) for row in loads])
    # e_0 … e_k of the experts outside each part, and of all in the last place
    sums = np.zeros((layers, turns, count + 1, r.top_k + 1))
    sums[..., 0] = 1.0
    number = np.arange(count + 1)
    for expert in range(r.experts):
        outside = number != where[:, :, expert, None]
        sums[..., 1:] += (outside * odds[:, expert, None, None])[..., None] * sums[..., :-1]
    missed = sums[:, :, :-1, -1] / sums[:, :, -1:, -1]
    return float((1 - missed).sum(axis=2).mean())


def parts_in_turn(parts: Array, replicas: Array, turns: Ints) -> Ints:
    """The part [layers, turns, experts] in which each turn reads each expert: its ``replicas`` one after another, in
    the order of ``parts`` [layers, parts, slots]."""
    part = np.argsort(parts.reshape(len(parts), -1), axis=1, kind="stable") // parts.shape[2]
    count = replicas.astype(np.int64)
    first = np.cumsum(count, axis=1) - count
    return np.take_along_axis(part[:, None, :], first[:, None, :] + turns[:, None] % count[:, None, :], axis=2)


@lru_cache(maxsize=1024)
def _odds(chance: tuple[float, ...], top_k: int) -> Array:
    """Odds [experts] with which sets of ``top_k`` hold each expert by ``chance``, at most a million to one:
    odds ∝ chance · e_k / e_(k−1) of the others, repeated until they hold."""
    wanted = np.minimum(chance, 1 - 1e-6)
    odds = wanted / (1 - wanted)
    for _ in range(50):
        odds = odds / np.exp(np.log(odds[odds > 0]).mean())
        sums = np.zeros((len(odds), top_k))  # e_0 … e_(k−1) of all but one expert
        sums[:, 0] = 1.0
        for i, one in enumerate(odds):
            others = np.arange(len(odds)) != i
            sums[others, 1:] += one * sums[others, :-1]
        held = odds * sums[:, -1]
        held = held * top_k / held.sum()
        if np.abs(held - wanted).max() < 1e-4:
            break
        odds = odds * wanted / np.maximum(held, 1e-300)
    return np.asarray(odds)


def _missed(part: ArrayLike, experts: float, top_k: int) -> Array:
    """C(experts − part, k) / C(experts, k): no expert of a part is chosen."""
    size = np.asarray(part, dtype=np.float64)
    missed = np.ones_like(size)
    for i in range(top_k):
        missed = missed * np.maximum(experts - size - i, 0) / (experts - i)
    return missed


def active_share(tokens: ArrayLike, experts: int, top_k: int) -> Array:
    """Chance that a given expert gets any of ``tokens`` tokens: 1 − (1 − k/E)^T."""
    count = array(tokens)
    if top_k >= experts:
        return np.minimum(count, 1.0)
    return -np.expm1(count * math.log1p(-top_k / experts))


def active_experts(tokens: ArrayLike, r: Router, ranks: ArrayLike, slots: ArrayLike) -> Array:
    """Experts with any token on the rank that has the most of them, of ``ranks`` with ``slots`` each: the expected
    largest of as many counts, each Binomial(``slots``, ``active_share``) (the slight dependence between experts is
    left out); of few tokens by simulation. At least 1 where there is a token."""
    return over_unique(lambda t, n, s: _active(t, n, s, r), tokens, ranks, slots)


@lru_cache(maxsize=65536)
def _active(tokens: float, ranks: float, slots: float, r: Router) -> float:
    share = float(active_share(tokens, r.experts, r.top_k)[0])
    if share >= 1 - 1e-12:
        return slots
    if 0 < tokens <= FEW and r.top_k < r.experts and ranks * slots == r.experts:
        return few_tokens(math.ceil(tokens), round(ranks), r)[1]
    largest = _largest_binomial(slots, share, ranks) if share > 0 else 0.0
    return max(largest, min(tokens, 1.0))


def straggler(tokens: ArrayLike, r: Router, ranks: ArrayLike) -> Array:
    """Expected largest number of routed copies on one of ``ranks`` ranks over their mean, when ``tokens``
    tokens are routed by ``r``.

    A rank's count is a sum over tokens of how many of its experts one chooses, of mean k/n and the variance
    of ``_variance``. The sum's law is matched by a binomial of that mean and variance (by the normal with a
    Cornish-Fisher skewness term where the mean is large or the variance exceeds it), the largest of n taken
    as of independent ones, and its excess scaled by sqrt(n/(n−1)) since the counts add up to a constant. Few tokens
    are simulated. No rank gets more than min(k, its experts) copies of a token. Tests compare with simulation.
    """
    return over_unique(lambda t, n: _straggler(t, n, r), tokens, ranks)


def _variance(ranks: float, r: Router) -> float:
    """Variance of the number of experts of one of ``ranks`` ranks that a token chooses: m + pairs·P − m², over ordered
    pairs of the rank's experts and the chance P that both are chosen; with limited groups by a sample of the gate."""
    if r.limited:
        return simulated_variance(round(ranks), r)
    mean, part = r.top_k / ranks, r.experts / ranks
    both = r.top_k * (r.top_k - 1) / (r.experts * max(r.experts - 1, 1))
    return max(mean + part * (part - 1) * both - mean * mean, 0.0)


@lru_cache(maxsize=65536)
def _straggler(tokens: float, ranks: float, r: Router) -> float:
    if ranks <= 1 or tokens <= 0 or r.top_k >= r.experts:
        return 1.0
    mean = tokens * r.top_k / ranks
    if tokens <= FEW and r.experts % ranks == 0:
        return few_tokens(math.ceil(tokens), round(ranks), r)[0] * tokens / math.ceil(tokens) / mean
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
    most = min(r.top_k, r.experts / ranks) * tokens / mean
    return min(1 + (largest - mean) * math.sqrt(ranks / (ranks - 1)) / mean, max(most, 1.0))


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


#: what the fullest rank carries over the mean without balancing, as a power of the ranks: DeepSeek-V3's published loads
#: give 1.88, 2.63 and 3.13 at 8, 32 and 64 ranks in decode; and what a balancer by redundant experts leaves (32 ranks)
#: (benchmarks/data/published.csv; SGLang's perfect against its real balance)
TYPICAL_POWER = 0.28
BALANCED = 1.18


def typical_straggler(ranks: ArrayLike, redundant: ArrayLike) -> Array:
    """The fullest rank's load over the mean that models show without balancing, or with ``redundant`` experts."""
    n = array(ranks)
    return np.where(array(redundant) > 0, np.where(n > 1, BALANCED, 1.0), np.maximum(n, 1.0) ** TYPICAL_POWER)


def skewed_straggler(tokens: float, r: Router, shares: Array) -> float:
    """Mean over layers of the largest rank's copies over the mean, for ranks whose expected ``shares``
    [layers, ranks] (rows sum to 1) are unequal: the straggler of equal shares, times how much larger the mean largest
    of 256 seeded samples is than that of equal shares under the same noise. So both are on one scale, and equal
    shares are the limit. Samples are normal counts with each rank's mean Tk·share and variance Tk·share·(1 − share)."""
    ranks = shares.shape[1]
    even = float(straggler(tokens, r, ranks)[0])
    copies = max(tokens * r.top_k, 1.0)
    return even * max(_largest_sampled(copies, shares) / _largest_sampled(copies, np.full((1, ranks), 1 / ranks)), 1)


def _largest_sampled(copies: float, shares: Array) -> float:
    spread = np.sqrt(shares * np.maximum(1 - shares, 0) / copies)  # of one rank, a share may exceed 1 by rounding
    return float(np.maximum(shares + _noise(shares.shape[1]) * spread, 0).max(axis=2).mean())


@lru_cache(maxsize=256)
def _noise(ranks: int) -> Array:
    return np.random.default_rng(0).standard_normal((256, 1, ranks))
