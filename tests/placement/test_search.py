"""The searches of ``moewright.place`` against second derivations: the linear program, EPLB, exhaustive partitions."""

import json
from itertools import product

import jsonschema
import numpy as np
import pytest
from benchmarks.eplb import balanced, grouped, largest
from benchmarks.robust import judged, topic_windows

import moewright
from moewright.errors import SpecError
from moewright.placement.compiled.joint import fill_parts, part_experts
from moewright.placement.compiled.shares import water_fill
from moewright.placement.expert_placement import slots_for
from moewright.placement.files.placement_schema import schema
from moewright.placement.search.moves import least_costs
from moewright.placement.search.node_traffic import Router, crossings
from moewright.placement.slices import place_slices


def program(load, held):
    """min t: Σ shares of an expert = its load, each GPU at most t (HiGHS)."""
    optimize = pytest.importorskip("scipy.optimize")
    gpus, each = held.shape
    n = gpus * each
    equal, upper = np.zeros((len(load), n + 1)), np.zeros((gpus, n + 1))
    equal[held.ravel(), np.arange(n)] = 1
    upper[np.arange(n) // each, np.arange(n)] = 1
    upper[:, n] = -1
    goal = np.zeros(n + 1)
    goal[n] = 1
    return optimize.linprog(goal, A_ub=upper, b_ub=np.zeros(gpus), A_eq=equal, b_eq=load).fun


@pytest.mark.parametrize("seed", range(4))
def test_shares_equal_the_linear_program(seed):
    load = np.random.default_rng(seed).lognormal(size=48)
    held = moewright.place(load[None], slots=64, gpus=16).expert_of_slot.reshape(16, 4)
    drifted = load * np.random.default_rng(seed + 9).lognormal(sigma=0.3, size=48)
    share = water_fill(drifted, held, 2000, 1e-5)
    assert (drifted[held] * share).sum(axis=1).max() == pytest.approx(program(drifted, held), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_two_slots_are_a_partition_into_parts(seed):
    """Six experts on four GPUs of two slots: the best of all placements with free shares is the best partition into
    experts − GPUs parts, and the search finds it."""
    load = np.random.default_rng(seed).lognormal(size=6)
    best = np.inf
    for part in product(range(2), repeat=6):
        size = np.bincount(part, minlength=2)
        if size.min() >= 2:
            best = min(best, (np.bincount(part, weights=load) / (size - 1)).max())
    found, width = part_experts(load, 8, 4, 4000, 0)
    assert (np.bincount(found, weights=load) / width).max() == pytest.approx(max(best, load.sum() / 4), rel=2e-3)
    held = fill_parts(load, found, width, 2)
    assert program(load, held) == pytest.approx((np.bincount(found, weights=load) / width).max(), rel=1e-6)
    rng, lowest = np.random.default_rng(seed), np.inf
    for _ in range(300):
        other = rng.permutation(np.concatenate([np.arange(6), rng.integers(0, 6, 2)])).reshape(4, 2)
        lowest = min(lowest, program(load, other))
    assert lowest >= best * (1 - 1e-9)


@pytest.mark.parametrize(("slots", "gpus"), [(48, 24), (48, 16), (48, 8), (40, 40)])
def test_no_layer_is_below_eplb(slots, gpus):
    loads = np.random.default_rng(1).lognormal(sigma=1.2, size=(6, 32))
    ours = moewright.place(loads, slots=slots, gpus=gpus).gpu_load.max(axis=1)
    for layer, load in enumerate(loads):
        assert ours[layer] <= largest(load, balanced(load, slots, gpus)) * (1 + 1e-12)


def test_groups_in_nodes_are_not_below_eplb_and_traffic_has_a_front():
    loads = np.random.default_rng(2).lognormal(sigma=1.2, size=(4, 64))
    sizes = {"slots": 80, "gpus": 16, "nodes": 4, "groups": 8, "token_bytes": 1.0, "top_groups": 4}
    strict = moewright.place(loads, **sizes)
    for layer, load in enumerate(loads):
        assert strict.gpu_load[layer].max() <= largest(load, grouped(load, 80, 16, 4, 8)) * (1 + 1e-12)
    front = [moewright.place(loads, **sizes, traffic=w) for w in (0.0, 0.3, 1e6)]
    assert front[0].balancedness >= front[1].balancedness >= front[2].balancedness == strict.balancedness
    assert front[0].cross_node_bytes >= front[1].cross_node_bytes >= front[2].cross_node_bytes
    assert front[2].cross_node_bytes <= strict.cross_node_bytes * (1 + 1e-9)


def test_crossings_by_simulation():
    """One group on one node each: a token of two groups and four experts visits the nodes of its groups."""
    held, share = np.arange(16).reshape(1, 8, 2), np.ones((1, 8, 2))
    found = crossings(np.ones((1, 16)), held, share, 4, Router(4, 4, 2))[0]
    assert found == pytest.approx(16 / 4 * 4 * (1 - 0.5) * (1 - 1 / 4))


def test_windows_hold_on_windows_not_seen():
    windows = topic_windows(32, 2, 64, 0)
    eplb = np.stack([balanced(load, 72, 8) for load in windows[:16].mean(axis=0)])
    ours = moewright.place(windows[:16], slots=72, gpus=8)
    assert ours.windows.shape == (16,)
    assert judged(ours.expert_of_slot.reshape(2, 8, 9), windows[16:]) > judged(eplb, windows[16:]) + 0.05
    with pytest.raises(SpecError, match="only zeros in window 0"):
        moewright.place(np.stack([windows[0] * 0, windows[1]]), slots=72, gpus=8)


def test_few_moves_reach_a_fresh_balance_of_eplb():
    rng = np.random.default_rng(3)
    load = rng.lognormal(size=(3, 128))
    before = moewright.place(load, slots=144, gpus=16)
    drifted = load * rng.lognormal(sigma=0.1, size=load.shape)
    kept = moewright.place(drifted, slots=144, gpus=16, previous=before.expert_of_slot, expert_bytes=10.0)
    assert kept.moved <= 0.15 * 144 * 3
    assert (kept.expert_of_slot != before.expert_of_slot).sum() == kept.moved  # what stays, stays in its slot
    assert kept.moved_bytes == kept.moved * 10
    fresh = np.mean([d.sum() / 16 / largest(d, balanced(d, 144, 16)) for d in drifted])
    assert kept.balancedness >= fresh - 5e-3


@pytest.mark.parametrize("spread", [0.05, 0.1])
def test_two_slots_a_gpu_need_few_moves_for_a_fresh_balance(spread):
    rng = np.random.default_rng(5)
    load = rng.lognormal(size=(3, 64))
    before = np.stack([balanced(row, 80, 40).ravel() for row in load])  # EPLB's, whose replicas may share a GPU
    drifted = load * rng.lognormal(sigma=spread, size=load.shape)
    kept = moewright.place(drifted, slots=80, gpus=40, previous=before)
    assert kept.moved <= 0.15 * 80 * 3
    assert kept.balancedness >= np.mean([d.sum() / 40 / largest(d, balanced(d, 80, 40)) for d in drifted]) - 5e-3


def test_moves_go_to_the_layers_that_need_them():
    """Nine layers as before and one that changed: all moves of the ten are its own, unless a bound a layer is given."""
    rng = np.random.default_rng(8)
    load = np.repeat(rng.lognormal(size=(1, 48)), 10, axis=0)
    before = moewright.place(load, slots=64, gpus=16).expert_of_slot
    load[4] = rng.permutation(load[4])
    free = moewright.place(load, slots=64, gpus=16, previous=before)
    moved = (free.expert_of_slot != before).sum(axis=1)
    assert moved[4] > 0.15 * 64
    assert moved.sum() == free.moved <= 0.15 * before.size
    bound = moewright.place(load, slots=64, gpus=16, previous=before, moves=6)
    assert (bound.expert_of_slot != before).sum(axis=1).max() <= 6
    assert free.layer_balancedness[4] > bound.layer_balancedness[4]


def test_the_moves_of_layers_are_chosen_as_by_trying_all():
    rng = np.random.default_rng(1)
    costs = -np.sort(rng.random((4, 3)), axis=1)
    sizes = np.sort(rng.integers(1, 9, (4, 3)), axis=1)
    sizes[:, 0] = 0
    for budget in range(0, 25, 3):
        rows = [
            (sum(costs[i, k] for i, k in enumerate(pick)), pick)
            for pick in product(range(3), repeat=4)
            if sum(sizes[i, k] for i, k in enumerate(pick)) <= budget
        ]
        chosen = least_costs(costs, sizes, budget)
        assert sum(sizes[i, k] for i, k in enumerate(chosen)) <= budget
        assert sum(costs[i, k] for i, k in enumerate(chosen)) == pytest.approx(min(rows)[0])


def test_slices_of_experts_even_out_and_are_priced():
    load = np.random.default_rng(0).lognormal(sigma=0.5, size=(2, 64))
    found = {s.slices: s for s in place_slices(load, slots=64, gpus=128, width=2048)}
    assert set(found) == {2, 4, 8, 16}
    assert found[2].placement.balancedness < found[4].placement.balancedness < found[8].placement.balancedness
    assert found[16].padding == 1
    narrow = place_slices(load, slots=64, gpus=128, width=256)
    assert {s.slices: s.padding for s in narrow}[16] == 8
    with pytest.raises(SpecError, match="slices dividing the width 3"):
        place_slices(load, slots=64, gpus=128, width=3)


def test_slots_that_would_reach_a_balance():
    loads = np.array([[4.0, 1.0, 1.0, 1.0, 1.0]])
    assert slots_for(loads, 2, 0.95) == 6
    assert slots_for(np.ones((1, 4)), 4, 0.95) == 4


def test_a_placement_is_what_its_schema_says():
    p = moewright.place(np.random.default_rng(0).lognormal(size=(2, 8)), slots=8, gpus=4, previous=[list(range(8))] * 2)
    jsonschema.validate(json.loads(json.dumps(p.to_dict())), schema())
    assert p.before.shape == p.gpu_load.shape
    assert (p.expert_of_slot.shape, p.moved_bytes, p.cross_node_bytes) == ((2, 8), None, None)


def test_planner_places_by_the_same_search():
    from moewright.placement.experts import place_experts

    loads = np.random.default_rng(6).lognormal(size=(2, 16))
    held = place_experts(loads, 4, 4)
    ours = moewright.place(loads, slots=20, gpus=4)
    for layer in range(2):
        assert largest(loads[layer], held[layer]) == pytest.approx(ours.gpu_load[layer].max())


def test_the_proved_limit_is_not_passed():
    pytest.importorskip("scipy.optimize")
    from benchmarks.limit import impossible

    load = np.random.default_rng(4).lognormal(size=12)
    part, width = part_experts(load, 16, 8, 20000, 0)
    level = (np.bincount(part, weights=load) / width).max()
    assert not impossible(load, level * 1.001, 4)
    assert impossible(load, max(load.sum() / 8, load.max() / 6) * 0.9, 4)


@pytest.mark.parametrize(("slots", "gpus"), [(6, 3), (8, 4), (9, 3), (6, 6), (5, 5)])
def test_no_placement_passes_the_counted_limit(slots, gpus):
    """The best of random positions, shares by linear program; with one slot a GPU the limit is reached."""
    pytest.importorskip("scipy.optimize")
    from benchmarks.limit import counted

    rng = np.random.default_rng(slots)
    for _ in range(3):
        load = rng.lognormal(sigma=1.5, size=5)
        limit, best = counted(load, slots, gpus), 0.0
        for _ in range(150):
            held = rng.permutation(np.concatenate([np.arange(5), rng.integers(0, 5, slots - 5)])).reshape(gpus, -1)
            best = max(best, load.sum() / gpus / program(load, held))
        assert best <= limit * (1 + 1e-9) <= 1 + 1e-9
        if slots == gpus:
            assert moewright.place(load[None], slots=slots, gpus=gpus).balancedness == pytest.approx(limit)


@pytest.mark.parametrize("moves", [None, 3])
def test_groups_stay_whole_while_few_replicas_move(moves: int | None) -> None:
    """From an earlier placement by groups: every group in its node, the bound kept, and better than left alone."""
    rng = np.random.default_rng(5)
    load = 1e4 / np.arange(1, 65) ** 0.8 * rng.lognormal(sigma=0.3, size=(3, 64))
    load = np.stack([row[rng.permutation(64)] for row in load])
    sizes = {"slots": 96, "gpus": 16, "nodes": 4, "groups": 8}
    before = moewright.place(load, **sizes)
    drifted = load * rng.lognormal(sigma=0.2, size=load.shape)
    kept = moewright.place(drifted, **sizes, previous=before.expert_of_slot, moves=moves)
    alone = moewright.place(drifted, **sizes, previous=before.expert_of_slot, moves=0)
    homes = [np.unique(row.reshape(4, 24)[n] // 8) for row in before.expert_of_slot for n in range(4)]
    now = [np.unique(row.reshape(4, 24)[n] // 8) for row in kept.expert_of_slot for n in range(4)]
    assert all((a == b).all() for a, b in zip(homes, now, strict=True))
    changed = (kept.expert_of_slot != before.expert_of_slot).sum(axis=1)
    assert changed.sum() == kept.moved
    assert kept.moved <= int(0.15 * 96 * 3)
    assert moves is None or (changed <= moves).all()
    assert kept.balancedness > alone.balancedness
    assert alone.moved == 0


def test_groups_that_are_not_whole_before_are_refused() -> None:
    load = np.random.default_rng(0).lognormal(size=(1, 16))
    before = np.roll(np.arange(16), 1)[None]
    with pytest.raises(SpecError, match=r"previous: layer 0, node 0: holds 8 experts; expected 2 whole groups of 4"):
        moewright.place(load, slots=16, gpus=4, nodes=2, groups=4, previous=before)
