"""One budget over layers: against every way to spend it, and the record that holds layers of different length."""

import json
from itertools import product

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

import moewright
from moewright.cli import app
from moewright.errors import SpecError
from moewright.placement.files.engine_files import engine_file
from moewright.placement.files.placement_schema import schema
from moewright.placement.search.budget import least_sum


@pytest.mark.parametrize("seed", range(5))
def test_least_sum_is_that_of_all_choices(seed):
    rng = np.random.default_rng(seed)
    costs = [rng.random(rng.integers(1, 5)).tolist() for _ in range(4)]
    for budget in range(8):
        chosen = least_sum(costs, budget)
        every = [c for c in product(*(range(len(row)) for row in costs)) if sum(c) <= budget]
        assert sum(chosen) <= budget
        assert sum(row[i] for row, i in zip(costs, chosen, strict=True)) == pytest.approx(
            min(sum(row[i] for row, i in zip(costs, c, strict=True)) for c in every)
        )


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_every_way_to_spend_the_budget(seed):
    load = np.random.default_rng(seed).lognormal(sigma=np.array([[0.1], [1.0], [1.5]]), size=(3, 4))
    best = np.inf
    for extra in product(range(3), repeat=3):
        if sum(extra) == 3:
            alone = [moewright.place(row[None], slots=4 + 2 * e, gpus=2) for row, e in zip(load, extra, strict=True)]
            best = min(best, sum(p.gpu_load.max() for p in alone))
    p = moewright.place(load, slots=4, gpus=2, budget=6)
    assert p.gpu_load.max(axis=1).sum() <= best * (1 + 1e-3)
    assert p.straggler <= moewright.place(load, slots=6, gpus=2).straggler * (1 + 1e-3)
    assert p.replicas.sum() <= 3 * 4 + 6


def test_rows_are_padded_gpu_by_gpu():
    rng = np.random.default_rng(0)
    load = np.stack([np.ones(8), rng.lognormal(sigma=2, size=8), np.zeros(8)])
    p = moewright.place(np.stack([load, load + 1]), slots=8, gpus=4, budget=8, affinity=np.ones((8, 8)))
    length = p.expert_of_slot.shape[1]
    assert length % 4 == 0
    assert (p.expert_of_slot[0].reshape(4, -1)[:, 2:] == -1).all()
    assert (p.share[p.expert_of_slot < 0] == 0).all()
    filled = np.zeros((3, 4))
    for layer, row in enumerate(p.expert_of_slot):
        assert np.bincount(row[row >= 0], minlength=8).tolist() == p.replicas[layer].tolist()
        for slot, expert in enumerate(row):
            filled[layer, slot * 4 // length] += (2 * load + 1)[layer, expert] * p.share[layer, slot]
    assert filled == pytest.approx(p.gpu_load)
    assert len(p.windows) == 2
    jsonschema.validate(p.to_dict(), schema())
    with pytest.raises(SpecError, match="--format: got sglang; engines take equally many slots"):
        engine_file(p, "sglang")


def test_command_and_bad_budgets(tmp_path):
    command = ["place", "lognormal:1.0", "--layers", "4", "--experts", "16", "--slots", "16", "--gpus", "4"]
    shown = CliRunner().invoke(app, [*command, "--budget", "16", "--json"])
    assert (np.sum(json.loads(shown.stdout)["replicas"], axis=1) % 4 == 0).all()
    assert "16 to" in CliRunner().invoke(app, [*command, "--budget", "8"]).stdout
    ones = np.ones((2, 8))
    for options, message in [
        ({"budget": 3}, "budget: got 3; expected a multiple of the 4 GPUs"),
        ({"budget": True}, "budget: got True"),
        ({"budget": 4, "previous": np.tile(np.arange(8), (2, 1))}, "budget: cannot go with previous"),
        ({"budget": 16, "gpus": 16}, "slots: got 8; with a budget"),
    ]:
        with pytest.raises(SpecError, match=message):
            moewright.place(ones, **({"slots": 8, "gpus": 4} | options))
