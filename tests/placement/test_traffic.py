"""Copies between nodes against tokens that are really drawn."""

import numpy as np
import pytest

import moewright
from moewright.placement.files.engine_files import model_sizes
from moewright.placement.search.node_traffic import Router, crossings

TOKENS = 30_000


def drawn(load, held, share, nodes, groups, top_k, top_groups):
    """Copies of a token that leave its node, the mean of so many tokens: ``top_groups`` groups one after another by
    load, experts of each alike (the largest of log w + a Gumbel variate), and for each a replica by its share."""
    rng = np.random.default_rng(0)
    experts = len(load)
    part = np.zeros((experts, nodes))
    np.add.at(part, (held, np.repeat(np.arange(nodes), len(held) // nodes)[:, None]), share)
    reach = part.cumsum(axis=1) / part.sum(axis=1, keepdims=True)
    whole = load.reshape(groups, -1).sum(axis=1)
    chosen = np.argsort(-(np.log(whole) + rng.gumbel(size=(TOKENS, groups))), axis=1)[:, :top_groups]
    keys = (np.log(load) + rng.gumbel(size=(TOKENS, experts))).reshape(TOKENS, groups, -1)
    best = np.argsort(-keys, axis=2)[:, :, : top_k // top_groups] + (np.arange(groups) * experts // groups)[:, None]
    taken = np.take_along_axis(best, chosen[:, :, None], axis=1).reshape(TOKENS, -1)
    node = (rng.random((*taken.shape, 1)) > reach[taken]).sum(axis=2)
    hit = np.zeros((TOKENS, nodes), dtype=bool)
    hit[np.arange(TOKENS)[:, None], node] = True
    return hit.sum(axis=1).mean() * (1 - 1 / nodes)


LOADS = {
    "even": np.ones(64),
    "zipf": np.random.default_rng(1).permutation(np.arange(1, 65) ** -1.2),
    "lognormal": np.random.default_rng(2).lognormal(sigma=1.5, size=64),
}


@pytest.mark.parametrize("kind", LOADS)
@pytest.mark.parametrize(("groups", "top_k", "top_groups"), [(1, 8, 1), (8, 8, 4), (8, 8, 8), (16, 4, 1), (1, 1, 1)])
@pytest.mark.parametrize("nodes", [2, 8])
def test_copies_are_those_of_tokens_drawn(kind, groups, top_k, top_groups, nodes):
    load = LOADS[kind]
    own = {"groups": 8, "nodes": nodes} if groups == 8 and nodes == 2 else {}
    p = moewright.place(load[None], slots=80, gpus=16, **own)
    held, share = p.expert_of_slot.reshape(1, 16, 5), p.share.reshape(1, 16, 5)
    found = crossings(load[None], held, share, nodes, Router(groups, top_k, top_groups))[0] * top_k / load.sum()
    assert found == pytest.approx(drawn(load, held[0], share[0], nodes, groups, top_k, top_groups), rel=0.02)


def test_the_router_has_groups_of_its_own():
    """DeepSeek-V3 takes 4 of 8 groups also where the placement keeps no groups together."""
    sizes = model_sizes("DeepSeek-V3", (256,))
    assert (sizes["router_groups"], sizes["top_groups"], sizes["top_k"]) == (8, 4, 8)
    load = np.random.default_rng(3).permutation(np.arange(1, 257) ** -1.0)
    p = moewright.place(load[None], slots=288, gpus=32, nodes=4, **sizes)
    expected = drawn(load, p.expert_of_slot.reshape(32, 9), p.share.reshape(32, 9), 4, 8, 8, 4)
    assert p.cross_node_bytes == pytest.approx(expected * load.sum() / 8 * sizes["token_bytes"], rel=0.02)
    assert p.layer_cross_node_bytes.sum() == p.cross_node_bytes


def test_a_router_of_no_even_number_of_experts_a_group_lies_between():
    load = LOADS["zipf"]
    held = moewright.place(load[None], slots=64, gpus=16).expert_of_slot.reshape(1, 16, 4)
    few, some, many = (crossings(load[None], held, np.ones(held.shape), 4, Router(8, k, 4))[0] * k for k in (4, 6, 8))
    assert few < some < many


def test_a_slot_cut_over_nodes_is_visited_on_all_of_them():
    """Two experts on two slots over four GPUs, each a node: a token of one expert visits its two nodes."""
    p = moewright.place([[3.0, 1.0]], slots=2, gpus=4, nodes=4, token_bytes=1.0, top_k=1)
    assert p.cross_node_bytes == pytest.approx(4 * 2 * (1 - 1 / 4))


def test_no_load_sends_nothing_and_idle_experts_are_last():
    p = moewright.place([[0.0] * 4, [1.0, 1, 0, 0]], slots=4, gpus=4, nodes=2, token_bytes=1.0, top_k=2)
    assert p.layer_cross_node_bytes[0] == 0
    homes = set(np.flatnonzero(p.expert_of_slot[1] < 2) // 2)  # both busy experts, and only they, for each token
    assert p.layer_cross_node_bytes[1] == pytest.approx(len(homes) / 2, rel=1e-3)
