"""An earlier placement kept in the main: one bound on the replicas that move, spent in the layers where they help most.

Every layer is tried with somewhat fewer and more moves than its equal share (greedily, and by annealing); which of
these give the most balance within the bound is then found exactly, and what they leave over goes to further tries."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from moewright.errors import SpecError
from moewright.placement.compiled.annealing import Schedule, anneal, recount
from moewright.placement.compiled.descent import improve
from moewright.placement.compiled.greedy import gpu_loads, replicate
from moewright.placement.expert_placement import moved_replicas

#: moves of a layer that are tried, as parts of an equal share of all moves; and an equal share that is few
PARTS = (0.8, 1.0, 1.25)
FEW = 4
#: steps of annealing a slot, for each of these, and for the number of moves chosen then
STEPS, LAST = 60, 260
#: slots of all layers below which each gets more steps, up to ``MORE`` times as many: a second or so in all
WHOLE, MORE = 16_000, 4.0
#: warmth of annealing, and part that the level falls by
FIRST, SECOND = (0.005, 1e-3), (0.002, 5e-5)


class Moves(NamedTuple):
    """At most ``total`` replicas over all layers, at most ``most`` in one; ``seed`` of the search."""

    total: int
    most: int
    seed: int


def keep_layers(loads: np.ndarray, before: np.ndarray, moves: Moves, level: np.ndarray | None = None) -> np.ndarray:
    """``before`` [layers, gpus, slots a GPU] with few replicas moved, where they add most to the mean over layers of
    ``level`` ÷ largest load for ``loads`` [layers, experts]. ``level`` [layers]: a load below which none need be (the
    mean GPU's)."""
    layers, gpus, each = before.shape
    slots, mean = gpus * each, loads.sum(axis=1) / gpus if level is None else level
    enough = mean * (1 + 2e-4)
    effort = min(MORE, max(1.0, WHOLE / (layers * slots)))
    wanted = [int(part * moves.total / layers) for part in PARTS]
    if moves.total < FEW * layers:  # an equal share is a move or none: also all of them in one layer
        wanted += [2, 4, moves.total]
    caps = sorted({min(w, moves.most, moves.total, slots) for w in wanted} | {0})
    first = [Schedule(int(STEPS * slots * effort), *FIRST, e) for e in enough]
    tried = [_try_caps(loads[i], before[i], caps, moves.seed, first[i]) for i in range(layers)]
    costs = np.array([[-mean[i] / max(_fullest(loads[i], h), mean[i]) for h in row] for i, row in enumerate(tried)])
    sizes = np.array([[moved_replicas(before[i, None], held[None]) for held in row] for i, row in enumerate(tried)])
    picks = np.array(least_costs(costs, sizes, moves.total))
    found = np.stack([row[pick] for row, pick in zip(tried, picks, strict=True)])
    used, rows = sizes[np.arange(layers), picks], np.arange(layers)
    for turn, how in enumerate((FIRST, SECOND)):
        order = np.argsort(costs[rows, picks])[::-1]  # what is left over goes to the least even first
        for k, i in enumerate(order):
            cap = min(used[i] + (moves.total - used.sum()) // (layers - k), moves.most)
            last = Schedule(int(LAST * slots * effort / 2), *how, enough[i])
            other = anneal(loads[i], found[i], before[i], int(cap), moves.seed + turn + 1, last)
            if _fullest(loads[i], other) < _fullest(loads[i], found[i]) * (1 - 1e-9):
                found[i] = other
                used[i] = moved_replicas(before[i, None], other[None])
    return np.stack([_aligned(old, new) for old, new in zip(before, found, strict=True)])


def keep_groups(loads: np.ndarray, before: np.ndarray, nodes: int, groups: int, moves: Moves) -> np.ndarray:
    """As ``keep_layers``, every replica staying in its node, and so every group: the
    nodes of a layer are layers of their own, of which none need be more even than the heaviest node allows. Raises
    SpecError where ``before`` does not keep groups whole in a node, as many in each."""
    layers, gpus, each = before.shape
    experts = loads.shape[1]
    parts = before.reshape(layers, nodes, -1)
    inside, size = experts // nodes, experts // groups
    own = np.empty((layers, nodes, inside), dtype=np.int64)
    for layer, node in np.ndindex(layers, nodes):
        found = np.unique(parts[layer, node])
        if len(found) != inside or (np.unique(found // size, return_counts=True)[1] != size).any():
            raise SpecError(
                f"layer {layer}, node {node}: holds {len(found)} experts; expected {groups // nodes} whole groups of "
                f"{size}, as the groups of experts are to stay in a node",
                field="previous",
            )
        own[layer, node] = found
    local = np.stack(
        [np.searchsorted(o, p) for o, p in zip(own.reshape(-1, inside), parts.reshape(-1, parts.shape[2]), strict=True)]
    )
    local = local.reshape(layers, nodes, gpus // nodes, each)
    inner = loads[np.arange(layers)[:, None, None], own]
    level = np.maximum(inner.sum(axis=2).max(axis=1) / (gpus // nodes), loads.sum(axis=1) / gpus).repeat(nodes)
    rows = slice(0, layers), *(slice(i, i + 1) for i in range(layers))
    kept = np.empty_like(local)
    for row in rows[:1] if moves.most >= gpus * each else rows[1:]:
        some, held = inner[row].reshape(-1, inside), local[row].reshape(-1, gpus // nodes, each)
        own_moves = moves._replace(total=min(moves.total, moves.most * (row.stop - row.start)))
        now = keep_layers(some, held, own_moves, level.reshape(layers, nodes)[row].ravel())
        kept[row] = now.reshape(local[row].shape)
    layer, node = np.arange(layers)[:, None, None, None], np.arange(nodes)[None, :, None, None]
    return np.asarray(own[layer, node, kept]).reshape(before.shape)


def _try_caps(load: np.ndarray, before: np.ndarray, caps: list[int], seed: int, schedule: Schedule) -> list[np.ndarray]:
    """``before`` with at most so many replicas moved, for each of ``caps``."""
    found, enough = [before], schedule.enough
    counts = np.bincount(before.ravel(), minlength=len(load))
    other, many = before.copy(), counts.copy()
    far = recount(load, other, many, replicate(load, before.size, len(before)), caps[-1])
    greedy, moved = before.copy(), 0
    for cap in caps[1:]:
        moved += improve(load, greedy, counts, 2 * cap, cap - moved, enough)
        starts = [min(greedy, found[-1], key=lambda held: _fullest(load, held))]
        if 0 < far <= cap:
            far += improve(load, other, many, 2 * cap, cap - far, enough)
            starts.append(other)
        shorter = schedule._replace(tries=schedule.tries // len(starts))
        ends = [anneal(load, held, before, cap, seed, shorter) for held in starts]
        found.append(min(ends, key=lambda held: _fullest(load, held)))
    return found


def least_costs(costs: np.ndarray, sizes: np.ndarray, budget: int) -> list[int]:
    """The index into each row of ``costs`` whose costs sum to the least, those of ``sizes`` to at most ``budget``; both
    [layers, choices], the first choice of size 0."""
    best, picks = np.zeros(budget + 1), []
    for row, size in zip(costs, sizes, strict=True):
        table = np.full((len(row), budget + 1), np.inf)
        for k in range(len(row)):
            if size[k] <= budget:
                table[k, size[k] :] = best[: budget + 1 - size[k]] + row[k]
        picks.append(table.argmin(axis=0))
        best = table.min(axis=0)
    chosen, left = [], budget
    for pick, size in zip(reversed(picks), reversed(sizes), strict=True):
        chosen.append(int(pick[left]))
        left -= int(size[chosen[-1]])
    return chosen[::-1]


def _fullest(load: np.ndarray, held: np.ndarray) -> float:
    return float(gpu_loads(load, held, np.bincount(held.ravel(), minlength=len(load))).max())


def _aligned(before: np.ndarray, held: np.ndarray) -> np.ndarray:
    """``held`` with the replicas that stay on a GPU in their slots of ``before``."""
    found = held.copy()
    for g in np.flatnonzero((before != held).any(axis=1)):
        left, row = list(held[g]), np.full(len(held[g]), -1)
        for i, e in enumerate(before[g]):
            if e in left:
                left.remove(e)
                row[i] = e
        row[row < 0] = left
        found[g] = row
    return found
