"""The work of low-rank adapters beside frozen matrices: x·Aᵀ, then ·Bᵀ, in 16 bits whatever the recipe."""

from __future__ import annotations

import numpy as np

from moewright.case.model import Layer, MoeFfn
from moewright.case.tensors.layer_tensors import layer_tensors
from moewright.case.tensors.tensor import Tensor
from moewright.case.train.tuning import LayerTuning, adapters, part_of_tensor
from moewright.cost.arrays import Array, array
from moewright.cost.layer import OUTPUTS
from moewright.cost.shapes import divided_share
from moewright.cost.work import Matrix, Pass, Products, Work

#: bytes of an element of adapters, and of what they read and write
_ELEMENT = 2.0
#: a kind of weights that recipes leave in 16 bits
_WIDE = "router"


def adapter_work(p: Pass, layer: Layer, tuning: LayerTuning) -> list[Work]:
    """The products of all adapters of ``layer``, those of attention's output and of the feed-forward apart."""
    groups: dict[str, list[Tensor]] = {}
    for x in layer_tensors(layer, p.case.model.hidden_size) if tuning.adapted else ():
        part = part_of_tensor(x)
        if x.gemm and part in tuning.adapted:
            name = "output" if x.name in OUTPUTS else part
            groups.setdefault(f"{name}_adapters", []).append(x)
    return [_products(p, layer, name, tensors, tuning.rank) for name, tensors in groups.items()]


def _products(p: Pass, layer: Layer, name: str, tensors: list[Tensor], rank: int) -> Work:
    matrices: list[Matrix] = []
    flops = traffic = np.zeros(len(p.table))
    for x in tensors:
        rows, held = adapted_rows(p, layer, x)
        for y in adapters(x, rank):
            share = np.ones(len(p.table)) if x.shard == "experts" else divided_share(y, layer.attention, p.table)
            columns, depth = (rank, y.columns * share) if y.name.endswith("_a") else (y.rows * share, rank)
            matrices.append(Matrix(rows, array(columns), array(depth)))
            flops = flops + 2.0 * rows * columns * depth
            traffic = traffic + _ELEMENT * (rows * (columns + depth) + held * columns * depth)
    return Work(name, "adapters", Products(_WIDE, tuple(matrices)), flops, traffic, flops > 0)


def adapted_rows(p: Pass, layer: Layer, x: Tensor) -> tuple[Array, Array]:
    """(rows that the adapters of ``x`` multiply on a rank, matrices of each that it holds)."""
    b, t, ffn = p.batch, p.table, layer.ffn
    if x.shard == "experts" and isinstance(ffn, MoeFfn):
        return b.routed * ffn.working / t.ep * p.loads[ffn].straggler, ffn.experts / array(t.ep)
    return b.tokens, np.ones(len(t))


def adapter_inputs(p: Pass, layer: Layer, tuning: LayerTuning) -> list[tuple[str, str, Array]]:
    """(matrix, its part, elements) of x·Aᵀ of each adapter, which the gradient of B needs."""
    tensors = layer_tensors(layer, p.case.model.hidden_size) if tuning.adapted else []
    targets = [x for x in tensors if x.gemm and part_of_tensor(x) in tuning.adapted]
    return [(x.name, part_of_tensor(x), adapted_rows(p, layer, x)[0] * tuning.rank) for x in targets]
