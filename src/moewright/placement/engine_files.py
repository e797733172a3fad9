"""Placement files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moewright.errors import SpecError
from moewright.placement.expert_placement import Affinity, ExpertPlacement


def read_previous(path: Path) -> Any:
    """``expert_of_slot`` of a placement file. Raises SpecError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", file=str(path)) from None
    except (ValueError, RecursionError) as error:
        raise SpecError(f"is no JSON: {str(error)[:80]}", file=str(path)) from None
    if not isinstance(content, dict) or "expert_of_slot" not in content:
        raise SpecError(
            "is missing; expected a file that moewright place wrote", file=str(path), field="expert_of_slot"
        )
    rows = content["expert_of_slot"]
    if not isinstance(rows, list):
        raise SpecError(
            f"got {str(rows)[:40]}; expected a list of expert ids per layer", file=str(path), field="expert_of_slot"
        )
    return rows


def model_sizes(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Bytes of an expert and of a dispatched token and the routing of catalogue model ``name``, as ``place`` takes
    them, for loads of ``shape``. Raises SpecError."""
    from moewright.case.catalogue.model_catalogue import load_model
    from moewright.case.precision import element_bytes

    model = load_model(name)
    moe = model.moe
    if moe is None or moe.experts != shape[-1]:
        held = f"{moe.experts} experts" if moe else "no experts"
        raise SpecError(f"{name} has {held}; the loads have {shape[-1]}", field="--model")
    matrices = 3 if moe.gated else 2
    return {
        "expert_bytes": matrices * model.hidden_size * moe.width * element_bytes(model.precision.weight("experts")),
        "token_bytes": model.hidden_size * element_bytes(model.precision.dispatch),
        "top_k": moe.top_k,
        "top_groups": moe.top_groups,
        "router_groups": moe.groups,
    }


def schema() -> dict[str, Any]:
    """The JSON Schema of a placement file."""
    positive = {"type": "number", "minimum": 0}
    part = {"type": "number", "minimum": 0, "maximum": 1.000001}
    excess = {"type": "number", "minimum": 0.999999}
    count = {"type": "integer", "minimum": 1}

    def table(cell: dict[str, Any]) -> dict[str, Any]:
        return {"type": "array", "minItems": 1, "items": {"type": "array", "items": cell}}

    def layers(cell: dict[str, Any], optional: bool = False) -> dict[str, Any]:
        return {"type": ["array", "null"] if optional else "array", "items": cell}

    rows: dict[str, Any] = {
        "moewright": {"type": "string", "description": "version that made the file"},
        "model": {"type": ["string", "null"]},
        "slots": count,
        "gpus": count,
        "nodes": count,
        "groups": count,
        "seed": {"type": "integer", "minimum": 0},
        "expert_of_slot": table({"type": "integer", "minimum": -1}),
        "replicas": table(count),
        "share": table(part),
        "gpu_load": table(positive),
        "balancedness": part,
        "straggler": excess,
        "bound": part,
        "seconds": positive,
        "moved": {"type": ["integer", "null"], "minimum": 0},
        "moved_bytes": {"type": ["number", "null"], "minimum": 0},
        "cross_node_bytes": {"type": ["number", "null"], "minimum": 0},
        "layer_balancedness": layers(part),
        "layer_straggler": layers(excess),
        "layer_bound": layers(part),
        "layer_seconds": layers(positive),
        "layer_moved": layers({"type": "integer", "minimum": 0}, optional=True),
        "layer_moved_bytes": layers(positive, optional=True),
        "layer_cross_node_bytes": layers(positive, optional=True),
        "before": table(positive),
        "windows": layers(part, optional=True),
        "affinity": {
            **_object({name: {"type": ["number", "null"], "minimum": 0} for name in Affinity.__slots__}),
            "type": ["object", "null"],
        },
        "width": {"type": ["integer", "null"], "minimum": 1},
        "slices": layers(_object({"slices": count, "balancedness": part, "straggler": excess, "padding": excess,
                                  "cost": excess, "best": {"type": "boolean"}}), optional=True),
    }  # fmt: skip
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "moewright placement",
        **_object(rows),
    }


def _object(rows: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": rows, "required": list(rows), "additionalProperties": False}


def engine_file(p: ExpertPlacement, form: str, first_layer: int = 0) -> str:
    """``p`` as an engine loads it, slots in GPU order.

    eplb: DeepSeek EPLB's arrays phy2log, log2phy (padded with −1), logcnt, as JSON. sglang: for
    ``--init-expert-location``. tensorrt-llm: YAML of ``moe_config.load_balancer``, keys are layers of the model from
    ``first_layer`` on. vllm: a list of expert ids per layer, as open changes propose. Raises SpecError where layers
    have different numbers of slots, and where slots are cut over several GPUs.
    """
    if p.slots < p.gpu_load.shape[1]:
        raise SpecError(
            f"got {form} with {p.slots} slots on {p.gpu_load.shape[1]} GPUs; engines hold whole experts, expected at "
            "least one slot a GPU, or moewright",
            field="--format",
        )
    if p.expert_of_slot.min() < 0:
        raise SpecError(
            f"got {form}; engines take equally many slots in every layer, expected moewright with --budget",
            field="--format",
        )
    slots: list[list[int]] = p.expert_of_slot.tolist()
    if form == "sglang":
        return json.dumps({"physical_to_logical_map": slots}) + "\n"
    if form == "vllm":
        return json.dumps(slots) + "\n"
    if form == "tensorrt-llm":
        lines = [f"  {first_layer + i}: {row}" for i, row in enumerate(slots)]
        header = ["initial_global_assignments:", *lines, f"num_slots: {len(slots[0])}", "layer_updates_per_iter: 0"]
        return "\n".join(header) + "\n"
    most = int(p.replicas.max())
    where = [[[-1] * most for _ in row] for row in p.replicas]
    for layer, row in enumerate(slots):
        filled = [0] * p.replicas.shape[1]
        for slot, expert in enumerate(row):
            where[layer][expert][filled[expert]] = slot
            filled[expert] += 1
    return json.dumps({"phy2log": slots, "log2phy": where, "logcnt": p.replicas.tolist()}) + "\n"
