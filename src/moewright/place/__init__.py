"""Where each expert, or slice or replica of one, lives.

This package can be called: ``moewright.place(loads, slots=, gpus=)`` is the function of that name whether or not
the package was imported before (an imported subpackage takes the place of the name in its parent).
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moewright.place.record import ExpertPlacement


class _Callable(ModuleType):
    def __call__(self, loads: Any, **options: Any) -> ExpertPlacement:
        from moewright.place.solve import place

        return place(loads, **options)


sys.modules[__name__].__class__ = _Callable
