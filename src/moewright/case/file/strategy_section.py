"""The ``strategy`` section of a spec file → StrategySpec."""

from __future__ import annotations

from typing import Any

from moewright.case.file.records import StrategyRecord
from moewright.case.file.sections import section
from moewright.case.strategy import Dispatch, Gate, Overlap, StrategySpec


def strategy_of(value: Any, file: str | None = None) -> StrategySpec:
    """The ``strategy`` section of a spec file, also of one that is named to compare with."""
    s = section(StrategyRecord, value, file, "strategy")
    a, e = s.attention, s.experts
    return StrategySpec(
        replicas=s.replicas,
        pp=s.pp,
        micro_batches=s.micro_batches,
        overlap=None if s.overlap is None else Overlap(s.overlap),
        dp=a.dp,
        cp=a.cp,
        tp=a.tp,
        repeated=a.repeated,
        dcp=a.dcp,
        ep=e.ep,
        etp=e.tp,
        redundant=e.redundant,
        dispatch=None if e.dispatch is None else Dispatch(e.dispatch),
        gate=None if e.gate is None else Gate(e.gate),
    )
