"""Bytes that each rank sends in a step, collective by collective, as the work that is priced has them, in fp32: what an
execution must count. Exchanges of experts follow from the routing and are left to it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from moewright.case.case import Case
from moewright.case.model import Layer
from moewright.case.precision import Precision
from moewright.case.train.train_strategy import Sharding, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.case.train.tuning import WHOLE, LayerTuning
from moewright.cost.ends import embedding_work, head_work
from moewright.cost.work import Collective, Pass, Work
from moewright.training.layouts import Layouts, cell_pass
from moewright.training.stages.stage_holdings import HeldUnit, held_units, stage_of_place
from moewright.training.work.cell_seconds import module_work
from moewright.training.work.layer_passes import Ways, backward_work, layer_passes

_ELEMENT = 4
#: collectives whose bytes the routing decides
_ROUTED = ("dispatch", "combine", "expert_gather", "expert_reduce")


def fp32_case(case: Case) -> Case:
    """``case`` with every number in fp32."""
    layers = tuple(replace(layer, formats=()) for layer in case.model.layers)
    return replace(case, model=replace(case.model, layers=layers, precision=Precision("fp32", {}, *("fp32",) * 4)))


def step_traffic(case: Case, training: Training, s: TrainStrategy, layers: tuple[int, ...]) -> dict[str, list[int]]:
    """Collective → bytes that a rank of each stage sends in a step; ``layers`` of each chunk."""
    case = fp32_case(case)
    model, tuning = case.model, training.tuning
    cells = Layouts.of([s]).cells()
    p = cell_pass(case, training, cells.table, cells.micro_batch)
    ways = Ways(cells.cp_comm_type, cells.dispatcher)
    micro = training.global_batch // (s.dp * s.micro_batch)
    sent: dict[str, list[int]] = defaultdict(lambda: [0] * s.pp)
    places = [chunk for chunk, count in enumerate(layers) for _ in range(count)]
    for i, (layer, chunk) in enumerate(zip(model.layers, places, strict=True)):
        own = tuning.of_layer(model, i)
        work = layer_passes(p, layer, training, ways, own)
        again = _again(p, layer, work.forward, s.recompute) if own.passes else []
        _count([*work.forward, *again, *work.backward], sent, stage_of_place(s, chunk), micro)
    embedding, head = embedding_work(p), head_work(p, True)
    start = WHOLE if tuning.trains_embedding(model) else LayerTuning((), below=False)
    _count([*embedding, *backward_work(embedding, 4.0, start)], sent, 0, micro)
    last = stage_of_place(s, s.pp * s.virtual - 1)
    _count([*head, *backward_work(head, 4.0, tuning.of_head(model))], sent, last, micro)
    _hand_over(p, s, training, places, sent)
    units = held_units(model, tuning, s, places, p.table)
    if s.sharding is Sharding.FULL:
        _every_pass(s, units, micro, sent)
    else:
        _once(s, units, sent)
    return {name: bytes_ for name, bytes_ in sorted(sent.items()) if any(bytes_)}


def _again(p: Pass, layer: Layer, forward: list[Work], modules: tuple[str, ...]) -> list[Work]:
    """What modules that are computed again do once more."""
    if "full" in modules:
        return forward
    inside = {"shared_experts"} if "moe" in modules else set()
    return [w for name in modules if name not in inside for w in module_work(p, layer, forward).get(name, [])]


def _count(work: list[Work], sent: dict[str, list[int]], stage: int, micro: int) -> None:
    for w in work:
        routed = w.name.removesuffix("_gradient") in _ROUTED
        if isinstance(w.shape, Collective) and not routed and np.any(w.happens):
            sent[w.name][stage] += round(float(w.shape.sent[0]) * micro)


def _hand_over(p: Pass, s: TrainStrategy, training: Training, places: list[int], sent: dict[str, list[int]]) -> None:
    """Hidden states to the next chunk's stage; their gradients back, where anything below is trained."""
    micro = training.global_batch // (s.dp * s.micro_batch)
    size = round(float(p.batch.own[0])) * p.case.model.hidden_size * _ELEMENT * micro
    for chunk in range(s.pp * s.virtual - 1):
        here, there = stage_of_place(s, chunk), stage_of_place(s, chunk + 1)
        if here == there:
            continue
        sent["stage_transfer"][here] += size
        above = [i for i, place in enumerate(places) if place > chunk]
        model, tuning = p.case.model, training.tuning
        below = tuning.of_layer(model, above[0]).below if above else tuning.of_head(model).below
        sent["stage_transfer_gradient"][there] += size * below


def _once(s: TrainStrategy, units: list[HeldUnit], sent: dict[str, list[int]]) -> None:
    """Gradients reduced and weights gathered, over the ranks that hold the same; of what every tp rank holds whole the
    gradients of all are added up first."""
    for stage in range(s.pp):
        own = [u for u in units if u.stage == stage]
        sent["replicated_gradients"][stage] += 2 * (s.tp - 1) * sum(u.whole for u in own) * _ELEMENT // s.tp
        for name, count, size in (
            ("dense_gradients", sum(u.trained_dense for u in own), s.dp * s.cp),
            ("expert_gradients", sum(u.trained_experts for u in own), s.expert_dp),
        ):
            if s.sharding is Sharding.NONE:
                sent[name][stage] += 2 * (size - 1) * count * _ELEMENT // size
                continue
            part = -(-count // size) * _ELEMENT
            sent[name][stage] += (size - 1) * part
            sent[f"{name}_weights"][stage] += (size - 1) * part


def _every_pass(s: TrainStrategy, units: list[HeldUnit], micro: int, sent: dict[str, list[int]]) -> None:
    """Shards of weights gathered for both passes of every micro-batch, their gradients reduced once in each."""
    for u in units:
        for name, count, size in (("dense", u.dense, s.dp * s.cp), ("expert", u.experts, s.expert_dp)):
            part = (size - 1) * -(-count // size) * _ELEMENT * micro
            sent[f"{name}_weights_gather"][u.stage] += 2 * part
            sent[f"{name}_gradients"][u.stage] += part
