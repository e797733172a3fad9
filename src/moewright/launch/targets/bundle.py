"""Files of a launch folder, and the parts of shell scripts that several of them share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from moewright.launch.command import VARIABLE, Command
from moewright.launch.launch_plan import LaunchPlan
from moewright.launch.servers import Process

#: what a variable that the user sets stands for
MEANINGS = {
    "MODEL": "path or Hugging Face id of the checkpoint",
    "DRAFT_MODEL": "path or Hugging Face id of the model that guesses tokens",
    "IMAGE": "container image of the engine",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file of the folder: its path in it, and its text."""

    path: str
    text: str


def meaning(variable: str) -> str:
    """What the user is to put in ``variable``."""
    if variable.startswith("NODE_"):
        return f"address of node {variable.removeprefix('NODE_')}, as the others reach it"
    return MEANINGS.get(variable, variable.lower())


def required(variables: Iterable[str]) -> str:
    """Lines that end a script, with a message, where a variable is not set."""
    return "".join(f': "${{{v}:?set it: {meaning(v)}}}"\n' for v in variables)


def used_variables(commands: Iterable[Command]) -> tuple[str, ...]:
    """Variables of ``commands`` in order, addresses by number."""
    names = dict.fromkeys(name for command in commands for name in command.variables)
    return tuple(sorted(names, key=lambda n: (n.startswith("NODE_"), _number(n), n)))


def _number(name: str) -> int:
    tail = name.rpartition("_")[2]
    return int(tail) if tail.isdigit() else 0


def named_in(text: str) -> tuple[str, ...]:
    """Variables in ``text``, in order."""
    return tuple(dict.fromkeys(VARIABLE.findall(text)))


def visible_devices(plan: LaunchPlan, process: Process) -> str:
    """GPUs of the node that the process takes; empty where it takes all."""
    if process.gpus >= plan.case.cluster.host_gpus and process.first_gpu == 0:
        return ""
    return ",".join(str(process.first_gpu + i) for i in range(process.gpus))


def header(plan: LaunchPlan, what: str) -> str:
    """The first lines of a script."""
    title = f"{plan.case.model.name} on {plan.engine} {plan.version}: {plan.name}".replace("\n", " ")
    return f"#!/bin/sh\n# {what}\n# {title}\nset -eu\n"


def tried(plan: LaunchPlan) -> str:
    """What to type once it runs: a pass that was priced has no workload to measure."""
    wait = "`sh health.sh` waits until all answer"
    return f"{wait}; `sh benchmark.sh` measures the workload planned" if plan.case.serving is not None else wait
