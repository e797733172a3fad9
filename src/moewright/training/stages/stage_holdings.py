"""What the ranks of each stage hold of one strategy, unit by unit: layers, embedding, head with the last norm."""

from __future__ import annotations

from dataclasses import dataclass

from moewright.case.model import ModelSpec
from moewright.case.tensors.layer_tensors import layer_tensors, vocabulary_tensors
from moewright.case.tensors.tensor import Tensor
from moewright.case.train.train_strategy import Schedule, TrainStrategy
from moewright.case.train.tuning import Tuning, adapter_tensors, part_of_tensor
from moewright.cost.table import Table
from moewright.placement.stage_orders import stage_and_chunk
from moewright.training.work.held_weights import weights_of


@dataclass(frozen=True, slots=True)
class HeldUnit:
    """Parameters of a rank of one ``stage``: ``dense`` and ``experts``, of these the trained ones, and of the trained
    ones those that every rank of tp has whole (``whole``)."""

    stage: int
    dense: int
    experts: int
    trained_dense: int
    trained_experts: int
    whole: int


def schedule_of(s: TrainStrategy) -> Schedule:
    """Of one stage all schedules are one."""
    return s.schedule if s.pp > 1 else Schedule.ONE_F_ONE_B


def stage_of_place(s: TrainStrategy, place: int) -> int:
    """The stage of a chunk."""
    return stage_and_chunk(place, s.pp, schedule_of(s))[0]


def held_units(model: ModelSpec, tuning: Tuning, s: TrainStrategy, places: list[int], t: Table) -> list[HeldUnit]:
    """Every unit with its stage; ``places``: the chunk of each layer; ``t``: the strategy as a table."""
    units = []
    for i, (layer, place) in enumerate(zip(model.layers, places, strict=True)):
        own, tensors = tuning.of_layer(model, i), layer_tensors(layer, model.hidden_size)
        more = adapter_tensors(layer, model.hidden_size, own)
        learned = [*(x for x in tensors if part_of_tensor(x) in own.parts), *more]
        units.append(_unit(stage_of_place(s, place), [*tensors, *more], learned, model, t))
    ends = vocabulary_tensors(model)
    last = stage_of_place(s, s.pp * s.virtual - 1)
    for stage, first in ((0, True), (last, False)):
        tensors = [x for x in ends if (x.name == "embedding") == first]
        learned = [
            x
            for x in tensors
            if (tuning.trains_embedding(model) if x.name == "embedding" else part_of_tensor(x) in tuning.parts)
        ]
        units.append(_unit(stage, tensors, learned, model, t))
    return units


def _unit(stage: int, tensors: list[Tensor], learned: list[Tensor], model: ModelSpec, t: Table) -> HeldUnit:
    held, trained = (weights_of(x, model.layers[0], t) for x in (tensors, learned))
    dense, experts, of_dense, of_experts = (
        round(float(x[0])) for x in (held.dense, held.experts, trained.dense, trained.experts)
    )
    return HeldUnit(
        stage, dense, experts, of_dense, of_experts, sum(x.parameters for x in learned if x.shard == "none")
    )
