"""What ``fit`` asks of: a model on one node of a cluster, under an engine as it is set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from moewright.case.case import Case
from moewright.case.file.count_text import read_count
from moewright.case.file.load import case_of
from moewright.case.precision import KNOWN_FORMATS, is_format
from moewright.errors import SpecError
from moewright.serving.engines.deployment import engine_of
from moewright.serving.engines.engine import Engine


def cluster_and_most(text: str, field: str) -> tuple[str, int | None]:
    """``h200-hgx:16`` as a cluster, not yet looked up, and the most GPUs there are. Raises SpecError."""
    name, colon, gpus = text.partition(":")
    return name, read_count(gpus, field) if colon else None


def fit_case(
    model: str,
    cluster: str,
    engine: dict[str, Any],
    file: str,
    kv_cache: str | None = None,
    drafts: int = 0,
) -> tuple[Case, Engine]:
    """The case of one node of ``cluster``, and the engine set as ``engine`` says. ``file``: what names are relative to
    and errors tell; ``kv_cache``: the cache's number format in place of the model's; ``drafts``: tokens that are
    drafted in a step. Raises SpecError."""
    workload: dict[str, Any] = {"kind": "serving", "input": 1, "output": 1, "concurrency": 1, "engine": engine}
    if drafts:
        workload["speculative"] = {"drafts": drafts, "acceptance": 0.7}
    case = case_of({"model": model, "cluster": cluster, "workload": workload}, file, weighed=True)
    if kv_cache is not None:
        if not is_format(kv_cache):
            raise SpecError(f"got {kv_cache[:40]!r}; expected one of {KNOWN_FORMATS}", field="--kv-cache")
        precision = replace(case.model.precision, kv_cache=kv_cache)
        case = replace(case, model=replace(case.model, precision=precision))
    return case, engine_of(case)
