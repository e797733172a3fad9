"""A spec file with a comment at every line, from the document that options make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_COMMENTS: Mapping[str, str] = {
    "model": "a catalogue name (moewright models), a config.json or its folder, or a Hugging Face id",
    "cluster": "a catalogue name (moewright clusters) with GPUs, or written out",
    "workload": "requests that an engine serves (kind serving), or one pass (forward, prefill, decode)",
    "workload.input": "tokens of a prompt; {mean: 4000, sigma: 0.5} or {uniform: 4000} for others",
    "workload.output": "tokens of an answer",
    "workload.concurrency": "requests open at once; a list or auto to plan; or rate: requests a second",
    "workload.engine": "vllm, sglang or trtllm; its version decides the memory rule",
    "workload.batch": "sequences on all GPUs; a list or auto",
    "workload.sequence": "tokens of a sequence",
    "strategy": "evaluate this one alone: dp8 ep8; left out: every legal one is searched",
    "objective": "latency, throughput or cost",
    "limits": "of the means that users see",
    "routing": "uniform, typical, {zipf: 1.0}, or a file of expert loads",
}
#: what is written as a comment where it is not set
_OPEN: Mapping[str, str] = {
    "strategy": "dp8 ep8",
    "objective": "latency",
    "limits": "{ttft: 2 s, tpot: 50 ms}",
    "routing": "uniform",
}


def commented_spec(document: Mapping[str, Any]) -> str:
    """YAML of ``document``, a comment at every line that has one; what is left open stands in comments."""
    lines = ["# moewright plan FILE · moewright serve FILE · moewright launch FILE (docs/spec.md has all fields)"]
    for name in ("model", "cluster", "workload", *_OPEN):
        if name in document:
            lines += _field(name, document[name], name, 0)
        else:
            lines.append(_with_comment(f"# {name}: {_OPEN[name]}", name))
    return "\n".join(lines) + "\n"


def _field(name: str, value: Any, path: str, depth: int) -> list[str]:
    indent = "  " * depth
    if isinstance(value, dict) and path == "workload":
        head = _with_comment(f"{indent}{name}:", path)
        return [head, *(x for key, item in value.items() for x in _field(key, item, f"{path}.{key}", depth + 1))]
    return [_with_comment(f"{indent}{name}: {_inline(value)}", path)]


def _inline(value: Any) -> str:
    """``value`` in YAML's flow style, which JSON is."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, str):
        plain = value.replace("-", "").replace("_", "").replace("/", "").replace(" ", "")
        return value if plain.isalnum() and not plain[0].isdigit() else json.dumps(value)
    return json.dumps(value)


def _with_comment(line: str, path: str) -> str:
    comment = _COMMENTS.get(path)
    return f"{line:<46} # {comment}" if comment else line
