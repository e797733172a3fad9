"""The mixed-integer program of the benchmark: exact with two slots a GPU, a bound with more."""

import numpy as np
import pytest
from benchmarks.mixed import possible

import moewright


@pytest.mark.parametrize(("slots", "gpus"), [(8, 4), (12, 4)])
@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_all_placements(seed, slots, gpus):
    load = np.random.default_rng(seed).lognormal(size=6)
    best = moewright.place(load[None], slots=slots, gpus=gpus).gpu_load.max()  # of all, on so few
    assert possible(load, slots, gpus, best * (1 + 1e-6))
    if slots == 2 * gpus:
        assert possible(load, slots, gpus, best * (1 - 1e-3)) is False
