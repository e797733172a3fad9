"""Batches between those of a grid: of every layout the largest that fits and meets the limits, by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from moewright.cost.arrays import Array, Bools, Ints
from moewright.cost.table import Table

#: (seconds, period, memory, whether it fits and meets the limits), of every row
Priced = tuple[Array, Array, Array, Bools]
_SIZES = ("replicas", "pp", "micro_batches", "dp", "cp", "tp", "repeated", "dcp", "ep", "etp", "redundant")
_FLAGS = ("replicated", "leader", "two_batch")


def between(table: Table, known: Priced, price: Callable[[Table], Priced]) -> tuple[Table, Priced]:
    """Rows beside those of ``table``: of each layout the largest batch that ``price`` finds good, where the next one of
    the grid is not, and where more than the best rate of the grid is possible. Seconds grow with the batch, and so do
    the rate and the memory."""
    low, high, first = _brackets(table, known[3])
    rate = table.batch / known[1]
    best = float(rate[known[3]].max(initial=0.0))
    # what the next batch of the grid would give is more than any between
    open_ = (high >= 0) & (rate[high] > best)
    low, high, first = low[open_], high[open_], first[open_]
    rows = table.take(first)
    unit = rows.replicas * rows.dp * rows.micro_batches * rows.halves
    good, bad = np.where(low >= 0, table.batch[low], 0) // unit, table.batch[high] // unit
    most = rate[high]
    while len(rows):
        going = (bad - good > 1) & (most > best)
        if not going.any():
            break
        middle = (good[going] + bad[going]) // 2
        tried = replace(rows.take(going), batch=middle * unit[going])
        seconds, period, _, meets = price(tried)
        del seconds
        good[going] = np.where(meets, middle, good[going])
        bad[going] = np.where(meets, bad[going], middle)
        reached = tried.batch / period
        most[going] = np.where(meets, most[going], np.minimum(most[going], reached))
        best = max(best, float(reached[meets].max(initial=0.0)))
    found = replace(rows, batch=good * unit)
    new = found.take((good > 0) & ~np.isin(good * unit, table.batch))
    return new, price(new) if len(new) else (np.empty(0), np.empty(0), np.empty(0), np.empty(0, dtype=bool))


def _brackets(table: Table, good: Bools) -> tuple[Ints, Ints, Ints]:
    """Of every layout the row of its largest good batch (−1: none), of the next larger one (−1: none), and any row."""
    layouts = np.stack([np.asarray(getattr(table, name), dtype=np.int64) for name in (*_SIZES, *_FLAGS)], axis=1)
    _, first, group = np.unique(layouts, axis=0, return_index=True, return_inverse=True)
    group = group.ravel()
    low, high = np.full(len(first), -1), np.full(len(first), -1)
    order = np.lexsort((table.batch, group))
    for row in order[good[order]]:
        low[group[row]] = row
    largest = np.where(low >= 0, table.batch[low], 0)
    for row in order[::-1][~good[order[::-1]]]:
        if table.batch[row] > largest[group[row]]:
            high[group[row]] = row
    return low, high, first
