"""Kubernetes: a Deployment and a Service for instances of one node, LeaderWorkerSets for those of several; prefill and
decode apart, with an object an instance, so that the router knows each by name."""

from __future__ import annotations

from moewright.launch.exporters.engine_export import export_of
from moewright.launch.front_router import PACKAGES, router_command, trtllm_router
from moewright.launch.launch_plan import LaunchPlan, Role
from moewright.launch.servers import BOOTSTRAP_PORT, HTTP_PORT, Process
from moewright.launch.targets.bundle import File, tried
from moewright.launch.targets.manifest import (
    Instance,
    Object,
    config_map,
    dumped,
    engine_image,
    object_name,
    pod_process,
    service,
    workload,
)
from moewright.launch.targets.shell_files import one_host

#: how a manifest is applied
APPLIED = "`kubectl apply -f {}`; a secret `hf-token` with the key `HF_TOKEN` is taken where there is one."


def instances(plan: LaunchPlan) -> list[Instance]:
    """All replicas under one name; each on its own where a router must tell them apart."""
    size = plan.case.cluster.host_gpus
    found = []
    for pool in plan.pools:
        labels = {"moewright/role": str(pool.role)}
        if not plan.apart:
            found.append(Instance(object_name(plan), pool, pool.count, pool.nodes(size), labels))
            continue
        for i in range(pool.count):
            name = object_name(plan, str(pool.role), str(i))
            found.append(Instance(name, pool, 1, pool.nodes(size), labels))
    return found


def kubernetes_files(plan: LaunchPlan) -> list[File]:
    """``manifest.yaml``. Raises SpecError, InfeasibleError."""
    one_host(plan, "kubernetes")
    found = instances(plan)
    objects: list[Object] = [*config_map(plan)]
    for instance in found:
        ports = {"http": HTTP_PORT}
        if plan.engine == "sglang" and instance.pool.role is Role.PREFILL:
            ports["bootstrap"] = BOOTSTRAP_PORT
        objects += [workload(plan, instance), service(instance.name, instance, ports)]
    if plan.apart:
        objects += router_objects(plan, [(pod_process(plan, i.pool), f"http://{i.name}:{HTTP_PORT}") for i in found])
    return [File("manifest.yaml", dumped(objects, f"{plan.name}, {plan.engine} {plan.version}"))]


def router_objects(plan: LaunchPlan, servers: list[tuple[Process, str]]) -> list[Object]:
    """The router between prefill and decode, and the Service that clients speak to."""
    name = object_name(plan, "router")
    command = router_command(plan, servers, HTTP_PORT)
    objects: list[Object] = []
    box: Object = {"name": "router", "ports": [{"name": "http", "containerPort": HTTP_PORT}]}
    volumes: list[Object] = []
    if command is not None:
        words = " ".join([*command.words])
        box |= {
            "image": "python:3.12-slim",
            "command": ["sh", "-c"],
            "args": [f"pip install --no-cache-dir {PACKAGES[plan.engine]} && exec {words}"],
        }
    else:
        data = {"router.yaml": trtllm_router(servers, HTTP_PORT)}
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
        box |= {
            "image": engine_image(plan),
            "command": ["trtllm-serve", "disaggregated"],
            "args": ["--config_file", "/router/router.yaml"],
            "volumeMounts": [{"name": "router", "mountPath": "/router"}],
        }
        volumes = [{"name": "router", "configMap": {"name": name}}]
    probe = {"httpGet": {"path": export_of(plan.engine).health, "port": "http"}, "periodSeconds": 10}
    box["readinessProbe"] = probe
    labels = {"app": name}
    spec: Object = {"containers": [box]}
    if volumes:
        spec["volumes"] = volumes
    objects.append(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
    )
    ports = [{"name": "http", "port": HTTP_PORT, "targetPort": HTTP_PORT}]
    objects.append(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": labels},
            "spec": {"selector": labels, "ports": ports},
        }
    )
    return objects


def kubernetes_base(plan: LaunchPlan) -> str:
    """Where clients inside the cluster speak to."""
    return f"http://{object_name(plan, 'router') if plan.apart else object_name(plan)}:{HTTP_PORT}"


def kubernetes_steps(plan: LaunchPlan) -> list[str]:
    steps = []
    if max(p.nodes(plan.case.cluster.host_gpus) for p in plan.pools) > 1:
        steps.append("LeaderWorkerSet (sigs.k8s.io/lws) must be installed; nodes need their RDMA devices in the pods.")
    steps.append(APPLIED.format("manifest.yaml"))
    where = kubernetes_base(plan)
    steps.append(f"Inside the cluster, `{where}` is the address: from a pod, {tried(plan)}.")
    return steps
