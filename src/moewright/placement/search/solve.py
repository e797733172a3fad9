"""``moewright.place``: counts, positions and shares of every layer."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moewright.errors import SpecError
from moewright.placement.compiled.joint import fill_parts, part_experts
from moewright.placement.compiled.shares import water_fill
from moewright.placement.compiled.together import Exchange
from moewright.placement.compiled.windows import steady
from moewright.placement.expert_placement import (
    ExpertPlacement,
    evenness,
    host_loads,
    load_before,
    make_record,
    moved_replicas,
    timed,
)
from moewright.placement.files.earlier import copies, fitted, kept_experts, survivors
from moewright.placement.inputs import check_options, check_router, check_sizes, checked_loads, checked_previous
from moewright.placement.request import Request
from moewright.placement.search.affinity import checked_affinity, draw_together, make_affinity, split_pairs
from moewright.placement.search.budget import place_budget
from moewright.placement.search.moves import Moves, keep_groups, keep_layers
from moewright.placement.search.node_traffic import Router, crossings
from moewright.placement.search.nodes import place_grouped, relax
from moewright.placement.search.one_layer import (
    Effort,
    equal_shares,
    is_even,
    largest_load,
    part,
    place_layer,
    search_round,
)

#: part of the replicas of an earlier placement that may move
PART_MOVED = 0.15
#: exchanges of the searches over windows, pairs of experts, and free shares
EXCHANGES = 300_000
#: rounds of all layers in which none has improved, after which a search with time left ends
BARREN = 30


@dataclass(frozen=True, slots=True)
class Problem:
    """A request with its loads, checked. ``windows`` [windows, layers, experts] and their sum ``total``; ``table``: the
    same, where a layer without load has 1 for each expert; ``wide``: GPUs that share a slot, ``hosts`` of them;
    ``before`` [layers, hosts, slots a host] and ``pairs`` [layers, experts, experts]: an earlier placement and counts
    of experts chosen together, where given. ``kept`` [layers][hosts]: what each GPU has of an earlier placement that
    ``before`` was fitted from, on other GPUs or slots."""

    request: Request
    windows: np.ndarray
    total: np.ndarray
    table: np.ndarray
    wide: int
    hosts: int
    before: np.ndarray | None
    pairs: np.ndarray | None
    kept: list[list[list[int]]] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, hosts, slots a host."""
        return len(self.total), self.hosts, self.request.slots // self.hosts

    @property
    def inside(self) -> int:
        """Nodes of whole hosts."""
        nodes = self.request.nodes
        return nodes if self.hosts % nodes == 0 else 1


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer placed: ``held`` and ``share`` [hosts, slots a host], pairs of experts ``split`` [before or after, GPUs
    or nodes], and the seconds that took."""

    held: np.ndarray
    share: np.ndarray
    split: np.ndarray
    seconds: float


def place(loads: Any, **options: Any) -> ExpertPlacement:
    """Place the experts of ``loads`` [layers, experts] as a ``Request`` of ``options`` asks; loads of [windows, layers,
    experts] are balanced in every window, not only in their mean. Raises SpecError for loads or sizes that cannot be
    placed."""
    start = time.perf_counter()
    problem = _checked(loads, Request(**options))
    if problem.request.budget is not None:
        return place_budget(place, problem.windows, problem.request, problem.before, problem.pairs)
    r = problem.request
    effort = Effort(r.seed, None if r.seconds is None else start + r.seconds)
    kept = None if problem.before is None else _kept(problem)
    layers = _all_layers(problem, kept, effort)
    held, share = np.stack([p.held for p in layers]), np.stack([p.share for p in layers])
    split, took = np.sum([p.split for p in layers], axis=0), np.array([p.seconds for p in layers])
    if effort.end is not None:
        _go_on(problem, held, share, took, effort)
    return timed(_record(problem, held, share, split), took, time.perf_counter() - start)


def _checked(loads: Any, r: Request) -> Problem:
    windows = checked_loads(loads)
    total = windows.sum(axis=0)
    layers, experts = total.shape
    check_sizes(experts, r)
    check_options(r, len(windows))
    check_router(experts, r)
    wide = max(1, r.gpus // r.slots)
    hosts = r.gpus // wide
    before, kept = (None, None) if r.previous is None else _earlier(r, total, hosts)
    pairs = None if r.affinity is None else checked_affinity(r.affinity, layers, experts)
    if pairs is not None and (before is not None or r.shares == "optimal"):
        other = "shares" if before is None else "previous"
        raise SpecError(f"cannot go with {other}; expected affinity with equal shares, made afresh", field="affinity")
    table = np.where(total.sum(axis=1, keepdims=True) > 0, total, 1.0)  # no load at all: evenly
    return Problem(r, windows, total, table, wide, hosts, before, pairs, kept)


def _earlier(r: Request, total: np.ndarray, hosts: int) -> tuple[np.ndarray, list[list[list[int]]] | None]:
    """The earlier placement [layers, hosts, slots a host]; on other GPUs or slots fitted to these, with what each GPU
    has already. Raises SpecError."""
    layers, experts = total.shape
    rows = checked_previous(r.previous, layers, None if r.previous_gpus or r.lost else r.slots, experts)
    old = r.previous_gpus or r.gpus
    if (old, rows.shape[1]) == (r.gpus, r.slots) and not r.lost:
        return rows.reshape(layers, hosts, -1), None
    if rows.shape[1] % old:
        raise SpecError(f"got {old}; expected a divisor of its {rows.shape[1]} slots", field="previous_gpus")
    if r.groups > 1 or r.slots < r.gpus:
        other = "groups" if r.groups > 1 else "fewer slots than GPUs"
        raise SpecError(f"of other GPUs or slots cannot go with {other}", field="previous")
    kept = kept_experts(rows, old, survivors(old, r.gpus, r.lost))
    each = r.slots // r.gpus
    fresh = np.stack([fitted(load, own, each) for load, own in zip(total, kept, strict=True)])
    return fresh, kept


def _all_layers(problem: Problem, kept: np.ndarray | None, effort: Effort) -> list[_Layer]:
    """Every layer placed, several at a time where there are processors: kernels let go of the interpreter, and no layer
    depends on another."""
    layers = range(len(problem.total))
    workers = min(len(os.sched_getaffinity(0)), len(layers))
    if workers == 1:
        return [_one_layer(problem, i, kept, effort) for i in layers]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda i: _one_layer(problem, i, kept, effort), layers))


def _one_layer(problem: Problem, i: int, kept: np.ndarray | None, effort: Effort) -> _Layer:
    began, split = time.perf_counter(), np.zeros((2, 2))
    held = kept[i] if kept is not None else _afresh(problem, i, effort)
    if len(problem.windows) > 1 and problem.request.groups == 1:
        held = _steady(problem, i, held, effort)
    if problem.pairs is not None:
        held = _together(problem, i, held, split)
    held, share = _shared(problem, i, held, effort)
    return _Layer(held, share, split, time.perf_counter() - began)


def _kept(problem: Problem) -> np.ndarray:
    """The earlier placement, of which few replicas have moved, [layers, hosts, slots a host]."""
    r, before = problem.request, problem.before
    assert before is not None
    if problem.kept is not None and not r.moves:
        return before
    allowed = int(PART_MOVED * before.size) if r.moves is None else r.moves * len(before)
    moves = Moves(allowed, r.slots if r.moves is None else r.moves, r.seed)
    if r.groups > 1 and r.nodes > 1:
        return keep_groups(problem.table, before, r.nodes, r.groups, moves)
    return keep_layers(problem.table, before, moves)


def _afresh(problem: Problem, i: int, effort: Effort) -> np.ndarray:
    r, load = problem.request, problem.table[i]
    if r.groups == 1:
        return place_layer(load, r.slots, problem.hosts, effort)
    held = place_grouped(load, problem.hosts, r, effort)
    return held if r.traffic is None else relax(load, held, r.traffic, r, effort)


def _steady(problem: Problem, i: int, held: np.ndarray, effort: Effort) -> np.ndarray:
    """``held`` for all windows with any load."""
    windows = problem.windows[:, i]
    each = windows.sum(axis=1, keepdims=True) / len(held)
    used = np.ascontiguousarray(windows[each[:, 0] > 0] / each[each[:, 0] > 0])
    if not len(used):
        return held
    origin, budget = held, held.size
    if problem.before is not None:
        origin, budget = problem.before[i], moved_replicas(problem.before[i, None], held[None])
    tries = max(EXCHANGES // (1 + len(used) // 4), 2_000)
    rough = steady(used, held, origin, budget, tries, 8.0, effort.seed)
    return np.asarray(steady(used, rough, origin, budget, tries, 32.0, effort.seed + 1))


def _together(problem: Problem, i: int, held: np.ndarray, split: np.ndarray) -> np.ndarray:
    """``held`` with experts chosen together closer together; the pairs split [before or after, GPUs or nodes] are added
    to ``split``."""
    r, load = problem.request, problem.table[i]
    assert problem.pairs is not None
    pairs, windows = problem.pairs[i], problem.windows[:, i]
    split[0] += split_pairs(pairs, held, equal_shares(load, held), problem.inside)
    how = Exchange(problem.inside, float(r.slack), r.groups > 1, EXCHANGES, r.seed)
    near = draw_together(windows if windows.any() else load[None], held, pairs, how)
    split[1] += split_pairs(pairs, near, equal_shares(load, near), problem.inside)
    return near


def _shared(problem: Problem, i: int, held: np.ndarray, effort: Effort) -> tuple[np.ndarray, np.ndarray]:
    """``held`` and the shares of its slots; where shares are free and nothing else binds, the better of it and of
    counts and positions chosen together with them."""
    r, load = problem.request, problem.table[i]
    if r.shares == "equal":
        return held, equal_shares(load, held)
    share = np.asarray(water_fill(load, held, 2000, 1e-5))
    hosts, each = held.shape
    extra = r.slots - len(load)
    alone = problem.before is None and r.groups == 1 and len(problem.windows) == 1
    if not alone or each < 2 or not 0 < extra < hosts or load.max() * r.slots <= load.sum():
        return held, share
    parts, width = part_experts(load, r.slots, hosts, EXCHANGES, effort.seed)
    other = fill_parts(load, parts, width, each)
    split = np.asarray(water_fill(load, other, 2000, 1e-5))
    if (load[other] * split).sum(axis=1).max() < (load[held] * share).sum(axis=1).max():
        return other, split
    return held, share


def _go_on(problem: Problem, held: np.ndarray, share: np.ndarray, took: np.ndarray, effort: Effort) -> None:
    """Further rounds of all layers that are not even, as long as there is time, in place."""
    turn, barren = 101, 0
    while problem.shape[2] > 1 and barren < BARREN:
        uneven = [i for i, load in enumerate(problem.table) if not is_even(load, held[i])]
        barren = barren + 1 if uneven else BARREN
        for i in uneven:
            if effort.over():
                return
            began, load = time.perf_counter(), problem.table[i]
            other = search_round(load, held[i], effort.seed, turn)
            if largest_load(load, other) < largest_load(load, held[i]):
                held[i], barren = part(load, other, effort), 0
                share[i] = equal_shares(load, held[i])
            took[i] += time.perf_counter() - began
        turn += 1


def _record(problem: Problem, held: np.ndarray, share: np.ndarray, split: np.ndarray) -> ExpertPlacement:
    r, total = problem.request, problem.total
    p = make_record(total, held, share, problem.wide, load_before(total, problem.before, problem.hosts, problem.wide))
    moved = crossing = seen = together = None
    if problem.kept is not None:
        moved = np.array([len(copies(own, row)) for own, row in zip(problem.kept, held, strict=True)])
    elif problem.before is not None:
        moved = np.array([moved_replicas(*pair) for pair in zip(problem.before, held, strict=True)])
    if r.token_bytes is not None:
        crossing = np.zeros(len(total))
        if r.nodes > 1:
            crossing = r.token_bytes * crossings(total, held, share, r.nodes, Router(*r.router), problem.wide)
    if len(problem.windows) > 1:
        seen = np.array([evenness(host_loads(w, held, share)).mean() for w in problem.windows])
    if problem.pairs is not None:
        together = make_affinity(split, problem.pairs.sum() / 2, r.token_bytes, r.top_k)
    return replace(
        p,
        slots=int(r.slots),
        nodes=int(r.nodes),
        groups=int(r.groups),
        seed=int(r.seed),
        layer_moved=moved,
        layer_moved_bytes=None if moved is None or r.expert_bytes is None else moved * float(r.expert_bytes),
        layer_cross_node_bytes=crossing,
        windows=seen,
        affinity=together,
    )
