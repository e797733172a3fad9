"""A plan or a spec from a file: what ``plan --json`` wrote is as good as the spec it came from, without the search."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moewright.case.case import Case
from moewright.case.file.load import case_of, load
from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Gate, Overlap, Strategy
from moewright.errors import SpecError
from moewright.planning.record import Plan
from moewright.planning.search import evaluate, plan

_MOST_BYTES = 256 << 20


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
    # paths in the spec are relative to where it was written
    origin = Path(str(found.get("spec_file") or path))
    case = case_of(spec, str(origin if origin.parent.is_dir() else path.with_name(origin.name)))
    if not isinstance(best, dict) or "concurrency" in best:
        raise SpecError(
            "is a plan for serving, which an engine runs; expected a plan of forward, prefill or decode",
            file=str(path),
            field="best",
        )
    try:
        strategy, batch = _strategy(best["strategy"]), int(best["batch"])
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError(f"holds no strategy and batch: {error!r}", file=str(path), field="best") from None
    cluster = found.get("cluster")
    gpus = cluster.get("gpus") if isinstance(cluster, dict) else None
    if gpus is not None and gpus != strategy.gpus:
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
        if path.stat().st_size > _MOST_BYTES:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("best"), dict) else None


def _strategy(value: dict[str, Any]) -> Strategy:
    given = value["experts"]
    experts = {**given, "dispatch": Dispatch(given["dispatch"]), "gate": Gate(given.get("gate", Gate.EACH))}
    return Strategy(
        int(value["replicas"]),
        int(value["pp"]),
        int(value["micro_batches"]),
        Overlap(value["overlap"]),
        AttentionParallel(**value["attention"]),
        ExpertParallel(**experts),
    )
