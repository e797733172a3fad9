"""Bytes alive on each rank of an executed step, as the memory model counts them, in fp32 and by the copies that routing
really sends: what an execution must hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from moewright.case.case import Case
from moewright.case.model import MoeFfn
from moewright.case.train.recipe import FP32
from moewright.case.train.train_strategy import Sharding, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.cost.work import Pass
from moewright.placement.stage_orders import order, place_of
from moewright.training.footprint.saved_tensors import kept_bytes, saved_tensors
from moewright.training.layouts import Layouts, cell_pass
from moewright.training.stages.listed_schedules import LATE_WEIGHTS
from moewright.training.stages.stage_holdings import HeldUnit, held_units, schedule_of
from moewright.training.stages.step_traffic import fp32_case
from moewright.training.work.layer_passes import Ways
from moewright.training.work.model_ends import head_saved

#: bytes of a parameter, of its gradient, of Adam's two moments
_WEIGHT, _GRADIENT, _STATES = 4, 4, 8
#: copies of tokens on a rank's experts: layer → [ranks][micro-batches]
Copies = Mapping[int, Sequence[Sequence[int]]]


def step_memory(
    case: Case, training: Training, s: TrainStrategy, layers: tuple[int, ...], copies: Copies
) -> dict[str, list[int]]:
    """Line → bytes of each rank: ``weights``, ``gradients``, ``optimizer``, and the most of ``activations`` that are
    kept at once. These are left out where a schedule puts gradients of weights off."""
    case, training = fp32_case(case), replace(training, recipe=FP32)
    cells = Layouts.of([s]).cells()
    p = cell_pass(case, training, cells.table, cells.micro_batch)
    places = [chunk for chunk, count in enumerate(layers) for _ in range(count)]
    units = held_units(case.model, training.tuning, s, places, p.table)
    stages = [_static(s, [u for u in units if u.stage == stage]) for stage in range(s.pp)]
    each = s.gpus // s.pp
    found = {name: [stages[rank // each][name] for rank in range(s.gpus)] for name in stages[0]}
    if schedule_of(s) not in LATE_WEIGHTS:
        found["activations"] = _activations(case, training, s, places, copies)
    return found


def _static(s: TrainStrategy, units: list[HeldUnit]) -> dict[str, int]:
    """Of a rank of one stage; of a buffer that is divided the padded part."""

    def part(count: int, size: int) -> int:
        return -(-count // size)

    dense, experts = s.dp * s.cp, s.expert_dp
    if s.sharding is Sharding.FULL:
        held = sum(part(u.dense, dense) + part(u.experts, experts) for u in units)
        return {"weights": _WEIGHT * held, "gradients": _GRADIENT * held, "optimizer": _STATES * held}
    trained = sum(u.trained_dense for u in units), sum(u.trained_experts for u in units)
    divided = s.sharding is Sharding.OPTIMIZER
    states = part(trained[0], dense) + part(trained[1], experts) if divided else sum(trained)
    return {
        "weights": _WEIGHT * sum(u.dense + u.experts for u in units),
        "gradients": _GRADIENT * sum(trained),
        "optimizer": _STATES * states,
    }


@dataclass(frozen=True, slots=True)
class _LayerBytes:
    """What a layer keeps of a micro-batch: ``fixed``, and ``of_copy`` for each copy on the rank's experts."""

    fixed: float
    of_copy: float


def _layer_bytes(case: Case, training: Training, s: TrainStrategy, i: int) -> _LayerBytes:
    cells = Layouts.of([s]).cells()
    layer, ways = case.model.layers[i], Ways(cells.cp_comm_type, cells.dispatcher)

    def kept(times: float) -> tuple[float, Pass]:
        more = replace(training, capacity=times)
        p = cell_pass(case, more, cells.table, cells.micro_batch)
        own = training.tuning.of_layer(case.model, i)
        return float(kept_bytes(saved_tensors(p, layer, FP32, own, ways.cp_comm_type), s.recompute)[0]), p

    once, p = kept(1.0)
    if not isinstance(layer.ffn, MoeFfn):
        return _LayerBytes(once, 0.0)
    mean = float(p.batch.routed[0]) * layer.ffn.working / s.ep
    return _LayerBytes(2 * once - kept(2.0)[0], (kept(2.0)[0] - once) / mean)


def _activations(case: Case, training: Training, s: TrainStrategy, places: list[int], copies: Copies) -> list[int]:
    cells = Layouts.of([s]).cells()
    p = cell_pass(case, training, cells.table, cells.micro_batch)
    loss = float(kept_bytes(head_saved(p, training), ())[0])
    layers = [_layer_bytes(case, training, s, i) for i in range(len(places))]
    micro, each = training.global_batch // (s.dp * s.micro_batch), s.gpus // s.pp

    def of_chunk(rank: int, place: int, m: int) -> float:
        held = loss if place == s.pp * s.virtual - 1 else 0.0
        for i, chunk in enumerate(places):
            if chunk == place:
                held += layers[i].fixed + layers[i].of_copy * (copies[i][rank][m] if i in copies else 0)
        return held

    found = []
    for rank in range(s.gpus):
        held = most = 0.0
        for x in order(rank // each, s.pp, micro, s.virtual, schedule_of(s)):
            size = of_chunk(rank, place_of(rank // each, x.chunk, s.pp, schedule_of(s)), x.micro)
            held += size if x.kind == "F" else -size
            most = max(most, held)
        found.append(round(most))
    return found
