"""The JSON Schema of a spec file, from the records that read it."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from moewright.case.file import records as d
from moewright.case.file import serving_section as s
from moewright.case.file import training_section as t

RECORDS: tuple[type[d.Record], ...] = (
    *(d.ModelRecord, d.NamedModelRecord, d.SoftmaxRecord, d.LatentRecord, d.LinearRecord, d.PrecisionRecord),
    *(d.ClusterRecord, d.ProfiledClusterRecord, d.NamedClusterRecord, d.DeviceRecord, d.WorkloadRecord),
    *(d.StrategyRecord, d.LimitsRecord, d.RoutingRecord, s.ServingRecord, s.LengthsRecord, s.EngineRecord),
    *(t.TrainRecord, t.TrainStrategyRecord),
)


#: a strategy in one line
SHORT: dict[str, Any] = {"type": "string", "minLength": 1, "examples": ["dp8 ep8", "tp4,pp2"]}


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a spec file."""
    from moewright.case.catalogue.hardware_catalogue import cluster_names, device_names
    from moewright.case.catalogue.model_catalogue import model_names

    _, found = models_json_schema([(record, "validation") for record in RECORDS], ref_template="#/$defs/{model}")
    defs: dict[str, Any] = found["$defs"]
    attention = {"oneOf": [_ref(d.SoftmaxRecord), _ref(d.LatentRecord), _ref(d.LinearRecord)]}
    defs["ModelRecord"]["properties"]["attention"] = {
        "anyOf": [attention, {"type": "array", "items": attention, "minItems": 1}],
        "description": "one for all layers, or a list that repeats over them",
    }
    formats = {"anyOf": [d.FORMAT_SCHEMA, _ref(d.PrecisionRecord)]}
    for record in ("ModelRecord", "NamedModelRecord"):
        defs[record]["properties"]["precision"] = formats
    device = {"anyOf": [{"type": "string", "examples": device_names()}, _ref(d.DeviceRecord)]}
    for record in ("ClusterRecord", "NamedClusterRecord"):
        defs[record]["properties"]["device"] = device
    defs["DeviceRecord"]["properties"]["flops"]["anyOf"][0]["propertyNames"] = {"enum": list(d.UNITS)}
    defs["PoolRecord"]["properties"]["strategy"]["anyOf"].append(SHORT)
    # a reader that names its kinds names serving too; its fields are another record's
    defs["WorkloadRecord"]["properties"]["kind"] = {"enum": ["forward", "prefill", "decode"]}
    named = {"type": "string", "minLength": 1}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "moewright spec",
        "type": "object",
        "additionalProperties": False,
        "required": ["model", "cluster", "workload"],
        "properties": {
            "model": {
                "anyOf": [{**named, "examples": model_names()}, _ref(d.NamedModelRecord), _ref(d.ModelRecord)],
                "description": "a catalogue name, a path to a config.json or its folder, or written out",
            },
            "cluster": {
                "anyOf": [
                    {**named, "examples": cluster_names()},
                    _ref(d.NamedClusterRecord),
                    _ref(d.ProfiledClusterRecord),
                    _ref(d.ClusterRecord),
                ],
                "description": "a catalogue name with a count of GPUs, or written out",
            },
            "workload": {"anyOf": [_ref(d.WorkloadRecord), _ref(s.ServingRecord), _ref(t.TrainRecord)]},
            "strategy": {"anyOf": [_ref(d.StrategyRecord), _ref(t.TrainStrategyRecord), SHORT]},
            "objective": {"enum": ["latency", "throughput", "cost"], "default": "latency"},
            "limits": _ref(d.LimitsRecord),
            "calibration": {**named, "description": "a file of `moewright calibrate`, for a serving workload"},
            "routing": {
                "anyOf": [{"const": "uniform"}, _ref(d.RoutingRecord), named],
                "description": "uniform, {zipf: exponent}, zipf:1.0, lognormal:1.0, dirichlet:0.3, or a file of loads",
                "default": "uniform",
            },
        },
        "$defs": defs,
    }


def _ref(record: type[d.Record]) -> dict[str, str]:
    return {"$ref": f"#/$defs/{record.__name__}"}
