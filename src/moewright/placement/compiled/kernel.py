"""What compiles a function over arrays.

Numba takes half a second to import, so that modules with kernels are imported inside the functions that search. What
it compiles is kept on disk beside the source; it looks at the time of a function's own file only, so that after a
change to a kernel that others call, ``make clean`` removes what they were compiled to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., object])


def kernel(function: _Function) -> _Function:
    """``function``, compiled at its first call, and kept on disk where there is a place to keep it."""
    try:
        return cast(_Function, numba.njit(cache=True, nogil=True, forceinline=True)(function))
    except RuntimeError:  # no folder for the cache can be written
        return cast(_Function, numba.njit(nogil=True, forceinline=True)(function))
