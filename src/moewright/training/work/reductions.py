"""What a step does once, whatever its micro-batches: gradients summed over the ranks that hold the same weights, the
optimizer's pass over memory, and the gathering of what it changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.case import Case
from moewright.case.train.train_strategy import Sharding
from moewright.case.train.train_workload import Training
from moewright.cost.arrays import Array, where
from moewright.cost.network import Group, sent_bytes
from moewright.cost.work import Collective, Stream, Work
from moewright.training.layouts import SHARDINGS, Layouts, reduction_groups
from moewright.training.work.delivered import TrainingPrice
from moewright.training.work.held_weights import Weights

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
    none = t.sharding == SHARDINGS.index(Sharding.NONE)
    groups, learned = reduction_groups(t, case), w.learned
    micro = t.micro(training)
    reduce, gather = np.zeros(len(t)), np.zeros(len(t))
    every, trained = _gathered(w, training), _gathered(learned, training)
    for i, (g, held) in enumerate(zip(groups, (learned.dense, learned.experts), strict=True)):
        buffer = held * training.gradients
        reduced = _collective(price, "reduce_scatter", g, buffer)
        # whole gradients on every rank: an all-reduce, and nothing to gather
        reduced = np.where(none, _collective(price, "all_reduce", g, buffer), reduced)
        reduce = reduce + reduced * where(full, micro, 1.0)
        # a sharded model gathers its weights for every pass of every micro-batch, frozen ones too
        size = where(full, every[i], trained[i])
        gather = gather + _collective(price, "all_gather", g, size) * where(full, 2.0 * micro, where(none, 0.0, 1.0))
    return StepTail(reduce, gather, _optimizer_seconds(training, t, learned, price))


def _gathered(w: Weights, training: Training) -> tuple[Array, Array]:
    """Bytes of dense parameters and of experts' that are gathered: matrices in the recipe's format, the rest in 16
    bits."""
    recipe = training.recipe
    return (
        w.narrow_dense * recipe.gather + (w.dense - w.narrow_dense) * recipe.wide,
        w.narrow_experts * recipe.gather + (w.experts - w.narrow_experts) * recipe.wide,
    )


def _collective(price: TrainingPrice, name: str, g: Group, buffer: Array) -> Array:
    none = np.zeros(buffer.shape)
    happens = (g.size > 1) & (buffer > 0)
    shape = Collective(name, g, buffer, sent_bytes(name, g.size, buffer))
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
