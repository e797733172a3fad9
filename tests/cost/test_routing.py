"""Routing: exact enumeration and simulation against the closed forms."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cases import value
from moewright.cost.routing import spread
from moewright.cost.routing.gate import choose
from moewright.cost.routing.router import Router, chances, feasible_shares, zipf_loads
from moewright.placement.experts import place_experts, replicas_of


def enumerated(n, r):
    """Mean number of parts that a token's experts fall in, over all choices of experts."""
    return np.mean([len({e * n // r.experts for e in chosen}) for chosen in combinations(range(r.experts), r.top_k)])


@pytest.mark.parametrize("r", [Router(8, 2), Router(12, 3), Router(6, 6)])
def test_distinct_destinations_enumerated(r):
    for n in (1, 2, 3, 4, 6, 12):
        if r.experts % n == 0:
            assert value(spread.distinct_destinations(n, r)) == pytest.approx(enumerated(n, r)), n


@pytest.mark.parametrize(("n", "simulated"), [(8, 3.955), (16, 5.732), (32, 6.855)])
def test_distinct_destinations_of_deepseeks_gate(n, simulated):
    """Figures of an independent calculator's simulation of the gate: groups by the sum of their two best scores."""
    assert value(spread.distinct_destinations(n, Router(256, 8, 8, 4))) == pytest.approx(simulated, rel=0.004)


def test_one_token_of_top_1_is_all_on_one_rank():
    """Llama-4-Maverick at ep 8: the fullest rank has 8 times the mean, and one active expert."""
    r = Router(128, 1)
    assert value(spread.straggler(1, r, 8)) == pytest.approx(8)
    assert value(spread.active_experts(1, r, 8, 16)) == pytest.approx(1)


def test_active_experts_of_one_token_in_deepseeks_groups():
    """An independent simulation of the gate: 2.98 on the fullest of 8 ranks of 32 experts."""
    assert value(spread.active_experts(1, Router(256, 8, 8, 4), 8, 32)) == pytest.approx(2.98, abs=0.04)


def test_shares_are_never_above_one_copy_a_token():
    shares = feasible_shares(zipf_loads(128, 1.0)[None], 8)
    assert shares.max() <= 1 / 8 + 1e-12
    assert shares.sum() == pytest.approx(1)


@given(st.integers(1, 8), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4, 8, 16, 32, 64]))
def test_distinct_destinations_bounds(top_k, limit, n):
    r = Router(64, top_k, 4, limit)
    found = value(spread.distinct_destinations(n, r))
    assert 1 - 1e-9 <= found <= min(n, top_k) + 1e-9


@pytest.mark.parametrize("tokens", [1, 16, 512])
def test_active_experts_simulated(tokens):
    rng = np.random.default_rng(0)
    r = Router(64, 4)
    seen, largest = [], []
    for _ in range(400):
        hit = np.zeros(64, dtype=bool)
        hit[choose(rng, tokens, r).ravel()] = True
        seen.append(hit.mean())
        largest.append(hit.reshape(8, 8).sum(axis=1).max())
    assert value(spread.active_share(tokens, 64, 4)) == pytest.approx(np.mean(seen), rel=0.03)
    assert value(spread.active_experts(tokens, r, 8.0, 8.0)) == pytest.approx(np.mean(largest), rel=0.06)


@pytest.mark.parametrize(
    ("r", "ranks", "tokens"),
    [
        (Router(64, 2), 64, 1024),
        (Router(64, 2), 64, 128),
        (Router(64, 2), 8, 256),
        (Router(256, 8), 32, 128),
        (Router(256, 8, 8, 4), 8, 512),
        (Router(256, 8, 8, 4), 64, 4096),
        (Router(8, 2), 4, 4096),
    ],
)
def test_straggler_simulated(r, ranks, tokens):
    rng = np.random.default_rng(1)
    largest = []
    for _ in range(max(20, 60_000 // tokens)):
        counts = np.bincount(choose(rng, tokens, r).ravel() * ranks // r.experts, minlength=ranks)
        largest.append(counts.max() / counts.mean())
    error = np.std(largest) / np.sqrt(len(largest))
    assert value(spread.straggler(tokens, r, ranks)) == pytest.approx(np.mean(largest), abs=4 * error + 0.02)


def test_straggler_of_the_paper():
    """The figures that a simulation of the seed document's case gave: 64 ranks, 64 experts, top 2."""
    found = [value(spread.straggler(t, Router(64, 2), 64)) for t in (131_072, 1024, 128)]
    assert found == pytest.approx([1.04, 1.44, 2.34], rel=0.015)


@given(st.integers(1, 20), st.sampled_from([1, 2, 4, 8, 16, 32, 64]), st.integers(1, 8))
def test_straggler_falls_with_tokens(power, ranks, top_k):
    r = Router(64, top_k)
    few, many = (value(spread.straggler(float(2**p), r, float(ranks))) for p in (power, power + 2))
    assert 1 <= many <= few * 1.01
    assert few <= ranks * 1.05  # never more than everything on one rank
    assert ranks > 1 or few == 1


def test_skewed_straggler_of_many_tokens_is_the_largest_share():
    shares = np.array([[0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])
    assert spread.skewed_straggler(1e12, Router(16, 2), shares) == pytest.approx((1.6 + 1) / 2, rel=1e-4)
    assert spread.skewed_straggler(100, Router(16, 2), shares) > 1.3


def test_skewed_straggler_without_skew_is_the_uniform_one():
    uniform = value(spread.straggler(4096, Router(64, 2), 16))
    assert spread.skewed_straggler(4096, Router(64, 2), np.full((1, 16), 1 / 16)) == pytest.approx(uniform)


def test_one_rank_has_no_straggler():
    assert spread.skewed_straggler(64, Router(8, 2), np.array([[1.0 + 1e-15]])) == pytest.approx(1)


def test_zipf():
    loads = zipf_loads(64, 1.0)
    assert loads.sum() == pytest.approx(1)
    assert loads[0] / loads[9] == pytest.approx(10)


@pytest.mark.parametrize("r", [Router(64, 2), Router(256, 8, 8, 4), Router(8, 6), Router(16, 16)])
def test_choose_takes_distinct_eligible_experts_evenly(r):
    chosen = choose(np.random.default_rng(3), 20_000, r)
    assert all(len(set(row)) == r.top_k for row in chosen[:500].tolist())
    assert all(len({e * r.groups // r.experts for e in row}) <= r.top_groups for row in chosen[:500].tolist())
    counts = np.bincount(chosen.ravel(), minlength=r.experts)
    expected = 20_000 * r.top_k / r.experts
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected) + 1e-9 + (0 if r.top_k < r.experts else 1)


def followed(chosen, parts, experts):
    """Parts that hold a token's experts, one by one, a replicated expert read from the replica in the token's turn."""
    holders = [[part for part, slots in enumerate(parts) for slot in slots if slot == e] for e in range(experts)]
    return np.mean([len({holders[e][t % len(holders[e])] for e in row}) for t, row in enumerate(chosen.tolist())])


@pytest.mark.parametrize(
    ("r", "ep", "redundant", "exponent"),
    [
        (Router(64, 2), 8, 0, 1.0),
        (Router(64, 4), 8, 8, 1.2),
        (Router(128, 8), 16, 16, 1.5),
        (Router(16, 4), 4, 0, 2.0),
        (Router(6, 2), 2, 4, 2.0),
        (Router(6, 2), 2, 4, 0.5),
        (Router(256, 8, 8, 4), 8, 8, 0.0),  # its groups scattered by the placement of other loads
    ],
)
def test_placed_destinations_against_tokens(r, ep, redundant, exponent):
    rng = np.random.default_rng(0)
    load = np.arange(1.0, r.experts + 1) ** -exponent
    load = load[rng.permutation(r.experts)]
    chosen = choose(rng, 6000, r, load if exponent else None)
    seen = np.bincount(chosen.ravel(), minlength=r.experts) / chosen.size
    by = load if exponent else np.arange(1.0, r.experts + 1)[rng.permutation(r.experts)]
    parts = place_experts(by[None], ep, redundant)
    found = spread.placed_destinations(r, seen[None], parts, replicas_of(parts, r.experts))
    assert found == pytest.approx(followed(chosen, parts[0], r.experts), rel=0.03)


@given(st.lists(st.floats(0.05, 20), min_size=4, max_size=8), st.integers(1, 3), st.data())
def test_placed_destinations_by_listing_all_sets(loads, top_k, data):
    """Of all sets of experts, each as likely as the product of odds that give every expert its chance."""
    experts = len(loads)
    assume(experts % 2 == 0)
    part = np.array(data.draw(st.permutations(range(experts)))) % 2
    parts = np.stack([np.flatnonzero(part == 0), np.flatnonzero(part == 1)])[None]
    law = Router(experts, top_k)
    chance = chances(np.array(loads), top_k)
    assume(chance.max() < 0.98)  # the odds of more converge too slowly here
    sets = [list(one) for one in combinations(range(experts), top_k)]
    odds, held = chance / (1 - chance), np.zeros(experts)
    for _ in range(200):
        weight = np.array([np.prod(odds[one]) for one in sets])
        held = np.array([weight[[e in one for one in sets]].sum() for e in range(experts)]) / weight.sum()
        odds = odds * (chance / held) ** 0.7
    likely = weight / weight.sum()
    expected = sum(p * len(set(part[one])) for p, one in zip(likely, sets, strict=True))
    found = spread.placed_destinations(law, np.array([loads]), parts, np.ones((1, experts)))
    assert found == pytest.approx(expected, abs=1e-3)


@given(st.integers(1, 8), st.sampled_from([2, 4, 8, 16]))
def test_placed_destinations_of_even_loads_are_the_exact_ones(top_k, parts):
    r = Router(64, top_k)
    even = np.arange(64).reshape(1, parts, -1)
    found = spread.placed_destinations(r, np.ones((1, 64)), even, np.ones((1, 64)))
    assert found == pytest.approx(value(spread.distinct_destinations(parts, r)))


def test_an_expert_that_all_choose_is_one_destination():
    load = np.zeros((1, 8))
    load[0, 3] = 1.0
    found = spread.placed_destinations(Router(8, 1), load, np.arange(8).reshape(1, 4, 2), np.ones((1, 8)))
    assert found == pytest.approx(1.0)
