"""What DeepSeek's EPLB does, written again from its published description, to compare layer by layer: replicas by the
largest load per replica, then replicas packed largest first on the emptiest GPU with a free slot; hierarchical: groups
packed on nodes first, then every node for itself."""

from __future__ import annotations

import numpy as np


def balanced(load: np.ndarray, slots: int, gpus: int) -> np.ndarray:
    """Experts by slot, shape [gpus, slots a GPU], of one layer's ``load`` [experts]."""
    counts = np.ones(len(load), dtype=int)
    for _ in range(slots - len(load)):
        counts[np.argmax(load / counts)] += 1
    items = np.repeat(np.arange(len(load)), counts)
    weight = (load / counts)[items]
    held: list[list[int]] = [[] for _ in range(gpus)]
    filled = np.zeros(gpus)
    for i in np.argsort(-weight, kind="stable"):
        free = [g for g in range(gpus) if len(held[g]) < slots // gpus]
        g = min(free, key=filled.__getitem__)
        held[g].append(int(items[i]))
        filled[g] += weight[i]
    return np.array(held)


def grouped(load: np.ndarray, slots: int, gpus: int, nodes: int, groups: int) -> np.ndarray:
    """``balanced`` with the experts of each of ``groups`` groups in one of ``nodes`` nodes."""
    members = np.arange(len(load)).reshape(groups, -1)
    homes = balanced(load[members].sum(axis=1), groups, nodes)
    parts = []
    for home in homes:
        inside = members[home].ravel()
        parts.append(inside[balanced(load[inside], slots // nodes, gpus // nodes)])
    return np.concatenate(parts)


def largest(load: np.ndarray, held: np.ndarray) -> float:
    """The fullest GPU's load, a replica carrying an equal share."""
    return float((load / np.bincount(held.ravel(), minlength=len(load)))[held].sum(axis=1).max())
