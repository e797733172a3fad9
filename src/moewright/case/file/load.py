"""A spec file → Case. The format is ``docs/spec.md``; every mistake is a SpecError."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.case.case import Case
from moewright.case.cluster import Cluster, Device, Tier
from moewright.case.file.files import read_mapping
from moewright.case.file.model_section import read_model
from moewright.case.file.records import (
    KINDS,
    MOST_AUTO,
    MOST_BATCH,
    UNITS,
    ClusterRecord,
    DeviceRecord,
    LimitsRecord,
    NamedClusterRecord,
    NetworkRecord,
    ProfiledClusterRecord,
    RoutingRecord,
    StrategyRecord,
    TierRecord,
    WorkloadRecord,
    choice,
    shown,
)
from moewright.case.file.sections import section, unknown_field
from moewright.case.model import LatentAttention, LinearAttention, ModelSpec, SoftmaxAttention, UnknownAttention
from moewright.case.serving import Serving
from moewright.case.strategy import Dispatch, Gate, Overlap, StrategySpec
from moewright.case.workload import Goal, Kind, Limits, Objective, Routing, Workload
from moewright.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

#: the kinds of attention that ``cost`` has formulas for
PRICED = (SoftmaxAttention, LatentAttention, LinearAttention)
SECTIONS = ("model", "cluster", "workload", "strategy", "objective", "limits", "routing")


def load(path: str | Path) -> Case:
    """The case that a spec file (.yaml, .yml, .toml, .json) describes.

    Raises SpecError, with file, field, value and what would be accepted, for anything it does not accept.
    """
    return case_of(read_mapping(path), str(path))


def case_of(raw: dict[str, Any], file: str) -> Case:
    """The case in ``raw``; paths in it are relative to the folder of ``file``."""
    for name in raw:
        if name not in SECTIONS:
            raise SpecError(unknown_field(str(name), list(SECTIONS)), file=file, field=str(name)[:60])
    for name in SECTIONS[:3]:
        if raw.get(name) is None:
            raise SpecError("is missing; required are model, cluster, workload", file=file, field=name)
    folder = Path(file).parent
    model = read_model(raw["model"], file, folder)
    _refuse_unpriced(model, file)
    cluster = _cluster(raw["cluster"], file)
    serving = _serving(raw["workload"], file, folder)
    return Case(
        model,
        cluster,
        _decode_step(serving) if serving else _workload(raw["workload"], file, cluster.gpus),
        _goal(raw, file),
        _routing(raw.get("routing", "uniform"), model, file, folder),
        None if raw.get("strategy") is None else strategy_of(raw["strategy"], file),
        file,
        serving,
        raw,
    )


def _refuse_unpriced(model: ModelSpec, file: str) -> None:
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


def _serving(value: Any, file: str, folder: Path) -> Serving | None:
    if not (isinstance(value, dict) and value.get("kind") == "serving"):
        return None
    from moewright.case.file.serving_section import read_serving

    return read_serving(value, file, folder)


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


def _cluster(value: Any, file: str) -> Cluster:
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, dict) and not {"gpus_per_node", "device"} <= set(value) and "name" in value:
        from moewright.case.catalogue.hardware_catalogue import find_cluster

        # a known name; or a cluster written out, of which something is missing
        if "gpus_per_node" not in value and (find_cluster(str(value["name"])) or "device" not in value):
            return _named_cluster(value, file)
    if isinstance(value, dict) and "profile" in value:
        return _profiled_cluster(value, file)
    c = section(ClusterRecord, value, file, "cluster")
    device = _device(c.device, file)
    per_node = min(c.gpus_per_node or min(8, c.gpus), c.gpus)
    if c.gpus % per_node:
        raise SpecError(
            f"{c.gpus} GPUs are no multiple of gpus_per_node {per_node}; expected whole nodes",
            file=file,
            field="cluster.gpus",
        )
    node, fabric = _tier(c.network.node), _tier(c.network.fabric)
    for name, tier, needed in (("node", node, per_node > 1), ("fabric", fabric, c.gpus > per_node)):
        if tier is None and needed:
            raise SpecError(
                f"is missing; {c.gpus} GPUs, {per_node} to a node, need its bandwidth and latency",
                file=file,
                field=f"cluster.network.{name}",
            )
    alone = Tier(1.0, 0.0)  # of a single GPU: never used
    node, fabric = node or fabric or alone, fabric or node or alone
    return Cluster(c.name, c.gpus, per_node, device, node, fabric, c.forwarding, c.reserve)


def _profiled_cluster(value: Any, file: str) -> Cluster:
    from moewright.case.profile import read_profile

    c = section(ProfiledClusterRecord, value, file, "cluster")
    device = read_profile(Path(file).parent / c.profile, file)
    assert device.measured is not None
    gpus, most = c.gpus or device.measured.ranks, device.measured.ranks
    if gpus > most:
        raise SpecError(
            f"got {gpus}; expected {most} at most, as {c.profile} measured", file=file, field="cluster.gpus"
        )
    # rates of operations the profile has no points of
    tier = Tier(device.memory_bandwidth, max(device.launch, 1e-6))
    return Cluster(device.name, gpus, gpus, device, tier, tier, False, c.reserve, device.source)


def _named_cluster(value: dict[str, Any], file: str) -> Cluster:
    from moewright.case.catalogue.hardware_catalogue import load_cluster

    c = section(NamedClusterRecord, value, file, "cluster")
    try:
        cluster = load_cluster(c.name, c.gpus)
    except SpecError as error:
        raise SpecError(
            error.problem, file=file, field=f"cluster.{'gpus' if error.field == 'gpus' else 'name'}"
        ) from None
    network: NetworkRecord = c.network
    return replace(
        cluster,
        device=cluster.device if c.device is None else _device(c.device, file, cluster.device),
        node=_tier(network.node) or cluster.node,
        fabric=_tier(network.fabric) or cluster.fabric,
        forwarding=cluster.forwarding if c.forwarding is None else c.forwarding,
        reserve=cluster.reserve if c.reserve is None else c.reserve,
    )


def _tier(record: TierRecord | None) -> Tier | None:
    return None if record is None else Tier(record.bandwidth, record.latency)


def _device(value: Any, file: str, base: Device | None = None) -> Device:
    """A device by name, written out, or by name with figures of its own (over ``base`` where given)."""
    path = "cluster.device"
    if isinstance(value, str):
        value = {"name": value}
    d = section(DeviceRecord, value, file, path)
    required = {"flops": d.flops, "memory": d.memory, "memory_bandwidth": d.memory_bandwidth}
    missing = [name for name, figure in required.items() if figure is None]
    if missing and (base is None or "name" in value):
        from moewright.case.catalogue.hardware_catalogue import find_device, load_device

        if len(missing) < 3 and not find_device(d.name):
            raise SpecError(f"is missing; required are {', '.join(required)}", file=file, field=f"{path}.{missing[0]}")
        try:
            base = load_device(d.name)
        except SpecError as error:
            raise SpecError(error.problem, file=file, field=f"{path}.name") from None
    flops = d.flops if d.flops is not None else (base.flops if base else {})
    for unit in flops:
        if unit not in UNITS:
            raise SpecError(unknown_field(unit, list(UNITS)), file=file, field=f"{path}.flops.{unit}"[:120])
    if not flops:
        raise SpecError("got {}; expected a matrix unit, such as fp8: 400 TFLOPS", file=file, field=f"{path}.flops")
    b = base or Device(d.name, flops, 1.0, 1.0)

    def own(given: float | None, known: float) -> float:
        return known if given is None else given

    return replace(
        b,
        name=d.name if "name" in value else b.name,
        flops=flops,
        memory=own(d.memory, b.memory),
        memory_bandwidth=own(d.memory_bandwidth, b.memory_bandwidth),
        mfu=own(d.mfu, b.mfu),
        bandwidth_utilization=own(d.bandwidth_utilization, b.bandwidth_utilization),
        launch=own(d.launch, b.launch),
        price=b.price if d.price is None else d.price,
        # a user's figures are the only ones: no efficiency by shape on top
        kernels=b.kernels if {"flops", "memory_bandwidth", "mfu", "bandwidth_utilization"}.isdisjoint(value) else None,
    )


def _workload(value: Any, file: str, gpus: int) -> Workload:
    _check_kind(value, file)
    w = section(WorkloadRecord, value, file, "workload")
    return Workload(Kind(w.kind), w.batch or auto_batches(gpus), w.sequence, w.causal)


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
    from moewright.case.loads.synthetic import is_synthetic, synthetic_loads

    try:
        if is_synthetic(value) and not (folder / value).exists():
            return synthetic_loads(value, max(1, layers), max(1, experts)), f"{value}, drawn with seed 0"
        name, key = split_key(value, folder)
        return read_loads(folder / name, key, idle=True), name
    except SpecError as error:
        raise SpecError(f"{value[:120]}: {error.problem}", file=file, field="routing") from None


def strategy_of(value: Any, file: str | None = None) -> StrategySpec:
    """The ``strategy`` section of a spec file, also of one that is named to compare with."""
    s = section(StrategyRecord, value, file, "strategy")
    a, e = s.attention, s.experts
    return StrategySpec(
        replicas=s.replicas,
        pp=s.pp,
        micro_batches=s.micro_batches,
        overlap=None if s.overlap is None else Overlap(s.overlap),
        dp=a.dp,
        cp=a.cp,
        tp=a.tp,
        repeated=a.repeated,
        ep=e.ep,
        etp=e.tp,
        redundant=e.redundant,
        dispatch=None if e.dispatch is None else Dispatch(e.dispatch),
        gate=None if e.gate is None else Gate(e.gate),
    )
