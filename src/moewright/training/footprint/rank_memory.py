"""Bytes of a rank of every stage over a training step: what stays, what is kept of micro-batches in flight, and the
most that lives beside it at one moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.train.train_strategy import Sharding
from moewright.case.train.train_workload import Training
from moewright.cost.arrays import Array, where
from moewright.training.layouts import SHARDINGS, Layouts
from moewright.training.work.held_weights import Weights

#: lines of the memory table, in order
LINES = ("weights", "gradients", "optimizer", "activations", "logits", "working", "buffers")
#: layers whose gathered weights live at once where weights are sharded: the one at work and the next
_GATHERED = 2.0


@dataclass(frozen=True, slots=True)
class StageBytes:
    """Arrays [rows, stages] by line; ``peak``: all lines together."""

    lines: dict[str, Array]

    @property
    def peak(self) -> Array:
        return sum(self.lines.values(), start=np.zeros((1, 1)))


def static_bytes(training: Training, t: Layouts, w: Weights, layer: Array) -> dict[str, Array]:
    """Weights, gradients and optimizer states of a rank, [rows, stages]; ``w`` with those shapes, ``layer`` [rows]
    parameters of the largest layer (gathered where weights are sharded). Gradients and states are of what is
    trained."""
    recipe, learned = training.recipe, w.learned
    dense, experts = (t.dp * t.cp)[:, None], t.expert_dp[:, None]
    full = (t.sharding == SHARDINGS.index(Sharding.FULL))[:, None]
    none = (t.sharding == SHARDINGS.index(Sharding.NONE))[:, None]
    of_dense = w.narrow_dense * recipe.weights + (w.dense - w.narrow_dense) * recipe.wide
    of_experts = w.narrow_experts * recipe.weights + (w.experts - w.narrow_experts) * recipe.wide
    gathered = where(full, _GATHERED * recipe.weights * layer[:, None], 0.0)
    shared = learned.dense / dense + learned.experts / experts
    return {
        "weights": where(full, of_dense / dense + of_experts / experts, of_dense + of_experts) + gathered,
        "gradients": training.gradients * where(full, shared, learned.dense + learned.experts),
        "optimizer": training.optimizer.states * where(none, learned.dense + learned.experts, shared),
    }
