"""Arrays over strategies: the one numeric type of the cost model.

Every formula takes and gives arrays of floats with an entry a row of a ``Table`` (or a single entry, which
broadcasts), so that a whole space of strategies is priced at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


def array(values: ArrayLike) -> Array:
    """``values`` as floats; a scalar becomes an array of one entry."""
    return np.atleast_1d(np.asarray(values, dtype=np.float64))


def where(condition: Bools, yes: ArrayLike, no: ArrayLike) -> Array:
    """``numpy.where`` of floats."""
    return np.where(condition, np.asarray(yes, dtype=np.float64), np.asarray(no, dtype=np.float64))


def total(values: Iterable[Array]) -> Array:
    """The sum of ``values``; one entry of 0 where there are none."""
    result = np.zeros(1)
    for value in values:
        result = result + value
    return result


def over_unique(function: Callable[..., float], *columns: ArrayLike) -> Array:
    """``function`` of each row of ``columns``, called once for each distinct row: for what needs a sum or an
    enumeration of its own."""
    rows = np.stack(np.broadcast_arrays(*(array(c) for c in columns)), axis=1)
    values, inverse = distinct_rows(rows)
    return np.array([float(function(*row)) for row in values.tolist()])[inverse]


def distinct_rows(rows: Array) -> tuple[Array, Ints]:
    """The distinct rows of ``rows`` [n, columns], and for each of the n the position of its own among them (one
    integer a row is compared, which is faster than ``numpy.unique`` by axis)."""
    code = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        values, inverse = np.unique(column, return_inverse=True)
        code = code * len(values) + inverse
    _, first, position = np.unique(code, return_index=True, return_inverse=True)
    return rows[first], position.astype(np.int64)
