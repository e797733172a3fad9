"""Kubernetes objects of a plan: names, containers, pods, and what runs instances of one node or several."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from moewright.errors import SpecError
from moewright.launch.command import Command, filled
from moewright.launch.exporters.engine_export import export_of
from moewright.launch.launch_plan import LaunchPlan, Pool
from moewright.launch.refusal import MORI_DEVICES, on
from moewright.launch.servers import HTTP_PORT, TRANSFER_PORT, Process
from moewright.launch.targets.bundle import meaning

try:
    from yaml import CSafeDumper as _Dumper
except ImportError:  # built without libyaml
    from yaml import SafeDumper as _Dumper  # type: ignore[assignment]

#: longest name of an object: operators put up to 18 characters behind it (a label holds 63)
MOST_NAME = 45
#: where the files of the engine are mounted
CONFIG = "/config"
#: what a pod of several nodes is told by LeaderWorkerSet, and any pod by Kubernetes
_TOLD = ("LWS_LEADER_ADDRESS", "LWS_WORKER_INDEX", "POD_IP")

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Instance:
    """``count`` instances of a pool under one ``name``, each of ``nodes`` pods; ``labels`` beside the own ones."""

    name: str
    pool: Pool
    count: int
    nodes: int
    labels: Mapping[str, str]


def object_name(plan: LaunchPlan, *parts: str) -> str:
    """``model-engine-parts`` as RFC 1123 has it, of at most 45 characters; the model's name is cut."""
    tail = "-".join(_plain(p) for p in (plan.engine, *parts))
    head = _plain(plan.settings.served_name)[: MOST_NAME - len(tail) - 1].strip("-")
    return f"{head}-{tail}" if head else tail


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def pod_process(plan: LaunchPlan, pool: Pool, leader: bool = True, port: int = HTTP_PORT) -> Process:
    """A process that has a pod of its own: its place is told by variables of the pod."""
    size = plan.case.cluster.host_gpus
    nodes = pool.nodes(size)
    head = "${LWS_LEADER_ADDRESS}" if nodes > 1 else "${POD_IP}"
    rank = "0" if leader else "${LWS_WORKER_INDEX}"
    return Process(pool, 0, rank, nodes, 0, 0, min(size, pool.gpus), head, "${POD_IP}", port - HTTP_PORT)


def pod_command(plan: LaunchPlan, process: Process) -> Command:
    """The process's command; the side channel of vLLM's transfers keeps its port. Raises SpecError where the plan
    leaves something to the user that a manifest must name."""
    command = export_of(plan.engine).command(plan, process)
    missing = [v for v in command.variables if v not in _TOLD]
    if missing:
        option = {"MODEL": "--checkpoint", "DRAFT_MODEL": "--draft"}.get(missing[0], missing[0])
        raise SpecError(f"is missing; a manifest names the {meaning(missing[0])}", field=option)
    channel = "VLLM_NIXL_SIDE_CHANNEL_PORT"
    environment = tuple(replace(e, value=str(TRANSFER_PORT)) if e.name == channel else e for e in command.environment)
    return replace(command, environment=environment)


def engine_image(plan: LaunchPlan) -> str:
    return plan.image or export_of(plan.engine).image.format(version=plan.version)


def reference(name: str) -> str:
    """A variable as Kubernetes fills it into commands and environment."""
    return f"$({name})"


def container(plan: LaunchPlan, process: Process, command: Command, name: str) -> Object:
    """The engine's container. Clients speak to that of the leader alone, which is therefore the one that is probed."""
    port = process.port
    words = [filled(w, reference) for w in command.words]
    program = len(command.program)
    device = plan.case.cluster.device.name
    resource = "amd.com/gpu" if on(device, MORI_DEVICES) else "nvidia.com/gpu"
    made: Object = {
        "name": name,
        "image": engine_image(plan),
        "command": words[:program],
        "args": words[program:],
        "workingDir": CONFIG,
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {
                "name": "HF_TOKEN",
                "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "HF_TOKEN", "optional": True}},
            },
            *({"name": e.name, "value": filled(e.value or "", reference)} for e in command.environment),
        ],
        "resources": {"limits": {resource: str(process.gpus)}, "requests": {resource: str(process.gpus)}},
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "cache", "mountPath": "/root/.cache"},
            {"name": "config", "mountPath": CONFIG},
        ],
    }
    if process.nodes > 1 or plan.apart:
        made["securityContext"] = {"capabilities": {"add": ["IPC_LOCK"]}}
    if process.leads:
        probe = {"httpGet": {"path": export_of(plan.engine).health, "port": "http"}}
        made["ports"] = [{"name": "http", "containerPort": port}]
        made["startupProbe"] = {**probe, "periodSeconds": 10, "failureThreshold": 360}
        made["readinessProbe"] = {**probe, "periodSeconds": 10, "timeoutSeconds": 5}
        made["livenessProbe"] = {**probe, "periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 5}
    return made


def volumes(plan: LaunchPlan) -> list[Object]:
    """Shared memory, what is downloaded and compiled, and the engine's files."""
    config: Object = {"name": "config", "emptyDir": {}}
    if export_of(plan.engine).files(plan):
        config = {"name": "config", "configMap": {"name": object_name(plan, "files")}}
    return [{"name": "shm", "emptyDir": {"medium": "Memory"}}, {"name": "cache", "emptyDir": {}}, config]


def pod(plan: LaunchPlan, instance: Instance, leader: bool = True, port: int = HTTP_PORT) -> Object:
    """The template of a pod."""
    process = pod_process(plan, instance.pool, leader, port)
    command = pod_command(plan, process)
    # what finds servers by label must not find pods that serve nobody
    labels = instance.labels if leader else {}
    return {
        "metadata": {"labels": {"app": instance.name, **labels}},
        "spec": {
            "containers": [container(plan, process, command, "engine")],
            "volumes": volumes(plan),
        },
    }


def workload(plan: LaunchPlan, instance: Instance, port: int = HTTP_PORT) -> Object:
    """A Deployment of instances of one pod, or a LeaderWorkerSet of those of several."""
    meta = {"name": instance.name, "labels": {"app": instance.name, **instance.labels}}
    if instance.nodes == 1:
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "replicas": instance.count,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": {"app": instance.name}},
                "template": pod(plan, instance, port=port),
            },
        }
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": meta,
        "spec": {
            "replicas": instance.count,
            "startupPolicy": "LeaderCreated",
            "leaderWorkerTemplate": {
                "size": instance.nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": pod(plan, instance, True, port),
                "workerTemplate": pod(plan, instance, False, port),
            },
        },
    }


def service(name: str, instance: Instance, ports: Mapping[str, int]) -> Object:
    """A name inside the cluster for the pods that clients speak to."""
    selector = {"app": instance.name}
    if instance.nodes > 1:
        selector["leaderworkerset.sigs.k8s.io/worker-index"] = "0"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": instance.name}},
        "spec": {
            "selector": selector,
            "ports": [{"name": n, "port": p, "targetPort": p} for n, p in ports.items()],
        },
    }


def config_map(plan: LaunchPlan) -> list[Object]:
    """The engine's files, where it has any."""
    files = export_of(plan.engine).files(plan)
    if not files:
        return []
    name = object_name(plan, "files")
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": dict(files)}]


def dumped(objects: list[Object], comment: str) -> str:
    """Objects as YAML documents under a comment."""
    documents = [yaml.dump(o, Dumper=_Plain, sort_keys=False, width=110) for o in objects]
    return f"# {comment}\n" + "---\n".join(documents)


class _Plain(_Dumper):
    """Values in full wherever they stand."""

    def ignore_aliases(self, data: object) -> bool:
        return True
