"""What a step does once, whatever its micro-batches: gradients summed over the ranks that hold the same weights, the
optimizer's pass over memory, and the gathering of what it changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.case import Case
from moewright.case.train.train_strategy import Sharding
from moewright.case.train.train_workload import Training
from moewright.cost.arrays import Array, where
from moewright.cost.network import Group
from moewright.cost.work import Collective, Stream, Work
from moewright.training.layouts import SHARDINGS, Layouts, reduction_groups
from moewright.training.work.cell_seconds import Weights
from moewright.training.work.delivered import TrainingPrice

#: kernels that an optimizer's step starts over its buffers
_KERNELS = 8.0


@dataclass(frozen=True, slots=True)
class StepTail:
    """Seconds [rows] of the fullest stage: ``reduce`` of gradients and ``gather`` of weights, before any overlap, and
    the ``optimizer``; ``operations`` as priced."""

    reduce: Array
    gather: Array
    optimizer: Array


def step_tail(case: Case, training: Training, t: Layouts, w: Weights, price: TrainingPrice) -> StepTail:
    """The seconds of ``w`` [rows], the parameters of a rank of the fullest stage."""
    full = t.sharding == SHARDINGS.index(Sharding.FULL)
    groups = reduction_groups(t, case)
    micro = t.micro(training)
    reduce, gather = np.zeros(len(t)), np.zeros(len(t))
    for g, held, gathered in zip(groups, (w.dense, w.experts), (_gathered(w, training), w.experts), strict=True):
        buffer = held * training.gradients
        reduce = reduce + _collective(price, "reduce_scatter", g, buffer) * where(full, micro, 1.0)
        bytes_gathered = gathered * training.recipe.gather if held is w.experts else gathered
        # a sharded model gathers its weights for every pass of every micro-batch
        gather = gather + _collective(price, "all_gather", g, bytes_gathered) * where(full, 2.0 * micro, 1.0)
    return StepTail(reduce, gather, _optimizer_seconds(training, t, w, price))


def _gathered(w: Weights, training: Training) -> Array:
    """Bytes of dense parameters that are gathered: matrices in the recipe's format, the rest in 16 bits."""
    return w.narrow_dense * training.recipe.gather + (w.dense - w.narrow_dense) * 2.0


def _collective(price: TrainingPrice, name: str, g: Group, buffer: Array) -> Array:
    none = np.zeros(buffer.shape)
    happens = g.size > 1
    shape = Collective(name, g, buffer, (g.size - 1) / g.size * buffer)
    return price.price([Work(name, "communication", shape, none, none, happens)])[0].seconds


def owned(t: Layouts, w: Weights) -> tuple[Array, Array]:
    """Parameters (dense, experts) whose optimizer states a rank holds."""
    divided = t.sharding != SHARDINGS.index(Sharding.NONE)
    return w.dense / where(divided, t.dp * t.cp, 1), w.experts / where(divided, t.expert_dp, 1)


def _optimizer_seconds(training: Training, t: Layouts, w: Weights, price: TrainingPrice) -> Array:
    """States read and written, gradients read twice (their norm, the step), weights written."""
    optimizer = training.optimizer
    mine = sum(owned(t, w), start=np.zeros(len(t)))
    traffic = mine * (2.0 * optimizer.states + 2.0 * training.gradients + training.recipe.weights)
    work = [Work("optimizer", "elementwise", Stream(np.full(len(t), _KERNELS)), 0 * mine, traffic, mine > 0)]
    seconds = price.price(work)[0].seconds
    device = price.products.cluster.device
    return seconds + mine * optimizer.flops / device.flops["bf16"] / device.mfu
