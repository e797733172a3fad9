"""Which strategy is best, and the proof of it.

This package can be called: ``moewright.plan(case)`` is the function of that name whether or not the package
was imported before (an imported subpackage takes the place of the name in its parent).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moewright.plan.plan import Result
    from moewright.spec.case import Case
    from moewright.spec.strategy import StrategySpec


class _Callable(ModuleType):
    def __call__(self, case: Case, compare: Sequence[StrategySpec] = (), top: int = 5) -> Result:
        from moewright.plan.search import plan

        return plan(case, compare, top)


sys.modules[__name__].__class__ = _Callable
