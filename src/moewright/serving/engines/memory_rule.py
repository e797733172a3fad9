"""How an engine of some version divides a GPU's memory: constants from its file, budget and reserves from these."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar

import numpy as np

from moewright.case.cluster import Device
from moewright.cost.arrays import Array, array
from moewright.cost.table import Table

MIB: Final = float(1 << 20)
GIB: Final = float(1 << 30)

Value = TypeVar("Value")

#: device name or pattern → (ranks of a worker → GiB)
ByDevice = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class Share:
    """Constants of a fraction that depends on the GPU. ``by`` ``ranks``: ``steps`` of [ranks from, fraction], on GPUs
    above ``large`` MiB more; ``reserved_gib``: ``steps`` of [GiB below, GiB kept, more for each rank], and
    ``attention_dp`` GiB; ``reserved_mib``: ``steps`` of [GiB below, tokens of a chunk, sequences of a graph, the same
    from 4 ranks on], and MiB of prompts' graphs; on more than 8 ranks at least ``wide``. ``graph``: sequences of the
    largest graph where a spec gives them."""

    by: str
    steps: tuple[tuple[float, ...], ...]
    large: float = np.inf
    attention_dp: float = 0.0
    prefill_graphs: float = 0.0
    latent_graphs: float = 0.0
    wide: float = 0.0
    graph: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryRule:
    """``kind``: ``total``: the fraction of all memory holds weights, peak, other and cache; ``static``: the fraction
    of what is free before loading holds weights and cache; ``free``: the fraction of what all else leaves is cache.
    ``since``: the first version with these constants, ``read``: the newest that was read. ``sampler``: bytes of a row
    and entry of the vocabulary when start-up samples for max_num_seqs rows; ``rows``: those by device where a spec does
    not say, ``small_rows`` on devices below 70 GiB. ``driver``: GiB that the device has and torch does not report.
    ``padding``: multiples to which 4-bit experts' hidden size and width are filled up. ``latent_copies``: 16-bit copies
    of MLA's up-projections. ``multimodal``: GiB more where a model has encoders of images or
    sound. ``share``: in place of ``fraction`` where it depends on the GPU."""

    kind: str
    since: str
    read: str
    fraction: float = 0.9
    share: Share | None = None
    driver: Mapping[str, float] = field(default_factory=dict)
    other: ByDevice = field(default_factory=dict)
    graphs: Mapping[str, float] = field(default_factory=dict)
    sampler: float = 0.0
    rows: Mapping[str, int] = field(default_factory=dict)
    small_rows: int | None = None
    padding: tuple[int, int] = (1, 1)
    latent_copies: bool = False
    multimodal: float = 0.0

    def reported(self, device: Device) -> float:
        """Bytes that the engine sees of the device's memory, before it has taken any."""
        return device.memory - _of(self.driver, device, 0.0) * GIB

    def other_bytes(self, device: Device, ranks: Array) -> Array:
        """Context, libraries' and collectives' buffers on a GPU of a worker of ``ranks`` ranks; between the ranks that
        the file has, linear in their logarithm."""
        known = _of(self.other, device, {1: 0.0})
        points = sorted(known)
        return np.asarray(np.interp(np.log2(ranks), np.log2(points), [known[n] for n in points])) * GIB

    def sampled_rows(self, device: Device) -> int:
        """Sequences that start-up samples for."""
        small = self.small_rows if device.memory < 70 * GIB else None
        return small or _of(self.rows, device, 0)

    def graph_bytes(self, device: Device) -> float:
        """CUDA graphs within the budget."""
        return _of(self.graphs, device, 0.0) * GIB

    def fractions(self, device: Device, table: Table, latent: bool) -> Array:
        """The fraction that the engine takes by itself, of each strategy."""
        gpus = array(table.stage * table.pp)
        if self.share is None:
            return np.full(gpus.shape, self.fraction)
        if self.share.by == "ranks":
            return _by_ranks(self.share, device, gpus)
        if self.share.by == "reserved_gib":
            return _by_size(self.share, device, table, gpus)
        return _by_parts(self.share, device, table, gpus, latent)


def _by_ranks(share: Share, device: Device, gpus: Array) -> Array:
    memory = device.memory / MIB
    part = np.asarray([next(x for n, x in reversed(share.steps) if n <= g) for g in gpus])
    if memory > share.large:
        part = np.minimum(part + 48 * 1024 * (1 - part) / memory, (memory - 18 * 1024) / memory)
    return part


def _by_size(share: Share, device: Device, table: Table, gpus: Array) -> Array:
    memory = device.memory / GIB
    base, more = next((base, more) for below, base, more in share.steps if memory < below)
    apart = np.where(array(table.dp) > 1, share.attention_dp, 0.0)
    return np.asarray((memory - base - more * gpus - apart) / memory)


def _by_parts(share: Share, device: Device, table: Table, gpus: Array, latent: bool) -> Array:
    memory, dp = device.memory / MIB, array(table.dp)
    chunk, few, many = next(tuple(sizes) for below, *sizes in share.steps if memory < below * 1024)
    graph = np.where(gpus >= 4, many, few) if share.graph is None else np.full(gpus.shape, float(share.graph))
    reserved = 512 + 1.5 * max(chunk, 2048) + 2 * graph + 128 * gpus
    reserved = reserved + np.where(dp > 1, np.where(graph > 300, 4.5, 3.0) * graph * dp, 0.0)
    if memory > 60 * 1024:
        reserved = np.maximum(reserved, 10 * 1024)
    reserved = reserved + (share.latent_graphs if latent else share.prefill_graphs)
    part = np.round((memory - reserved) / memory, 3)
    return np.asarray(np.where(gpus > 8, np.maximum(part, share.wide), part))


def rule_of(raw: Mapping[str, Any], version: str) -> MemoryRule:
    """The rule of ``version`` (empty: the newest that was read) from an engine file's ``memory``: what all versions
    share, and the newest entry of ``versions`` that is not above it."""
    shared = {k: v for k, v in raw.items() if k != "versions"}
    wanted = numbers(version or str(raw["read"]))
    entry = max((e for e in raw["versions"] if numbers(e["since"]) <= wanted), key=lambda e: numbers(e["since"]))
    values = {**shared, **entry}
    if "padding" in values:
        values["padding"] = tuple(values["padding"])
    if "share" in values:
        share = dict(values["share"])
        values["share"] = Share(**{**share, "steps": tuple(tuple(step) for step in share["steps"])})
    return MemoryRule(**values)


def numbers(version: str) -> tuple[int, ...]:
    """``0.11.1`` and ``v0.11.1rc2`` as (0, 11, 1)."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", version)
    if match is None:
        raise ValueError(version)
    return tuple(int(n) for n in match[1].split("."))


def _of(known: Mapping[str, Value], device: Device, rest: Value) -> Value:
    """The entry of the device's name, of a pattern that it fits, or ``*``'s, which stands last."""
    return next((value for name, value in known.items() if fnmatchcase(device.name, name)), rest)
