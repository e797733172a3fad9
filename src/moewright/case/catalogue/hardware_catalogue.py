"""The devices and clusters that ship with moewright, each figure with its source.

One file of ``catalogue/devices`` or ``catalogue/clusters`` each, its names in one line. Bandwidths of clusters are
peaks in the files, and what is attained of them (times ``utilization``) in the ``Tier`` that is loaded.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from moewright.case.cluster import Cluster, Device, Kernels, Tier
from moewright.case.spelling import near_names
from moewright.errors import SpecError
from moewright.units import parse

_FOLDER: Final = Path(__file__).parent
_LINKS: Final = ("switch", "mesh", "torus")
#: what may stand around the name of a device
_MAKERS: Final = ("nvidia", "tesla", "amd", "instinct", "intel", "huawei", "昇腾", "google", "aws", "gpu", "gpus")
_MEMORY_KIND: Final = re.compile(r"hbm\d?e?|gddr\dx?")
_GIGABYTES: Final = re.compile(r"(\d{1,4})(?:g|gb|gib)")
_FORM: Final = re.compile(r"sxm\d?|oam")
#: how far the memory of a device may be from what it is called by
_CALLED: Final = 0.04


@cache
def _files(kind: str) -> dict[str, tuple[str, ...]]:
    """Name of each file of ``kind`` (devices, clusters) → its other names, read off its second line."""
    found = {}
    for file in sorted((_FOLDER / kind).glob("*.yaml")):
        with file.open(encoding="utf-8") as stream:
            line = next(line for line in stream if line.startswith("names:"))
        found[file.stem] = tuple(map(str, yaml.load(line, Loader=_loader())["names"]))
    return found


def _loader() -> type:
    loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return loader


def device_names() -> list[str]:
    """The names of the devices in the catalogue."""
    return list(_files("devices"))


def cluster_names() -> list[str]:
    """The names of the clusters in the catalogue."""
    return list(_files("clusters"))


def find_device(name: str) -> str | None:
    """The catalogue's name for ``name``, whatever its case, spaces for hyphens, with or without its maker and its
    memory (NVIDIA H100 SXM5 80GB HBM3); None if it has none, or none of that memory."""
    names, plain = _names("devices"), _plain(name)
    return names.get(plain) or _without_extras(plain, names)


def _without_extras(plain: str, names: dict[str, str]) -> str | None:
    """The device that ``plain`` names between its maker, form and memory."""
    if _words_of_names().isdisjoint(plain.split("-")):
        return None
    joined = re.sub(r"(?<![^-])(\d{1,4})-(gi?b)(?![^-])", r"\1\2", plain)
    parts = [part for part in joined.split("-") if part not in _MAKERS and not _MEMORY_KIND.fullmatch(part)]
    sizes = [int(m[1]) for m in map(_GIGABYTES.fullmatch, parts) if m]
    kept = [part for part in parts if not _GIGABYTES.fullmatch(part)]
    forms = [kept, [part for part in kept if not _FORM.fullmatch(part)]]
    wanted = [[*form, f"{size}{unit}"] for form in forms for size in sizes[:1] for unit in ("", "gb")]
    for words in (*wanted, *forms):
        found = names.get("-".join(words))
        if found is not None and all(_is_memory(found, size) for size in sizes):
            return found
    return None


@cache
def _words_of_names() -> frozenset[str]:
    """The words that names of devices begin with."""
    return frozenset(name.partition("-")[0] for name in _names("devices"))


def _is_memory(name: str, gigabytes: int) -> bool:
    """Whether a device has so many GB, of 1000 or of 1024, as they are called."""
    memory = parse(device_entry(name)["memory"], "bytes")
    return any(abs(memory - gigabytes * giga) < _CALLED * gigabytes * giga for giga in (1e9, 2.0**30))


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


def load_cluster(name: str, gpus: int | None = None, per_node: int | None = None, *, uneven: bool = False) -> Cluster:
    """The cluster of that name with ``gpus`` GPUs (None: one node; fewer than a node: a part of one), ``per_node``
    of each node (None: all). ``uneven``: the last nodes may hold fewer.

    Raises SpecError for an unknown name, and for GPUs that do not fill whole nodes.
    """
    e = cluster_entry(name)
    board = int(e["gpus_per_node"])
    size = min(per_node or board, board)
    count = size if gpus is None else gpus
    if count < 1 or (count > size and count % size and not uneven):
        raise SpecError(
            f"got {count}; expected a multiple of {size}, a node of {e['name']}, or nodes: a list of sizes",
            field="gpus",
        )
    tiers, links = e["network"], str(e.get("links", "switch"))
    assert links in _LINKS, f"{name}: links {links}"
    return Cluster(
        name=e["name"],
        gpus=count,
        gpus_per_node=min(size, count),
        device=load_device(e["device"]),
        node=_tier(tiers["node"]),
        fabric=_tier(tiers["fabric"]),
        forwarding=bool(e["forwarding"]),
        source=str(e["sources"]["node"]),
        links=links,
        board=board,
        gpus_per_host=int(e.get("gpus_per_host", 0)),
    )


def _tier(figures: dict[str, Any]) -> Tier:
    bandwidth = parse(figures["bandwidth"], "bytes/s") * float(figures["utilization"])
    start = parse(figures.get("start", "0 s"), "seconds")
    sharp = parse(figures["sharp"], "bytes/s") if "sharp" in figures else 0.0
    return Tier(bandwidth, parse(figures["latency"], "seconds"), float(figures.get("exchange", 1.0)), start, sharp)


def _kernels(figures: dict[str, Any] | None) -> Kernels | None:
    if figures is None:
        return None
    latent = parse(figures["latent_decode"], "seconds")
    return Kernels(int(figures["cores"]), float(figures["depth"]), int(figures["expert_kernels"]), latent)


def _entry(kind: str, name: str) -> dict[str, Any]:
    found = find_device(name) if kind == "devices" else _names(kind).get(_plain(name))
    if found is None:
        raise SpecError(_unknown(kind, name), field=kind[:-1])
    file = _FOLDER / kind / f"{found}.yaml"
    entry: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), Loader=_loader())
    return entry


def _plain(name: str) -> str:
    return "-".join(name[:200].lower().replace("_", " ").replace("-", " ").split())


@cache
def _names(kind: str) -> dict[str, str]:
    return {_plain(alias): name for name, others in _files(kind).items() for alias in (name, *others)}


def _unknown(kind: str, name: str) -> str:
    near = near_names(_plain(name), _names(kind), 4, 0.5)
    names = list(dict.fromkeys(_names(kind)[match] for match in near)) or list(_files(kind))
    hint = "did you mean" if near else "known are"
    return f"no {kind[:-1]} named {name[:60]!r} in the catalogue; {hint} {', '.join(names)}"
