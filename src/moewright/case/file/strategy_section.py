"""The ``strategy`` section of a spec file → StrategySpec."""

from __future__ import annotations

from typing import Any

from moewright.case.file.records import StrategyRecord
from moewright.case.file.sections import section
from moewright.case.file.strategy_text import parse_strategy
from moewright.case.strategy import Dispatch, Gate, Overlap, StrategySpec
from moewright.errors import SpecError


def strategy_of(value: Any, file: str | None = None) -> StrategySpec:
    """The ``strategy`` section of a spec file, or a strategy in one line (``dp8 ep8``)."""
    if isinstance(value, str):
        try:
            return parse_strategy(value, "strategy")
        except SpecError as error:
            raise error.inside(file=file) from None
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


def section_of(spec: StrategySpec) -> dict[str, Any]:
    """``spec`` as the section of a spec file; what it leaves open is left out."""
    attention = {"dp": spec.dp, "cp": spec.cp, "tp": spec.tp, "repeated": spec.repeated, "dcp": spec.dcp}
    experts: dict[str, Any] = {"ep": spec.ep, "tp": spec.etp, "redundant": spec.redundant}
    experts |= {name: None if x is None else str(x) for name, x in (("dispatch", spec.dispatch), ("gate", spec.gate))}
    overlap = None if spec.overlap is None else str(spec.overlap)
    plain: dict[str, Any] = {
        "replicas": spec.replicas,
        "pp": spec.pp,
        "micro_batches": spec.micro_batches,
        "overlap": overlap,
    }
    groups = {"attention": _given(attention), "experts": _given(experts)}
    return {**_given(plain), **{name: group for name, group in groups.items() if group}}


def _given(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in plain.items() if value is not None}
