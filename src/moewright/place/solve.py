"""``moewright.place``: counts, positions and shares of every layer, and how good they are."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from moewright.errors import SpecError
from moewright.place.balance import improve, place_layer
from moewright.place.compiled import COMPILED
from moewright.place.exact import MOST, exact_layer
from moewright.place.shares import star_pairs, water_fill

#: moves tried in the walk over replica counts; without a compiler the same search would take minutes
TRIES = 1200 if COMPILED else 0


@dataclass(frozen=True, slots=True)
class ExpertPlacement:
    """``expert_of_slot`` [layers, slots]: slot s is on GPU s·gpus // slots (fewer slots than GPUs: in equal slices on
    gpus / slots GPUs from there on). ``replicas`` [layers, experts]; ``share`` [layers, slots]: part of its expert's
    tokens; ``gpu_load`` [layers, gpus], in the unit of the loads. ``balancedness``: mean over layers of mean ÷ largest
    GPU load, ``straggler``: Σ largest ÷ Σ mean, ``bound``: a balancedness that no placement passes (``bound_of``);
    ``layer_balancedness`` and ``layer_bound`` [layers]. ``moved``: replicas that were not on their
    GPU in ``previous``."""

    expert_of_slot: np.ndarray
    replicas: np.ndarray
    share: np.ndarray
    gpu_load: np.ndarray
    balancedness: float
    straggler: float
    bound: float
    layer_balancedness: np.ndarray
    layer_bound: np.ndarray
    seconds: float
    moved: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in found.items()}


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
    seed: int = 0,
) -> ExpertPlacement:
    """Place the experts of ``loads`` [layers, experts] on ``slots`` slots of ``gpus`` GPUs.

    ``groups`` > 1: the experts of each of so many routing groups stay in one of ``nodes`` nodes. ``shares``: equal,
    or optimal (a replica takes the part of its expert's tokens that balances best). ``previous`` [layers, slots]: an
    earlier placement to start from, of which at most ``moves`` replicas a layer move (default: 15 %).
    Raises SpecError for loads or sizes that cannot be placed.
    """
    start = time.perf_counter()
    table = checked_loads(loads)
    layers, experts = table.shape
    _check(experts, slots, gpus, nodes, groups, shares)
    before = None if previous is None else _previous(previous, layers, slots, experts)
    if before is not None and groups > 1:
        raise SpecError("cannot be kept to while groups stay in a node; expected one of the two", field="previous")
    wide = max(1, gpus // slots)  # GPUs that share a slot
    hosts = gpus // wide
    each = slots // hosts
    table = np.where(table.sum(axis=1, keepdims=True) > 0, table, 1.0)  # no load at all: evenly
    most = max(1, round(0.15 * slots)) if moves is None else moves
    held = np.empty((layers, hosts, each), dtype=np.int64)
    share = np.empty((layers, hosts, each))
    for i, load in enumerate(table):
        if before is not None:
            found = before[i].reshape(hosts, each).copy()
            counts = np.bincount(found.ravel(), minlength=experts)
            improve(load, found, counts, 10 * most + 10, most, load.sum() / hosts * (1 + 2e-4))
        elif groups > 1:
            found = _grouped(load, slots, hosts, nodes, groups, seed)
        else:
            found = place_layer(load, slots, hosts, TRIES, seed)
            if experts <= MOST[0] and slots <= MOST[1] and hosts <= MOST[2]:
                found = exact_layer(load, found)
        held[i], share[i] = found, _shares(load, found, shares)
        if shares == "optimal" and before is None and groups == 1 and each == 2 and slots > experts:
            other = star_pairs(load, slots, hosts, 200 if COMPILED else 20, seed) if slots < hosts + experts else found
            split = _shares(load, other, shares)
            if _largest(load, other, split) < _largest(load, found, share[i]):
                held[i], share[i] = other, split
    moved = None if before is None else _moved(before.reshape(held.shape), held)
    return _record(checked_loads(loads), held, share, wide, start, moved, table)


def checked_loads(loads: Any) -> np.ndarray:
    """``loads`` as float64 [layers, experts]. Raises SpecError."""
    try:
        table = np.asarray(loads, dtype=float)
    except (TypeError, ValueError) as error:
        raise SpecError(f"hold no table of numbers: {str(error)[:80]}", field="loads") from None
    if table.ndim != 2 or not table.size:
        raise SpecError(f"have shape {table.shape}; expected [layers, experts], neither of them 0", field="loads")
    bad = np.argwhere(~np.isfinite(table) | (table < 0))
    if len(bad):
        layer, expert = (int(x) for x in bad[0])
        raise SpecError(
            f"got {table[layer, expert]} for layer {layer}, expert {expert}; expected a number of at least 0",
            field="loads",
        )
    return table


def bound_of(load: np.ndarray, slots: int, gpus: int) -> float:
    """Balancedness that no placement passes: mean ÷ the smallest t ≥ mean with Σ_e ceil(load_e / t) ≤ slots."""
    mean = load.sum() / gpus
    if mean <= 0:
        return 1.0

    def fits(t: float) -> bool:
        return bool(np.ceil(load / t - 1e-12).sum() <= slots)

    if fits(mean):
        return 1.0
    low, high = mean, max(float(load.max()), mean)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return float(mean / high)


def _check(experts: int, slots: int, gpus: int, nodes: int, groups: int, shares: str) -> None:
    for name, value in (("slots", slots), ("gpus", gpus), ("nodes", nodes), ("groups", groups)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise SpecError(f"got {value!r}; expected a whole number of at least 1", field=name)
    if slots < experts:
        raise SpecError(f"got {slots}; {experts} experts need at least {experts}", field="slots")
    if slots % gpus and gpus % slots:
        raise SpecError(f"got {slots}; expected a multiple or a divisor of the {gpus} GPUs", field="slots")
    if gpus % nodes:
        raise SpecError(f"got {nodes}; expected a divisor of the {gpus} GPUs", field="nodes")
    if groups > 1 and (experts % groups or groups % nodes or slots % nodes or slots < gpus):
        raise SpecError(
            f"got {groups}; to stay in a node, expected a divisor of the {experts} experts that is a multiple of the "
            f"{nodes} nodes, and whole slots",
            field="groups",
        )
    if shares not in ("equal", "optimal"):
        raise SpecError(f"got {shares!r}; expected equal or optimal", field="shares")


def _previous(previous: Any, layers: int, slots: int, experts: int) -> np.ndarray:
    try:
        before = np.asarray(previous, dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise SpecError(f"holds no table of experts: {str(error)[:80]}", field="previous") from None
    if before.shape != (layers, slots):
        raise SpecError(f"has shape {before.shape}; expected [{layers}, {slots}]", field="previous")
    if before.min() < 0 or before.max() >= experts:
        raise SpecError(f"names experts beyond 0 to {experts - 1}", field="previous")
    for layer, row in enumerate(before):
        if len(np.unique(row)) < experts:
            raise SpecError(f"leaves an expert of layer {layer} without a slot", field="previous")
    return before


def _shares(load: np.ndarray, held: np.ndarray, shares: str) -> np.ndarray:
    if shares == "optimal":
        return np.asarray(water_fill(load, held, 2000, 1e-5))
    return np.asarray(1.0 / np.bincount(held.ravel(), minlength=len(load))[held])


def _largest(load: np.ndarray, held: np.ndarray, share: np.ndarray) -> float:
    return float((load[held] * share).sum(axis=1).max())


def _grouped(load: np.ndarray, slots: int, hosts: int, nodes: int, groups: int, seed: int) -> np.ndarray:
    """Groups packed whole on nodes, largest first; then every node for itself."""
    members = np.arange(len(load)).reshape(groups, -1)
    homes = place_layer(load[members].sum(axis=1), groups, nodes, 0, seed)
    parts = []
    for home in homes:
        inside = members[home].ravel()
        own = load[inside] if load[inside].sum() > 0 else np.ones(len(inside))
        parts.append(inside[place_layer(own, slots // nodes, hosts // nodes, TRIES, seed)])
    return np.concatenate(parts)


def _moved(before: np.ndarray, after: np.ndarray) -> int:
    """Replicas on a GPU that did not hold them before."""
    moved = 0
    for old, new in zip(before.reshape(-1, before.shape[2]), after.reshape(-1, after.shape[2]), strict=True):
        left = list(old)
        for e in new:
            if e in left:
                left.remove(e)
            else:
                moved += 1
    return moved


def _record(
    loads: np.ndarray,
    held: np.ndarray,
    share: np.ndarray,
    wide: int,
    start: float,
    moved: int | None,
    placed: np.ndarray,
) -> ExpertPlacement:
    layers, hosts, each = held.shape
    rows = np.arange(layers)[:, None, None]
    host_load = (loads[rows, held] * share).sum(axis=2)
    largest, mean = host_load.max(axis=1), host_load.mean(axis=1)
    even = np.divide(mean, largest, out=np.ones(layers), where=largest > 0)
    bounds = np.array([bound_of(load, hosts * each, hosts) for load in loads])
    total = float(mean.sum())
    flat = held.reshape(layers, -1) + placed.shape[1] * np.arange(layers)[:, None]
    return ExpertPlacement(
        expert_of_slot=held.reshape(layers, -1),
        replicas=np.bincount(flat.ravel(), minlength=placed.size).reshape(placed.shape),
        share=share.reshape(layers, -1),
        gpu_load=np.repeat(host_load / wide, wide, axis=1),
        balancedness=float(even.mean()),
        straggler=float(largest.sum() / total) if total else 1.0,
        bound=float(bounds.mean()),
        layer_balancedness=even,
        layer_bound=bounds,
        seconds=time.perf_counter() - start,
        moved=moved,
    )
