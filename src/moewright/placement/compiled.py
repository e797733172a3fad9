"""Functions over arrays, compiled by Numba where it is installed and the work is worth its start-up; else run as they
are, slower."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar, cast

_Function = TypeVar("_Function", bound=Callable[..., Any])

#: (function as written, [what a call runs]) of each that may be compiled, by module and name
_KNOWN: dict[tuple[str, str], tuple[Callable[..., Any], list[Callable[..., Any]]]] = {}
_STATE = {"compiled": False}


def compiled(function: _Function) -> _Function:
    """``function``, to be compiled by ``compile_all``: importing Numba takes longer than a small plan."""
    current: list[Callable[..., Any]] = [function]

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return current[0](*arguments)

    _KNOWN[function.__module__, function.__name__] = function, current
    if _STATE["compiled"]:
        current[0] = _compile(function)
        return cast(_Function, current[0])
    return cast(_Function, call)


def compile_all() -> bool:
    """Compile all functions at their first call, kept on disk where there is a place to keep them. False where
    Numba is not installed."""
    if not _STATE["compiled"] and find_spec("numba") is not None:
        _STATE["compiled"] = True
        for (_, name), (function, current) in _KNOWN.items():
            current[0] = _compile(function)
            function.__globals__[name] = current[0]  # what other compiled functions of its module call
    return _STATE["compiled"]


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    import numba

    made: Any
    try:
        made = numba.njit(cache=True)(function)
    except RuntimeError:  # no folder for the cache can be written
        made = numba.njit(function)
    return cast(Callable[..., Any], made)
