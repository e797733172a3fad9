"""A training step under every strategy of a table: its seconds, what they go to, and the memory of its fullest rank.

Layers are priced once a cell (``layouts.cells``), divided over chunks of stages, and put together by the schedule's
closed form. A row takes the first level of recomputation that fits, or the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from moewright.case.case import Case
from moewright.case.train.train_strategy import LEVELS, Schedule
from moewright.case.train.train_workload import Training
from moewright.cost.arrays import Array, Ints, array, total, where
from moewright.cost.network import group, send_seconds
from moewright.training.cell_seconds import KINDS, Cells, PassSeconds, Unit, Weights, cells_of
from moewright.training.delivered import Delivered, TrainingPrice, fitted, training_price
from moewright.training.layouts import SCHEDULES, Layouts, cell_pass, training_case
from moewright.training.pipelines import StageSeconds, chunks_in_flight, pipeline_seconds
from moewright.training.rank_memory import LINES, StageBytes, static_bytes
from moewright.training.reductions import StepTail, step_tail
from moewright.training.saved_tensors import kept_bytes
from moewright.training.stage_split import split


@dataclass(frozen=True, slots=True)
class Steps:
    """Arrays [rows]. ``seconds`` of a step are the sum of ``parts``: compute and host on the slowest stage, traffic
    that nothing hides by kind, idle stages, optimizer. ``hidden``: traffic that overlap hides. ``peak``: bytes of the
    fullest rank, of ``fullest`` stage, by ``lines``. ``recompute``: position of the level that a row takes.
    ``model_flops``: of a step on all GPUs, as ``flops_of`` defines them."""

    seconds: Array
    parts: dict[str, Array]
    hidden: Array
    peak: Array
    fullest: Ints
    lines: dict[str, Array]
    recompute: Ints
    model_flops: Array


@dataclass(frozen=True, slots=True)
class Chunked:
    """Rows that share (pp, virtual, schedule). Arrays [rows, stages] of a micro-batch on a stage, by level of
    recomputation where it matters; ``place``: the chunk of each layer [rows, layers]."""

    place: Ints
    seconds: list[StageSeconds]
    peaks: list[StageBytes]
    weights: Weights
    sums: StageSums


@dataclass(frozen=True, slots=True)
class Context:
    """What all rows share."""

    case: Case
    training: Training
    constants: Delivered
    levels: Sequence[tuple[str, ...]]
    cells: Cells
    price: TrainingPrice
    place: Ints | None = field(default=None)


def evaluate_steps(
    case: Case,
    training: Training,
    t: Layouts,
    levels: Sequence[tuple[str, ...]] = LEVELS,
    constants: Delivered | None = None,
    place: Ints | None = None,
) -> Steps:
    """Every row of ``t``. ``levels``: of recomputation, of which a row takes the first that fits (the one of least
    memory where none does). ``place``: the chunk of each layer [1, layers]; None: as even as seconds allow."""
    constants = constants or fitted()
    case = training_case(case, training)
    table, micro_batch, cell = t.cells()
    price = training_price(case.cluster, case.model.precision, constants)
    cells = cells_of(case, training, cell_pass(case, training, table, micro_batch), price, constants)
    context = Context(case, training, constants, levels, cells, price, place)
    keys = np.stack([t.pp, t.virtual, t.schedule], axis=1)
    parts: list[tuple[Ints, Steps]] = []
    for key in np.unique(keys, axis=0):
        rows = np.flatnonzero((keys == key).all(axis=1))
        parts.append((rows, _evaluate_chunked(context, t.take(rows), cell[rows])))
    return _joined(parts, len(t))


def _joined(parts: list[tuple[Ints, Steps]], rows: int) -> Steps:
    def put(take: list[tuple[Ints, Array]]) -> Array:
        out = np.empty(rows, dtype=take[0][1].dtype)
        for index, values in take:
            out[index] = values
        return out

    def named(which: str) -> dict[str, Array]:
        names = getattr(parts[0][1], which)
        return {name: put([(i, getattr(s, which)[name]) for i, s in parts]) for name in names}

    def one(which: str) -> Array:
        return put([(i, getattr(s, which)) for i, s in parts])

    return Steps(
        one("seconds"),
        named("parts"),
        one("hidden"),
        one("peak"),
        one("fullest").astype(np.int64),
        named("lines"),
        one("recompute").astype(np.int64),
        one("model_flops"),
    )


def _evaluate_chunked(c: Context, t: Layouts, cell: Ints) -> Steps:
    """Rows of one (pp, virtual, schedule)."""
    stages, virtual, schedule = int(t.pp[0]), int(t.virtual[0]), SCHEDULES[t.schedule[0]]
    micro = t.micro(c.training)
    chunked = divided(c, t, cell)
    usable = c.case.cluster.device.memory * (1 - c.case.cluster.reserve) * (1 - c.training.fragmentation)
    peaks = np.stack([b.peak.max(axis=1) for b in chunked.peaks], axis=1)
    level = np.where((peaks <= usable).any(axis=1), (peaks <= usable).argmax(axis=1), peaks.argmin(axis=1))
    rows = np.arange(len(t))

    def chosen(arrays: list[Array]) -> Array:
        return np.stack(arrays)[level, rows]

    s = StageSeconds(
        chosen([x.forward for x in chunked.seconds]),
        chosen([x.inputs for x in chunked.seconds]),
        chosen([x.weights for x in chunked.seconds]),
    )
    pipeline, idle = pipeline_seconds(s, micro, virtual, schedule)
    lines = {name: chosen([b.lines[name] for b in chunked.peaks]) for name in LINES}
    fullest = sum(lines.values(), start=np.zeros((1, 1))).argmax(axis=1)
    slowest = s.whole.argmax(axis=1)
    tail, hop = _tail(c, t, chunked.weights, cell), _hops(c, t, cell, micro)
    forward, backward = s.forward[rows, slowest], (s.inputs + s.weights)[rows, slowest]
    # the last backward pass hides the reduction, the first forward pass the gathering
    reduce = np.maximum(tail.reduce - backward / virtual, tail.reduce / 8)
    gather = np.maximum(tail.gather - forward / virtual, tail.gather / 8)
    traffic, hidden = _traffic(c, t, chunked.sums, slowest, micro)
    parts = {
        "compute": pipeline - idle - total(traffic.values()),
        "bubble": idle,
        **{f"{kind}_traffic": traffic[kind] for kind in KINDS},
        "stage_transfer": hop,
        "gradient_reduction": reduce,
        "weight_gathering": gather,
        "optimizer": tail.optimizer,
    }
    return Steps(
        total(parts.values()),
        parts,
        hidden,
        np.stack(list(lines.values())).sum(axis=0)[rows, fullest],
        fullest,
        {name: values[rows, fullest] for name, values in lines.items()},
        level,
        _flops(c, t, cell),
    )


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
        place = split(layers, whole[-2], whole[-1], stages * virtual)[back]
    counts = np.zeros((len(t), stages, len(units)))
    rows = np.arange(len(t))
    for layer, kind in enumerate(kinds):
        np.add.at(counts, (rows, place[:, layer] % stages, kind), 1.0)
    sums = StageSums(c, cell, counts)
    weights = Weights(*(sums.of(lambda u, n=n: getattr(u.weights, n)) for n in ("dense", "narrow_dense", "experts")))
    overlap = array(t.overlap)
    in_flight = chunks_in_flight(stages, virtual, t.micro(c.training), schedule) / virtual
    in_flight = np.minimum(in_flight + (overlap / virtual)[:, None], t.micro(c.training)[:, None])
    largest = np.max([_cellwise(c, u.weights.dense + u.weights.experts) for u in units], axis=0)[cell]
    static = static_bytes(c.training, t, weights, largest)
    return Chunked(
        place,
        [_stage_seconds(sums, modules, overlap) for modules in c.levels],
        [_stage_bytes(sums, modules, static, in_flight) for modules in c.levels],
        weights,
        sums,
    )


def _cellwise(c: Context, values: Array) -> Array:
    return np.broadcast_to(values, (len(c.cells.p.table),))


@dataclass(frozen=True, slots=True)
class StageSums:
    """Sums over the layers of each stage. ``counts`` [rows, stages, kinds]: layers of each kind."""

    context: Context
    cell: Ints
    counts: Array

    def of(self, figure: Callable[[Unit], Array], ends: bool = True) -> Array:
        """``figure`` [cells] of each kind, and of the model's ends, summed: [rows, stages]."""
        c = self.context
        values = np.stack([_cellwise(c, figure(u)) for u in c.cells.units])[:, self.cell]
        out: Array = np.einsum("rsk,kr->rs", self.counts, values)
        if ends:
            out[:, 0] += _cellwise(c, figure(c.cells.embedding))[self.cell]
            out[:, -1] += _cellwise(c, figure(c.cells.head))[self.cell]
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


def _stage_seconds(sums: StageSums, modules: Sequence[str], overlap: Array) -> StageSeconds:
    hidden = sums.context.constants.hidden

    def of(passes: Callable[[Unit], list[PassSeconds]]) -> Array:
        whole = sums.of(lambda u: total(x.seconds() for x in passes(u)))
        return whole - overlap[:, None] * sums.of(lambda u: total(hidden_seconds(x, hidden) for x in passes(u)))

    weights = sums.of(lambda u: u.weight_seconds)
    backward = of(lambda u: [u.backward, *recomputed(u, modules)])
    return StageSeconds(of(lambda u: [u.forward]), backward - weights, weights)


def hidden_seconds(x: PassSeconds, share: float) -> Array:
    """Of the experts' traffic, what the computation of another micro-batch hides."""
    return np.minimum(share * x.traffic["ep"], x.compute)


def _stage_bytes(sums: StageSums, modules: tuple[str, ...], static: dict[str, Array], in_flight: Array) -> StageBytes:
    kept = sums.of(lambda u: kept_bytes(u.saved, modules), ends=False)
    logits = np.zeros_like(kept)
    head = _cellwise(sums.context, kept_bytes(sums.context.cells.head.saved, ()))[sums.cell]
    loss = _cellwise(sums.context, sums.context.cells.head.working)[sums.cell]
    # the last stage's loss is there while one micro-batch is, and gone before the layers' own backward passes
    logits[:, -1] = head
    working = sums.largest(lambda u: u.working + kept_bytes(u.saved, ()) - kept_bytes(u.saved, modules))
    working[:, -1] = np.maximum(np.maximum(working[:, -1] - head, 0.0), loss)
    return StageBytes({**static, "activations": kept * in_flight, "logits": logits, "working": working})


# --- once a step, and between stages ---


def _tail(c: Context, t: Layouts, w: Weights, cell: Ints) -> StepTail:
    fullest = (w.dense + w.experts).argmax(axis=1)
    rows = np.arange(len(t))
    mine = Weights(w.dense[rows, fullest], w.narrow_dense[rows, fullest], w.experts[rows, fullest])
    return step_tail(c.case, c.training, t, mine, c.price)


def _hops(c: Context, t: Layouts, cell: Ints, micro: Array) -> Array:
    """Seconds of handing on between stages that nothing hides: of the first and last micro-batch; without interleaving
    of each, since a stage then waits for what it has just asked for."""
    model = c.case.model
    size = c.cells.p.batch.own[cell] * model.hidden_size * 2.0
    seconds = send_seconds(group("pp", t.pp, t.stage, c.case.cluster), size, c.case.cluster)
    alone = where(t.virtual > 1, 0.0, 2.0 * (micro - 1))
    return where(t.pp > 1, (2.0 * (t.pp - 1) + alone) * seconds, 0.0)


def _traffic(c: Context, t: Layouts, sums: StageSums, slowest: Ints, micro: Array) -> tuple[dict[str, Array], Array]:
    """(seconds of the slowest stage's exposed traffic by kind, hidden ones), of all micro-batches."""
    rows = np.arange(len(t))
    out = {}
    for kind in KINDS:
        seconds = sums.of(lambda u, kind=kind: u.forward.traffic[kind] + u.backward.traffic[kind])
        out[kind] = seconds[rows, slowest] * micro
    share = c.constants.hidden
    hidden = sums.of(lambda u: hidden_seconds(u.forward, share) + hidden_seconds(u.backward, share))
    spared = hidden[rows, slowest] * micro * t.overlap
    out["ep"] = out["ep"] - spared
    return out, spared


def _flops(c: Context, t: Layouts, cell: Ints) -> Array:
    """Model FLOPs of a step on all GPUs: three times the forward pass's, what is computed again not counted."""
    per_micro = np.zeros(len(c.cells.p.table))
    for kind in c.cells.kinds:
        per_micro = per_micro + c.cells.units[kind].flops
    per_micro = per_micro + c.cells.head.flops
    ranks = t.dp * t.cp * t.tp
    return 3.0 * per_micro[cell] * ranks * t.micro(c.training)
