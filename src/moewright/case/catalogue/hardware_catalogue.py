"""The devices and clusters that ship with moewright, each figure with its source.

One file of ``catalogue/devices`` or ``catalogue/clusters`` each; the indices below are kept here so that a
look-up opens one file only. Bandwidths of clusters are peaks in the files, and what is attained of them
(times ``utilization``) in the ``Tier`` that is loaded.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from moewright.case.cluster import Cluster, Device, Kernels, Tier
from moewright.errors import SpecError
from moewright.units import parse

_FOLDER: Final = Path(__file__).parent

#: name → its other names; the file is the name
_DEVICES: Final[dict[str, tuple[str, ...]]] = {
    "a100-40": (
        "A100-SXM4-40GB",
        "A100-40GB",
    ),
    "a100-80": (
        "A100",
        "A100-SXM4-80GB",
        "A100-80GB",
        "A100-SXM",
    ),
    "l40s": ("L40S-48GB",),
    "h100-sxm": (
        "H100",
        "H100-SXM5",
        "H100-80GB-HBM3",
        "H100-SXM-80GB",
    ),
    "h100-pcie": ("H100-PCIe-80GB",),
    "h200": (
        "H200-SXM",
        "H200-SXM-141GB",
    ),
    "h20": (
        "H20-96GB",
        "H20-SXM",
    ),
    "h800": (
        "H800-SXM",
        "H800-SXM5",
        "H800-80GB",
    ),
    "b200": (
        "B200-SXM",
        "B200-180GB",
        "DGX-B200-GPU",
    ),
    "b300": (
        "B300-SXM",
        "B300-288GB",
    ),
    "gb200": (
        "GB200-GPU",
        "GB200-186GB",
    ),
    "gb300": (
        "GB300-GPU",
        "GB300-288GB",
    ),
    "mi300x": (
        "MI300X-OAM",
        "MI300X-192GB",
    ),
    "mi325x": (
        "MI325X-OAM",
        "MI325X-256GB",
    ),
    "mi355x": (
        "MI355X-OAM",
        "MI355X-288GB",
    ),
    "tpu-v5p": (
        "TPUv5p",
        "v5p",
    ),
}
_CLUSTERS: Final[dict[str, tuple[str, ...]]] = {
    "a100-hgx": (
        "HGX-A100",
        "DGX-A100",
        "A100-DGX",
    ),
    "h100-hgx": (
        "HGX-H100",
        "DGX-H100",
        "H100-DGX",
    ),
    "h100-pcie-node": ("H100-PCIe-server",),
    "h200-hgx": (
        "HGX-H200",
        "DGX-H200",
        "H200-DGX",
    ),
    "h20-hgx": ("HGX-H20",),
    "h800-hgx": ("HGX-H800",),
    "dgx-b200": (
        "HGX-B200",
        "B200-HGX",
        "B200-DGX",
    ),
    "dgx-b300": (
        "HGX-B300",
        "B300-HGX",
        "B300-DGX",
    ),
    "gb200-nvl72": (
        "NVL72",
        "GB200",
    ),
    "gb300-nvl72": ("GB300",),
    "l40s-pcie": ("L40S-server",),
    "mi300x-oam": (
        "MI300X-node",
        "MI300X-platform",
    ),
    "mi325x-oam": (
        "MI325X-node",
        "MI325X-platform",
    ),
    "mi355x-oam": (
        "MI355X-node",
        "MI355X-platform",
    ),
}


def device_names() -> list[str]:
    """The names of the devices in the catalogue."""
    return list(_DEVICES)


def cluster_names() -> list[str]:
    """The names of the clusters in the catalogue."""
    return list(_CLUSTERS)


def find_device(name: str) -> str | None:
    """The catalogue's name for ``name``, whatever its case, spaces for hyphens; None if it has none."""
    return _names("devices").get(_plain(name))


def find_cluster(name: str) -> str | None:
    """The catalogue's name for ``name``, whatever its case, spaces for hyphens; None if it has none."""
    return _names("clusters").get(_plain(name))


def device_entry(name: str) -> dict[str, Any]:
    """The figures of a device as its file has them, with ``sources``. Raises SpecError."""
    return _entry("devices", name)


def cluster_entry(name: str) -> dict[str, Any]:
    """The figures of a cluster as its file has them, with ``sources``. Raises SpecError."""
    return _entry("clusters", name)


def load_device(name: str) -> Device:
    """The device of that name; a SpecError that tells the nearest names if there is none."""
    e = device_entry(name)
    price = e.get("price")
    return Device(
        name=e["name"],
        flops={unit: parse(value, "FLOP/s") for unit, value in e["flops"].items()},
        memory=parse(e["memory"], "bytes"),
        memory_bandwidth=parse(e["memory_bandwidth"], "bytes/s"),
        mfu=float(e["mfu"]),
        bandwidth_utilization=float(e["bandwidth_utilization"]),
        launch=parse(e["launch"], "seconds"),
        price=None if price is None else parse(price, "price"),
        source=str(e["sources"]["flops"]),
        kernels=_kernels(e.get("kernels")),
    )


def load_cluster(name: str, gpus: int | None = None) -> Cluster:
    """The cluster of that name with ``gpus`` GPUs (None: one node; fewer than a node: a part of one).

    Raises SpecError for an unknown name, and for GPUs that do not fill whole nodes.
    """
    e = cluster_entry(name)
    per_node = int(e["gpus_per_node"])
    count = per_node if gpus is None else gpus
    if count < 1 or (count > per_node and count % per_node):
        raise SpecError(f"got {count}; expected a multiple of {per_node}, a node of {e['name']}", field="gpus")
    tiers = e["network"]
    return Cluster(
        name=e["name"],
        gpus=count,
        gpus_per_node=min(per_node, count),
        device=load_device(e["device"]),
        node=_tier(tiers["node"]),
        fabric=_tier(tiers["fabric"]),
        forwarding=bool(e["forwarding"]),
        source=str(e["sources"]["node"]),
    )


def _tier(figures: dict[str, Any]) -> Tier:
    bandwidth = parse(figures["bandwidth"], "bytes/s") * float(figures["utilization"])
    start = parse(figures.get("start", "0 s"), "seconds")
    return Tier(bandwidth, parse(figures["latency"], "seconds"), float(figures.get("exchange", 1.0)), start)


def _kernels(figures: dict[str, Any] | None) -> Kernels | None:
    if figures is None:
        return None
    latent = parse(figures["latent_decode"], "seconds")
    return Kernels(int(figures["cores"]), float(figures["depth"]), int(figures["expert_kernels"]), latent)


def _entry(kind: str, name: str) -> dict[str, Any]:
    found = _names(kind).get(_plain(name))
    if found is None:
        raise SpecError(_unknown(kind, name), field=kind[:-1])
    loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entry: dict[str, Any] = yaml.load((_FOLDER / kind / f"{found}.yaml").read_text(encoding="utf-8"), Loader=loader)
    return entry


def _plain(name: str) -> str:
    return "-".join(name[:200].lower().replace("_", " ").replace("-", " ").split())


@cache
def _names(kind: str) -> dict[str, str]:
    index = _DEVICES if kind == "devices" else _CLUSTERS
    return {_plain(alias): name for name, others in index.items() for alias in (name, *others)}


def _unknown(kind: str, name: str) -> str:
    near = get_close_matches(_plain(name), _names(kind), n=4, cutoff=0.5)
    names = list(dict.fromkeys(_names(kind)[match] for match in near)) or sorted(set(_names(kind).values()))
    hint = "did you mean" if near else "known are"
    return f"no {kind[:-1]} named {name[:60]!r} in the catalogue; {hint} {', '.join(names)}"
