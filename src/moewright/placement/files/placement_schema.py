"""The JSON Schema of a placement file."""

from __future__ import annotations

from typing import Any

from moewright.placement.expert_placement import Affinity


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
    found = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "moewright placement",
        **_object(rows),
    }
    found["properties"] |= _added()
    return found


def _added() -> dict[str, Any]:
    """What the command adds to a placement."""
    moved = ("replicas", "node_bytes", "fabric_bytes", "storage_bytes", "seconds")
    count = {"type": "number", "minimum": 0}
    return {
        "held_out": {"type": ["number", "null"], "minimum": 0, "maximum": 1.000001},
        "gain": {"type": ["number", "null"]},
        "kept": {"type": "boolean"},
        "migration": {**_object(dict.fromkeys(moved, count)), "type": ["object", "null"]},
    }


def _object(rows: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": rows, "required": list(rows), "additionalProperties": False}
