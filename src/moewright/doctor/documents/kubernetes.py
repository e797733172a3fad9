"""Kubernetes resources → the programs of their containers.

Read by shape, not by kind: whatever has ``containers`` (or Dynamo's ``mainContainer``) under it is a pod, its copies
are the ``replicas`` above it, its nodes LeaderWorkerSet's ``size`` or Dynamo's ``multinode.nodeCount``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from moewright.doctor.programs import Program
from moewright.doctor.shell.expansion import unknown

_ROLES: Final = ("prefill", "decode", "leader", "worker")
#: llm-d and KServe: ``parallelism`` → the option of vLLM that the operator adds
_PARALLELISM: Final = {
    "tensor": "--tensor-parallel-size",
    "pipeline": "--pipeline-parallel-size",
    "data": "--data-parallel-size",
    "dataLocal": "--data-parallel-size-local",
}


@dataclass(frozen=True, slots=True)
class _Above:
    """What the levels above a container say."""

    name: str = ""
    copies: int = 1
    nodes: int | None = None
    role: str = ""
    model: str = ""
    parallelism: tuple[tuple[str, Any], ...] = ()
    gpus: int | None = None


def kubernetes_programs(documents: list[Any]) -> list[Program]:
    """The programs of every container in ``documents``."""
    files = _config_files(documents)
    several = [
        p for d in documents if isinstance(d, dict) and d.get("kind") != "ConfigMap" for p in _visit(d, _named(d))
    ]
    return [_with_file(p, files) for p in several]


def _named(document: dict[str, Any]) -> _Above:
    metadata = document.get("metadata")
    name = str(metadata.get("name", "")) if isinstance(metadata, dict) else ""
    kind = str(document.get("kind", ""))
    return _Above(f"{kind} {name}".strip(), role=_role(name, ""))


def _role(name: str, before: str) -> str:
    return next((r for r in ("prefill", "decode") if r in name.lower()), before)


def _visit(node: Any, above: _Above, key: str = "") -> Iterator[Program]:
    if isinstance(node, list):
        for item in node:
            yield from _visit(item, above, key)
    if not isinstance(node, dict):
        return
    above = _deeper(node, above, key)
    for name in ("containers", "mainContainer", "engineContainer"):
        for container in _listed(node.get(name)):
            if isinstance(container, dict):
                yield from _container(container, above)
    if "model" in node and isinstance(node["model"], dict) and "args" in node["model"]:
        yield from _container({"image": "vllm-openai", **node["model"]}, above)  # KServe's predictor
    for name, value in node.items():
        if name not in ("containers", "mainContainer", "initContainers", "engineContainer"):
            yield from _visit(value, above, str(name))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else []


def _deeper(node: dict[str, Any], above: _Above, key: str) -> _Above:
    found = above
    role = next((r for r in _ROLES if r in key.lower()), "")
    if role in ("prefill", "decode") or (role and not found.role):
        found = replace(found, role=role)
    sub = str(node.get("subComponentType", ""))
    if sub in ("prefill", "decode"):
        found = replace(found, role=sub)
    if isinstance(node.get("replicas"), int):
        found = replace(found, copies=node["replicas"])
    template = node.get("leaderWorkerTemplate")
    if isinstance(template, dict):
        found = replace(found, nodes=int(template.get("size") or 1))
    several = node.get("multinode")
    if isinstance(several, dict) and isinstance(several.get("nodeCount"), int):
        found = replace(found, nodes=several["nodeCount"])
    if isinstance(node.get("parallelism"), dict):
        found = replace(found, parallelism=tuple(node["parallelism"].items()))
    for name in ("modelArtifacts", "model"):
        uri = node[name].get("uri") if isinstance(node.get(name), dict) else None
        if isinstance(uri, str):
            found = replace(found, model=re.sub(r"^\w+://", "", uri))
    gpus = _gpus(node)
    return found if gpus is None else replace(found, gpus=gpus)


def _gpus(node: dict[str, Any]) -> int | None:
    resources = node.get("resources")
    for part in ("limits", "requests"):
        of = resources.get(part) if isinstance(resources, dict) else None
        for name, value in of.items() if isinstance(of, dict) else ():
            if str(name) == "gpu" or str(name).endswith(("/gpu", "/gpus")):
                return int(value) if re.fullmatch(r"\d+", str(value)) else None
    return None


def _container(node: dict[str, Any], above: _Above) -> Iterator[Program]:
    environment = _environment(node, above)
    words = [_substituted(str(x), environment) for part in ("command", "args") for x in _words_of(node.get(part))]
    if node.get("modelCommand") in ("vllmServe", "imageDefault") or (not node.get("command") and above.model):
        words = ["vllm", "serve", above.model or unknown("model"), *words]
        for name, option in _PARALLELISM.items():
            value = dict(above.parallelism).get(name)
            if value is not None and not any(w.split("=")[0] == option for w in words):
                words += [option, str(value)]
    if not words:
        return
    gpus = _gpus(node)
    where = f"{above.name}, container {node['name']}" if "name" in node else above.name
    image = node.get("image")
    name = f"{image.get('repository', '')}:{image.get('tag', '')}" if isinstance(image, dict) else str(image or "")
    yield Program(
        tuple(words),
        environment,
        where,
        name,
        above.copies,
        above.nodes,
        above.gpus if gpus is None else gpus,
        above.role,
    )


def _words_of(value: Any) -> list[Any]:
    if isinstance(value, str):
        return value.split()
    return value if isinstance(value, list) else []


def _environment(node: dict[str, Any], above: _Above) -> dict[str, str]:
    found: dict[str, str] = {"LWS_WORKER_INDEX": "0"}
    if above.nodes is not None:
        found["LWS_GROUP_SIZE"] = str(above.nodes)
    for item in node.get("env") or () if isinstance(node.get("env"), list) else ():
        if not isinstance(item, dict) or "name" not in item:
            continue
        name = str(item["name"])
        if "value" in item:
            found[name] = _substituted(str(item["value"]), found)
        elif "index" in str(item.get("valueFrom")):
            found[name] = "0"  # of a pod in its set: the first one's
    return found


def _substituted(text: str, environment: dict[str, str]) -> str:
    """``$(NAME)`` as the kubelet puts it in; ``$$`` is one ``$``."""
    return re.sub(r"\$\$|\$\((\w+)\)", lambda m: "$" if m[0] == "$$" else environment.get(m[1], m[0]), text)


def _config_files(documents: list[Any]) -> dict[str, str]:
    """Files of the ConfigMaps, by name."""
    files: dict[str, str] = {}
    for d in documents:
        if isinstance(d, dict) and d.get("kind") == "ConfigMap" and isinstance(d.get("data"), dict):
            files.update({str(name): str(text) for name, text in d["data"].items()})
    return files


def config_files(documents: list[Any]) -> dict[str, str]:
    """The same, for who reads what a command names."""
    return _config_files(documents)


def _with_file(p: Program, files: dict[str, str]) -> Program:
    """A program that runs a script of a ConfigMap runs what stands there."""
    last = p.words[-1].rpartition("/")[2]
    for i, word in enumerate(p.words):
        name = word.rpartition("/")[2]
        if name in files and name.endswith((".sh", ".bash")) and "/" in word + "/" and i < 3:
            return replace(p, words=("bash", "-c", files[name], name, *p.words[i + 1 :]))
    if len(p.words) > 2 and p.words[-2].endswith("c"):
        name = last.split(" ")[0]
        if name in files and name.endswith((".sh", ".bash")):
            return replace(p, words=("bash", "-c", files[name], name))
    return p
