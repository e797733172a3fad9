"""What it takes to go from one placement to another: bytes by link, and seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.placement.files.earlier import copies


@dataclass(frozen=True, slots=True)
class Links:
    """Bytes/s per GPU and direction inside a node and between nodes, and the GPUs of a node."""

    node: float
    fabric: float
    gpus_per_node: int


@dataclass(frozen=True, slots=True)
class Migration:
    """Replicas that are copied, and their bytes: from a GPU of the same node, of another node, or (no GPU has the
    expert left) from storage; ``seconds``: of the busiest link of a GPU, sending or receiving, storage left out."""

    replicas: int
    node_bytes: float
    fabric_bytes: float
    storage_bytes: float
    seconds: float

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def migration(kept: list[list[list[int]]], after: np.ndarray, expert_bytes: float, links: Links) -> Migration:
    """The copies from ``kept`` [layers][gpus] to ``after`` [layers, gpus, slots a GPU]. Each comes from a GPU that has
    the expert, of the same node where there is one, and of these from the one that has sent least so far."""
    gpus = after.shape[1]
    sent, received = np.zeros((2, gpus)), np.zeros((2, gpus))  # inside a node, between nodes
    total, storage = 0, 0
    node = np.arange(gpus) // links.gpus_per_node
    for before, layer in zip(kept, after, strict=True):
        holders: dict[int, list[int]] = {}
        for gpu, row in enumerate(before):
            for e in row:
                holders.setdefault(e, []).append(gpu)
        for gpu, e in copies(before, layer):
            total += 1
            near = [g for g in holders.get(e, ()) if node[g] == node[gpu]]
            from_ = near or holders.get(e, [])
            if not from_:
                storage += 1
                continue
            tier = 0 if near else 1
            source = min(from_, key=lambda g: sent[tier, g])
            sent[tier, source] += expert_bytes
            received[tier, gpu] += expert_bytes
    rates = np.array([[links.node], [links.fabric]])
    seconds = float((np.maximum(sent, received) / rates).max()) if total else 0.0
    return Migration(total, float(received[0].sum()), float(received[1].sum()), storage * expert_bytes, seconds)
