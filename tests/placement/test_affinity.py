"""Affinity: split pairs counted token by token, positions against all of them, balance kept."""

import json
from itertools import permutations, product

import numpy as np
import pytest
from typer.testing import CliRunner

import moewright
from moewright.cli import app
from moewright.errors import SpecError
from moewright.placement.compiled.together import NODE_WEIGHT
from moewright.placement.search.affinity import split_pairs


def topics(experts, groups, tokens=4000, seed=0):
    """Tokens that choose 4 experts, mostly of one topic, and the counts of pairs; topics are scattered over ids."""
    rng = np.random.default_rng(seed)
    of = rng.permutation(experts) % groups
    chosen = np.zeros((tokens, experts))
    for row, topic in zip(chosen, rng.integers(groups, size=tokens), strict=True):
        weight = np.where(of == topic, 20.0, 1.0)
        row[rng.choice(experts, 4, replace=False, p=weight / weight.sum())] = 1
    counts = chosen.T @ chosen
    return chosen, counts


def test_split_pairs_are_those_of_all_choices_of_replicas():
    rng = np.random.default_rng(1)
    held = np.array([[0, 1], [2, 0], [3, 1], [0, 3]])
    share = (1 / np.bincount(held.ravel()))[held]
    counts = np.triu(rng.integers(0, 9, (4, 4)), 1).astype(float)
    counts += counts.T
    where = [[g for g in range(4) for e in held[g] if e == x] for x in range(4)]
    over_gpus = over_nodes = 0.0
    for a in range(4):
        for b in range(a):
            drawn = list(product(where[a], where[b]))
            over_gpus += counts[a, b] * sum(g != h for g, h in drawn) / len(drawn)
            over_nodes += counts[a, b] * sum(g // 2 != h // 2 for g, h in drawn) / len(drawn)
    assert split_pairs(counts, held, share, 2) == pytest.approx((over_gpus, over_nodes))


@pytest.mark.parametrize("slack", [0.0, 0.3, 100.0])
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_brute_force(seed, slack):
    rng = np.random.default_rng(seed)
    counts = np.triu(rng.integers(0, 50, (8, 8)), 1).astype(float)
    counts += counts.T
    load = rng.lognormal(size=8)
    alone = moewright.place(load[None], slots=8, gpus=4, nodes=2)
    p = moewright.place(load[None], slots=8, gpus=4, nodes=2, affinity=counts, slack=slack)
    limit = alone.gpu_load.max() * (1 + slack) * (1 + 1e-9)
    assert p.gpu_load.max() <= limit
    least = np.inf
    for order in permutations(range(8)):
        held = np.array(order).reshape(4, 2)
        if (held[:, 0] < held[:, 1]).all() and load[held].sum(axis=1).max() <= limit:
            cut = counts.sum() / 2 - sum(counts[a, b] for a, b in held)
            halves = held.reshape(2, 4)
            least = min(least, cut + NODE_WEIGHT * sum(counts[a, b] for a in halves[0] for b in halves[1]))
    assert p.affinity.cross_gpu_pairs + NODE_WEIGHT * p.affinity.cross_node_pairs == pytest.approx(least)


def test_topics_come_together_within_the_slack_and_copies_are_bounded():
    chosen, counts = topics(64, 8)
    load = chosen.sum(axis=0)
    options = {"slots": 64, "gpus": 16, "nodes": 4}
    alone = moewright.place(load[None], **options)
    p = moewright.place(load[None], **options, affinity=counts, token_bytes=10.0, top_k=4)
    a = p.affinity
    assert p.gpu_load.max() <= alone.gpu_load.max() * 1.01 + 1e-9
    assert a.cross_node_pairs < 0.8 * a.cross_node_pairs_before
    assert a.cross_gpu_pairs < a.cross_gpu_pairs_before
    gpu = np.empty(64, dtype=int)
    gpu[p.expert_of_slot[0]] = np.arange(64) // 4
    copies = sum(len(set(gpu[row > 0])) - 1 for row in chosen)
    split = sum(g != h for row in chosen for i, g in enumerate(gpu[row > 0]) for h in gpu[row > 0][:i])
    assert split == pytest.approx(a.cross_gpu_pairs)
    assert 10.0 * copies <= a.cross_gpu_bytes <= 10.0 * copies * 2
    spread = moewright.place(load[None], slots=96, gpus=16, nodes=4, groups=4, affinity=counts)
    assert all(len(set(node // 16)) == 1 for node in spread.expert_of_slot.reshape(4, 24))


def test_command_and_bad_counts(tmp_path):
    np.save(tmp_path / "loads.npy", np.ones((1, 4)))
    np.save(tmp_path / "pairs.npy", np.array([[9, 0, 5, 0], [0, 9, 0, 5], [5, 0, 9, 0], [0, 5, 0, 9]]))
    np.save(tmp_path / "odd.npy", np.triu(np.ones((4, 4)), 1))
    command = ["place", str(tmp_path / "loads.npy"), "--slots", "4", "--gpus", "2", "--affinity"]
    shown = CliRunner().invoke(app, [*command, str(tmp_path / "pairs.npy"), "--json"])
    record = json.loads(shown.stdout)
    assert record["affinity"]["pairs"] == 10
    assert record["affinity"]["cross_gpu_pairs"] == 0
    assert "chosen together" in CliRunner().invoke(app, [*command, str(tmp_path / "pairs.npy")]).stdout
    wrong = CliRunner().invoke(app, [*command, str(tmp_path / "odd.npy")])
    assert "odd.npy: affinity: got 1.0 for experts 0 and 1" in str(wrong.exception)
    assert wrong.exception.exit_status == 2
    for bad, message in [
        (np.ones((3, 3)), r"affinity: has shape \(3, 3\); expected \[4, 4\]"),
        (-np.ones((4, 4)), "affinity: got -1.0 for experts 0 and 0 of layer 0"),
        ("x", "affinity: holds no table"),
    ]:
        with pytest.raises(SpecError, match=message):
            moewright.place([[1.0, 1, 1, 1]], slots=4, gpus=2, affinity=bad)
    with pytest.raises(SpecError, match="cannot go with shares"):
        moewright.place([[1.0, 1, 1, 1]], slots=4, gpus=2, affinity=np.ones((4, 4)), shares="optimal")
