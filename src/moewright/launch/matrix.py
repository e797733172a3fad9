"""Plans of a spec × engines: which of them each engine runs, since which version, or why not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from moewright.case.case import Case
from moewright.case.serving import EngineSpec
from moewright.case.strategy import Overlap
from moewright.launch.engine_options import engine_versions
from moewright.launch.exporters.engine_export import EXPORTS, refusals
from moewright.launch.launch_plan import LaunchPlan
from moewright.launch.read_launch import pass_launch, serving_launch
from moewright.launch.refusal import has_experts
from moewright.planning.search import plan as search
from moewright.serving.planner.serving_plan import plan_serving

_SINCE = Path(__file__).parent / "since.yaml"


@dataclass(frozen=True, slots=True)
class Cell:
    """A plan on an engine: ``since`` the version from which on its options are all there, and the one that decides it;
    or the reasons why the engine cannot."""

    plan: str
    engine: str
    version: str
    since: str
    feature: str
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        if self.reasons:
            return "no: " + "; ".join(self.reasons)
        return f"since {self.since} ({self.feature})" if self.since else "yes"

    def to_dict(self) -> dict[str, Any]:
        return {
            "plan": self.plan,
            "engine": self.engine,
            "version": self.version,
            "runs": not self.reasons,
            "since": self.since or None,
            "feature": self.feature or None,
            "reasons": list(self.reasons),
        }


@cache
def _since() -> dict[str, dict[str, str]]:
    """Engine → feature → the first version with its option."""
    raw = yaml.safe_load(_SINCE.read_text(encoding="utf-8"))
    return {engine: {k: str(v) for k, v in rows.items()} for engine, rows in raw["since"].items()}


def features(plan: LaunchPlan) -> list[str]:
    """What of a plan needs an option of its own, as ``since.yaml`` names it."""
    found = []
    for pool in plan.pools:
        a, e = pool.strategy.attention, pool.strategy.experts
        sizes = (("pp", pool.strategy.pp), ("attention dp", a.dp), ("prefill cp", a.cp))
        found += [name for name, size in sizes if size > 1]
        if pool.dcp > 1:
            found.append("decode cp")
        if has_experts(plan) and e.ep > 1:
            found.append("ep")
            found += ["all-to-all"] * (a.dp * a.cp > 1)
        found += ["redundant experts"] * (e.redundant > 0)
        found += ["two-batch overlap"] * (pool.strategy.overlap is Overlap.TWO_BATCH)
    found += ["prefill apart"] * plan.apart + ["drafts"] * (plan.settings.drafts > 0)
    return list(dict.fromkeys(["start", *found]))


def order(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in version.split(".") if n.isdigit())


def cell(plan: LaunchPlan) -> Cell:
    """``plan`` on its own engine."""
    reasons = tuple(r.text for r in refusals(plan, plan.engine))
    known = _since().get(plan.engine, {})
    needed = [(known[f], f) for f in features(plan) if f in known] if not reasons else []
    since, feature = max(needed, key=lambda x: order(x[0]), default=("", ""))
    return Cell(plan.name, plan.engine, plan.version, since, feature, reasons)


def matrix(case: Case, top: int = 5, tables: Path | None = None) -> list[list[Cell]]:
    """A row a plan: the best and its alternatives, on every engine that does what the spec asks for."""
    rows: list[list[Cell]] = []
    if case.serving is None:
        result = search(case, top=top)
        names = list(EXPORTS)
        for plan in (result.best, *result.alternatives):
            rows.append([cell(pass_launch(case, plan, name, engine_versions(name)[0])) for name in names])
        return rows
    found = plan_serving(case, top, tables=tables)
    for choice in (found.best, *found.alternatives):
        row = []
        for name in (n for n, export in EXPORTS.items() if export.serves):
            own = case.serving.engine.name == name
            spec = case.serving.engine if own else EngineSpec(name)
            case_of = replace(case, serving=replace(case.serving, engine=spec))
            row.append(cell(serving_launch(case_of, choice, engine_versions(name)[0])))
        rows.append(row)
    return rows
