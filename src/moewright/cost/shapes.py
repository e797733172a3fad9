"""What one rank holds of each tensor: its share, its bytes, its FLOPs a token."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from moewright.case.cluster import Cluster
from moewright.case.model import Attention
from moewright.case.precision import Precision
from moewright.case.tensors.layer_tensors import Tensor
from moewright.cost.arrays import Array, array
from moewright.cost.attention import head_share
from moewright.cost.network import Groups, group
from moewright.cost.table import Table


def groups_of(t: Table, cluster: Cluster) -> Groups:
    """The groups that the collectives of every candidate run in."""
    one = np.ones_like(t.tp)
    return Groups(
        tp=group("tp", t.tp, one, cluster),
        cp=group("cp", t.cp, t.tp, cluster),
        dcp=group("dcp", t.dcp, one, cluster),
        ep=group("ep", t.ep, t.etp, cluster),
        etp=group("etp", t.etp, one, cluster),
        stage=group("stage", t.stage, one, cluster),
        pp=group("pp", t.pp, t.stage, cluster),
    )


def tensor_share(x: Tensor, a: Attention, t: Table) -> Array:
    """Part of ``x`` that one rank holds."""
    if x.shard in ("heads", "kv_heads"):
        return head_share(a, x.shard, array(t.tp))
    if x.shard == "width":
        return 1 / array(t.tp)
    if x.shard == "vocabulary":  # rows that do not divide evenly: the fullest rank's
        return np.ceil(x.rows / t.tp) / x.rows
    if x.shard == "experts":
        # a bias of outputs is divided by rows, which may not be even: the fullest rank's
        part = np.ceil(x.rows / t.etp) / x.rows if x.name.endswith("_down_bias") else 1 / t.etp
        return (1 + t.redundant / x.count) / t.ep * part
    return np.ones(t.tp.shape)


def divided_share(x: Tensor, a: Attention, t: Table) -> Array:
    """Part of the rows (or columns, of a pair's second product) of one matrix of ``x`` that a rank multiplies; an
    expert's are divided by etp elsewhere."""
    if x.shard in ("heads", "kv_heads"):
        return head_share(a, x.shard, array(t.tp))
    return 1 / array(t.tp) if x.shard in ("width", "vocabulary") else np.ones(t.tp.shape)


def weight_bytes(tensors: Iterable[Tensor], a: Attention, precision: Precision, t: Table) -> Array:
    """Bytes of one rank's share of ``tensors``."""
    held = np.zeros(t.tp.shape)
    for x in tensors:
        held = held + precision.tensor_bytes(x) * tensor_share(x, a, t)
    return held
