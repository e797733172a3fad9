"""Functions over arrays, compiled by Numba where it is installed, else run as they are (the same results, slower)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

try:
    import numba

    COMPILED = True
except ImportError:
    COMPILED = False


def compiled(function: _Function) -> _Function:
    """``function``, compiled at its first call and kept on disk where there is a place to keep it."""
    if not COMPILED:
        return function
    made: Any
    try:
        made = numba.njit(cache=True)(function)
    except RuntimeError:  # no folder for the cache can be written
        made = numba.njit(function)
    return made  # type: ignore[no-any-return]
