"""Model FLOPs of a step: what utilisation is counted in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moewright.case.case import Case
from moewright.case.train.train_strategy import TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.cost.ends import head_work
from moewright.cost.work import AttentionScores, Work
from moewright.planning.bounds import model_flops
from moewright.training.layouts import Layouts, cell_pass, training_case
from moewright.training.work.layer_passes import CORE, Ways, backward_work, layer_passes


def step_flops(case: Case, training: Training) -> float:
    """Model FLOPs of a step on all GPUs: of the forward pass's products and causal attention, and twice that for the
    backward pass (multi-token prediction with its joins and heads among them); what is computed again does not count,
    nor gradients of what is frozen and below it."""
    if not training.tuning.whole:
        return tuned_flops(case, training)
    model, tokens = case.model, training.global_batch * training.sequence
    more = training.prediction_layers
    deep = replace(case, model=replace(model, layers=(*model.layers, *model.layers[-1:] * more)))
    forward = sum(model_flops(deep, training.global_batch).values())
    ends = 2.0 * model.hidden_size * (2 * model.hidden_size + model.vocab_size)
    return 3.0 * (forward + more * ends * tokens)


def tuned_flops(case: Case, training: Training) -> float:
    """The same from the work of one rank that has everything, gradient by gradient, adapters among them."""
    case = training_case(case, training)
    alone = replace(training, balanced=True, capacity=None)
    cells = Layouts.of([TrainStrategy(1, 1, 1, 1, 1, 1, 1, 1)]).cells()
    p = cell_pass(case, alone, cells.table, cells.micro_batch)
    ways, model, tuning = Ways(cells.cp_comm_type, cells.dispatcher), case.model, training.tuning
    known: dict[object, float] = {}
    flops = 0.0
    for i, layer in enumerate(model.layers):
        own = tuning.of_layer(model, i)
        if (layer, own) not in known:
            passes = layer_passes(p, layer, alone, ways, own)
            known[layer, own] = _flops(passes.forward) + _flops(passes.backward)
        flops += known[layer, own]
    head = head_work(p, True)
    flops += _flops(head) + _flops(backward_work(head, 4.0, tuning.of_head(model)))
    return flops * training.global_batch


def _flops(work: list[Work]) -> float:
    """A flash kernel's backward pass computes the scores again: the fifth of its products, which does not count."""
    total = 0.0
    for w in work:
        again = isinstance(w.shape, AttentionScores) and w.name.endswith("_gradient")
        total += float(np.max(w.flops)) * (2.0 / CORE if again else 1.0)
    return total
