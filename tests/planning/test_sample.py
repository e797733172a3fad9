"""Tokens that choose experts in proportion to loads, without repetition."""

from itertools import permutations

import numpy as np
import pytest

from moewright.cost.routing import Router, zipf_loads
from moewright.planning.sampled_routing import choose


def exact(load, top_k):
    """Chance of every expert to be among ``top_k`` drawn one after the other, summed over all orders."""
    found = np.zeros(len(load))
    for order in permutations(range(len(load)), top_k):
        chance, left = 1.0, load.sum()
        for e in order:
            chance *= load[e] / left
            left -= load[e]
        found[list(order)] += chance
    return found


@pytest.mark.parametrize("load", [zipf_loads(6, 1.0), np.array([1e4, 1.0, 1.0, 2.0, 0.5, 0.1])])
def test_experts_are_drawn_as_one_after_the_other(load):
    """Also where one expert has nearly all the load, so that draws in vain are many."""
    tokens = 200_000
    chosen = choose(np.random.default_rng(0), tokens, Router(6, 3), load)
    assert chosen.shape == (tokens, 3)
    assert (np.diff(np.sort(chosen, axis=1), axis=1) > 0).all()
    share = np.bincount(chosen.ravel(), minlength=6) / tokens
    assert share == pytest.approx(exact(load, 3), abs=5 * 0.5 / tokens**0.5)
    first = np.bincount(chosen[:, 0], minlength=6) / tokens
    assert first == pytest.approx(load / load.sum(), abs=5 * 0.5 / tokens**0.5)


def test_experts_without_load_come_last():
    load = np.array([0.0, 3.0, 0.0, 1.0, 0.0])
    few = choose(np.random.default_rng(0), 1000, Router(5, 2), load)
    assert set(few.ravel()) == {1, 3}
    more = choose(np.random.default_rng(0), 1000, Router(5, 4), load)
    assert (np.diff(np.sort(more, axis=1), axis=1) > 0).all()
