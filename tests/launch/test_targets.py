"""Files of a launch folder: manifests by the schemas of what takes them, scripts by running them."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from benchmarks.engines.random_plans import random_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright.errors import InfeasibleError, SpecError
from moewright.launch.exporters.engine_export import commands, refusals
from moewright.launch.launch_folder import launch
from moewright.launch.launch_plan import LaunchPlan
from moewright.launch.servers import nodes_used

SEEDS = st.integers(0, 1 << 32)
KUBERNETES = "1.33"
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

#: of nvidia.com/v1beta1 (ai-dynamo/dynamo, deploy/operator/api/v1beta1/*_types.go), what a worker or frontend may have
GRAPH = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "nvidia.com/v1beta1"},
        "kind": {"const": "DynamoGraphDeployment"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "backendFramework": {"enum": ["sglang", "vllm", "trtllm"]},
                "env": {"type": "array"},
                "components": {
                    "type": "array",
                    "maxItems": 25,
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "additionalProperties": False,
                        "properties": {
                            "name": {"pattern": "^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$", "maxLength": 63},
                            "type": {"enum": ["frontend", "worker", "prefill", "decode", "planner", "epp"]},
                            "replicas": {"type": "integer", "minimum": 0},
                            "sharedMemorySize": {"type": "string"},
                            "multinode": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {"nodeCount": {"type": "integer", "minimum": 2}},
                            },
                            "podTemplate": {"type": "object"},
                        },
                    },
                },
            },
        },
    },
}


def closed(schema: Any) -> Any:
    """``schema`` with no property but those that it names."""
    if isinstance(schema, dict):
        made = {k: closed(v) for k, v in schema.items()}
        if "properties" in made:
            made.setdefault("additionalProperties", False)
        return made
    return [closed(v) for v in schema] if isinstance(schema, list) else schema


@cache
def worker_set_schema() -> Any:
    text = (Path(__file__).parent / "leaderworkerset.yaml").read_text(encoding="utf-8")
    return closed(yaml.safe_load(text)["schema"])


def check_pod(template: dict[str, Any]) -> None:
    """A pod template, held to the schema of a Pod."""
    pod = {"apiVersion": "v1", "kind": "Pod", **deepcopy(template)}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def check_object(item: dict[str, Any]) -> None:
    """Any object of a manifest; unknown fields are refused."""
    name = item["metadata"]["name"]
    assert NAME.fullmatch(name), name
    assert len(name) <= 45, name
    if item["kind"] == "LeaderWorkerSet":
        jsonschema.validate(item, worker_set_schema())
        parts = item["spec"]["leaderWorkerTemplate"]
        check_pod(parts["leaderTemplate"])
        check_pod(parts["workerTemplate"])
    elif item["kind"] == "DynamoGraphDeployment":
        jsonschema.validate(item, GRAPH)
        for part in item["spec"]["components"]:
            check_pod(part["podTemplate"])
            assert part["podTemplate"]["spec"]["containers"][0]["name"] == "main"
    else:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)


def pods(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Pod templates of an object that runs engines."""
    spec = item.get("spec", {})
    if item["kind"] == "LeaderWorkerSet":
        parts = spec["leaderWorkerTemplate"]
        return [parts["leaderTemplate"], *[parts["workerTemplate"]] * (parts["size"] - 1)]
    if item["kind"] == "Deployment":
        return [spec["template"]]
    return []


def gpus(item: dict[str, Any]) -> int:
    """GPUs of an object with all its replicas."""
    found = 0
    for pod in pods(item):
        for box in pod["spec"]["containers"]:
            limits = box.get("resources", {}).get("limits", {})
            found += sum(int(v) for k, v in limits.items() if k.endswith("/gpu"))
    return found * item.get("spec", {}).get("replicas", 1) if found else 0


def documents(plan: LaunchPlan, target: str) -> list[dict[str, Any]]:
    files = [f for f in launch(plan, target).files if f.path in ("manifest.yaml", "modelserver.yaml", "graph.yaml")]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [d for f in files for d in yaml.load_all(f.text, Loader=loader)]


def startable(seed: int, engine: str) -> LaunchPlan:
    """A random plan that the engine runs, with all named that a manifest must name."""
    draw = random.Random(seed)
    while True:
        plan = random_plan(draw, engine)
        if not refusals(plan, engine):
            named = replace(plan.settings, draft_model="some/draft")
            return replace(plan, settings=named, image="registry.example/runtime:1")


@pytest.mark.parametrize("target", ["kubernetes", "llm-d", "dynamo"])
@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
@given(seed=SEEDS)
@settings(max_examples=12)
def test_manifests_are_what_their_schemas_take(target: str, engine: str, seed: int) -> None:
    plan = startable(seed, engine)
    try:
        found = documents(plan, target)
    except InfeasibleError:
        assert engine == "trtllm"
        return
    for item in found:
        check_object(item)
    if target != "dynamo":
        assert sum(gpus(item) for item in found) == plan.gpus
    names = [(item["kind"], item["metadata"]["name"]) for item in found]
    assert len(names) == len(set(names))


@given(seed=SEEDS)
@settings(max_examples=12)
def test_services_find_the_pods_that_answer(seed: int) -> None:
    plan = startable(seed, "vllm")
    found = documents(plan, "kubernetes")
    for service in (item for item in found if item["kind"] == "Service"):
        selector = dict(service["spec"]["selector"])
        leader = selector.pop("leaderworkerset.sigs.k8s.io/worker-index", None)
        matched = [
            (item, pod) for item in found for pod in pods(item) if selector.items() <= pod["metadata"]["labels"].items()
        ]
        assert matched, service["metadata"]["name"]
        assert all((item["kind"] == "LeaderWorkerSet") == (leader == "0") for item, _ in matched)
        ports = {
            p["containerPort"] for _, pod in matched for c in pod["spec"]["containers"] for p in c.get("ports", [])
        }
        assert {p["targetPort"] for p in service["spec"]["ports"] if p["name"] == "http"} <= ports


@given(seed=SEEDS)
@settings(max_examples=20)
def test_llm_d_routes_to_no_pod_without_a_server(seed: int) -> None:
    plan = startable(seed, "vllm")
    for item in documents(plan, "llm-d"):
        for pod in pods(item):
            words = [w for c in pod["spec"]["containers"] for w in (*c["command"], *c["args"])]
            assert ("--headless" in words) != ("llm-d.ai/guide" in pod["metadata"]["labels"])


@given(seed=SEEDS)
@settings(max_examples=10)
def test_dynamo_counts_nodes_and_gpus(seed: int) -> None:
    plan = startable(seed, "sglang")
    graph = documents(plan, "dynamo")[-1]
    total = 0
    for part in graph["spec"]["components"][1:]:
        box = part["podTemplate"]["spec"]["containers"][0]
        nodes = part.get("multinode", {}).get("nodeCount", 1)
        total += part["replicas"] * nodes * int(next(iter(box["resources"]["limits"].values())))
        assert "--nnodes" not in box["args"]
    assert total == plan.gpus


def test_an_unknown_field_is_refused() -> None:
    plan = next(p for p in (startable(s, "sglang") for s in range(200)) if max(x.gpus for x in p.pools) > 8)
    item = next(i for i in documents(plan, "kubernetes") if i["kind"] == "LeaderWorkerSet")
    wrong = deepcopy(item)
    wrong["spec"]["leaderWorkerTemplate"]["sizes"] = 2
    with pytest.raises(jsonschema.ValidationError):
        check_object(wrong)
    wrong = deepcopy(item)
    wrong["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]["container"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        check_object(wrong)


def test_a_manifest_needs_the_checkpoint() -> None:
    plan = startable(1, "vllm")
    plan = replace(plan, settings=replace(plan.settings, checkpoint="${MODEL}"))
    with pytest.raises(SpecError, match="--checkpoint"):
        launch(plan, "kubernetes")
    with pytest.raises(SpecError, match="--image"):
        launch(replace(startable(1, "vllm"), image=""), "dynamo")


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """Programs that write how they were called, one JSON line each, into $CALLS."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = (
        "#!/usr/bin/env python3\nimport json, os, sys\n"
        "keys = ('CUDA_VISIBLE_DEVICES', 'VLLM_NIXL_SIDE_CHANNEL_HOST', 'VLLM_NIXL_SIDE_CHANNEL_PORT')\n"
        "line = {'argv': [os.path.basename(sys.argv[0]), *sys.argv[1:]], 'env': {k: os.environ.get(k) for k in keys}}\n"
        "open(os.environ['CALLS'], 'a').write(json.dumps(line) + '\\n')\n"
    )
    for name in ("vllm", "trtllm-serve", "torchrun", "vllm-router", "nginx"):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("seed", range(6))
def test_scripts_start_what_was_meant(seed: int, tmp_path: Path, bin_folder: Path) -> None:
    plan = startable(seed, "vllm")
    folder = tmp_path / "launch"
    folder.mkdir()
    for file in launch(plan).files:
        (folder / file.path).write_text(file.text)
    addresses = {f"NODE_{i}": f"10.0.0.{i}" for i in range(nodes_used(plan))}
    calls = tmp_path / "calls"
    env = {**os.environ, **addresses, "CALLS": str(calls), "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    for node in range(nodes_used(plan)):
        subprocess.run(["sh", f"node-{node}.sh"], cwd=folder, env=env, check=True, timeout=60)
    made = [json.loads(line) for line in calls.read_text().splitlines()]
    meant = []
    for process, command in commands(plan):
        words = [re.sub(r"\$\{(\w+)\}", lambda m: addresses[m[1]], w) for w in command.words]
        devices = ",".join(str(process.first_gpu + i) for i in range(process.gpus))
        meant.append((words, devices))
    assert sorted(m["argv"] for m in made) == sorted(w for w, _ in meant)
    for one in made:
        shown = one["env"]["CUDA_VISIBLE_DEVICES"]
        assert shown is None or (one["argv"], shown) in meant


def test_a_script_without_its_variable_says_which(tmp_path: Path, bin_folder: Path) -> None:
    plan = next(p for p in (startable(s, "vllm") for s in range(100)) if nodes_used(p) > 1)
    (tmp_path / "node-1.sh").write_text(next(f.text for f in launch(plan).files if f.path == "node-1.sh"))
    env = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
    done = subprocess.run(["sh", "node-1.sh"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "set it: address of node" in done.stderr


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "megatron"])
@pytest.mark.parametrize("target", ["shell", "slurm"])
def test_scripts_are_well_formed(engine: str, target: str) -> None:
    for seed in range(4):
        try:
            found = launch(startable(seed, engine), target)
        except InfeasibleError:
            assert (engine, target) == ("trtllm", "shell")
            continue
        for file in found.files:
            if file.path.endswith((".sh", ".sbatch")):
                shell = "bash" if file.path.endswith(".sbatch") else "sh"
                subprocess.run([shell, "-n"], input=file.text, text=True, check=True, timeout=60)


@given(seed=SEEDS)
@settings(max_examples=12)
def test_compose_files_give_each_service_its_gpus(seed: int) -> None:
    plan = startable(seed, "sglang")
    total = 0
    for file in launch(plan, "docker").files:
        if not file.path.endswith(".yaml") or not file.path.startswith("compose"):
            continue
        for name, service in yaml.safe_load(file.text)["services"].items():
            if name == "router":
                continue
            devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices")
            shown = service["environment"].get("HIP_VISIBLE_DEVICES", "").split(",")
            total += len(devices[0]["device_ids"]) if devices else len(shown)
    assert total == plan.gpus


@pytest.mark.parametrize("target", ["docker", "kubernetes", "llm-d", "dynamo"])
def test_a_training_job_is_started_by_shell_and_slurm_alone(target: str) -> None:
    with pytest.raises(InfeasibleError, match=f"target {target}: megatron runs a job, which shell and slurm start"):
        launch(startable(0, "megatron"), target)


def test_a_readme_names_long_rows_of_files_by_their_ends_and_only_files_that_are_there() -> None:
    for seed in range(40):
        plan = startable(seed, "sglang")
        found = launch(plan)
        text, paths = found.files[0].text, {f.path for f in found.files}
        named = set(re.findall(r"sh ([a-z]+(?:-\d+)?\.sh)", text))
        assert named <= paths
        listed = text.split("## Files\n\n")[1].split("\n")[0]
        assert len(re.findall("node-", listed)) <= 3
