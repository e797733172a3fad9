"""Tokens that choose experts in proportion to loads, without repetition."""

import numpy as np
import pytest

from moewright.cost.routing.gate import choose
from moewright.cost.routing.router import Router, chances, zipf_loads


@pytest.mark.parametrize("load", [zipf_loads(6, 1.0), np.array([1e4, 1.0, 1.0, 2.0, 0.5, 0.1])])
def test_experts_are_drawn_by_their_chances(load):
    """In proportion to load, none more often than once a token; also where one expert has nearly all the load."""
    tokens = 200_000
    chosen = choose(np.random.default_rng(0), tokens, Router(6, 3), load)
    assert chosen.shape == (tokens, 3)
    assert (np.diff(np.sort(chosen, axis=1), axis=1) > 0).all()
    share = np.bincount(chosen.ravel(), minlength=6) / tokens
    assert share == pytest.approx(chances(load, 3), abs=5 * 0.5 / tokens**0.5)


def test_chances_are_in_proportion_where_they_can_be():
    free = chances(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 2)
    assert free == pytest.approx(np.arange(1, 7) * 2 / 21)
    capped = chances(np.array([100.0, 1.0, 1.0, 2.0]), 2)
    assert capped == pytest.approx([1.0, 0.25, 0.25, 0.5])


def test_experts_without_load_come_last():
    load = np.array([0.0, 3.0, 0.0, 1.0, 0.0])
    few = choose(np.random.default_rng(0), 1000, Router(5, 2), load)
    assert set(few.ravel()) == {1, 3}
    more = choose(np.random.default_rng(0), 1000, Router(5, 4), load)
    assert (np.diff(np.sort(more, axis=1), axis=1) > 0).all()
