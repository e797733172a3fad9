"""A better command for the same GPUs: the planner's best layout, written by the exporter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from moewright.case.case import Case
from moewright.case.serving import EngineSpec
from moewright.case.workload import Goal, Objective
from moewright.launch.exporters.engine_export import commands, export_of, version_of
from moewright.launch.launch_plan import LaunchPlan
from moewright.launch.read_launch import serving_launch, told
from moewright.serving.planner.serving_plan import plan_serving
from moewright.serving.validation.row_steps import default_folder

#: a layout is better where it gives so much more, which is above what two simulations of one case differ by
LEAST_GAIN = 1.03


@dataclass(frozen=True, slots=True)
class Better:
    """``command``: of every process. ``gain``: figure → before (None where the given command gives none) and after."""

    command: str
    layout: str
    gain: dict[str, tuple[float | None, float]]


def better_command(case: Case, checkpoint: str | None, before: dict[str, Any] | None) -> Better | None:
    """The best plan of ``case`` without its strategy, where it gives more than ``before`` (``weighing.expected``).
    Raises MoewrightError where nothing serves it."""
    assert case.serving is not None
    version = dict(case.serving.engine.overrides).get("version")
    own = (("version", version),) if version else ()
    serving = replace(case.serving, engine=EngineSpec(case.serving.engine.name, own))
    open_case = replace(case, strategy=None, serving=serving, goal=Goal(Objective.THROUGHPUT))
    best = plan_serving(open_case, 0, tables=default_folder(None, False)).best
    seen = best.seen
    after = {"output_per_gpu": seen.of_cluster, "ttft": seen.ttft, "tpot": seen.tpot}
    if before is not None and after["output_per_gpu"] < LEAST_GAIN * before["output_per_gpu"]:
        return None
    options = version_of(serving.engine.name, None)
    plan = told(serving_launch(open_case, best, options.version), checkpoint, None, None)
    gain = {name: (None if before is None else before[name], value) for name, value in after.items()}
    return Better(command_text(plan), best.name, gain)


def command_text(plan: LaunchPlan) -> str:
    """The commands of all processes, and the files that they read, as one text that the doctor reads again."""
    several = commands(plan)
    parts = []
    for process, command in several:
        head = f"# {process.name} on node {process.node}\n" if len(several) > 1 else ""
        parts.append(f"{head}{command.text()}")
    files = export_of(plan.engine).files(plan)
    parts += [f"# {name}\n{text}" for name, text in files.items()]
    return "\n".join(parts)
