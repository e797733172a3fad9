"""Seconds of kernels and collectives of one device and engine, out of its measured tables.

Every look-up gives a curve (or surface) of seconds over the work, kept for the next call. A key that was measured is
used as it is (``measured`` on a point of the grid, ``interpolated`` between points); for one that was not, the nearest
measured key is taken and its time multiplied by the ratio of the two shapes' work, so that its efficiency carries
over (``derived``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar, cast

import numpy as np

from moewright.cost.prices.silicon.curves import Curve, Surface
from moewright.cost.prices.silicon.table_files import TABLED, Source, find_table, read_table

Key = tuple[int, ...]
#: column → the values that are allowed, the wanted one first
Choice = Mapping[str, tuple[int | float | str, ...]]
_Kept = TypeVar("_Kept")
#: formats of our own → names of the tables, the wanted one first
GEMM_FORMATS = {
    "bf16": ("bfloat16",),
    "fp8": ("fp8", "fp8_block", "bfloat16"),
    "fp8_block": ("fp8_block", "fp8", "bfloat16"),
    "fp4": ("nvfp4", "fp8", "bfloat16"),
    "mxfp4": ("bfloat16",),
    "int4": ("bfloat16",),
}
MOE_FORMATS = {
    "bf16": ("bfloat16",),
    "fp8": ("fp8", "fp8_block", "bfloat16"),
    "fp8_block": ("fp8_block", "fp8", "bfloat16"),
    "fp4": ("nvfp4", "w4a8_mxfp4_mxfp8", "fp8_block", "fp8"),
    "mxfp4": ("w4a8_mxfp4_mxfp8", "w4a16_mxfp4", "nvfp4", "bfloat16"),
    "int4": ("int4_wo", "w4a16_mxfp4", "nvfp4", "fp8_block"),
}


@dataclass(frozen=True, slots=True)
class Found:
    """A curve or surface, the factor its seconds are to be multiplied by, and how the figure came to be."""

    at: Callable[..., np.ndarray]
    factor: float
    tag: str  # measured | interpolated | derived
    source: Source

    def __call__(self, *size: np.ndarray | float) -> np.ndarray:
        return self.at(*size) * self.factor


def fastest(found: Iterable[Found | None]) -> Found | None:
    """The least of several figures of one thing at each size: engines share kernels, and a table that times each launch
    on its own (vLLM's block-scaled products: 214 us whatever the size) shows the launch, not the kernel. The tag and
    source are the first one's."""
    options = [f for f in found if f is not None]
    if not options:
        return None
    measured = [f for f in options if f.tag == "measured"] or options
    if len(measured) == 1:
        return measured[0]

    def at(*size: np.ndarray | float) -> np.ndarray:
        return np.asarray(np.minimum.reduce([f(*size) for f in measured]))

    return Found(at, 1.0, measured[0].tag, measured[0].source)


#: rows of a key from which a table of a newer version is taken before an older one of more rows
FEW_ROWS = 8


def distance(key: Key, other: Key, weights: Iterable[float]) -> float:
    """How far apart two keys are: numbers are near by their logarithms."""
    pairs = zip(key, other, weights, strict=True)
    return sum(weight * abs(math.log(max(wanted, 0.5) / max(has, 0.5))) for wanted, has, weight in pairs)


@dataclass(frozen=True)
class Family:
    """One table, its rows grouped by ``names``; ``choose`` keeps the rows in question."""

    columns: dict[str, np.ndarray]
    names: tuple[str, ...]
    source: Source
    rows: np.ndarray

    @cached_property
    def groups(self) -> dict[Key, np.ndarray]:
        picked = [self.columns[n][self.rows] for n in self.names]
        codes = [np.unique(p, return_inverse=True) for p in picked]
        flat = np.zeros(len(self.rows), dtype=np.int64)
        for values, inverse in codes:
            flat = flat * len(values) + inverse
        _, where = np.unique(flat, return_inverse=True)
        order = np.argsort(where, kind="stable")
        parts = np.split(self.rows[order], np.cumsum(np.bincount(where))[:-1])
        return {tuple(int(self.columns[n][part[0]]) for n in self.names): part for part in parts}

    def nearest(self, key: Key, weights: Iterable[float]) -> Key | None:
        """The measured key nearest to ``key``."""
        if key in self.groups:
            return key
        scale = tuple(weights)
        best = min(self.groups, key=lambda other: distance(key, other, scale), default=None)
        return best

    def curve(self, key: Key, size: str) -> Curve:
        rows = self.groups[key]
        return Curve.of(*_fastest(self.columns[size][rows], self.columns["seconds"][rows]))

    def surface(self, key: Key, first: str, second: str) -> Surface:
        rows = self.groups[key]
        return Surface.of(self.columns[first][rows], self.columns[second][rows], self.columns["seconds"][rows])


def _fastest(size: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the kernels measured at one size, the fastest: an engine picks it when it tunes itself."""
    keys, where = np.unique(size, return_inverse=True)
    best = np.full(len(keys), np.inf)
    np.minimum.at(best, where, seconds)
    return keys, best


@lru_cache(maxsize=64)
def tables_of(folder: Path, system: str, engine: str) -> Tables:
    """The tables of ``system`` in ``folder`` as ``engine`` runs them, with what was looked up before."""
    return Tables(folder, system, engine)


@dataclass(frozen=True)
class Tables:
    """The measured tables of one ``system`` (folder name) as one ``engine`` runs it."""

    folder: Path
    system: str
    engine: str
    _kept: dict[tuple[object, ...], object] = field(default_factory=dict)

    def others(self) -> tuple[Tables, ...]:
        """The same device's tables, one ``Tables`` for each engine, this one's first."""
        return tuple(self.of_engine(name) for name in (self.engine, *(e for e in TABLED if e != self.engine)))

    def of_engine(self, name: str) -> Tables:
        """The same device's tables of another engine (or of ``nccl``)."""
        if name == self.engine:
            return self
        found = self.keep(("engine", name), lambda: Tables(self.folder, self.system, name))
        assert isinstance(found, Tables)
        return found

    def keep(self, key: tuple[object, ...], make: Callable[[], _Kept]) -> _Kept:
        """``make()`` once for each ``key``."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast(_Kept, self._kept[key])

    def families(
        self, name: str, names: tuple[str, ...], choose: Choice | None = None, own: bool = False
    ) -> tuple[Family, ...]:
        """The tables ``name`` that have rows with the values that ``choose`` allows (the first value of each that
        any row has): every version of the best engine that has any, the newest first. ``own``: only this engine's."""
        wanted = choose or {}

        def make() -> tuple[Family, ...]:
            tables: list[Family] = []
            for source in find_table(self.folder, self.system, name, self.engine):
                if own and source.engine != self.engine:
                    continue
                if tables and source.engine != tables[0].source.engine:
                    break
                columns = read_table(source.path)
                rows = _allowed(columns, wanted)
                if len(rows) and all(n in columns for n in names):
                    tables.append(Family(columns, names, source, rows))
            return tuple(tables)

        kept: tuple[Family, ...] = self.keep(("family", name, names, tuple(wanted.items()), own), make)
        return kept

    def nearest(
        self,
        name: str,
        names: tuple[str, ...],
        key: Key,
        weights: tuple[float, ...],
        choose: Choice | None = None,
        own: bool = False,
    ) -> tuple[Family, Key] | None:
        """The table that has ``key``, or else the key nearest to it, of all versions: a newer table of a few shapes
        does not displace an older one that has the shape. Of equally near keys the one with most rows, then the
        newest."""
        best: tuple[float, int, Family, Key] | None = None
        for table in self.families(name, names, choose, own):
            other = table.nearest(key, weights)
            if other is None:
                continue
            apart, rows = distance(key, other, weights), len(table.groups[other])
            enough = best is not None and apart == best[0] and (rows <= best[1] or best[1] >= FEW_ROWS)
            if best is None or apart < best[0] or (apart == best[0] and not enough):
                best = apart, rows, table, other
        return None if best is None else best[2:]


def _allowed(columns: dict[str, np.ndarray], choose: Choice) -> np.ndarray:
    rows = np.arange(len(next(iter(columns.values()))))
    for name, values in choose.items():
        if name not in columns:
            continue
        for value in values:
            hit = rows[columns[name][rows] == value]
            if len(hit):
                rows = hit
                break
        else:
            return rows[:0]
    return rows
