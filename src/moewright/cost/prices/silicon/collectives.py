"""Seconds of measured collectives. The tables give ``message_size`` in elements (2 bytes each in all that are read)
and stop at one node: a larger group takes the largest measured one's time with the ratio of what a rank sends."""

from __future__ import annotations

import numpy as np

from moewright.cost.prices.silicon.curves import Curve
from moewright.cost.prices.silicon.tables import Family, Found, Key, Tables


def all_reduce(tables: Tables, gpus: int) -> Found | None:
    """Curve over the bytes of the buffer: the engine's own all-reduce in a captured graph, or NCCL's where faster."""

    def make() -> Found | None:
        custom = tables.nearest("custom_allreduce_perf", ("num_gpus",), (gpus,), (1.0,))
        ring = _nccl(tables, "all_reduce", gpus)
        if custom is None and ring is None:
            return None
        options = [(*_by_bytes(*near), near[0].source) for near in (custom, ring) if near is not None]
        curve, size_of, source = options[0]
        if len(options) > 1:
            other = options[1][0]
            grid = np.union1d(curve.size, other.size)
            curve = Curve.of(grid, np.minimum(_reach(curve, grid), _reach(other, grid)))
        return Found(curve, _sent(gpus) / _sent(size_of), "measured" if size_of == gpus else "derived", source)

    return tables.keep(("all_reduce", gpus), make)


def _reach(curve: Curve, grid: np.ndarray) -> np.ndarray:
    """Times on ``grid``, none beyond the curve's last point."""
    return np.where(grid <= curve.size[-1], curve(grid), np.inf)


def _sent(gpus: int) -> float:
    return (gpus - 1) / gpus


def _by_bytes(table: Family, key: Key) -> tuple[Curve, int]:
    """Seconds over the buffer's bytes for a measured number of GPUs, and that number."""
    rows = table.groups[key]
    if "kernel_source" in table.columns:  # launched one by one, a kernel shows its launch instead of itself
        rows = rows[np.char.find(table.columns["kernel_source"][rows].astype(str), "eager") < 0]
    return Curve.of(table.columns["message_size"][rows] * 2.0, table.columns["seconds"][rows]), key[0]


def _nccl(tables: Tables, operation: str, gpus: int) -> tuple[Family, Key] | None:
    choose = {"op_name": (operation,), "nccl_dtype": ("half",)}
    return tables.of_engine("nccl").nearest("nccl_perf", ("num_gpus",), (gpus,), (1.0,), choose)


def exchange(tables: Tables, operation: str, gpus: int) -> Found | None:
    """Curve over the bytes of the whole buffer of NCCL's all_gather, reduce_scatter or alltoall."""

    def make() -> Found | None:
        near = _nccl(tables, operation, gpus)
        if near is None:
            return None
        table = near[0]
        curve, size_of = _by_bytes(*near)
        return Found(curve, _sent(gpus) / _sent(size_of), "measured" if size_of == gpus else "derived", table.source)

    return tables.keep((operation, gpus), make)
