"""A cluster in other sizes: parts of a node, a node, and several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from moewright.case.case import Case
from moewright.case.cluster import Cluster
from moewright.planning.complete import divisors

#: whole nodes that are tried, in turn
NODES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def sizes(cluster: Cluster, most: int | None = None) -> Iterator[int]:
    """GPUs that a part of a node, a node, and several have, ``most`` at most."""
    node = max(cluster.gpus_per_node, cluster.board)
    parts = [n for n in divisors(node) if n < node]
    for count in (*parts, *(node * n for n in NODES)):
        if most is None or count <= most:
            yield count


def resized(case: Case, gpus: int) -> Case:
    """``case`` on ``gpus`` GPUs of its cluster's kind, its strategy left open."""
    node = max(case.cluster.gpus_per_node, case.cluster.board)
    cluster = replace(case.cluster, gpus=gpus, gpus_per_node=min(node, gpus), nodes=())
    return replace(case, cluster=cluster, strategy=None)
