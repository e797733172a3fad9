"""Placement on ranks: groups and coordinates agree, experts are all there, greedy packing is near the optimum."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import paper_model
from moewright.case.model import SoftmaxAttention
from moewright.case.strategy import AttentionParallel, ExpertParallel, Strategy
from moewright.case.tensors.layer_tensors import total_parameters
from moewright.placement.assignment import (
    assign,
    attention_copies,
    expert_copies,
    experts_held,
    head_slices,
    held_parameters,
    held_weight_bytes,
)
from moewright.placement.experts import place_experts, rank_shares, replicas_of
from moewright.placement.ranks import groups_of, rank_coordinates, stage_layers

SIZES = st.sampled_from([1, 2, 3, 4])


@given(SIZES, SIZES, SIZES, SIZES, SIZES)
def test_groups_share_all_other_coordinates(replicas, pp, dp, cp, tp):
    s = Strategy(replicas, pp, attention=AttentionParallel(dp, cp, tp), experts=ExpertParallel(dp * cp, tp))
    r = rank_coordinates(s)
    outer = [r.replica, r.stage]
    for kind, fixed, own in (
        ("tp", [*outer, r.dp, r.cp], r.tp),
        ("cp", [*outer, r.dp, r.tp], r.cp),
        ("dp", [*outer, r.cp, r.tp], r.dp),
        ("ep", [*outer, r.etp], r.ep),
        ("etp", [*outer, r.ep], r.etp),
        ("pp", [r.replica, r.dp, r.cp, r.tp], r.stage),
    ):
        ranks = groups_of(s)[kind]
        assert sorted(ranks.ravel()) == list(range(s.gpus))
        for group in ranks:
            assert all(len(set(f[group])) == 1 for f in fixed)
            assert sorted(own[group]) == list(range(len(group)))


@given(st.integers(1, 100), st.integers(1, 20))
def test_stages_take_every_layer_once(layers, pp):
    held = stage_layers(layers, min(pp, layers))
    assert [i for stage in held for i in stage] == list(range(layers))
    assert max(map(len, held)) - min(map(len, held)) <= 1


LOADS = st.lists(st.floats(0.01, 100), min_size=8, max_size=8).map(lambda row: np.array([row]))


@given(LOADS, st.sampled_from([1, 2, 4, 8]), st.sampled_from([0, 8]))
def test_every_expert_is_placed_and_shares_add_up(loads, ep, redundant):
    placed = place_experts(loads, ep, redundant)
    assert placed.shape == (1, ep, (8 + redundant) // ep)
    replicas = replicas_of(placed, 8)
    assert (replicas >= 1).all()
    assert replicas.sum() == 8 + redundant
    assert rank_shares(loads, placed).sum() == pytest.approx(1)


@settings(deadline=None)  # the first call compiles
@given(LOADS)
def test_packing_is_within_grahams_bound(loads):
    """Two slots on each of four ranks: LPT with a slot limit, against all placements."""
    load = loads[0] / loads[0].sum()
    best = min(
        max(sum(load[i] for i in range(8) if where[i] == r) for r in range(4)) for where in _balanced_placements()
    )
    found = rank_shares(loads, place_experts(loads, 4)).max()
    assert found <= best * (4 / 3) + 1e-12


def _balanced_placements(cache=[]):  # noqa: B006
    if not cache:
        cache += [w for w in product(range(4), repeat=8) if all(w.count(r) == 2 for r in range(4))]
    return cache


def test_slots_that_do_not_divide():
    with pytest.raises(ValueError, match="do not divide"):
        place_experts(np.ones((1, 8)), 3)


@pytest.mark.parametrize(("kv", "tp", "held"), [(4, 2, 2), (4, 8, 1), (8, 4, 2), (2, 1, 2)])
def test_kv_heads_that_a_rank_reads(kv, tp, held):
    slices = head_slices(SoftmaxAttention(8, kv, 16), tp)
    assert [h for heads, _ in slices for h in heads] == list(range(8))
    assert all(len(kv_heads) == held for _, kv_heads in slices)
    assert {k for _, kv_heads in slices for k in kv_heads} == set(range(kv))


def test_the_paper_divided_over_128_ranks():
    """EP64 × TP2: half an expert per rank and layer, 8 experts' worth; 33,554,432 B of attention and experts."""
    s = Strategy(attention=AttentionParallel(dp=64, tp=2), experts=ExpertParallel(64, 2))
    model = paper_model()
    a = assign(model, s, np.broadcast_to(place_experts(np.ones((1, 64)), 64), (16, 64, 1)))
    assert (experts_held(a) == 8).all()
    assert (expert_copies(a) == 1).all()
    assert (attention_copies(a)[:, :16] == 64).all()
    assert (held_weight_bytes(a) == 33_554_432 * 2 + 1_048_576).all()
    # experts once, attention in 64 copies, the router on every rank
    once = total_parameters(model)
    assert held_parameters(a).sum() == once + 63 * 16 * 4 * 1024**2 + 127 * 16 * 64 * 1024
