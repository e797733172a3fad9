"""Placement files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moewright.errors import SpecError
from moewright.placement.expert_placement import ExpertPlacement
from moewright.placement.files.earlier import read_earlier
from moewright.placement.files.engine_layers import EngineLayers


def read_previous(path: Path) -> Any:
    """Expert ids [layers][slots] of a placement file in any format that ``read_earlier`` knows. Raises SpecError."""
    return read_earlier(path).rows


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


def engine_file(
    p: ExpertPlacement, form: str, first_layer: int | None = None, layers: EngineLayers | None = None
) -> str:
    """``p`` as an engine loads it, slots in GPU order.

    eplb: DeepSeek EPLB's arrays phy2log, log2phy (padded with −1), logcnt, as JSON. sglang: for
    ``--init-expert-location``, which is indexed by the layers of the model: a row for each, also for those without
    experts, so that ``layers`` must be known. tensorrt-llm: YAML of ``moe_config.load_balancer``, keys are layers of
    the model: those of ``layers``, or from ``first_layer`` on. vllm-ascend: ``expert_map_path``, layers with experts
    alone. vllm: a list of expert ids per layer, as open changes propose. Raises SpecError where layers have different
    numbers of slots, where slots are cut over several GPUs, and where the model's layers must be known and are not.
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
        if layers is None:
            raise SpecError(
                "got sglang without a model; SGLang takes a row for every layer of the model, also for dense ones, and "
                "a file without them loads and is wrong: name the model with --model",
                field="--format",
            )
        return json.dumps({"physical_to_logical_map": layers.all_rows(slots)}) + "\n"
    if form == "vllm":
        return json.dumps(slots) + "\n"
    if form == "vllm-ascend":
        return _ascend(slots, p.gpu_load.shape[1])
    if form == "tensorrt-llm":
        keys = _keys(len(slots), first_layer, layers)
        lines = [f"  {key}: {row}" for key, row in zip(keys, slots, strict=True)]
        header = ["initial_global_assignments:", *lines, f"num_slots: {len(slots[0])}", "layer_updates_per_iter: 0"]
        return "\n".join(header) + "\n"
    return _eplb(p, slots)


def _keys(rows: int, first_layer: int | None, layers: EngineLayers | None) -> list[int]:
    """Layers of the model that the rows are of."""
    if first_layer is not None:
        return [first_layer + i for i in range(rows)]
    if layers is None:
        raise SpecError(
            "got tensorrt-llm without a model; its keys are layers of the model: name it with --model, or the first "
            "layer that has experts with --first-layer",
            field="--format",
        )
    if rows == layers.layers:
        return list(range(rows))
    layers.check(rows)
    return list(layers.positions)


def _ascend(slots: list[list[int]], gpus: int) -> str:
    each = len(slots[0]) // gpus
    rows = [
        {
            "layer_id": i,
            "device_count": gpus,
            "device_list": [{"device_id": g, "device_expert": row[g * each : (g + 1) * each]} for g in range(gpus)],
        }
        for i, row in enumerate(slots)
    ]
    return json.dumps({"moe_layer_count": len(rows), "layer_list": rows}) + "\n"


def _eplb(p: ExpertPlacement, slots: list[list[int]]) -> str:
    most = int(p.replicas.max())
    where = [[[-1] * most for _ in row] for row in p.replicas]
    for layer, row in enumerate(slots):
        filled = [0] * p.replicas.shape[1]
        for slot, expert in enumerate(row):
            where[layer][expert][filled[expert]] = slot
            filled[expert] += 1
    return json.dumps({"phy2log": slots, "log2phy": where, "logcnt": p.replicas.tolist()}) + "\n"
