"""Bytes that each rank sends in a step, collective by collective, as the work that is priced has them, in fp32: what an
execution must count. Exchanges of experts follow from the routing and are left to it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from moewright.case.case import Case
from moewright.case.precision import Precision
from moewright.case.tensors.layer_tensors import layer_tensors, vocabulary_tensors
from moewright.case.tensors.tensor import Tensor
from moewright.case.train.train_strategy import Sharding, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.cost.ends import embedding_work, head_work
from moewright.cost.work import Collective, Pass, Work
from moewright.training.layouts import Layouts, cell_pass
from moewright.training.work.held_weights import weights_of
from moewright.training.work.layer_passes import Ways, backward_work, layer_passes

_ELEMENT = 4
#: collectives whose bytes the routing decides
_ROUTED = ("dispatch", "combine", "expert_gather", "expert_reduce")


def step_traffic(case: Case, training: Training, s: TrainStrategy, layers: tuple[int, ...]) -> dict[str, list[int]]:
    """Collective → bytes that a rank of each stage sends in a step; ``layers`` of each chunk."""
    model = replace(
        case.model,
        layers=tuple(replace(layer, formats=()) for layer in case.model.layers),
        precision=Precision("fp32", {}, *("fp32",) * 4),
    )
    case = replace(case, model=model)
    cells = Layouts.of([s]).cells()
    p = cell_pass(case, training, cells.table, cells.micro_batch)
    ways = Ways(cells.cp_comm_type, cells.dispatcher)
    micro = training.global_batch // (s.dp * s.micro_batch)
    sent: dict[str, list[int]] = defaultdict(lambda: [0] * s.pp)
    places = [chunk for chunk, count in enumerate(layers) for _ in range(count)]
    for i, (layer, chunk) in enumerate(zip(model.layers, places, strict=True)):
        work = layer_passes(p, layer, training, ways, training.tuning.of_layer(model, i))
        again = work.forward if "full" in s.recompute else []
        _count([*work.forward, *again, *work.backward], sent, chunk % s.pp, micro)
    embedding, head = embedding_work(p), head_work(p, True)
    _count([*embedding, *backward_work(embedding, 4.0)], sent, 0, micro)
    _count([*head, *backward_work(head, 4.0, training.tuning.of_head(model))], sent, s.pp - 1, micro)
    _hand_over(p, s, micro, sent)
    _once(case, p, s, places, sent)
    return {name: bytes_ for name, bytes_ in sorted(sent.items()) if any(bytes_)}


def _count(work: list[Work], sent: dict[str, list[int]], stage: int, micro: int) -> None:
    for w in work:
        routed = w.name.removesuffix("_gradient") in _ROUTED
        if isinstance(w.shape, Collective) and not routed and np.any(w.happens):
            sent[w.name][stage] += round(float(w.shape.sent[0]) * micro)


def _hand_over(p: Pass, s: TrainStrategy, micro: int, sent: dict[str, list[int]]) -> None:
    """Hidden states to the next chunk's stage, their gradients back."""
    size = round(float(p.batch.own[0])) * p.case.model.hidden_size * _ELEMENT * micro
    if s.pp == 1:
        return
    for chunk in range(s.pp * s.virtual - 1):
        sent["stage_transfer"][chunk % s.pp] += size
        sent["stage_transfer_gradient"][(chunk + 1) % s.pp] += size


def _once(case: Case, p: Pass, s: TrainStrategy, places: list[int], sent: dict[str, list[int]]) -> None:
    """Gradients reduced and weights gathered, over the ranks that hold the same; of what every tp rank holds whole the
    gradients of all are added up first."""
    model = case.model
    of_stage: list[list[Tensor]] = [[] for _ in range(s.pp)]
    for layer, chunk in zip(model.layers, places, strict=True):
        of_stage[chunk % s.pp] += layer_tensors(layer, model.hidden_size)
    for x in vocabulary_tensors(model):
        of_stage[0 if x.name == "embedding" else -1].append(x)
    for stage, tensors in enumerate(of_stage):
        w = weights_of(tensors, model.layers[0], p.table)
        whole = sum(x.parameters for x in tensors if x.shard == "none")
        sent["replicated_gradients"][stage] += 2 * (s.tp - 1) * whole * _ELEMENT // s.tp
        for name, held, size in (
            ("dense_gradients", w.dense, s.dp * s.cp),
            ("expert_gradients", w.experts, s.expert_dp),
        ):
            count = round(float(held[0]))
            if s.sharding is Sharding.NONE:
                sent[name][stage] += 2 * (size - 1) * count * _ELEMENT // size
                continue
            part = -(-count // size) * _ELEMENT
            sent[name][stage] += (size - 1) * part
            sent[f"{name}_weights"][stage] += (size - 1) * part
