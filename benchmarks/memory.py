"""What engines print of their memory at start-up, and what moewright predicts.

``python -m benchmarks.memory [FILE.csv]``: a line a log, and the median and the largest error of cache and weights.
Columns of the file: engine, version, model, device, strategy (``tp=8,ep=1,etp=8``), settings (of ``workload.engine``;
beside them ``drafts`` of MTP layers, and ``kv_cache``, a format), and what was printed: GiB of weights and of cache
on a GPU, tokens of cache of an attention-dp rank.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from moewright.case.catalogue.hardware_catalogue import cluster_entry, cluster_names
from moewright.case.file.load import case_of
from moewright.case.file.strategy_text import parse_strategy
from moewright.cost.table import Table
from moewright.serving.engines.capacity import capacity
from moewright.serving.engines.deployment import engine_of
from moewright.serving.engines.strategies import engine_strategy

LOGS = Path(__file__).parent / "data" / "engine-memory.csv"
GIB = float(1 << 30)


@dataclass(frozen=True, slots=True)
class Log:
    """A printed and a predicted start: GiB of weights, GiB and tokens of cache; None where nothing was printed."""

    name: str
    group: str
    printed: dict[str, float | None]
    predicted: dict[str, float]

    def off(self, what: str) -> float | None:
        """The predicted over the printed, less one."""
        printed = self.printed[what]
        return None if printed is None or printed <= 0 else self.predicted[what] / printed - 1


def read(path: Path = LOGS) -> list[Log]:
    """All logs of ``path``, predicted."""
    with path.open(newline="", encoding="utf-8") as file:
        return [_log(row) for row in csv.DictReader(file)]


def _log(row: dict[str, str]) -> Log:
    want = parse_strategy(row["strategy"])
    gpus = (want.dp or 1) * (want.tp or 1) * (want.pp or 1)
    settings: dict[str, Any] = {"name": row["engine"], "version": row["version"], **yaml.safe_load(row["settings"])}
    drafts, kv_cache = settings.pop("drafts", 0), settings.pop("kv_cache", None)
    work: dict[str, Any] = {"kind": "serving", "input": 4000, "output": 96, "concurrency": 4, "engine": settings}
    if drafts:
        work["speculative"] = {"drafts": drafts, "acceptance": 0.7}
    raw = {"model": row["model"], "cluster": _cluster(row["device"], gpus), "workload": work}
    case = case_of(raw, "engine-memory.csv", weighed=True)
    if kv_cache is not None:
        case = replace(case, model=replace(case.model, precision=replace(case.model.precision, kv_cache=kv_cache)))
    engine = engine_of(case)
    strategy = engine_strategy(case, want, engine)
    found = capacity(case, Table.one(strategy, strategy.replicas * strategy.attention.dp), engine, 4096)
    printed = {name: float(row[name]) if row[name] else None for name in ("weights_gib", "kv_gib", "kv_tokens")}
    predicted = {
        "weights_gib": float(found.weights[0]) / GIB,
        "kv_gib": float(found.kv_cache[0]) / GIB,
        "kv_tokens": float(found.tokens[0]),
    }
    name = f"{row['engine']} {row['version']}, {row['model']}, {gpus} × {row['device']}, {strategy.name}"
    return Log(name, row["set"], printed, predicted)


def _cluster(device: str, gpus: int) -> dict[str, Any]:
    for name in cluster_names():
        entry = cluster_entry(name)
        if entry["device"] == device and entry["gpus_per_node"] >= gpus:
            return {"name": name, "gpus": gpus}
    network = {"node": {"bandwidth": "30 GB/s", "latency": "5 us"}}
    return {"gpus": gpus, "gpus_per_node": gpus, "device": device, "network": network}


def summary(logs: list[Log], what: str) -> str:
    """The median and the largest error of ``what`` over ``logs``."""
    errors = sorted(abs(e) for e in (log.off(what) for log in logs) if e is not None)
    return f"{len(errors)} logs, median {median(errors):.1%}, most {errors[-1]:.1%}" if errors else "no log"


def main() -> None:
    """Print the comparison."""
    logs = read(Path(sys.argv[1]) if len(sys.argv) > 1 else LOGS)
    for log in logs:
        parts = []
        for what in log.printed:
            printed, off = log.printed[what], log.off(what)
            if printed is not None:
                parts.append(f"{what} {log.predicted[what]:,.2f} of {printed:,.2f}" + (f" ({off:+.1%})" if off else ""))
        print(f"{log.group:6} {log.name}: {'; '.join(parts)}")
    for group in dict.fromkeys(log.group for log in logs):
        mine = [log for log in logs if log.group == group]
        print(*(f"{group}: {what}: {summary(mine, what)}" for what in ("weights_gib", "kv_gib", "kv_tokens")), sep="\n")


if __name__ == "__main__":
    main()
