"""``moewright.place``: equal to brute force on small cases, nothing lost on any, one clear error for bad input."""

import json
from itertools import product

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import moewright
from moewright.errors import SpecError
from moewright.placement.files.engine_files import engine_file
from moewright.placement.files.engine_layers import EngineLayers


def brute(load, slots, gpus):
    """The smallest largest GPU load over all placements."""
    each, best = slots // gpus, np.inf
    for held in product(range(len(load)), repeat=slots):
        counts = np.bincount(held, minlength=len(load))
        if counts.min():
            best = min(best, (load / counts)[np.array(held)].reshape(gpus, each).sum(axis=1).max())
    return best


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("experts", "slots", "gpus"), [(4, 6, 3), (4, 6, 2), (5, 6, 3), (3, 4, 4)])
def test_equal_to_brute_force(experts, slots, gpus, seed):
    load = np.random.default_rng(seed).lognormal(size=experts)
    found = moewright.place(load[None], slots=slots, gpus=gpus)
    assert found.gpu_load.max() == pytest.approx(brute(load, slots, gpus))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 1000), min_size=8, max_size=8), st.sampled_from([(8, 4), (12, 4), (16, 8), (8, 16)]),
       st.sampled_from(["equal", "optimal"]))  # fmt: skip
def test_nothing_is_lost(row, sizes, shares):
    slots, gpus = sizes
    load = np.array([row, row[::-1]])
    p = moewright.place(load, slots=slots, gpus=gpus, shares=shares)
    assert p.expert_of_slot.shape == p.share.shape == (2, slots)
    assert (p.replicas >= 1).all()
    assert (p.replicas.sum(axis=1) == slots).all()
    assert p.gpu_load.sum(axis=1) == pytest.approx(load.sum(axis=1))
    for layer in range(2):
        per_expert = np.bincount(p.expert_of_slot[layer], weights=p.share[layer], minlength=8)
        assert per_expert == pytest.approx(np.ones(8))
    assert p.balancedness <= p.bound + 1e-9
    again = moewright.place(load, slots=slots, gpus=gpus, shares=shares)
    assert (again.expert_of_slot == p.expert_of_slot).all()


def test_optimal_shares_are_no_worse_and_few_moves_are_few():
    rng = np.random.default_rng(0)
    load = rng.lognormal(size=(3, 32))
    equal = moewright.place(load, slots=48, gpus=8)
    assert moewright.place(load, slots=48, gpus=8, shares="optimal").balancedness >= equal.balancedness - 1e-4
    drifted = load * rng.lognormal(sigma=0.1, size=load.shape)
    kept = moewright.place(drifted, slots=48, gpus=8, previous=equal.expert_of_slot, moves=6)
    assert kept.moved <= 18
    stale = moewright.place(drifted, slots=48, gpus=8, previous=equal.expert_of_slot, moves=0)
    assert kept.balancedness > stale.balancedness


def test_groups_stay_in_their_node():
    load = np.random.default_rng(1).lognormal(size=(2, 16))
    p = moewright.place(load, slots=24, gpus=4, nodes=2, groups=4)
    for layer in p.expert_of_slot:
        nodes = layer.reshape(2, 12)
        assert not set(nodes[0] // 4) & set(nodes[1] // 4)


@pytest.mark.parametrize(
    ("loads", "options", "message"),
    [
        ([[1.0, -1.0]], {}, "loads: got -1.0 for layer 0, expert 1"),
        ([[1.0, np.nan]], {}, "loads: got nan"),
        ([], {}, "loads: have shape"),
        ([[1.0, 1.0, 1.0]], {}, "slots: got 2; 3 experts need at least 3"),
        ([[1.0]], {"slots": 3}, "slots: got 3; expected a multiple or a divisor of the 2 GPUs"),
        ([[1.0, 1.0]], {"shares": "all"}, "shares: got 'all'"),
        ([[1.0, 1.0]], {"previous": [[0, 0]]}, "previous: leaves an expert"),
        ([[1.0, 1.0]], {"previous": [[0, 1, -1, -1]]}, "previous: has layers with fewer slots than others"),
        ([[1.0, 1.0]], {"nodes": 3}, "nodes: got 3"),
    ],
)
def test_bad_input_is_one_clear_error(loads, options, message):
    with pytest.raises(SpecError, match=message.replace("[", r"\[")):
        moewright.place(loads, **{"slots": 2, "gpus": 2, **options})


def test_a_layer_without_load_is_placed_evenly():
    p = moewright.place(np.zeros((1, 4)), slots=8, gpus=4)
    assert p.balancedness == 1
    assert (p.replicas == 2).all()


def test_files_of_engines_tell_the_same_placement():
    p = moewright.place(np.random.default_rng(3).lognormal(size=(2, 6)), slots=8, gpus=4)
    slots = p.expert_of_slot.tolist()
    eplb = json.loads(engine_file(p, "eplb"))
    assert eplb["phy2log"] == slots == json.loads(engine_file(p, "vllm"))
    for layer, row in enumerate(eplb["log2phy"]):
        for expert, where in enumerate(row):
            here = [s for s in where if s >= 0]
            assert len(here) == eplb["logcnt"][layer][expert]
            assert {slots[layer][s] for s in here} == {expert}
    of_model = EngineLayers(4, (1, 3), 6)
    plain = [0, 1, 2, 3, 4, 5, 0, 1]
    by_layer = {"physical_to_logical_map": [plain, slots[0], plain, slots[1]]}
    assert json.loads(engine_file(p, "sglang", layers=of_model)) == by_layer
    assert yaml.safe_load(engine_file(p, "tensorrt-llm", layers=of_model))["initial_global_assignments"] == {
        1: slots[0],
        3: slots[1],
    }
    trt = yaml.safe_load(engine_file(p, "tensorrt-llm", 3))
    assert trt["initial_global_assignments"] == {3: slots[0], 4: slots[1]}
    assert trt["num_slots"] == 8
