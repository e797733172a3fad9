"""``h200-hgx:32``: a cluster of the catalogue and a number of GPUs, as command lines write it."""

from __future__ import annotations

import re

from moewright.case.catalogue.hardware_catalogue import cluster_names, find_cluster, load_cluster
from moewright.case.cluster import Cluster
from moewright.case.spelling import did_you_mean
from moewright.errors import SpecError


def split_cluster(text: str, field: str = "--cluster") -> tuple[str, int | None]:
    """The catalogue's name and the GPUs of ``text`` (None: not said). Raises SpecError."""
    name, colon, count = text.partition(":")
    found = find_cluster(name[:200])
    if found is None:
        hint = did_you_mean(name.lower(), cluster_names())
        raise SpecError(
            f"got {text[:60]!r}; {hint}expected a cluster of the catalogue such as h200-hgx:32", field=field
        )
    if colon and not re.fullmatch(r"[1-9]\d{0,6}", count):
        raise SpecError(f"got {text[:60]!r}; expected GPUs after the colon, such as {found}:32", field=field)
    return found, int(count) if colon else None


def cluster_of(name: str, gpus: int | None) -> Cluster:
    """The cluster with that many GPUs; where they fill no whole nodes, on nodes that each use fewer of theirs."""
    whole = load_cluster(name)
    if gpus is None or gpus <= whole.gpus_per_node or gpus % whole.gpus_per_node == 0:
        return load_cluster(name, gpus)
    part = max(n for n in range(1, whole.gpus_per_node + 1) if gpus % n == 0)
    return load_cluster(name, gpus, part)
