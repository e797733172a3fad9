"""One budget of replicas over all layers: more slots where they take most off the largest load.

Every layer takes ``slots`` slots and up to ``STEPS`` steps of ``gpus`` more, as each GPU holds equally many slots of a
layer. Which steps sum to the least Σ over layers of the largest load within the budget is found exactly, layer by layer
(dynamic programming over what is left of it): a greedy rule by the next gain fails where a second step brings more than
the first. A number of steps counts with the least load that its bound allows until it is chosen; then the layer is
placed with it, and all are chosen again, until what is chosen has been placed: the rest could not have won.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np

from moewright.errors import SpecError
from moewright.placement.expert_placement import Affinity, ExpertPlacement, bound_of, timed
from moewright.placement.request import Request

#: what a layer is placed with, as all of them
LAYER_OPTIONS = (
    "nodes", "groups", "shares", "traffic", "top_k", "seed", "top_groups", "router_groups", "token_bytes", "slack"
)  # fmt: skip
#: steps of one slot a GPU that one layer may take beyond ``slots``
STEPS = 8
#: part of the mean load that another step would have to take off a layer's largest
ENOUGH = 1e-3


def place_budget(
    place: Callable[..., ExpertPlacement],
    loads: np.ndarray,
    request: Request,
    before: np.ndarray | None,
    pairs: np.ndarray | None,
) -> ExpertPlacement:
    """``loads`` [windows, layers, experts] with ``request.budget`` slots over all layers beyond its slots in each, a
    multiple of the GPUs. Rows of ``expert_of_slot`` and ``share`` are as long as the longest layer's: the GPUs of a
    layer with fewer slots end in −1 and 0. ``place``: what places a layer (``solve.place``); ``pairs`` [layers,
    experts, experts]: counts of experts chosen together. Raises SpecError."""
    start = time.perf_counter()
    slots, gpus, budget = request.slots, request.gpus, request.budget
    if isinstance(budget, bool) or not isinstance(budget, (int, np.integer)) or budget < 0 or budget % gpus:
        raise SpecError(f"got {budget!r}; expected a multiple of the {gpus} GPUs, at least 0", field="budget")
    if slots % gpus:
        raise SpecError(f"got {slots}; with a budget over layers expected a multiple of the {gpus} GPUs", field="slots")
    if before is not None:
        raise SpecError("cannot go with previous; expected a placement made afresh", field="budget")
    options = {name: getattr(request, name) for name in LAYER_OPTIONS}
    layers, steps = loads.shape[1], int(budget) // gpus
    total = loads.sum(axis=0)
    room = (total.shape[1] * gpus - slots) // gpus  # beyond, a GPU would hold an expert twice
    most = min(steps, STEPS, room)
    costs = [[_least(load, slots + k * gpus, gpus) for k in range(most + 1)] for load in total]
    tried: dict[tuple[int, int], ExpertPlacement] = {}
    while True:
        chosen = least_sum(costs, steps)
        new = [(i, more) for i, more in enumerate(chosen) if (i, more) not in tried]
        if not new:
            break
        for i, more in new:
            own = options if pairs is None else {**options, "affinity": pairs[i]}
            layer = loads[:, i : i + 1]
            if not layer.sum(axis=(1, 2)).all():  # a window without load here, or none at all
                used = layer[layer.sum(axis=(1, 2)) > 0]
                layer = used if len(used) else layer[:1]
            found = tried[i, more] = place(layer, slots=slots + more * gpus, gpus=gpus, **own)
            costs[i][more] = float(found.gpu_load.max())
            if found.balancedness >= 1 - ENOUGH:
                del costs[i][more + 1 :]
    p = _joined([tried[i, more] for i, more in enumerate(chosen)], gpus)
    took = np.zeros(layers)
    for (i, _), found in tried.items():
        took[i] += found.seconds
    each = None
    if len(loads) > 1:
        held, share = p.expert_of_slot.reshape(layers, gpus, -1), p.share.reshape(layers, gpus, -1)
        rows = np.arange(layers)[:, None, None]
        filled = (loads[:, rows, held] * share).sum(axis=3)
        largest = filled.max(axis=2)
        even = np.divide(filled.mean(axis=2), largest, out=np.ones(largest.shape), where=largest > 0)
        each = even.mean(axis=1)
    return timed(replace(p, slots=int(slots), windows=each), took, time.perf_counter() - start)


def _least(load: np.ndarray, slots: int, gpus: int) -> float:
    """A largest GPU load that no placement of one layer's ``load`` is below."""
    return float(load.sum() / gpus / bound_of(load, slots, gpus))


def least_sum(costs: list[list[float]], budget: int) -> list[int]:
    """The index into each row of ``costs`` whose costs sum to the least, the indices summing to at most ``budget``."""
    best = np.zeros(budget + 1)
    picks = []
    for row in costs:
        table = np.full((len(row), budget + 1), np.inf)
        for more, cost in enumerate(row):
            table[more, more:] = best[: budget + 1 - more] + cost
        picks.append(table.argmin(axis=0))
        best = table.min(axis=0)
    chosen, left = [], budget
    for pick in reversed(picks):
        chosen.append(int(pick[left]))
        left -= chosen[-1]
    return chosen[::-1]


def _joined(parts: list[ExpertPlacement], gpus: int) -> ExpertPlacement:
    """Records of one layer each as one."""
    longest = max(p.expert_of_slot.shape[1] for p in parts) // gpus

    def padded(table: np.ndarray, fill: float) -> np.ndarray:
        own = table.reshape(gpus, -1)
        return np.pad(own, ((0, 0), (0, longest - own.shape[1])), constant_values=fill).ravel()

    loads, even = np.concatenate([p.gpu_load for p in parts]), np.concatenate([p.layer_balancedness for p in parts])
    bounds, total = np.concatenate([p.layer_bound for p in parts]), float(loads.mean(axis=1).sum())
    crossing = [p.cross_node_bytes for p in parts]
    near = [p.affinity for p in parts if p.affinity is not None]
    together = None
    if near:
        values = {f.name: [getattr(a, f.name) for a in near] for f in fields(Affinity)}
        together = Affinity(**{k: float(sum(row)) for k, row in values.items() if None not in row})
    return ExpertPlacement(
        expert_of_slot=np.stack([padded(p.expert_of_slot, -1) for p in parts]),
        replicas=np.concatenate([p.replicas for p in parts]),
        share=np.stack([padded(p.share, 0) for p in parts]),
        gpu_load=loads,
        balancedness=float(even.mean()),
        straggler=float(loads.max(axis=1).sum() / total) if total else 1.0,
        bound=float(bounds.mean()),
        layer_balancedness=even,
        layer_straggler=1 / even,
        layer_bound=bounds,
        before=np.concatenate([p.before for p in parts]),
        nodes=parts[0].nodes,
        groups=parts[0].groups,
        seed=parts[0].seed,
        layer_cross_node_bytes=None if None in crossing else np.array(crossing),
        affinity=together,
    )
