"""Dynamo: a DynamoGraphDeployment (nvidia.com/v1beta1). Its operator adds what tells the nodes of an instance apart.

After ai-dynamo/dynamo, deploy/operator/api/v1beta1 and examples/backends/*/deploy/v1beta1 (1.3.1).
"""

from __future__ import annotations

from moewright.errors import SpecError
from moewright.launch.command import Argument, Command
from moewright.launch.exporters.trtllm_export import config_file
from moewright.launch.launch_plan import LaunchPlan, Pool, Role
from moewright.launch.servers import HTTP_PORT
from moewright.launch.targets.bundle import File, tried
from moewright.launch.targets.kubernetes_files import APPLIED
from moewright.launch.targets.manifest import (
    CONFIG,
    Object,
    config_map,
    container,
    dumped,
    object_name,
    pod_command,
    pod_process,
    volumes,
)

#: options of a server, and of the nodes of an instance: Dynamo's frontend is the server, its operator knows the nodes
SERVER_OPTIONS = (
    *("--host", "--port", "--headless", "--nnodes", "--node-rank", "--master-addr", "--master-port"),
    *("--dist-init-addr", "--data-parallel-rpc-port"),
)


def dynamo_files(plan: LaunchPlan) -> list[File]:
    """``graph.yaml``. Raises SpecError where no image is named: Dynamo's own hold engine versions of their choice."""
    if not plan.image:
        raise SpecError(
            f"is missing; Dynamo's runtime images hold an engine version of their own: expected one with {plan.engine} "
            f"{plan.version}",
            field="--image",
        )
    components: list[Object] = [
        {
            "name": "Frontend",
            "type": "frontend",
            "replicas": 1,
            "podTemplate": {"spec": {"containers": [{"name": "main", "image": plan.image}]}},
        }
    ]
    components += [component(plan, pool) for pool in plan.pools]
    graph = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": object_name(plan)},
        "spec": {"backendFramework": plan.engine, "components": components},
    }
    return [File("graph.yaml", dumped([*config_map(plan), graph], f"{plan.name}, {plan.engine} {plan.version}"))]


def component(plan: LaunchPlan, pool: Pool) -> Object:
    """The workers of a pool."""
    process = pod_process(plan, pool)
    box = container(plan, process, worker_command(plan, pool), "main")
    for probe in ("ports", "startupProbe", "readinessProbe", "livenessProbe"):
        box.pop(probe, None)  # the operator's own: workers have another port
    shared = [v for v in volumes(plan) if v["name"] != "shm"]
    box["volumeMounts"] = [m for m in box["volumeMounts"] if m["name"] != "shm"]
    made: Object = {
        "name": str(pool.role),
        "type": "worker" if pool.role is Role.SERVE else str(pool.role),
        "replicas": pool.count,
        "sharedMemorySize": "64Gi",
        "podTemplate": {"spec": {"containers": [box], "volumes": shared}},
    }
    if process.nodes > 1:
        made["multinode"] = {"nodeCount": process.nodes}
    return made


def worker_command(plan: LaunchPlan, pool: Pool) -> Command:
    """The engine's options behind Dynamo's worker module."""
    command = pod_command(plan, pod_process(plan, pool)).without(*SERVER_OPTIONS)
    mode = () if not plan.apart else (Argument("--disaggregation-mode", str(pool.role)),)
    if plan.engine == "vllm":
        model = Argument("--model", plan.settings.checkpoint)
        return Command(("python3", "-m", "dynamo.vllm"), (model, *command.arguments, *mode), command.environment)
    if plan.engine == "sglang":
        tokenizer = Argument("--skip-tokenizer-init", None)
        return Command(("python3", "-m", "dynamo.sglang"), (*command.arguments, tokenizer), command.environment)
    options = (
        Argument("--model-path", plan.settings.checkpoint),
        Argument("--served-model-name", plan.settings.served_name),
        Argument("--extra-engine-args", f"{CONFIG}/{config_file(pool)}"),
        *mode,
    )
    return Command(("python3", "-m", "dynamo.trtllm"), options, command.environment)


def dynamo_base(plan: LaunchPlan) -> str:
    """The frontend's Service."""
    return f"http://{object_name(plan)}-frontend:{HTTP_PORT}"


def dynamo_steps(plan: LaunchPlan) -> list[str]:
    return [
        f"Dynamo's operator (1.3 or later) must be installed; `{plan.image}` must hold {plan.engine} {plan.version}.",
        APPLIED.format("graph.yaml"),
        f"From a pod, against the frontend (`{dynamo_base(plan)}`): {tried(plan)}.",
    ]
