"""The search of one layer: not below what it starts from nor its peers, exact where all can be tried, the same without
a compiler."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from benchmarks.eplb import balanced, largest
from benchmarks.flashlb import flash

import moewright
from moewright.errors import SpecError
from moewright.placement.compiled.annealing import Schedule, anneal
from moewright.placement.compiled.count_walk import walk_counts
from moewright.placement.compiled.greedy import gpu_loads, pack, replicate
from moewright.placement.compiled.pair_walk import largest_pair, pair, sorted_weights, walk_pairs
from moewright.placement.search.one_layer import HOT, largest_load, search_round, start_layer

ROOT = Path(__file__).parents[2]


def drawn(kind, layers, experts, seed):
    rng = np.random.default_rng(seed)
    if kind == "lognormal":
        return rng.lognormal(size=(layers, experts))
    if kind == "dirichlet":
        return rng.dirichlet(np.full(experts, 0.3), layers)
    if kind == "zipf":
        return np.stack([rng.permutation(1 / np.arange(1, experts + 1)) for _ in range(layers)])
    return rng.dirichlet(np.full(4, 0.5), layers) @ rng.lognormal(sigma=1.5, size=(4, experts))


@pytest.mark.parametrize("kind", ["lognormal", "dirichlet", "zipf", "topics"])
@pytest.mark.parametrize(("experts", "slots", "gpus"), [(32, 64, 32), (48, 60, 20), (60, 80, 16), (32, 48, 8)])
def test_no_layer_is_below_a_peer(kind, experts, slots, gpus):
    loads = drawn(kind, 3, experts, 3)
    ours = moewright.place(loads, slots=slots, gpus=gpus).gpu_load.max(axis=1)
    for layer, load in enumerate(loads):
        assert ours[layer] <= largest(load, flash(load, slots, gpus)) * (1 + 1e-9)
        assert ours[layer] <= largest(load, balanced(load, slots, gpus)) * (1 + 1e-9)


@pytest.mark.parametrize("kind", ["lognormal", "topics"])
def test_a_round_beats_the_greedy_starts(kind):
    for slots, gpus in ((96, 48), (96, 24)):
        gains = []
        for load in drawn(kind, 4, 64, 5):
            start = start_layer(load, slots, gpus)
            found = search_round(load, start, 0, 0)
            gains.append(largest_load(load, start) / largest_load(load, found))
        assert min(gains) >= 1
        assert np.mean(gains) > 1.005


@pytest.mark.parametrize("seed", range(8))
def test_pairs_are_the_best_counts_of_all(seed):
    load = np.random.default_rng(seed).lognormal(size=5)
    every = [c for c in product(range(1, 6), repeat=5) if sum(c) == 10]
    best = min(largest_pair(sorted_weights(load, np.array(c))) for c in every)
    found = walk_pairs(load, replicate(load, 10, 5), 5, seed, Schedule(7000, *HOT, 0.0))
    assert found.sum() == 10
    assert largest_pair(sorted_weights(load, found)) == pytest.approx(best)
    assert gpu_loads(load, pair(load, found, 5), found).max() == pytest.approx(best)
    assert moewright.place(load[None], slots=10, gpus=5).gpu_load.max() == pytest.approx(best)


def test_steps_of_a_walk_keep_their_sums():
    """Sorted weights merged step by step, and heaviest-first orders: what a walk returns is as good when counted afresh
    as from anywhere else, and every replica is there."""
    rng = np.random.default_rng(6)
    for _ in range(10):
        load = np.round(rng.lognormal(size=24), 1) + 0.1  # ties
        counts = replicate(load, 36, 12)
        held = walk_counts(load, counts, 12, 1, Schedule(200, 0.02, 1e-3, 0.0))
        many = np.bincount(held.ravel(), minlength=24)
        assert many.sum() == 36
        assert many.min() >= 1
        assert largest_load(load, held) == pytest.approx(largest_load(load, pack(load, many, 12, True)))
        assert largest_load(load, held) <= largest_load(load, pack(load, counts, 12, True)) * (1 + 1e-12)


@pytest.mark.parametrize("most", [0, 3, 10, 36])
def test_annealing_keeps_its_bound_and_never_loses(most):
    rng = np.random.default_rng(7)
    for seed in range(5):
        load = rng.lognormal(size=24)
        start = pack(load, replicate(load, 36, 12), 12, True)
        found = anneal(load, start, start, most, seed, Schedule(3000, 0.02, 5e-4, 0.0))
        moved = sum(e not in start[g] for g in range(12) for e in found[g])
        assert moved <= most
        assert largest_load(load, found) <= largest_load(load, start) * (1 + 1e-12)
        assert np.bincount(found.ravel(), minlength=24).min() >= 1
        assert most or (found == start).all()


def test_doubles_are_parted_in_pairs_where_another_can_take_one():
    load = np.array([6.0, 6.0, 1.0, 1.0])
    held = pair(load, np.array([2, 2, 1, 1]), 3)
    assert largest_load(load, held) == 6
    heavy = np.array([4.0, 4.0, 4.0])
    assert all(len(set(row)) == 2 for row in pair(heavy, np.array([2, 2, 2]), 3).tolist())


def test_more_seconds_find_no_less_and_seeds_decide_without():
    loads = drawn("dirichlet", 2, 48, 9)
    short = moewright.place(loads, slots=64, gpus=32)
    again = moewright.place(loads, slots=64, gpus=32)
    assert (short.expert_of_slot == again.expert_of_slot).all()
    longer = moewright.place(loads, slots=64, gpus=32, seconds=1.0)
    assert (longer.layer_balancedness >= short.layer_balancedness * (1 - 1e-12)).all()
    none = moewright.place(loads, slots=64, gpus=32, seconds=0)
    assert (none.replicas.sum(axis=1) == 64).all()
    for layer, load in enumerate(loads):  # also without time: not below the peers
        assert none.gpu_load[layer].max() <= largest(load, flash(load, 64, 32)) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": -1.0}, "seconds: got -1.0; expected a number of at least 0"),
        ({"shares": "optimal"}, "seconds: cannot go with shares optimal"),
        ({"previous": [[0, 1, 2, 3]]}, "seconds: cannot go with previous"),
        ({"budget": 2}, "seconds: cannot go with budget"),
    ],
)
def test_seconds_that_do_nothing_are_refused(options, message):
    with pytest.raises(SpecError, match=message):
        moewright.place([[1.0, 2.0, 3.0, 4.0]], slots=4, gpus=2, **{"seconds": 1.0, **options})


PLAIN = """
import json, numpy as np
from moewright.placement.search import one_layer, solve
short = lambda w: w._replace(rounds=2, pairs=(300, 10**6), packings=(60, 10**6), steps=1500, descent=3)
one_layer.WORK = tuple(short(w) for w in one_layer.WORK)
solve.EXCHANGES = 2000
rng = np.random.default_rng(5)
loads = rng.lognormal(size=(2, 16))
pairs = np.triu(rng.integers(0, 9, (16, 16)), 1).astype(float)
found = []
for options in ({"slots": 20, "gpus": 10}, {"slots": 24, "gpus": 8}, {"slots": 20, "gpus": 10, "shares": "optimal"},
                {"slots": 24, "gpus": 4, "affinity": pairs + pairs.T}):
    found.append(solve.place(loads, **options).expert_of_slot.tolist())
found.append(solve.place(np.stack([loads, loads[:, ::-1]]), slots=20, gpus=10).expert_of_slot.tolist())
print(json.dumps(found))
"""


@pytest.mark.slow
def test_compiled_searches_do_what_is_written():
    """Every kernel, run as plain Python in a process of its own, gives the same placement."""
    said = []
    for off in ("0", "1"):
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NUMBA_DISABLE_JIT": off, "PYTHONWARNINGS": "ignore"}
        ran = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, env=env, check=False)
        assert ran.returncode == 0, ran.stderr[-2000:]
        said.append(json.loads(ran.stdout))
    assert said[0] == said[1]
