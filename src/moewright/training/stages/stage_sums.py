"""The stages of every strategy of a table: what of the model stands on each, its seconds and its bytes.

Layers are priced once a cell (``layouts.Layouts.cells``); a stage's figures are sums over the layers that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.train.train_strategy import Schedule, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.cost.arrays import Array, Ints, array, total
from moewright.training.footprint.rank_memory import StageBytes, static_bytes
from moewright.training.footprint.saved_tensors import kept_bytes
from moewright.training.layouts import SCHEDULES, Layouts, cell_pass, training_case
from moewright.training.stages.listed_schedules import LATE_WEIGHTS, held_bytes
from moewright.training.stages.pipelines import StageSeconds, chunks_in_flight, meeting_seconds
from moewright.training.stages.stage_split import split
from moewright.training.work.cell_seconds import Cells, cells_of
from moewright.training.work.delivered import Delivered, TrainingPrice, fitted, training_price
from moewright.training.work.held_weights import Weights, mapped
from moewright.training.work.layer_passes import Ways
from moewright.training.work.layer_units import Setting, Unit
from moewright.training.work.pass_seconds import PassSeconds


@dataclass(frozen=True, slots=True)
class Chunked:
    """Rows that share (pp, virtual, schedule). Arrays [rows, stages] of a micro-batch on a stage, by level of
    recomputation where it matters; ``place``: the chunk of each layer [rows, layers]; ``unevenness`` [rows]: what
    unequal chunks cost; ``chunks``: seconds [rows, chunks] in the order of the model, where weights' gradients are put
    off."""

    place: Ints
    seconds: list[StageSeconds]
    peaks: list[StageBytes]
    weights: Weights
    sums: StageSums
    unevenness: Array
    chunks: list[StageSeconds]


@dataclass(frozen=True, slots=True)
class Context:
    """What all rows share."""

    case: Case
    training: Training
    constants: Delivered
    levels: Sequence[tuple[str, ...]]
    cells: Cells
    price: TrainingPrice
    place: Ints | None = None

    def unit_seconds(self, unit: Unit, s: TrainStrategy) -> tuple[float, float, float]:
        """(forward, inputs' gradient with what is computed again, weights' gradient) of one ``unit`` in the first
        cell."""

        def of(passes: list[PassSeconds]) -> float:
            spared = total(hidden_seconds(x, self.constants.hidden) for x in passes) * s.overlap_experts
            beside = total(x.beside for x in passes) * s.overlap_tp
            return float((total(x.seconds() for x in passes) - spared - beside)[0])

        weights = float(unit.weight_seconds[0])
        return of([unit.forward]), of([unit.backward, *recomputed(unit, s.recompute)]) - weights, weights


def context_of(
    case: Case,
    training: Training,
    t: Layouts,
    levels: Sequence[tuple[str, ...]],
    constants: Delivered | None = None,
    place: Ints | None = None,
) -> tuple[Context, Ints]:
    """What all rows of ``t`` share, and the cell of each."""
    constants = constants or fitted()
    case = training_case(case, training)
    cells = t.cells()
    price = training_price(case.cluster, case.model.precision, constants)
    p = cell_pass(case, training, cells.table, cells.micro_batch)
    made = cells_of(Setting(p, training, price, constants, Ways(cells.cp_comm_type, cells.dispatcher)))
    return Context(case, training, constants, levels, made, price, place), cells.position


def divided(c: Context, t: Layouts, cell: Ints) -> Chunked:
    """Layers divided over stages, and the seconds and bytes of every stage, for rows of one (pp, virtual, schedule)."""
    stages, virtual, schedule = int(t.pp[0]), int(t.virtual[0]), SCHEDULES[t.schedule[0]]
    kinds = np.array(c.cells.kinds)
    own, back = np.unique(cell, return_inverse=True)
    units, ends = c.cells.units, (c.cells.embedding, c.cells.head)
    whole = [_cellwise(c, u.forward.seconds() + u.backward.seconds())[own] for u in (*units, *ends)]
    layers = np.stack(whole[:-2], axis=1)[:, kinds]
    if c.place is not None:
        place = np.broadcast_to(c.place, (len(t), len(kinds)))
    else:
        place = _placed(layers, whole[-2], whole[-1], stages * virtual, c.training.prediction_layers)[back]
    sums = _sums(c, cell, place, stages, lambda chunk: stage_of(chunk, stages, schedule), stages * virtual)
    by_chunk = _sums(c, cell, place, stages * virtual, lambda chunk: chunk, stages * virtual)
    weights = _weights(sums, lambda u: u.weights)
    if not c.training.tuning.whole:
        weights = replace(weights, trained=_weights(sums, lambda u: u.weights.learned))
    late = schedule in LATE_WEIGHTS and stages > 1
    largest = np.max([_cellwise(c, u.weights.dense + u.weights.experts) for u in units], axis=0)[cell]
    static = static_bytes(c.training, t, weights, largest)
    return Chunked(
        place,
        [_stage_seconds(sums, modules, t) for modules in c.levels],
        [
            _stage_bytes(sums, modules, static, _activations(c, t, sums, by_chunk if late else None, modules))
            for modules in c.levels
        ],
        weights,
        sums,
        _unevenness(c, place, cell, stages, virtual),
        [_stage_seconds(by_chunk, modules, t) for modules in c.levels] if late else [],
    )


def _sums(c: Context, cell: Ints, place: Ints, parts: int, part_of: Callable[[Ints], Ints], chunks: int) -> StageSums:
    """Sums over the layers of each of ``parts`` (stages, or chunks)."""
    counts = np.zeros((len(place), parts, len(c.cells.units)))
    rows = np.arange(len(place))
    for layer, kind in enumerate(c.cells.kinds):
        counts[rows, part_of(place[:, layer]), kind] += 1.0
    return StageSums(c, cell, counts, int(part_of(np.array([chunks - 1]))[0]))


def _activations(
    c: Context, t: Layouts, sums: StageSums, by_chunk: StageSums | None, modules: tuple[str, ...]
) -> Array:
    """Bytes [rows, stages] of micro-batches in flight at the fullest moment."""
    stages, virtual, schedule, micro = int(t.pp[0]), int(t.virtual[0]), SCHEDULES[t.schedule[0]], t.micro(c.training)

    def kept(u: Unit) -> Array:
        return kept_bytes(u.saved, modules)

    if by_chunk is not None:
        return held_bytes(by_chunk.of(kept, False), by_chunk.of(lambda u: u.late, False), micro, stages, schedule)
    in_flight = chunks_in_flight(stages, virtual, micro, schedule) / virtual
    in_flight = np.minimum(in_flight + (array(t.overlap) / virtual)[:, None], micro[:, None])
    return sums.of(kept, ends=False) * in_flight


def _unevenness(c: Context, place: Ints, cell: Ints, stages: int, virtual: int) -> Array:
    """What unequal chunks cost an interleaved pipeline: its seconds of a micro-batch over those of a stage."""
    rows = np.arange(len(place))
    if virtual == 1:
        return np.ones(len(place))
    both = []
    for which in ("forward", "backward"):
        chunk = np.zeros((len(place), stages * virtual))
        of = {
            id(u): _cellwise(c, getattr(u, which).seconds())[cell]
            for u in (*c.cells.units, c.cells.embedding, c.cells.head)
        }
        for layer, kind in enumerate(c.cells.kinds):
            np.add.at(chunk, (rows, place[:, layer]), of[id(c.cells.units[kind])])
        chunk[:, 0] += of[id(c.cells.embedding)]
        chunk[:, -1] += of[id(c.cells.head)]
        both.append(chunk.reshape(len(place), virtual, stages))
    slowest = (both[0] + both[1]).sum(axis=1).max(axis=1)
    return np.asarray(np.maximum(meeting_seconds(*both) / slowest, 1.0))


def _placed(layers: Array, first: Array, last: Array, chunks: int, deep: int) -> Ints:
    """The chunk of each layer [rows, layers], the ``deep`` ones of multi-token prediction with the loss."""
    if not deep:
        return split(layers, first, last, chunks)
    main = split(layers[:, :-deep], first, last + layers[:, -deep:].sum(axis=1), chunks)
    return np.concatenate([main, np.full((len(main), deep), chunks - 1)], axis=1)


def stage_of(chunk: Ints, stages: int, schedule: Schedule) -> Ints:
    """The stage of each chunk: one after another, again and again; of DualPipeV there and back."""
    if schedule is Schedule.DUALPIPE_V:
        return np.asarray(np.where(chunk < stages, chunk, 2 * stages - 1 - chunk))
    return np.asarray(chunk % stages)


def _cellwise(c: Context, values: Array) -> Array:
    return np.broadcast_to(values, (len(c.cells.p.table),))


@dataclass(frozen=True, slots=True)
class StageSums:
    """Sums over the layers of each stage. ``counts`` [rows, stages, kinds]: layers of each kind; ``loss``: the stage of
    head and loss."""

    context: Context
    cell: Ints
    counts: Array
    loss: int

    def of(self, figure: Callable[[Unit], Array], ends: bool = True) -> Array:
        """``figure`` [cells] of each kind, and of the model's ends, summed: [rows, stages]."""
        c = self.context
        values = np.stack([_cellwise(c, figure(u)) for u in c.cells.units])[:, self.cell]
        out: Array = np.einsum("rsk,kr->rs", self.counts, values)
        if ends:
            out[:, 0] += _cellwise(c, figure(c.cells.embedding))[self.cell]
            out[:, self.loss] += _cellwise(c, figure(c.cells.head))[self.cell]
        return out

    def largest(self, figure: Callable[[Unit], Array]) -> Array:
        """The largest ``figure`` of a layer that a stage has: [rows, stages]."""
        values = np.stack([_cellwise(self.context, figure(u)) for u in self.context.cells.units])[:, self.cell]
        return np.asarray(((self.counts > 0) * values.T[:, None, :]).max(axis=2))


def recomputed(unit: Unit, modules: Sequence[str]) -> list[PassSeconds]:
    """What of the forward pass is done again: all of it, or each module."""
    if "full" in modules:
        return [unit.again["full"]] if "full" in unit.again else []
    inside = {"shared_experts"} if "moe" in modules else set()
    return [unit.again[m] for m in modules if m in unit.again and m not in inside]


def _weights(sums: StageSums, of: Callable[[Unit], Weights]) -> Weights:
    def figure(name: str) -> Array:
        def one(u: Unit) -> Array:
            values: Array = getattr(of(u), name)
            return values

        return sums.of(one)

    return mapped(figure)


def _stage_seconds(sums: StageSums, modules: Sequence[str], t: Layouts) -> StageSeconds:
    hidden, overlap, beside = sums.context.constants.hidden, array(t.overlap), array(t.overlap_tp)

    def of(passes: Callable[[Unit], list[PassSeconds]]) -> Array:
        whole = sums.of(lambda u: total(x.seconds() for x in passes(u)))
        spared = overlap[:, None] * sums.of(lambda u: total(hidden_seconds(x, hidden) for x in passes(u)))
        if beside.any():
            spared = spared + beside[:, None] * sums.of(lambda u: total(x.beside for x in passes(u)))
        return whole - spared

    weights = sums.of(lambda u: u.weight_seconds)
    backward = of(lambda u: [u.backward, *recomputed(u, modules)])
    return StageSeconds(of(lambda u: [u.forward]), backward - weights, weights)


def hidden_seconds(x: PassSeconds, share: float) -> Array:
    """Of the experts' traffic, what the computation of another micro-batch hides."""
    return np.minimum(share * x.traffic["ep"], x.compute)


def _stage_bytes(sums: StageSums, modules: tuple[str, ...], static: dict[str, Array], activations: Array) -> StageBytes:
    logits = np.zeros_like(activations)
    head = _cellwise(sums.context, kept_bytes(sums.context.cells.head.saved, ()))[sums.cell]
    loss = _cellwise(sums.context, sums.context.cells.head.working)[sums.cell]
    # the loss is there while one micro-batch is, and gone before the layers' own backward passes
    logits[:, sums.loss] = head
    working = sums.largest(lambda u: u.working + kept_bytes(u.saved, ()) - kept_bytes(u.saved, modules))
    working[:, sums.loss] = np.maximum(np.maximum(working[:, sums.loss] - head, 0.0), loss)
    lines = {"activations": activations, "logits": logits, "working": working}
    return StageBytes({**static, **lines, "buffers": sums.largest(lambda u: u.buffers)})
