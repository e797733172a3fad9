"""The ``cluster`` section of a spec file: a name of the catalogue, a profile, or written out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from moewright.case.catalogue.hardware_catalogue import find_cluster, find_device, load_cluster, load_device
from moewright.case.cluster import Cluster, Device, Tier
from moewright.case.file.records import (
    UNITS,
    ClusterRecord,
    DeviceRecord,
    NamedClusterRecord,
    NetworkRecord,
    ProfiledClusterRecord,
    TierRecord,
)
from moewright.case.file.sections import section, unknown_field
from moewright.case.profile import read_profile
from moewright.errors import SpecError


def read_cluster(value: Any, file: str) -> Cluster:
    """The cluster of a spec file's ``cluster`` section. Raises SpecError."""
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, dict) and "name" in value and not {"network", "device"} <= set(value):
        # a known name; or a cluster written out, of which something is missing
        known = find_cluster(str(value["name"])) is not None
        if (known and "device" not in value) or ("gpus_per_node" not in value and (known or "device" not in value)):
            return _named_cluster(value, file)
    if isinstance(value, dict) and "profile" in value:
        return _profiled_cluster(value, file)
    return _written_out(section(ClusterRecord, value, file, "cluster"), file)


def _written_out(c: ClusterRecord, file: str) -> Cluster:
    device = _device(c.device, file)
    sizes = c.nodes or ()
    gpus = _counted(c.gpus, sizes, file)
    per_node = min(sizes[0] if sizes else c.gpus_per_node or min(8, gpus), gpus)
    if not sizes and gpus % per_node:
        raise SpecError(
            f"{gpus} GPUs are no multiple of gpus_per_node {per_node}; expected whole nodes, or nodes: a list of sizes",
            file=file,
            field="cluster.gpus",
        )
    node, fabric = _tier(c.network.node), _tier(c.network.fabric)
    for name, tier, needed in (("node", node, max(sizes or (per_node,)) > 1), ("fabric", fabric, gpus > per_node)):
        if tier is None and needed:
            raise SpecError(
                f"is missing; {gpus} GPUs, {per_node} to a node, need its bandwidth and latency",
                file=file,
                field=f"cluster.network.{name}",
            )
    alone = Tier(1.0, 0.0)  # of a single GPU: never used
    node, fabric = node or fabric or alone, fabric or node or alone
    return Cluster(
        c.name,
        gpus,
        per_node,
        device,
        node,
        fabric,
        c.forwarding,
        c.reserve,
        links=c.links,
        board=max(c.board or 0, per_node),
        nodes=sizes if len(set(sizes)) > 1 else (),
    )


def _counted(gpus: int | None, sizes: tuple[int, ...], file: str) -> int:
    """GPUs in all, where nodes are listed and where they are not."""
    if not sizes:
        if gpus is None:
            raise SpecError("is missing; give gpus, or nodes with their sizes", file=file, field="cluster.gpus")
        return gpus
    if gpus is not None and gpus != sum(sizes):
        raise SpecError(f"got {gpus}, but the nodes hold {sum(sizes)}", file=file, field="cluster.gpus")
    return sum(sizes)


def _profiled_cluster(value: Any, file: str) -> Cluster:
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
    """A cluster of the catalogue: whole nodes, a part of one, nodes that use fewer GPUs, or nodes as listed."""
    c = section(NamedClusterRecord, value, file, "cluster")
    sizes = c.nodes or ()
    try:
        whole = load_cluster(c.name)
        gpus = _counted(c.gpus, sizes, file) if sizes else c.gpus
        per_node = sizes[0] if sizes else c.gpus_per_node
        largest = max((*sizes, per_node or 0))
        if largest > whole.gpus_per_node:
            raise SpecError(
                f"got {largest}; expected {whole.gpus_per_node} at most, a node of {whole.name}",
                file=file,
                field="cluster.nodes" if sizes else "cluster.gpus_per_node",
            )
        cluster = load_cluster(c.name, gpus, per_node, uneven=len(set(sizes)) > 1)
    except SpecError as error:
        if error.file is not None:
            raise
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
        links=c.links or cluster.links,
        nodes=sizes if len(set(sizes)) > 1 else (),
    )


def _tier(record: TierRecord | None) -> Tier | None:
    if record is None:
        return None
    return Tier(record.bandwidth, record.latency, record.exchange, record.start, record.sharp)


def _device(value: Any, file: str, base: Device | None = None) -> Device:
    """A device by name, written out, or by name with figures of its own (over ``base`` where given)."""
    path = "cluster.device"
    if isinstance(value, str):
        value = {"name": value}
    d = section(DeviceRecord, value, file, path)
    required = {"flops": d.flops, "memory": d.memory, "memory_bandwidth": d.memory_bandwidth}
    missing = [name for name, figure in required.items() if figure is None]
    if missing and (base is None or "name" in value):
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
