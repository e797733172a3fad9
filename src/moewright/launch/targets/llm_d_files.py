"""llm-d: model servers with its labels, the routing sidecar before decodes, and values of its router's chart.

After llm-d's guides (guides/pd-disaggregation, guides/wide-ep-lws, guides/recipes/router; llm-d/llm-d, 2026-10).
"""

from __future__ import annotations

from moewright.errors import InfeasibleError
from moewright.launch.launch_plan import LaunchPlan, Role
from moewright.launch.servers import HTTP_PORT
from moewright.launch.targets.bundle import File, tried
from moewright.launch.targets.kubernetes_files import APPLIED
from moewright.launch.targets.manifest import Instance, Object, config_map, dumped, object_name, workload

#: engines that its sidecar speaks to → the connector's name there
CONNECTORS = {"vllm": "nixlv2", "sglang": "sglang"}
#: where a decode server listens behind its sidecar, which looks for it there
BEHIND = 8200
SIDECAR = "ghcr.io/llm-d/llm-d-router-disagg-sidecar:v0.8.0"


def llm_d_files(plan: LaunchPlan) -> list[File]:
    """``modelserver.yaml`` and ``router.values.yaml``. Raises SpecError, InfeasibleError."""
    if plan.engine not in CONNECTORS:
        raise InfeasibleError(f"target llm-d: its model servers are {', '.join(CONNECTORS)}, not {plan.engine}")
    guide = object_name(plan)
    objects: list[Object] = [*config_map(plan)]
    for pool in plan.pools:
        labels = {
            "llm-d.ai/inference-serving": "true",
            "llm-d.ai/guide": guide,
            "llm-d.ai/model": _label(plan.settings.served_name),
        }
        if plan.apart:
            labels["llm-d.ai/role"] = str(pool.role)
        name = object_name(plan, str(pool.role)) if plan.apart else guide
        instance = Instance(name, pool, pool.count, pool.nodes(plan.case.cluster.host_gpus), labels)
        behind = pool.role is Role.DECODE
        made = workload(plan, instance, BEHIND if behind else HTTP_PORT)
        if behind:
            _add_sidecar(plan, made)
        objects.append(made)
    comment = f"{plan.name}, {plan.engine} {plan.version}"
    values = dumped([router_values(plan, guide)], "Of the chart oci://ghcr.io/llm-d/charts/llm-d-router-standalone")
    return [File("modelserver.yaml", dumped(objects, comment)), File("router.values.yaml", values)]


def _label(text: str) -> str:
    """A label's value: letters, digits, and ``-_.`` between them, 63 at most."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)[:63].strip("-_.")


def _add_sidecar(plan: LaunchPlan, made: Object) -> None:
    """The proxy that sends a request's prompt to prefill first, in each pod that clients speak to."""
    spec = made["spec"]
    template = spec["template"] if made["kind"] == "Deployment" else spec["leaderWorkerTemplate"]["leaderTemplate"]
    template["spec"]["initContainers"] = [
        {
            "name": "routing-proxy",
            "image": SIDECAR,
            "args": [
                f"--port={HTTP_PORT}",
                f"--kv-connector={CONNECTORS[plan.engine]}",
                "--secure-serving=false",
            ],
            "ports": [{"name": "sidecar", "containerPort": HTTP_PORT}],
            "restartPolicy": "Always",
            "securityContext": {"allowPrivilegeEscalation": False, "runAsNonRoot": True},
        }
    ]


_APART = """apiVersion: llm-d.ai/v1
kind: EndpointPickerConfig
plugins:
- type: always-disagg-pd-decider
- type: disagg-profile-handler
  parameters:
    deciders:
      prefill: always-disagg-pd-decider
- type: prefill-filter
- type: decode-filter
- type: inflight-load-producer
- type: token-load-scorer
- type: active-request-scorer
- type: max-score-picker
schedulingProfiles:
- name: prefill
  plugins:
  - pluginRef: prefill-filter
  - pluginRef: token-load-scorer
  - pluginRef: max-score-picker
- name: decode
  plugins:
  - pluginRef: decode-filter
  - pluginRef: active-request-scorer
  - pluginRef: max-score-picker
"""


def router_values(plan: LaunchPlan, guide: str) -> Object:
    """Values of the router's chart: which pods are its model servers, and for prefill apart what picks them."""
    picker: Object = {"replicas": 1}
    if plan.apart:
        picker |= {"pluginsConfigFile": "pd-config.yaml", "pluginsCustomConfig": {"pd-config.yaml": _APART}}
    return {
        "router": {
            "extraServicePorts": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8081}],
            "epp": picker,
            "modelServers": {"protocol": "http", "matchLabels": {"llm-d.ai/guide": guide}},
        }
    }


def llm_d_base(plan: LaunchPlan) -> str:
    """The Service of the router's release: its name and ``-epp``, on port 80."""
    return f"http://{object_name(plan)}-epp"


def llm_d_steps(plan: LaunchPlan) -> list[str]:
    release = object_name(plan)
    steps = ["The CRDs of the Gateway API Inference Extension must be installed"]
    if max(p.nodes(plan.case.cluster.host_gpus) for p in plan.pools) > 1:
        steps[0] += ", and LeaderWorkerSet; nodes need their RDMA devices in the pods"
    steps[0] += "."
    chart = "oci://ghcr.io/llm-d/charts/llm-d-router-standalone"
    return [
        *steps,
        f"`helm install {release} {chart} --version v0 -f router.values.yaml`",
        APPLIED.format("modelserver.yaml"),
        f"From a pod, against the router's Service (`{llm_d_base(plan)}`): {tried(plan)}.",
    ]
