"""Layers of thousands of slots: a search whose cost grows as the slots do; and doubles only where they pay."""

import numpy as np
import pytest
from benchmarks.eplb import balanced, largest

import moewright
from moewright.errors import SpecError
from moewright.placement import packing
from moewright.placement.compiled import greedy
from moewright.placement.search.one_layer import work_of


def test_thousands_of_slots_are_balanced():
    load = np.random.default_rng(0).lognormal(size=(1, 10_000))
    for slots in (10_240, 12_288, 16_384):
        assert moewright.place(load, slots=slots, gpus=1024).balancedness > 0.999
    assert moewright.place(load[:, :4_000], slots=6_144, gpus=512).balancedness > 0.999


def test_the_work_on_a_layer_is_bounded_by_its_size():
    """Steps times what one costs (the slots, for a walk): what keeps a large layer from taking minutes."""
    for slots in (64, 288, 512, 960, 2048):
        work = work_of(slots)
        assert work.rounds * (min(work.packings[0], work.packings[1] // slots) * slots + 3 * work.steps) < 600_000
        assert work.rounds * min(work.pairs[0], work.pairs[1] // slots) * slots < 4_100_000
    assert work_of(10**6).steps == work_of(10**7).steps == 3_000_000
    assert work_of(10**6).rounds == 1


def test_a_large_layer_is_not_below_eplb():
    load = np.random.default_rng(1).gamma(0.3, size=(1, 2_000))
    p = moewright.place(load, slots=2_304, gpus=256)
    assert p.gpu_load.max() <= largest(load[0], balanced(load[0], 2_304, 256)) * (1 + 1e-12)


def scanned(load, counts, gpus, apart):
    """``pack`` by a look at every GPU."""
    each = counts.sum() // gpus
    held, filled = [[] for _ in range(gpus)], np.zeros(gpus)
    for e in np.argsort(-load / counts, kind="stable"):
        for _ in range(counts[e]):
            room = [g for g in range(gpus) if len(held[g]) < each]
            free = [g for g in room if not apart or e not in held[g]]
            g = min(free or room, key=lambda g: (filled[g], g))
            held[g].append(e)
            filled[g] += load[e] / counts[e]
    return np.array(held)


@pytest.mark.parametrize("apart", [True, False])
def test_packing_by_a_heap_is_that_by_a_scan(apart):
    rng = np.random.default_rng(2)
    for _ in range(60):
        gpus, each = int(rng.integers(1, 9)), int(rng.integers(1, 5))
        load = rng.lognormal(size=int(rng.integers(1, gpus * each + 1)))
        counts = packing.replicate(load, gpus * each, gpus if apart else gpus * each)
        assert (greedy.replicate(load, gpus * each, gpus if apart else gpus * each) == counts).all()
        assert (greedy.pack(load, counts, gpus, apart) == scanned(load, counts, gpus, apart)).all()
        if apart:
            assert (packing.pack(load, counts, gpus) == scanned(load, counts, gpus, True)).all()


def test_equal_loads_are_packed_as_by_a_scan_without_a_compiler():
    rng = np.random.default_rng(3)
    for _ in range(40):
        gpus, each = int(rng.integers(1, 9)), int(rng.integers(1, 5))
        load = rng.integers(1, 4, int(rng.integers(1, gpus * each + 1))).astype(float)
        counts = packing.replicate(load, gpus * each, gpus)
        assert (packing.pack(load, counts, gpus) == scanned(load, counts, gpus, True)).all()


def test_slots_that_serve_nothing_are_refused_at_once():
    with pytest.raises(SpecError, match="slots: got 1000000000; 16 experts on 4 GPUs use at most 64"):
        moewright.place(np.ones((1, 16)), slots=1_000_000_000, gpus=4)


def doubles(p, gpus):
    rows = np.sort(p.expert_of_slot.reshape(len(p.replicas), gpus, -1), axis=2)
    return int((rows[:, :, 1:] == rows[:, :, :-1]).sum())


def test_no_expert_is_twice_on_a_gpu_where_that_costs_nothing():
    p = moewright.place([[3, 4, 5, 4, 2]], slots=6, gpus=2)
    assert p.gpu_load.max() == 9
    assert doubles(p, 2) == 0


def test_doubles_are_parted_without_a_price():
    rng = np.random.default_rng(4)
    found = 0
    for _ in range(40):
        gpus, each = int(rng.choice([3, 6, 8])), int(rng.integers(2, 6))
        load = rng.lognormal(sigma=1.5, size=(1, int(rng.integers(gpus * each // 2, gpus * each))))
        p = moewright.place(load, slots=gpus * each, gpus=gpus)
        assert p.gpu_load.max() <= largest(load[0], balanced(load[0], gpus * each, gpus)) * (1 + 1e-12)
        found += doubles(p, gpus) > 0
    assert found <= 4
