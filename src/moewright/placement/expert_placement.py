"""The record of a placement: positions, shares, and the measures of how good they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moewright.version import __version__


@dataclass(frozen=True, slots=True)
class Affinity:
    """``pairs`` of chosen experts over all layers, those split over GPUs and over nodes, and the same of the placement
    that looks at balance alone; ``*_bytes``: copies beyond a token's first, bounded from above by pairs · 2 / top_k,
    where the bytes of a token are known."""

    pairs: float
    cross_gpu_pairs: float
    cross_node_pairs: float
    cross_gpu_pairs_before: float
    cross_node_pairs_before: float
    cross_gpu_bytes: float | None = None
    cross_node_bytes: float | None = None
    cross_gpu_bytes_before: float | None = None
    cross_node_bytes_before: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class ExpertPlacement:
    """``expert_of_slot`` [layers, slots]: slot s is on GPU s·gpus // slots (fewer slots than GPUs: in equal slices on
    gpus / slots GPUs from there on); −1, with share 0, where a layer has fewer slots than another. ``replicas``
    [layers, experts]; ``share`` [layers, slots]: part of its expert's tokens; ``gpu_load`` [layers, gpus], in the
    unit of the loads. ``balancedness``: mean over layers of mean ÷ largest GPU load, ``straggler``: Σ largest ÷ Σ
    mean, ``bound``: a balancedness that no placement passes (``bound_of``);
    ``layer_*`` [layers]: the same of each layer. ``before``: load of each GPU under
    ``previous``, or where every expert once, in order, as evenly as they divide. ``moved``: replicas that were not on
    their GPU in ``previous``; ``moved_bytes`` of weights where the bytes of an expert are known.
    ``cross_node_bytes``: what one pass over the loads sends between nodes (``traffic.py``), where the bytes of a
    token are known. ``seconds``: of the search. ``slots`` (of a layer, without a budget's), ``nodes``, ``groups`` and
    ``seed`` as given. ``windows``: balancedness of each load window under this placement. ``affinity``:
    pairs of experts chosen together, split over GPUs and nodes, where counts of them were given."""

    expert_of_slot: np.ndarray
    replicas: np.ndarray
    share: np.ndarray
    gpu_load: np.ndarray
    balancedness: float
    straggler: float
    bound: float
    layer_balancedness: np.ndarray
    layer_straggler: np.ndarray
    layer_bound: np.ndarray
    before: np.ndarray
    slots: int = 0
    nodes: int = 1
    groups: int = 1
    seed: int = 0
    seconds: float = 0.0
    layer_seconds: np.ndarray | None = None
    layer_moved: np.ndarray | None = None
    layer_moved_bytes: np.ndarray | None = None
    layer_cross_node_bytes: np.ndarray | None = None
    windows: np.ndarray | None = None
    affinity: Affinity | None = None

    @property
    def moved(self) -> int | None:
        return None if self.layer_moved is None else int(self.layer_moved.sum())

    @property
    def moved_bytes(self) -> float | None:
        return None if self.layer_moved_bytes is None else float(self.layer_moved_bytes.sum())

    @property
    def cross_node_bytes(self) -> float | None:
        return None if self.layer_cross_node_bytes is None else float(self.layer_cross_node_bytes.sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the version that made them. ``model``, ``width`` and ``slices`` (a row per
        number of slices) are None unless the command fills them."""
        found = {name: getattr(self, name) for name in self.__slots__}
        found |= {name: getattr(self, name) for name in ("moved", "moved_bytes", "cross_node_bytes")}
        found |= {"gpus": self.gpu_load.shape[1], "model": None, "width": None, "slices": None}
        found |= {"moewright": __version__, "affinity": None if self.affinity is None else self.affinity.to_dict()}
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in found.items()}


def timed(p: ExpertPlacement, took: np.ndarray, seconds: float) -> ExpertPlacement:
    """``p`` with ``seconds`` in all; ``took`` [layers] of them were spent on one layer, the rest on all alike."""
    rest = max(0.0, seconds - float(took.sum())) / len(took)
    return replace(p, seconds=seconds, layer_seconds=took + rest)


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


def slots_for(loads: np.ndarray, gpus: int, balance: float) -> int:
    """The least slots, a multiple of ``gpus``, at which no bound keeps the mean balancedness of ``loads`` [layers,
    experts] below ``balance``."""
    each = max(1, -(-loads.shape[1] // gpus))
    while np.mean([bound_of(load, each * gpus, gpus) for load in loads]) < balance:
        each += 1
    return int(each * gpus)


def moved_replicas(before: np.ndarray, after: np.ndarray) -> int:
    """Replicas on a GPU that did not hold them before; both [..., gpus, slots a GPU]."""
    moved = 0
    for old, new in zip(before.reshape(-1, before.shape[-1]), after.reshape(-1, after.shape[-1]), strict=True):
        left = list(old)
        for e in new:
            if e in left:
                left.remove(e)
            else:
                moved += 1
    return moved


def host_loads(loads: np.ndarray, held: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Load of each group of GPUs that shares slots, shape [layers, hosts]."""
    rows = np.arange(len(loads))[:, None, None]
    return np.asarray((loads[rows, held] * share).sum(axis=2))


def evenness(host_load: np.ndarray) -> np.ndarray:
    """Mean ÷ largest over the last axis; 1 where there is no load."""
    largest, mean = host_load.max(axis=-1), host_load.mean(axis=-1)
    return np.asarray(np.divide(mean, largest, out=np.ones(mean.shape), where=largest > 0))


def load_before(loads: np.ndarray, previous: np.ndarray | None, hosts: int, wide: int) -> np.ndarray:
    """Load of each GPU, shape [layers, gpus], under ``previous`` [layers, hosts, slots] with equal shares, or
    with every expert once, in order."""
    layers, experts = loads.shape
    if previous is None:
        found = np.zeros((layers, hosts))
        where = np.arange(experts) * hosts // experts
        np.add.at(found, (np.arange(layers)[:, None], where[None]), loads)
    else:
        share = np.stack([1 / np.bincount(row.ravel(), minlength=experts)[row] for row in previous])
        found = host_loads(loads, previous, share)
    return np.repeat(found / wide, wide, axis=1)


def make_record(
    loads: np.ndarray, held: np.ndarray, share: np.ndarray, wide: int, before: np.ndarray
) -> ExpertPlacement:
    """The record of ``held`` and ``share``, both [layers, hosts, slots a host], a host being ``wide`` GPUs."""
    layers, hosts, each = held.shape
    host_load = host_loads(loads, held, share)
    largest, mean = host_load.max(axis=1), host_load.mean(axis=1)
    even = evenness(host_load)
    bounds = np.array([bound_of(load, hosts * each, hosts) for load in loads])
    total, experts = float(mean.sum()), loads.shape[1]
    flat = held.reshape(layers, -1) + experts * np.arange(layers)[:, None]
    return ExpertPlacement(
        expert_of_slot=held.reshape(layers, -1),
        replicas=np.bincount(flat.ravel(), minlength=loads.size).reshape(loads.shape),
        share=share.reshape(layers, -1),
        gpu_load=np.repeat(host_load / wide, wide, axis=1),
        balancedness=float(even.mean()),
        straggler=float(largest.sum() / total) if total else 1.0,
        bound=float(bounds.mean()),
        layer_balancedness=even,
        layer_straggler=1 / even,
        layer_bound=bounds,
        before=before,
    )
