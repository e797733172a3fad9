"""A spec file → Case. The format is ``docs/spec.md``; every mistake is a SpecError."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.case.case import Case
from moewright.case.cluster import Cluster
from moewright.case.file.calibration_file import Calibration, read_calibration
from moewright.case.file.cluster_section import read_cluster
from moewright.case.file.files import read_mapping
from moewright.case.file.model_section import read_model
from moewright.case.file.records import (
    KINDS,
    MOST_AUTO,
    MOST_BATCH,
    LimitsRecord,
    RoutingRecord,
    WorkloadRecord,
    choice,
    shown,
)
from moewright.case.file.sections import section, unknown_field
from moewright.case.file.serving_section import read_serving
from moewright.case.file.strategy_section import strategy_of
from moewright.case.file.training_section import read_training
from moewright.case.model import (
    CompressedAttention,
    LatentAttention,
    LinearAttention,
    ModelSpec,
    NoAttention,
    SoftmaxAttention,
    UnknownAttention,
)
from moewright.case.serving import Serving
from moewright.case.spelling import did_you_mean
from moewright.case.train.train_workload import Training
from moewright.case.workload import Goal, Kind, Limits, Objective, Routing, Workload
from moewright.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

#: the kinds of attention that ``cost`` has formulas for
PRICED = (SoftmaxAttention, LatentAttention, LinearAttention, CompressedAttention, NoAttention)
SECTIONS = ("model", "cluster", "workload", "strategy", "objective", "limits", "routing", "calibration")


def load(path: str | Path) -> Case:
    """The case that a spec file (.yaml, .yml, .toml, .json) describes.

    Raises SpecError, with file, field, value and what would be accepted, for anything it does not accept.
    """
    return case_of(read_mapping(path), str(path))


def case_of(raw: dict[str, Any], file: str, weighed: bool = False) -> Case:
    """The case in ``raw``; paths in it are relative to the folder of ``file``. ``weighed``: only its memory is wanted,
    so that layers which no formula prices are accepted."""
    for name in raw:
        if name not in SECTIONS:
            raise SpecError(unknown_field(str(name), list(SECTIONS)), file=file, field=str(name)[:60])
    for name in SECTIONS[:3]:
        if raw.get(name) is None:
            raise SpecError("is missing; required are model, cluster, workload", file=file, field=name)
    folder = Path(file).parent
    model = read_model(raw["model"], file, folder)
    if not weighed:
        refuse_unpriced(model, file)
    cluster = read_cluster(raw["cluster"], file)
    serving = _serving(raw["workload"], file, folder)
    if serving is not None and serving.disaggregated is not None:
        _refuse_uneven(cluster, file)
    training = _training(raw, model, file)
    workload = _decode_step(serving) if serving else _forward_pass(training) if training else None
    return Case(
        model,
        cluster,
        workload or _workload(raw["workload"], file, cluster.gpus),
        _goal(raw, file),
        _routing(raw.get("routing", "uniform"), model, file, folder),
        None if raw.get("strategy") is None or training else strategy_of(raw["strategy"], file),
        file,
        serving,
        raw,
        training=training,
        calibration=_calibration(raw, serving is not None, file, folder),
    )


def _calibration(raw: dict[str, Any], served: bool, file: str, folder: Path) -> Calibration | None:
    value = raw.get("calibration")
    if value is None:
        return None
    if not served:
        raise SpecError("is of a serving workload; a single pass has none", file=file, field="calibration")
    return read_calibration(value, file, folder)


def refuse_unpriced(model: ModelSpec, file: str) -> None:
    """Raises SpecError for a model with layers of a kind that no formula prices."""
    for layer, positions in model.layer_kinds():
        attention = layer.attention
        if not isinstance(attention, PRICED):
            name = attention.name if isinstance(attention, UnknownAttention) else type(attention).__name__
            raise SpecError(
                f"{model.name} has {name} in layer {positions[0]} and {len(positions) - 1} more, which is weighed but "
                "not priced yet; `moewright models` explains the model",
                file=file,
                field="model",
            )


def _refuse_uneven(cluster: Cluster, file: str) -> None:
    """Raises SpecError for pools on nodes of different sizes: which nodes each has is not said."""
    if len(set(cluster.nodes)) > 1:
        sizes = ", ".join(map(str, cluster.nodes[:8])) + (", …" if len(cluster.nodes) > 8 else "")
        raise SpecError(
            f"{sizes} GPUs: pools of prefill and decode are not laid out over nodes of different sizes; expected nodes "
            "of one size, or each pool in a spec of its own",
            file=file,
            field="cluster.nodes",
        )


def _serving(value: Any, file: str, folder: Path) -> Serving | None:
    if not (isinstance(value, dict) and value.get("kind") == "serving"):
        return None
    return read_serving(value, file, folder)


def _training(raw: dict[str, Any], model: ModelSpec, file: str) -> Training | None:
    value = raw["workload"]
    if not (isinstance(value, dict) and value.get("kind") == "train"):
        return None
    return read_training(value, raw.get("strategy"), model, file)


def _forward_pass(training: Training) -> Workload:
    """The forward pass of a training step."""
    return Workload(Kind.FORWARD, (training.global_batch,), training.sequence)


def _check_kind(value: Any, file: str) -> None:
    """Raises SpecError for a kind that is not known, before the fields of another kind are."""
    if not isinstance(value, dict) or "kind" not in value:
        return
    try:
        choice(*KINDS).check(value["kind"])
    except ValueError as error:
        raise SpecError(str(error), file=file, field="workload.kind") from None


def _decode_step(serving: Serving) -> Workload:
    """The step that most of the time goes to: one token of each request in flight, at its mean context."""
    return Workload(Kind.DECODE, serving.concurrency or (1,), max(1, round(serving.resident)))


def _workload(value: Any, file: str, gpus: int) -> Workload:
    _check_kind(value, file)
    w = section(WorkloadRecord, value, file, "workload")
    return Workload(Kind(w.kind), w.batch or auto_batches(gpus), w.sequence, w.causal, automatic=not w.batch)


def auto_batches(gpus: int) -> tuple[int, ...]:
    """Batches worth trying on ``gpus`` GPUs: powers of two, and GPUs times powers of two."""
    most = min(max(MOST_AUTO, 64 * gpus), MOST_BATCH)
    sizes = {start << i for start in (1, gpus) for i in range(most.bit_length())}
    return tuple(sorted(size for size in sizes if size <= most))


def _goal(raw: dict[str, Any], file: str) -> Goal:
    objective = raw.get("objective") or "latency"
    try:
        choice(*Objective).check(objective)
    except ValueError as error:
        raise SpecError(str(error), file=file, field="objective") from None
    limits = section(LimitsRecord, raw.get("limits") or {}, file, "limits")
    return Goal(Objective(objective), Limits(limits.ttft, limits.tpot))


def _routing(value: Any, model: ModelSpec, file: str, folder: Path) -> Routing:
    if value is None or value == "uniform":
        return Routing()
    if value == "typical":
        return Routing(typical=True, source="typical, as models show without balancing")
    if isinstance(value, dict):
        zipf = section(RoutingRecord, value, file, "routing").zipf
        return Routing(zipf=zipf, source=f"Zipf, exponent {zipf:g}")
    if not isinstance(value, str):
        raise SpecError(
            f"got {shown(value)}; expected uniform, typical, {{zipf: 1.0}}, zipf:1.0, lognormal:1.0, "
            "dirichlet:0.3 or a file of expert loads",
            file=file,
            field="routing",
        )
    moe, layers = model.moe, len(model.moe_layers())
    experts = moe.experts if moe else 0
    loads, source = _expert_loads(value, layers, experts, file, folder)
    if moe is None or loads.shape[1] != experts or loads.shape[0] not in (1, layers):
        raise SpecError(
            f"{value[:120]} holds loads of {loads.shape[0]} layers × {loads.shape[1]} experts; the model has "
            f"{layers} layers of {experts} experts",
            file=file,
            field="routing",
        )
    loads[loads.sum(axis=1) <= 0] = 1  # no load at all: evenly
    return Routing(loads=tuple(tuple(row) for row in loads.tolist()), source=source)


def _expert_loads(value: str, layers: int, experts: int, file: str, folder: Path) -> tuple[np.ndarray, str]:
    """Loads [layers or 1, experts] of a file or a distribution, and what they come from."""
    from moewright.case.loads.read_loads import read_loads, split_key
    from moewright.case.loads.synthetic import NAMES, is_synthetic, synthetic_loads

    if not Path(value.partition(":")[0]).suffix and not is_synthetic(value) and not (folder / value).exists():
        kinds = ("typical", *NAMES)
        raise SpecError(
            f"got {value[:120]!r}; {did_you_mean(value.partition(':')[0], kinds)}expected one of {', '.join(kinds)} "
            "(lognormal:1.0 with its parameter), or a file of loads",
            file=file,
            field="routing",
        )
    try:
        if is_synthetic(value) and not (folder / value).exists():
            return synthetic_loads(value, max(1, layers), max(1, experts)), f"{value}, drawn with seed 0"
        name, key = split_key(value, folder)
        return read_loads(folder / name, key, idle=True), name
    except SpecError as error:
        raise SpecError(f"{value[:120]}: {error.problem}", file=file, field="routing") from None
