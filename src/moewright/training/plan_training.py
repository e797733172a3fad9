"""The search of training strategies: price every legal layout at once, keep what fits, rank by seconds a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.tensors.layer_tensors import total_parameters
from moewright.case.train.train_strategy import LEVELS, TrainSizes, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.case.train.tuning import trained_parameters
from moewright.cost.arrays import Ints
from moewright.cost.prices.roofline import unit_of
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.bounds import check_units
from moewright.training.layouts import Layouts, training_case
from moewright.training.legal_layouts import legal_layouts
from moewright.training.proof.step_checks import proven_step
from moewright.training.stages.stage_figures import Detail, detail_of
from moewright.training.stages.step_seconds import Steps, evaluate_steps
from moewright.training.training_record import TrainingComparison, TrainingPlan, TrainingResult, Wall
from moewright.units import format_bytes, format_count

#: parts of a step and what would make them smaller
_ADVICE = {
    "bubble": "more micro-batches a step, more virtual stages, or fewer pipeline stages",
    "host": "graphs of whole iterations, or larger micro-batches",
    "tp_traffic": "less tensor parallelism",
    "cp_traffic": "less context parallelism",
    "ep_traffic": "expert groups inside a node, or overlap with another micro-batch",
    "etp_traffic": "whole experts on each rank (experts.tp 1)",
    "stage_transfer": "interleaved stages, which hide the transfer",
    "gradient_reduction": "16-bit gradients, or larger global batches",
    "weight_gathering": "the distributed optimizer instead of sharded weights",
    "optimizer": "larger global batches",
}


@dataclass(frozen=True, slots=True)
class Ranked:
    """Candidates that fit, fastest first, as positions in ``layouts``."""

    layouts: Layouts
    steps: Steps
    order: Ints
    levels: Sequence[tuple[str, ...]]
    rejected: dict[str, int]

    def strategy(self, position: int, layers: tuple[int, ...] | None = None) -> TrainStrategy:
        """The strategy at ``position``."""
        comm = int(self.steps.cp_comm_type[position])
        return self.layouts.row(position, self.levels[int(self.steps.recompute[position])], layers, comm)


def plan_training(
    case: Case,
    compare: Sequence[TrainSizes] = (),
    top: int = 5,
    progress: Callable[[float], None] = lambda share: None,
) -> TrainingResult:
    """The best strategy, the ``top`` next layouts, the frontier of memory against time, and why each of ``compare``
    loses. Raises SpecError for sizes that cannot be, InfeasibleError where nothing is legal or fits."""
    training = training_of(case)
    check_units(training_case(case, training))
    start = time.perf_counter()
    ranked = search_layouts(case, training)
    elapsed = time.perf_counter() - start
    progress(0.7)
    first = int(ranked.order[0])
    detail = detail_of(case, training, ranked.strategy(first, training.sizes.layers))
    best = _proven(case, training, _plan(case, training, ranked, first, detail.layers), detail)
    others = [_plan(case, training, ranked, i) for i in _distinct(ranked, top + 1)[1:]]
    front = [_plan(case, training, ranked, i) for i in _frontier(ranked)]
    compared = [_compared(case, training, best, sizes) for sizes in compare]
    progress(1.0)
    return TrainingResult(
        case,
        training,
        len(ranked.layouts),
        ranked.rejected,
        elapsed,
        best,
        detail.stages,
        detail.simulated,
        detail.peak,
        detail.moments,
        _worst_peak(case, training, best.strategy),
        _walls(best),
        tuple(others),
        tuple(front),
        tuple(compared),
        _notes(case, training, best, detail),
        detail.spans,
    )


def plan_of(case: Case, training: Training, s: TrainStrategy) -> TrainingPlan:
    """The plan of one strategy, with the walk of its ranks."""
    layouts, levels = Layouts.of([s]), [s.recompute]
    place = None if s.layers is None else np.repeat(np.arange(len(s.layers)), s.layers)[None, :]
    steps = evaluate_steps(case, training, layouts, levels, place=place)
    detail = detail_of(case, training, s)
    plan = _plan(case, training, Ranked(layouts, steps, np.array([0]), levels, {}), 0, detail.layers)
    return _proven(case, training, plan, detail)


def _proven(case: Case, training: Training, plan: TrainingPlan, detail: Detail) -> TrainingPlan:
    return proven_step(case, training, plan, detail.stages, detail.straggler)


def _worst_peak(case: Case, training: Training, s: TrainStrategy) -> float | None:
    """Bytes of the fullest rank where routing sends it every copy that it can get: of each token as many as it has
    experts, at most top_k. None where a capacity drops them."""
    moe = case.model.moe
    if training.capacity is not None or moe is None:
        return None
    most = min(moe.top_k, moe.experts // s.ep) * s.ep / moe.working
    place = None if s.layers is None else np.repeat(np.arange(len(s.layers)), s.layers)[None, :]
    full = replace(training, capacity=most)
    return float(evaluate_steps(case, full, Layouts.of([s]), [s.recompute], place=place).peak[0])


def training_of(case: Case) -> Training:
    """The training workload of ``case``. Raises SpecError where it has none."""
    if case.training is None:
        raise SpecError(f"got {case.workload.kind!s}; expected train", file=case.file, field="workload.kind")
    return case.training


def usable_bytes(case: Case, training: Training) -> float:
    """Memory of a device that a step may fill."""
    return case.cluster.device.memory * (1 - case.cluster.reserve) * (1 - training.fragmentation)


def search_layouts(case: Case, training: Training) -> Ranked:
    """Every legal layout, priced; those that fit in order of their seconds."""
    layouts, rejected = legal_layouts(case, training)
    wanted = training.sizes.recompute
    levels = LEVELS if wanted is None else (wanted,)
    steps = evaluate_steps(case, training, layouts, levels, place=_place(training, layouts))
    usable = usable_bytes(case, training)
    fits = steps.peak <= usable
    if not fits.any():
        least = int(steps.peak.argmin())
        name = layouts.row(least, levels[int(steps.recompute[least])]).name
        raise InfeasibleError(
            f"none of {len(layouts)} legal layouts fits: {name} needs least, {format_bytes(float(steps.peak[least]))} "
            f"of {format_bytes(usable)} usable"
        )
    if not fits.all():
        rejected["does not fit"] += int((~fits).sum())
    order = np.flatnonzero(fits)
    order = order[np.argsort(steps.seconds[order], kind="stable")]
    return Ranked(layouts, steps, order, levels, dict(rejected.most_common()))


def _place(training: Training, layouts: Layouts) -> Ints | None:
    layers = training.sizes.layers
    if layers is None:
        return None
    return np.repeat(np.arange(len(layers)), layers)[None, :]


def _plan(
    case: Case, training: Training, ranked: Ranked, i: int, layers: tuple[int, ...] | None = None
) -> TrainingPlan:
    s, strategy = ranked.steps, ranked.strategy(i, layers)
    device, gpus = case.cluster.device, case.cluster.gpus
    seconds = float(s.seconds[i])
    rate = training.global_batch * training.sequence / seconds
    unit = unit_of(training.recipe.precision, "experts", device)
    days = gpu_hours = cost = None
    if training.tokens is not None:
        days = training.tokens / rate / 86400
        gpu_hours = days * 24 * gpus
        cost = None if device.price is None else gpu_hours * device.price
    return TrainingPlan(
        strategy,
        seconds,
        rate,
        rate / gpus,
        float(s.model_flops[i]) / seconds / (gpus * device.flops[unit]),
        training.global_batch // (strategy.dp * strategy.micro_batch),
        {name: float(values[i]) for name, values in s.parts.items()},
        {name: float(values[i]) for name, values in s.hidden.items()},
        {name: float(values[i]) for name, values in s.lines.items()},
        float(s.peak[i]),
        usable_bytes(case, training),
        days,
        gpu_hours,
        cost,
    )


def _distinct(ranked: Ranked, count: int) -> list[int]:
    """Positions of the best ``count`` that differ in more than micro-batch, chunks and overlap."""
    chosen, seen = [], set()
    for i in ranked.order.tolist():
        t = ranked.layouts
        layout = tuple(int(getattr(t, name)[i]) for name in ("dp", "cp", "tp", "pp", "ep", "etp"))
        if layout not in seen:
            seen.add(layout)
            chosen.append(i)
        if len(chosen) == count:
            break
    return chosen


def _frontier(ranked: Ranked, most: int = 12) -> list[int]:
    """Positions such that no other is faster with less memory, fastest first."""
    peaks = ranked.steps.peak[ranked.order]
    better = np.concatenate(([True], peaks[1:] < np.minimum.accumulate(peaks)[:-1] * (1 - 1e-9)))
    chosen = ranked.order[better]
    if len(chosen) > most:
        chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, most).astype(int))]
    return [int(i) for i in chosen]


def _compared(case: Case, training: Training, best: TrainingPlan, sizes: TrainSizes) -> TrainingComparison:
    """The best layout with the sizes of ``sizes``, whether it fits or not. Raises SpecError."""
    given = {f.name: getattr(sizes, f.name) for f in fields(sizes) if getattr(sizes, f.name) is not None}
    asked = replace(training, sizes=replace(TrainSizes(recompute=training.sizes.recompute), **given))
    layouts, _ = legal_layouts(case, asked)
    levels = LEVELS if asked.sizes.recompute is None else (asked.sizes.recompute,)
    steps = evaluate_steps(case, asked, layouts, levels)
    fits = steps.peak <= usable_bytes(case, asked)
    index = int(np.where(fits | ~fits.any(), steps.seconds, np.inf).argmin())
    plan = _plan(case, asked, Ranked(layouts, steps, np.array([index]), levels, {}), index)
    differences = {name: plan.parts[name] - best.parts[name] for name in best.parts}
    ordered = dict(sorted(differences.items(), key=lambda item: -abs(item[1])))
    return TrainingComparison(plan, plan.seconds / best.seconds, ordered)


def _walls(best: TrainingPlan) -> tuple[Wall, ...]:
    """What the step loses beside computing, the most first."""
    shares = {name: best.parts[name] / best.seconds for name in _ADVICE}
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return tuple(Wall(name, share, _ADVICE[name]) for name, share in ordered if share > 0)


def _notes(case: Case, training: Training, best: TrainingPlan, detail: Detail) -> tuple[str, ...]:
    notes = []
    if not training.tuning.whole:
        few, all_ = trained_parameters(case.model, training.tuning), total_parameters(case.model)
        deep = "; multi-token prediction is not trained" if case.model.prediction_layers else ""
        notes.append(f"Trained are {format_count(few)} parameters; the model has {format_count(all_)}{deep}.")
    if best.strategy.cp > 1 and training.sizes.cp_comm_type is None:
        notes.append(f"cp_comm_type was chosen: {best.strategy.cp_comm_type} exposes least.")
    if training.sizes.etp is None:
        notes.append(
            "Experts are whole on each rank (experts.tp 1), apart from attention's tp; say otherwise to change it."
        )
    if training.sizes.recompute is None:
        what = "+".join(best.strategy.recompute) or "none"
        notes.append(f"Recomputation was chosen: {what} is the least that fits.")
    if detail.simulated is None and best.strategy.pp > 1:
        notes.append(f"Schedule {best.strategy.schedule} is priced by its closed form alone.")
    if training.tokens is None:
        notes.append("No days and GPU-hours: workload.tokens is not given.")
    return tuple(notes)
