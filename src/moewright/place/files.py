"""Placement files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moewright.errors import SpecError
from moewright.place.record import ExpertPlacement


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
    return content["expert_of_slot"]


def engine_file(p: ExpertPlacement, form: str, first_layer: int = 0) -> str:
    """``p`` as an engine loads it, slots in GPU order.

    eplb: DeepSeek EPLB's arrays phy2log, log2phy (padded with −1), logcnt, as JSON. sglang: for
    ``--init-expert-location``. tensorrt-llm: YAML of ``moe_config.load_balancer``, keys are layers of the model from
    ``first_layer`` on. vllm: a list of expert ids per layer, as open changes propose.
    """
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
