"""Predictions of measured training steps: one strategy a row, priced as ``plan`` prices it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.train.train_strategy import LEVELS, Schedule, Sharding, TrainStrategy
from moewright.case.train.train_workload import Graphs, Training
from moewright.case.workload import Kind, Workload
from moewright.cost.arrays import Ints
from moewright.errors import MoewrightError
from moewright.training.layouts import Layouts
from moewright.training.stages.step_seconds import Steps, evaluate_steps
from moewright.training.validation.measured_steps import MeasuredStep, Unread
from moewright.training.work.delivered import Delivered

#: since when Megatron-Bridge's benchmarks capture whole iterations as graphs, where formats have static shapes
_GRAPHS = (26, 6)


@dataclass(frozen=True, slots=True)
class PredictedStep:
    """A row with its prediction; ``seconds`` a step, ``peak`` bytes, ``strategy`` as it was read."""

    row: MeasuredStep
    seconds: float
    peak: float
    strategy: TrainStrategy

    @property
    def tokens_s_gpu(self) -> float:
        """Predicted tokens a second and GPU."""
        return self.row.global_batch * self.row.sequence / self.seconds / self.row.cluster.gpus


def predict_steps(
    rows: Sequence[MeasuredStep], constants: Delivered | None = None
) -> tuple[list[PredictedStep], list[Unread]]:
    """Every row that can be priced, and those that cannot with the reason."""
    predicted, unread = [], []
    for row in rows:
        try:
            predicted.append(predict_step(row, constants))
        except (MoewrightError, ValueError) as error:
            unread.append(Unread(row.line, str(error)))
    return predicted, unread


def predict_step(row: MeasuredStep, constants: Delivered | None = None) -> PredictedStep:
    """The prediction of one row."""
    case, training = case_of_row(row)
    levels = LEVELS if row.recompute is None else (row.recompute,)
    strategy = strategy_of_row(row, training)
    steps = _evaluated(case, training, strategy, levels, constants)
    if row.peak is None:
        for other in _unsaid(row, strategy):
            tried = _evaluated(case, training, other, levels, constants)
            if _better(tried, steps, case.cluster.device.memory * (1 - training.fragmentation)):
                strategy, steps = other, tried
    chosen = replace(strategy, recompute=levels[int(steps.recompute[0])])
    return PredictedStep(row, float(steps.seconds[0]), float(steps.peak[0]), chosen)


def _unsaid(row: MeasuredStep, s: TrainStrategy) -> list[TrainStrategy]:
    """What else a row may have run, as it does not say: without overlap, which takes memory; without a pipeline with
    weights and gradients divided too. A benchmark's recipe is taken to be the fastest that fits."""
    others = [replace(s, overlap_experts=False)] if s.overlap_experts else []
    if row.pp == 1 and not row.fsdp:
        others += [replace(o, sharding=Sharding.FULL) for o in (s, *others)]
    return others


def _better(one: Steps, other: Steps, usable: float) -> bool:
    """Whether ``one`` fits and is faster, or needs less where neither fits."""
    fits = one.peak[0] <= usable, other.peak[0] <= usable
    if fits[0] != fits[1]:
        return bool(fits[0])
    return bool(one.seconds[0] < other.seconds[0] if fits[0] else one.peak[0] < other.peak[0])


def _evaluated(
    case: Case,
    training: Training,
    strategy: TrainStrategy,
    levels: Sequence[tuple[str, ...]],
    constants: Delivered | None,
) -> Steps:
    training = started(training, strategy)
    place = default_place(case, training, strategy)
    return evaluate_steps(case, training, Layouts.of([strategy]), levels, constants, place)


def started(training: Training, strategy: TrainStrategy) -> Training:
    """``training`` as its kernels can be started under ``strategy``: Megatron's FSDP runs without graphs."""
    return replace(training, graphs=Graphs.NONE) if strategy.sharding is Sharding.FULL else training


def default_place(case: Case, training: Training, strategy: TrainStrategy) -> Ints | None:
    """Megatron-Core's own division of layers over chunks where they divide, or do with embedding and loss as a layer
    each (``account_for_embedding_in_pipeline_split``, ``account_for_loss_in_pipeline_split``); None: as even as seconds
    allow, which a layout that is written out is taken to be."""
    layers = len(case.model.layers) + training.prediction_layers
    chunks = strategy.pp * strategy.virtual
    if layers % chunks == 0:
        return (np.arange(layers) // (layers // chunks))[None, :]
    if (layers + 2) % chunks == 0:
        return ((np.arange(layers) + 1) // ((layers + 2) // chunks))[None, :]
    return None


def case_of_row(row: MeasuredStep) -> tuple[Case, Training]:
    """The model on its cluster, and the step. Measured are benchmarks with forced balance. Gradients are kept in 16
    bits where the source is a container of Megatron-Bridge (``grad_reduce_in_fp32`` is false in its benchmarks), else
    in fp32, Megatron-Core's default. Its recipes for racks of NVLink make graphs of attention and router."""
    graphs = row.release is not None and row.release >= _GRAPHS
    blackwell = "fp4" in row.cluster.device.flops
    whole = graphs and blackwell and row.recipe.name in ("mxfp8", "nvfp4") and not row.fsdp
    rack = row.release is not None and row.cluster.board > 8
    training = Training(
        row.global_batch,
        row.sequence,
        recipe=row.recipe,
        gradients=2.0 if row.release is not None else 4.0,
        capacity=1.0 if row.dropping else None,
        prediction_layers=row.prediction_layers,
        balanced=True,
        graphs=Graphs.FULL if whole else Graphs.PARTIAL if rack else Graphs.NONE,
    )
    workload = Workload(Kind.FORWARD, (row.global_batch,), row.sequence)
    return Case(row.model, replace(row.cluster, reserve=0.0), workload), training


def strategy_of_row(row: MeasuredStep, training: Training) -> TrainStrategy:
    """The layout of ``row``. Expert traffic overlaps where whole iterations are graphs, and where it crosses nodes and
    the pipeline is interleaved, which overlap needs."""
    crosses = row.ep * row.etp > row.cluster.gpus_per_node
    return TrainStrategy(
        row.dp,
        row.cp,
        row.tp,
        row.pp,
        row.virtual if row.pp > 1 else 1,
        row.ep,
        row.etp,
        row.micro_batch,
        Schedule.INTERLEAVED if row.pp > 1 and row.virtual > 1 else Schedule.ONE_F_ONE_B,
        (),
        Sharding.FULL if row.fsdp else Sharding.OPTIMIZER,
        training.graphs is Graphs.FULL or (crosses and row.pp > 1 and row.virtual > 1),
    )
