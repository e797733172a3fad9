"""The stages of one strategy: their layers, seconds and memory, and its pipeline simulated operation by operation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.case.case import Case
from moewright.case.train.train_strategy import Schedule, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.cost.network import group, send_seconds
from moewright.placement.stage_orders import place_of
from moewright.training.footprint.memory_timeline import MemoryPeak, Moment, StageMemory, memory_moments, memory_peak
from moewright.training.footprint.saved_tensors import kept_bytes
from moewright.training.layouts import Layouts
from moewright.training.stages.simulated_pipelines import Span, simulate_pipeline
from moewright.training.stages.stage_sums import Context, context_of, divided, stage_of
from moewright.training.training_record import StageFigures

#: operations that are simulated at most, one by one
MOST_OPERATIONS = 200_000


@dataclass(frozen=True, slots=True)
class Detail:
    """``layers`` of each chunk; ``simulated`` seconds of the pipeline, or None where it is not simulated; ``spans``:
    its operations in time; ``straggler``: copies of the fullest rank over the mean."""

    layers: tuple[int, ...]
    stages: tuple[StageFigures, ...]
    simulated: float | None
    peak: MemoryPeak | None
    moments: tuple[tuple[Moment, ...], ...]
    spans: tuple[Span, ...] = ()
    straggler: float = 1.0


def detail_of(case: Case, training: Training, s: TrainStrategy) -> Detail:
    """What one strategy's stages are."""
    t = Layouts.of([s])
    place = None if s.layers is None else np.repeat(np.arange(len(s.layers)), s.layers)[None, :]
    c, cell = context_of(case, training, t, (s.recompute,), place=place)
    chunked = divided(c, t, cell)
    chunks = s.pp * s.virtual
    layers = np.bincount(chunked.place[0], minlength=chunks)
    seconds, peaks = chunked.seconds[0], chunked.peaks[0]
    per_stage = np.bincount(stage_of(chunked.place[0], s.pp, s.schedule), minlength=s.pp)
    stages = tuple(
        StageFigures(
            i,
            int(per_stage[i]),
            float(seconds.forward[0, i]),
            float((seconds.inputs + seconds.weights)[0, i]),
            float(peaks.peak[0, i]),
        )
        for i in range(s.pp)
    )
    micro = training.global_batch // (s.dp * s.micro_batch)
    straggler = max((float(np.max(load.straggler)) for load in c.cells.p.loads.values()), default=1.0)
    suits = s.schedule is not Schedule.INTERLEAVED or micro % s.pp == 0
    if not suits or 3 * micro * chunks > MOST_OPERATIONS:
        return Detail(tuple(layers.tolist()), stages, None, None, (), straggler=straggler)
    spans = simulate_pipeline(_chunk_seconds(c, s, chunked.place[0]), s.pp, micro, s.schedule, _hop(c, t))
    memory = _memory(c, s, chunked.place[0], peaks.lines)
    moments = tuple(tuple(line) for line in memory_moments(spans, memory))
    return Detail(
        tuple(layers.tolist()),
        stages,
        max(x.end for x in spans),
        memory_peak(spans, memory),
        moments,
        tuple(spans),
        straggler,
    )


def _hop(c: Context, t: Layouts) -> float:
    size = c.cells.p.batch.own * c.case.model.hidden_size * 2.0
    return float(send_seconds(group("pp", t.pp, t.stage, c.case.cluster), size, c.case.cluster)[0])


def _chunk_seconds(c: Context, s: TrainStrategy, place: np.ndarray) -> list[tuple[float, float, float]]:
    """(forward, inputs' gradient, weights' gradient) of each chunk."""
    chunks = s.pp * s.virtual
    figures = np.zeros((chunks, 3))
    units = [(int(chunk), c.cells.units[kind]) for chunk, kind in zip(place, c.cells.kinds, strict=True)]
    for chunk, unit in [(0, c.cells.embedding), (chunks - 1, c.cells.head), *units]:
        figures[chunk] += c.unit_seconds(unit, s)
    return [(float(f), float(b), float(w)) for f, b, w in figures]


def _memory(c: Context, s: TrainStrategy, place: np.ndarray, lines: dict[str, np.ndarray]) -> list[StageMemory]:
    chunks = s.pp * s.virtual
    kept, working, late = np.zeros(chunks), np.zeros(chunks), np.zeros(chunks)
    for chunk, kind in zip(place, c.cells.kinds, strict=True):
        unit = c.cells.units[kind]
        own = float(np.max(kept_bytes(unit.saved, s.recompute)))
        again = float(np.max(kept_bytes(unit.saved, ()))) - own
        kept[chunk] += own
        late[chunk] += float(np.max(unit.late))
        working[chunk] = max(working[chunk], float(np.max(unit.working)) + again)
    head = float(np.max(kept_bytes(c.cells.head.saved, ()))) + float(np.max(c.cells.head.working))
    working[-1] = max(working[-1], head)
    static = sum(lines[name][0] for name in ("weights", "gradients", "optimizer", "buffers"))
    stages = []
    for i in range(s.pp):
        mine = [place_of(i, c, s.pp, s.schedule) for c in range(s.virtual)]
        stages.append(StageMemory(float(static[i]), *(tuple(x[mine].tolist()) for x in (kept, working, late))))
    return stages
