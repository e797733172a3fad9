"""Parameters of a rank: all, those in the recipe's format, those that are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from moewright.case.model import Layer
from moewright.case.tensors.layer_tensors import layer_tensors
from moewright.case.tensors.tensor import Tensor
from moewright.case.train.tuning import WHOLE, LayerTuning, adapter_tensors, part_of_tensor
from moewright.cost.arrays import Array
from moewright.cost.shapes import tensor_share
from moewright.cost.table import Table

#: the arrays of ``Weights``
WEIGHTS = ("dense", "narrow_dense", "experts", "narrow_experts")


@dataclass(frozen=True, slots=True)
class Weights:
    """Parameters of a rank [cells]: ``dense`` are the same on all ranks of dp and cp, ``experts`` on those of
    expert-dp; ``narrow_dense`` and ``narrow_experts`` of these are matrices in the recipe's format (adapters are not).
    ``trained`` are those of them that have gradients."""

    dense: Array
    narrow_dense: Array
    experts: Array
    narrow_experts: Array
    trained: Weights | None = None

    def __add__(self, other: Weights) -> Weights:
        mine, more = self.learned, other.learned
        trained = mapped(lambda name: getattr(mine, name) + getattr(more, name))
        return mapped(lambda name: getattr(self, name) + getattr(other, name), trained)

    @property
    def learned(self) -> Weights:
        """What has gradients: all, where nothing else is said."""
        return self if self.trained is None else self.trained

    def map(self, change: Callable[[Array], Array]) -> Weights:
        """Every array changed."""
        return mapped(lambda name: change(getattr(self, name)), self.trained and self.trained.map(change))


def mapped(figure: Callable[[str], Array], trained: Weights | None = None) -> Weights:
    """From ``figure`` of each array's name."""
    dense, narrow_dense, experts, narrow_experts = (figure(name) for name in WEIGHTS)
    return Weights(dense, narrow_dense, experts, narrow_experts, trained)


def layer_weights(layer: Layer, hidden: int, t: Table, tuning: LayerTuning = WHOLE) -> Weights:
    """A rank's parameters of ``layer``, adapters among them."""
    tensors, more = layer_tensors(layer, hidden), adapter_tensors(layer, hidden, tuning)
    held = weights_of([*tensors, *more], layer, t)
    if tuning.parts == WHOLE.parts:
        return held
    learned = [x for x in tensors if part_of_tensor(x) in tuning.parts]
    return replace(held, trained=weights_of([*learned, *more], layer, t))


def weights_of(tensors: Sequence[Tensor], layer: Layer, t: Table) -> Weights:
    """A rank's share of ``tensors``."""
    none = np.zeros(len(t))
    dense, narrow, experts, narrow_experts = none, none, none, none
    for x in tensors:
        held = x.parameters * tensor_share(x, layer.attention, t)
        adapter = x.name.endswith(("_lora_a", "_lora_b"))
        if x.shard == "experts":
            experts = experts + held
            narrow_experts = narrow_experts + held * (not adapter)
            continue
        dense = dense + held
        if x.gemm and not adapter and x.kind in ("attention", "dense", "shared_experts"):
            narrow = narrow + held
    return Weights(dense, narrow, experts, narrow_experts)
