"""Docker: a compose file a node."""

from __future__ import annotations

from typing import Any

from moewright.launch.command import Command, filled
from moewright.launch.front_router import PACKAGES, needs_router, router_command
from moewright.launch.launch_plan import LaunchPlan
from moewright.launch.refusal import MORI_DEVICES, on
from moewright.launch.servers import Process, nodes_used
from moewright.launch.targets.bundle import File, meaning, tried
from moewright.launch.targets.manifest import dumped, engine_image
from moewright.launch.targets.shell_files import by_node, lead_urls, one_host, router_script


def docker_files(plan: LaunchPlan) -> list[File]:
    """``compose.node-K.yaml`` for every node; the router is a service of the first. Raises InfeasibleError."""
    one_host(plan, "docker")
    files = []
    for node, found in by_node(plan).items():
        services = {process.name: _service(plan, process, command) for process, command in found}
        if node == 0 and needs_router(plan):
            services |= _router(plan)
        comment = f"Node {node}: {plan.name}, {plan.engine} {plan.version}"
        files.append(File(f"compose.node-{node}.yaml", dumped([{"services": services}], comment)))
    if needs_router(plan) and router_command(plan, lead_urls(plan)) is None:
        files.append(File("router.sh", router_script(plan)))
    return files


def _wanted(name: str) -> str:
    """A variable as compose fills it in, with a message where it is not set."""
    return f"${{{name}:?{meaning(name)}}}"


def _words(words: tuple[str, ...]) -> list[str]:
    return [filled(w, _wanted) for w in words]


def _service(plan: LaunchPlan, process: Process, command: Command) -> dict[str, Any]:
    program = len(command.program)
    made: dict[str, Any] = {
        "image": engine_image(plan),
        "network_mode": "host",
        "ipc": "host",
        "ulimits": {"memlock": -1, "stack": 67108864},
        "volumes": ["${HF_HOME:-~/.cache/huggingface}:/root/.cache/huggingface", "./:/config:ro"],
        "working_dir": "/config",
        "environment": {"HF_TOKEN": "${HF_TOKEN:-}", **_environment(command)},
        "entrypoint": _words(command.words[:program]),
        "command": _words(command.words[program:]),
    }
    gpus = [str(process.first_gpu + i) for i in range(process.gpus)]
    if on(plan.case.cluster.device.name, MORI_DEVICES):
        made["devices"] = ["/dev/kfd", "/dev/dri"]
        made["group_add"] = ["video"]
        made["environment"]["HIP_VISIBLE_DEVICES"] = ",".join(gpus)
    else:
        device = {"driver": "nvidia", "device_ids": gpus, "capabilities": ["gpu"]}
        made["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    if plan.apart or process.nodes > 1:
        made["cap_add"] = ["IPC_LOCK"]
    return made


def _environment(command: Command) -> dict[str, str]:
    return {e.name: filled(e.value or "", _wanted) for e in command.environment}


def _router(plan: LaunchPlan) -> dict[str, Any]:
    command = router_command(plan, lead_urls(plan))
    if command is None:
        return {}
    words = " ".join(_words(command.words))
    script = f"pip install --no-cache-dir {PACKAGES[plan.engine]} && exec {words}"
    box = {"image": "python:3.12-slim", "network_mode": "host", "entrypoint": ["sh", "-c"], "command": [script]}
    return {"router": box}


def docker_steps(plan: LaunchPlan) -> list[str]:
    nodes = nodes_used(plan)
    which = "`docker compose -f compose.node-0.yaml up`"
    if nodes > 1:
        which = f"On each node K of 0 to {nodes - 1}: `docker compose -f compose.node-K.yaml up`"
    steps = [f"{which}."]
    if needs_router(plan) and router_command(plan, lead_urls(plan)) is None:
        steps.append("On node 0: `sh router.sh`.")
    return [*steps, f"{tried(plan)}."]
