"""Everything that is needed to start a plan, as files of one folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from moewright.case.spelling import did_you_mean
from moewright.errors import InfeasibleError, SpecError
from moewright.launch.benchmark import benchmark_command
from moewright.launch.command import Command
from moewright.launch.exporters.engine_export import commands, export_of, refusals
from moewright.launch.front_router import entry_port, needs_router
from moewright.launch.guide import not_expressed, readme
from moewright.launch.launch_plan import LaunchPlan
from moewright.launch.layout import Layout
from moewright.launch.servers import address, nodes_used
from moewright.launch.targets.bundle import File, header, required, tried, used_variables
from moewright.launch.targets.docker_files import docker_files, docker_steps
from moewright.launch.targets.dynamo_files import dynamo_base, dynamo_files, dynamo_steps
from moewright.launch.targets.kubernetes_files import kubernetes_base, kubernetes_files, kubernetes_steps
from moewright.launch.targets.llm_d_files import llm_d_base, llm_d_files, llm_d_steps
from moewright.launch.targets.shell_files import health_script, served, shell_files
from moewright.launch.targets.slurm_files import slurm_files, slurm_steps


@dataclass(frozen=True, slots=True)
class Target:
    """``files`` that start a plan there, ``steps`` to type, and the ``base`` URL that clients then speak to."""

    name: str
    files: Callable[[LaunchPlan], list[File]]
    steps: Callable[[LaunchPlan], list[str]]
    base: Callable[[LaunchPlan], str]


@dataclass(frozen=True, slots=True)
class Launch:
    """What ``moewright launch`` gives: the plan, the target's name, its files, and the command of each process."""

    plan: LaunchPlan
    target: str
    files: tuple[File, ...]
    commands: tuple[tuple[str, Command], ...]

    @property
    def layout(self) -> Layout | dict[str, Layout]:
        """Of the one pool, or by role."""
        if not self.plan.apart:
            return self.plan.pools[0].layout
        return {str(p.role): p.layout for p in self.plan.pools}

    def to_dict(self) -> dict[str, Any]:
        """The object that ``launch --json`` prints."""
        layout = self.layout
        return {
            "engine": self.plan.engine,
            "version": self.plan.version,
            "target": self.target,
            "name": self.plan.name,
            "files": [{"path": f.path, "text": f.text} for f in self.files],
            "commands": [
                {
                    "process": name,
                    "command": list(command.words),
                    "environment": {e.name: e.value for e in command.environment},
                }
                for name, command in self.commands
            ],
            "not_expressed": not_expressed(self.plan),
            "layout": layout.to_dict()
            if isinstance(layout, Layout)
            else {role: one.to_dict() for role, one in layout.items()},
            "expected": [
                {"name": e.name, "value": e.value, "unit": e.unit, "low": e.low, "high": e.high}
                for e in self.plan.expected
            ],
        }


def node_base(plan: LaunchPlan) -> str:
    """Of the router or the only server, on the first node."""
    return f"http://{address(0)}:{entry_port(plan)}"


def _shell_steps(plan: LaunchPlan) -> list[str]:
    nodes = nodes_used(plan)
    which = "`sh node-0.sh`" if nodes == 1 else f"On each node K of 0 to {nodes - 1}: `sh node-K.sh`"
    if not export_of(plan.engine).serves:
        return [f"{which}, followed by the options of data, tokenizer, optimizer and schedule."]
    steps = [f"{which}."]
    if needs_router(plan):
        steps.append("On node 0: `sh router.sh`.")
    return [*steps, f"{tried(plan)}."]


TARGETS: Mapping[str, Target] = {
    "shell": Target("shell", shell_files, _shell_steps, node_base),
    "docker": Target("docker", docker_files, docker_steps, node_base),
    "kubernetes": Target("kubernetes", kubernetes_files, kubernetes_steps, kubernetes_base),
    "llm-d": Target("llm-d", llm_d_files, llm_d_steps, llm_d_base),
    "dynamo": Target("dynamo", dynamo_files, dynamo_steps, dynamo_base),
    "slurm": Target("slurm", slurm_files, slurm_steps, node_base),
}


#: those that start a job which ends; the others keep servers alive, and ask for their health
JOB_TARGETS = ("shell", "slurm")


def target_of(name: str) -> Target:
    """Raises SpecError for a target that is not known."""
    if name not in TARGETS:
        near = did_you_mean(name, TARGETS)
        raise SpecError(f"got {name[:40]!r}; {near}expected one of {', '.join(TARGETS)}", field="--target")
    return TARGETS[name]


def launch(plan: LaunchPlan, target: str = "shell") -> Launch:
    """The folder that starts ``plan``. Raises InfeasibleError where its engine or the target cannot."""
    chosen = target_of(target)
    found = refusals(plan, plan.engine)
    if found:
        raise InfeasibleError(refused_text(plan, [r.text for r in found]))
    export = export_of(plan.engine)
    if not export.serves and target not in JOB_TARGETS:
        raise InfeasibleError(f"target {target}: {plan.engine} runs a job, which {' and '.join(JOB_TARGETS)} start")
    files = [*chosen.files(plan), *(File(path, text) for path, text in export.files(plan).items())]
    if export.serves:
        base = chosen.base(plan)
        urls = None if base == node_base(plan) else [base]
        files.append(File("health.sh", health_script(plan, base, urls)))
        benchmark = benchmark_command(plan, base, served(plan))
        if benchmark is not None:
            text = header(plan, "The workload that was planned.") + required(used_variables([benchmark]))
            files.append(File("benchmark.sh", f"{text}{benchmark.text()}\n"))
    files.insert(0, File("README.md", readme(plan, target, chosen.steps(plan), files)))
    named = tuple((process.name, command) for process, command in commands(plan))
    return Launch(plan, target, tuple(files), named)


def refused_text(plan: LaunchPlan, reasons: list[str]) -> str:
    """One line that says what the engine cannot run."""
    return f"{plan.engine} {plan.version} cannot run {plan.name}: {'; '.join(reasons)}"
