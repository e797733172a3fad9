"""``moewright.place``: counts, positions and shares of every layer."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moewright.errors import SpecError
from moewright.placement.compiled import compile_all
from moewright.placement.expert_placement import (
    ExpertPlacement,
    evenness,
    host_loads,
    load_before,
    make_record,
    moved_replicas,
    timed,
)
from moewright.placement.inputs import check_options, check_router, check_sizes, checked_loads, checked_previous
from moewright.placement.search.affinity import checked_affinity, draw_together, make_affinity, split_pairs
from moewright.placement.search.anneal import keep
from moewright.placement.search.balance import LARGE, improve, pack, part_doubles, place_layer, replicate
from moewright.placement.search.budget import place_budget
from moewright.placement.search.exact import MOST, exact_layer
from moewright.placement.search.joint import fill_parts, part_experts
from moewright.placement.search.moves import keep_groups, keep_layers
from moewright.placement.search.node_traffic import crossings
from moewright.placement.search.shares import water_fill
from moewright.placement.search.windows import steady

#: part of the replicas of an earlier placement that may move
PART_MOVED = 0.15
#: with three slots a GPU and more, largest ÷ mean load above which annealing follows, and its steps a slot
UNEVEN, STEPS = 1.005, 150
#: the same for layers of more than ``LARGE`` slots, and steps of one layer at most (about half a second)
LARGE_UNEVEN, MOST_STEPS = 1.0002, 3_000_000
#: slots of all layers above which starting the compiler pays; tries of a walk over replica counts, and exchanges of
#: the searches that choose at random, compiled and not
SMALL, TRIES, RANDOM = 48, (1200, 0), (300_000, 2_000)


@dataclass(frozen=True, slots=True)
class _Effort:
    tries: int
    random: int
    seed: int


def place(
    loads: Any,
    *,
    slots: int,
    gpus: int,
    nodes: int = 1,
    groups: int = 1,
    shares: str = "equal",
    previous: Any = None,
    moves: int | None = None,
    traffic: float | None = None,
    affinity: Any = None,
    slack: float = 0.01,
    budget: int | None = None,
    top_k: int = 8,
    top_groups: int = 1,
    router_groups: int | None = None,
    expert_bytes: float | None = None,
    token_bytes: float | None = None,
    seed: int = 0,
) -> ExpertPlacement:
    """Place the experts of ``loads`` [layers, experts] on ``slots`` slots of ``gpus`` GPUs; loads of [windows, layers,
    experts] are balanced in every window, not only in their mean.

    ``groups`` > 1: the experts of each of so many routing groups stay in one of ``nodes`` nodes; with ``traffic``, a
    weight, as far as token copies between nodes, per copy, are worth more than that much of the largest load.
    ``shares``: equal, or optimal (a replica takes the part of its expert's tokens that balances best). ``previous``
    [layers, slots], the record of one, or the path of its file: an earlier placement to start from, of which at most
    15 % of all replicas move, in the layers where that helps most, or with ``moves`` at most so many in each layer.
    ``affinity`` [experts, experts] or [layers, experts, experts]: tokens that chose both of two experts, which are put
    on one GPU, or in one node, where no largest load grows by more than the part ``slack``. ``budget``: slots over all
    layers beyond ``slots`` in each, where they help most (``budget.py``). ``expert_bytes``, ``token_bytes``: for
    ``moved_bytes`` and ``cross_node_bytes``, of tokens that choose ``top_k`` experts in ``top_groups`` of the router's
    ``router_groups`` groups (where not given: ``groups``).
    Raises SpecError for loads or sizes that cannot be placed.
    """
    start = time.perf_counter()
    windows = checked_loads(loads)
    total = windows.sum(axis=0)
    layers, experts = total.shape
    check_sizes(experts, slots, gpus, nodes, groups, shares)
    given = {"expert_bytes": expert_bytes, "token_bytes": token_bytes}
    check_options(nodes, groups, moves, traffic, slack, seed, previous, given)
    router = (groups if router_groups is None else router_groups, top_k, top_groups)
    check_router(experts, *router, used=token_bytes is not None or traffic is not None)
    earlier = None if previous is None else checked_previous(previous, layers, slots, experts)
    together = None if affinity is None else checked_affinity(affinity, layers, experts)
    if together is not None and (earlier is not None or shares == "optimal"):
        other = "shares" if earlier is None else "previous"
        raise SpecError(f"cannot go with {other}; expected affinity with equal shares, made afresh", field="affinity")
    if budget is not None:
        own = {"nodes": nodes, "groups": groups, "shares": shares, "traffic": traffic, "top_k": top_k, "seed": seed}
        own |= {
            "top_groups": top_groups,
            "router_groups": router_groups,
            "token_bytes": token_bytes,
            "slack": slack,
            "previous": earlier,
        }
        return place_budget(place, windows, slots, gpus, budget, own | {"affinity": together})
    wide = max(1, gpus // slots)  # GPUs that share a slot
    hosts = gpus // wide
    shape = (layers, hosts, slots // hosts)
    before = None if earlier is None else earlier.reshape(shape)
    table = np.where(total.sum(axis=1, keepdims=True) > 0, total, 1.0)  # no load at all: evenly
    # searches by chance draw other numbers uncompiled: whether they are compiled must not depend on what ran before
    chance = len(windows) > 1 or before is not None or shares == "optimal" or together is not None
    fast = (chance or slots * layers > SMALL) and compile_all()
    drawn = np.random.get_state()  # the caller's own draws go on as if nothing had happened
    effort = _Effort(TRIES[not fast], RANDOM[not fast], seed)
    held, share, took = np.empty(shape, dtype=np.int64), np.empty(shape), np.zeros(layers)
    split = np.zeros((2, 2))  # pairs split before and after, over GPUs and over nodes
    inside = nodes if hosts % nodes == 0 else 1
    if before is not None:
        allowed = int(PART_MOVED * slots * layers) if moves is None else moves * layers
        most = slots if moves is None else moves
        part = effort.random / RANDOM[0]
        if groups > 1 and nodes > 1:
            kept = keep_groups(table, before, nodes, groups, (allowed, most), part, seed)
        else:
            kept = keep_layers(table, before, allowed, most, part, seed)
    for i, load in enumerate(table):
        began = time.perf_counter()
        if before is not None:
            found = kept[i]
        elif groups > 1:
            found = _grouped(load, slots, hosts, nodes, groups, effort)
            if traffic is not None:
                found = _relaxed(load, found, nodes, traffic, router, effort)
        else:
            found = _free(load, slots, hosts, effort)
        if len(windows) > 1 and groups == 1:
            origin = found if before is None else before[i]
            limit = slots if before is None else moved_replicas(before[i, None], found[None])
            found = _steady(windows[:, i], found, origin, limit, effort)
        if together is not None:
            split[0] += split_pairs(together[i], found, _shares(load, found, "equal"), inside)
            each = windows[:, i] if windows[:, i].any() else load[None]
            found = draw_together(each, found, together[i], inside, slack, groups > 1, effort.random, effort.seed)
            split[1] += split_pairs(together[i], found, _shares(load, found, "equal"), inside)
        held[i], share[i] = found, _shares(load, found, shares)
        if shares == "optimal" and before is None and groups == 1 and len(windows) == 1:
            held[i], share[i] = _joint(load, held[i], share[i], slots, effort)
        took[i] = time.perf_counter() - began
    np.random.set_state(drawn)
    p = make_record(total, held, share, wide, load_before(total, before, hosts, wide))
    moved = None if before is None else np.array([moved_replicas(*pair) for pair in zip(before, held, strict=True)])
    crossing: np.ndarray | None = None
    if token_bytes is not None:
        crossing = np.zeros(layers)
        if nodes > 1:
            crossing = token_bytes * crossings(total, held, share, nodes, *router, wide)
    seen = np.array([evenness(host_loads(w, held, share)).mean() for w in windows]) if len(windows) > 1 else None
    p = replace(
        p,
        slots=int(slots),
        nodes=int(nodes),
        groups=int(groups),
        seed=int(seed),
        layer_moved=moved,
        layer_moved_bytes=None if moved is None or expert_bytes is None else moved * float(expert_bytes),
        layer_cross_node_bytes=crossing,
        windows=seen,
        affinity=None if together is None else make_affinity(split, together.sum() / 2, token_bytes, top_k),
    )
    return timed(p, took, time.perf_counter() - start)


def _free(load: np.ndarray, slots: int, hosts: int, effort: _Effort) -> np.ndarray:
    found = place_layer(load, slots, hosts, effort.tries, effort.seed)
    if len(load) <= MOST[0] and slots <= MOST[1] and hosts <= MOST[2]:
        found = exact_layer(load, found)
    elif (len(load) < slots or slots > LARGE) and slots >= 3 * hosts:
        found = _annealed(load, found, effort)
    return _parted(load, found, effort)


def _parted(load: np.ndarray, held: np.ndarray, effort: _Effort) -> np.ndarray:
    """``held`` with fewer experts twice on a GPU, where that raises no largest load: first by single steps, then at
    some price that annealing, which makes no doubles, has to win back."""
    if not _doubles(held):
        return held
    limit = _largest(load, held) * (1 + 1e-12)
    found, other = held.copy(), held.copy()
    part_doubles(load, found, np.bincount(held.ravel(), minlength=len(load)), limit)
    if not _doubles(found) or held.shape[1] < 3:
        return found
    part_doubles(load, other, np.bincount(held.ravel(), minlength=len(load)), np.inf)
    steps = int(min(STEPS * held.size, MOST_STEPS) * effort.random / RANDOM[0])
    other = keep(load, other, other, held.size, steps, effort.seed, 0.02, 5e-4, limit)
    return np.asarray(other if _doubles(other) < _doubles(found) and _largest(load, other) <= limit else found)


def _doubles(held: np.ndarray) -> int:
    """Slots whose expert has another one on the same GPU."""
    rows = np.sort(held, axis=1)
    return int((rows[:, 1:] == rows[:, :-1]).sum())


def _annealed(load: np.ndarray, held: np.ndarray, effort: _Effort) -> np.ndarray:
    """``held`` annealed where it is uneven."""
    mean, slots = load.sum() / len(held), held.size
    if _largest(load, held) <= mean * (LARGE_UNEVEN if slots > LARGE else UNEVEN):
        return held
    steps = int(min(STEPS * slots, MOST_STEPS) * effort.random / RANDOM[0])
    return np.asarray(keep(load, held, held, slots, steps, effort.seed, 0.02, 5e-4, mean * (1 + 2e-4)))


def _steady(windows: np.ndarray, held: np.ndarray, origin: np.ndarray, budget: int, effort: _Effort) -> np.ndarray:
    """``held`` for all ``windows`` [windows, experts] with any load."""
    each = windows.sum(axis=1, keepdims=True) / len(held)
    used = windows[each[:, 0] > 0] / each[each[:, 0] > 0]
    if not len(used):
        return held
    tries = max(effort.random // (1 + len(used) // 4), 2_000)
    rough = steady(np.ascontiguousarray(used), held, origin, budget, tries, 8.0, effort.seed, 0.0)
    return np.asarray(steady(np.ascontiguousarray(used), rough, origin, budget, tries, 32.0, effort.seed + 1, 0.0))


def _joint(
    load: np.ndarray, held: np.ndarray, share: np.ndarray, slots: int, effort: _Effort
) -> tuple[np.ndarray, np.ndarray]:
    """Counts and positions chosen for free shares, where they are better than ``held`` and ``share``."""
    hosts, each = held.shape
    extra = slots - len(load)
    if each < 2 or not 0 < extra < hosts or load.max() * slots <= load.sum():
        return held, share
    part, width = part_experts(load, slots, hosts, effort.random, effort.seed)
    other = fill_parts(load, part, width, each)
    split = _shares(load, other, "optimal")
    if (load[other] * split).sum(axis=1).max() < (load[held] * share).sum(axis=1).max():
        return other, split
    return held, share


def _shares(load: np.ndarray, held: np.ndarray, shares: str) -> np.ndarray:
    if shares == "optimal":
        return np.asarray(water_fill(load, held, 2000, 1e-5))
    return np.asarray(1.0 / np.bincount(held.ravel(), minlength=len(load))[held])


def _largest(load: np.ndarray, held: np.ndarray) -> float:
    return float((load[held] * _shares(load, held, "equal")).sum(axis=1).max())


def _grouped(load: np.ndarray, slots: int, hosts: int, nodes: int, groups: int, effort: _Effort) -> np.ndarray:
    """Groups packed whole on nodes, then every node for itself; the better of a searched and a plain packing."""
    members = np.arange(len(load)).reshape(groups, -1)
    whole = load[members].sum(axis=1)
    best, least = None, np.inf
    for homes in (place_layer(whole, groups, nodes, 0, effort.seed), pack(whole, replicate(whole, groups, 1), nodes)):
        parts = []
        for home in homes:
            inside = members[home].ravel()
            own = load[inside] if load[inside].sum() > 0 else np.ones(len(inside))
            held = place_layer(own, slots // nodes, hosts // nodes, effort.tries, effort.seed)
            parts.append(inside[_parted(own, _annealed(own, held, effort) if held.size > LARGE else held, effort)])
        found = np.concatenate(parts)
        if best is None or _largest(load, found) < least:
            best, least = found, _largest(load, found)
    return np.asarray(best)


def _relaxed(
    load: np.ndarray, held: np.ndarray, nodes: int, weight: float, router: tuple[int, int, int], effort: _Effort
) -> np.ndarray:
    """The placement of least (largest ÷ mean load) + ``weight`` · (copies between nodes ÷ tokens' copies), among
    ``held``, which keeps groups whole, what few and more moves make of it, and one that ignores nodes. ``router``: its
    groups, the experts that a token takes, and of how many groups."""
    mean = load.sum() / len(held)
    tried = [held]
    for most in (1, 2, 4, 8, 16, 32, 64, 128):
        found = held.copy()
        improve(load, found, np.bincount(found.ravel(), minlength=len(load)), 4 * most, most, mean * (1 + 2e-4))
        tried.append(found)
    tried.append(_free(load, held.size, len(held), effort))
    share = np.stack([_shares(load, found, "equal") for found in tried])
    copies = crossings(np.repeat(load[None], len(tried), axis=0), np.stack(tried), share, nodes, *router)
    costs = [_largest(load, found) / mean + weight * c / load.sum() for found, c in zip(tried, copies, strict=True)]
    return tried[int(np.argmin(costs))]
