"""A training step under every strategy of a table: its seconds, what they go to, and the memory of its fullest rank.

Layers are priced once a cell of the table, divided over chunks of stages, and put together by the schedule's
closed form. A row takes the first level of recomputation that fits, or the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moewright.case.case import Case
from moewright.case.train.train_strategy import LEVELS
from moewright.case.train.train_workload import Training
from moewright.cost.arrays import Array, Bools, Ints, total, where
from moewright.cost.network import group, send_seconds
from moewright.training.footprint.rank_memory import LINES
from moewright.training.layouts import SCHEDULES, Layouts
from moewright.training.stages.listed_schedules import listed_seconds
from moewright.training.stages.pipelines import StageSeconds, pipeline_seconds
from moewright.training.stages.stage_sums import Context, StageSums, context_of, divided, hidden_seconds
from moewright.training.stages.step_flops import step_flops
from moewright.training.work.delivered import Delivered
from moewright.training.work.held_weights import Weights
from moewright.training.work.layer_units import Unit
from moewright.training.work.pass_seconds import KINDS, PassSeconds
from moewright.training.work.reductions import StepTail, step_tail


@dataclass(frozen=True, slots=True)
class Steps:
    """Arrays [rows]. ``seconds`` of a step are the sum of ``parts``: compute and host on the slowest stage, traffic
    that nothing hides by kind, idle stages, optimizer. ``hidden``: traffic that overlap hides, by kind. ``peak``: bytes
    of the fullest rank, of ``fullest`` stage, by ``lines``. ``recompute``, ``cp_comm_type``: positions of the level and
    of the exchange that a row takes. ``model_flops``: of a step on all GPUs, as ``step_flops`` defines them."""

    seconds: Array
    parts: dict[str, Array]
    hidden: dict[str, Array]
    peak: Array
    fullest: Ints
    lines: dict[str, Array]
    recompute: Ints
    cp_comm_type: Ints
    model_flops: Array


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
    context, cell = context_of(case, training, t, levels, constants, place)
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
        named("hidden"),
        one("peak"),
        one("fullest").astype(np.int64),
        named("lines"),
        one("recompute").astype(np.int64),
        one("cp_comm_type").astype(np.int64),
        one("model_flops"),
    )


def _evaluate_chunked(c: Context, t: Layouts, cell: Ints) -> Steps:
    """Rows of one (pp, virtual, schedule)."""
    virtual, schedule = int(t.virtual[0]), SCHEDULES[t.schedule[0]]
    micro = t.micro(c.training)
    chunked = divided(c, t, cell)
    usable = c.case.cluster.device.memory * (1 - c.case.cluster.reserve) * (1 - c.training.fragmentation)
    peaks = np.stack([b.peak.max(axis=1) for b in chunked.peaks], axis=1)
    level = np.where((peaks <= usable).any(axis=1), (peaks <= usable).argmax(axis=1), peaks.argmin(axis=1))
    rows = np.arange(len(t))

    def chosen(arrays: list[Array]) -> Array:
        return np.asarray(np.stack(arrays)[level, rows])

    s = StageSeconds(
        chosen([x.forward for x in chunked.seconds]),
        chosen([x.inputs for x in chunked.seconds]),
        chosen([x.weights for x in chunked.seconds]),
    )
    if chunked.chunks:
        parts_of = [(chosen([getattr(x, n) for x in chunked.chunks])) for n in ("forward", "inputs", "weights")]
        each = [(f, b, w) for f, b, w in zip(*(np.moveaxis(x, 1, 0) for x in parts_of), strict=True)]
        pipeline = listed_seconds(each, int(t.pp[0]), micro, schedule)
        idle = pipeline - micro * s.whole.max(axis=1)
    else:
        pipeline, idle = pipeline_seconds(s, micro, virtual, schedule, chunked.unevenness)
    lines = {name: chosen([b.lines[name] for b in chunked.peaks]) for name in LINES}
    fullest = sum(lines.values(), start=np.zeros((1, 1))).argmax(axis=1)
    slowest = s.whole.argmax(axis=1)
    tail, hop = _tail(c, t, chunked.weights, cell), _hops(c, t, cell, micro)
    forward, backward = s.forward[rows, slowest], (s.inputs + s.weights)[rows, slowest]
    # the last backward pass hides the reduction, the first forward pass the gathering
    reduce = _exposed(tail.reduce, backward / virtual, t.overlap_grad_reduce)
    gather = _exposed(tail.gather, forward / virtual, t.overlap_param_gather)
    traffic, hidden = _traffic(c, t, chunked.sums, slowest, micro)
    hidden |= {"gradient_reduction": tail.reduce - reduce, "weight_gathering": tail.gather - gather}
    waits = chunked.sums.of(lambda u: u.forward.waits + u.backward.waits)[rows, slowest] * micro
    parts = {
        "compute": pipeline - idle - waits - total(traffic.values()),
        "host": waits,
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
        c.cells.cp_comm_type[cell],
        np.full(len(t), step_flops(c.case, c.training)),
    )


# --- once a step, and between stages ---


def _exposed(seconds: Array, beside: Array, overlaps: Bools) -> Array:
    """Of traffic beside computing, what that does not hide: an eighth at least, of the last bucket."""
    return where(overlaps, np.maximum(seconds - beside, seconds / 8), seconds)


def _tail(c: Context, t: Layouts, w: Weights, cell: Ints) -> StepTail:
    fullest = (w.dense + w.experts).argmax(axis=1)
    rows = np.arange(len(t))
    mine = w.map(lambda values: np.asarray(values[rows, fullest]))
    return step_tail(c.case, c.training, t, mine, c.price)


def _hops(c: Context, t: Layouts, cell: Ints, micro: Array) -> Array:
    """Seconds of handing on between stages that nothing hides: of the first and last micro-batch; without interleaving
    of each, since a stage then waits for what it has just asked for."""
    model = c.case.model
    size = c.cells.p.batch.own[cell] * model.hidden_size * 2.0
    seconds = send_seconds(group("pp", t.pp, t.stage, c.case.cluster), size, c.case.cluster)
    alone = where(t.virtual > 1, 0.0, 2.0 * (micro - 1))
    return where(t.pp > 1, (2.0 * (t.pp - 1) + alone) * seconds, 0.0)


def _traffic(
    c: Context, t: Layouts, sums: StageSums, slowest: Ints, micro: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Seconds of the slowest stage's (exposed, hidden) traffic by kind, of all micro-batches."""
    rows = np.arange(len(t))
    out = {}
    for kind in KINDS:

        def seconds(u: Unit, kind: str = kind) -> Array:
            return u.forward.traffic[kind] + u.backward.traffic[kind]

        out[kind] = sums.of(seconds)[rows, slowest] * micro
    share = c.constants.hidden

    def both(figure: Callable[[PassSeconds], Array]) -> Array:
        return np.asarray(sums.of(lambda u: figure(u.forward) + figure(u.backward))[rows, slowest] * micro)

    hidden = {
        "tp_traffic": both(lambda x: x.beside) * t.overlap_tp,
        "cp_traffic": both(lambda x: x.ringed),
        "ep_traffic": both(lambda x: hidden_seconds(x, share)) * t.overlap,
    }
    out["tp"], out["ep"] = out["tp"] - hidden["tp_traffic"], out["ep"] - hidden["ep_traffic"]
    return out, hidden
