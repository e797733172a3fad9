"""What a traced run leaves: a time line for Perfetto, measured and predicted, and the experts' loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moewright.case.case import Case
from moewright.cost.table import Table
from moewright.planning.detail import calls
from moewright.planning.evaluate import evaluate_table
from moewright.planning.record import Plan
from moewright.run.execute import Ran
from moewright.run.ranks.job import loads_of

#: the process number of the predicted time line, above those of ranks
PREDICTED = 1_000_000


def trace(case: Case, plan: Plan, ran: Ran) -> dict[str, Any]:
    """Chrome trace events (catapult's Trace Event Format): a process for each rank, and one for what the plan
    predicts for the rank that sets the pace, operation by operation. Microseconds, as the format has it."""
    events: list[dict[str, Any]] = []
    for rank, outcome in enumerate(ran.outcomes):
        events.append(_named(rank, f"rank {rank}, measured"))
        before = 0.0
        for name, end in outcome.clock.events if outcome.clock else ():
            events.append(_event(rank, name, before, end - before))
            before = end
    events.append(_named(PREDICTED, "predicted, the rank that sets the pace"))
    at = 0.0
    for call in calls(case, plan.strategy, evaluate_table(case, Table.one(plan.strategy, plan.batch))):
        seconds = float(call.operation.seconds[0])
        length = seconds * call.count
        args = {"calls": call.count, "seconds_per_call": seconds}
        events.append({**_event(PREDICTED, call.operation.work.name, at, length), "args": args})
        at += length
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"strategy": plan.name}}


def files(folder: Path, case: Case, plan: Plan, ran: Ran) -> dict[Path, str]:
    """Path → content of what a profile leaves in ``folder``: ``trace.json``, and for a model with experts
    ``loads.json``, a row of counts per MoE layer, which ``routing:`` of a spec takes."""
    found = {folder / "trace.json": json.dumps(trace(case, plan, ran))}
    if case.model.moe is not None:
        found[folder / "loads.json"] = json.dumps(loads_of(ran.outcomes, case.model).tolist()) + "\n"
    return found


def _named(process: int, name: str) -> dict[str, Any]:
    return {"name": "process_name", "ph": "M", "pid": process, "args": {"name": name}}


def _event(process: int, name: str, start: float, length: float) -> dict[str, Any]:
    return {"name": name, "ph": "X", "pid": process, "tid": 0, "ts": start * 1e6, "dur": length * 1e6}
