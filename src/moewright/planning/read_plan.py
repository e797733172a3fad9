"""A plan or a spec from a file: what ``plan --json`` wrote is as good as the spec it came from, without the search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from moewright.case.bounded_file import MOST_TEXT, json_of
from moewright.case.case import Case
from moewright.case.file.load import case_of, load
from moewright.errors import SpecError
from moewright.planning.plan_schema import check_pass_plan, origin_of, plan_strategy, whole
from moewright.planning.record import Plan
from moewright.planning.search import evaluate, plan


def read(path: Path, progress: Callable[[float], None] = lambda share: None) -> tuple[Case, Plan]:
    """The case and the best plan of ``path``: a plan file's own strategy and batch, evaluated again, or the result
    of a search for a spec file. Raises SpecError, InfeasibleError."""
    found = plan_file(path)
    if found is None:
        case = load(path)
        return case, plan(case, top=0, progress=progress).best
    spec, best = found.get("spec"), found["best"]
    if not isinstance(spec, dict):
        raise SpecError("holds no spec; expected a plan that `moewright plan --json` made of a file", file=str(path))
    if "concurrency" in best:
        raise SpecError(
            "is a plan for serving, which an engine runs; expected a plan of forward, prefill or decode",
            file=str(path),
            field="best",
        )
    check_pass_plan(best, str(path))
    # paths in the spec are relative to where it was written
    case = case_of(spec, str(origin_of(found, path)))
    strategy, batch = plan_strategy(best["strategy"], str(path), "best.strategy"), best["batch"]
    cluster = found.get("cluster")
    gpus = cluster.get("gpus") if isinstance(cluster, dict) else None
    if gpus is not None and (whole(gpus, str(path), "cluster.gpus") != strategy.gpus):
        raise SpecError(
            f"got {gpus!r}, but its strategy takes {strategy.gpus} GPUs; expected {strategy.gpus}",
            file=str(path),
            field="cluster.gpus",
        )
    return case, evaluate(case, strategy, batch)


def plan_file(path: Path) -> dict[str, Any] | None:
    """The content of a plan's JSON, or None for what is to be read as a spec."""
    if path.suffix.lower() != ".json":
        return None
    try:
        content = json_of(path, MOST_TEXT, "a plan or a spec", "plan")
    except SpecError:  # what it is, is said where it is read as a spec
        return None
    return content if isinstance(content, dict) and isinstance(content.get("best"), dict) else None
