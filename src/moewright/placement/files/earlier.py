"""An earlier placement, in any engine's format: read, and fitted to other GPUs or slots with the fewest copies."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moewright.case.bounded_file import MOST_TEXT, decoded, read_bounded
from moewright.case.file.files import parse_mapping
from moewright.errors import SpecError

#: fields that tell whose file it is
KNOWN = "moewright (expert_of_slot), EPLB (phy2log), SGLang (physical_to_logical_map), TensorRT-LLM "
KNOWN += "(initial_global_assignments), vllm-ascend (layer_list), vLLM (a list of rows)"


@dataclass(frozen=True, slots=True)
class Earlier:
    """``rows`` [layers][slots]: expert ids in GPU order; ``form``: whose file; ``gpus`` where the file tells; ``field``
    that has the rows."""

    rows: Any
    form: str
    gpus: int | None = None
    field: str | None = None


def read_earlier(path: Path) -> Earlier:
    """The placement in a file of moewright, EPLB, SGLang, TensorRT-LLM, vllm-ascend or vLLM. Raises SpecError."""
    text = decoded(read_bounded(path, MOST_TEXT, "a placement file", "placement"), path)
    try:
        # YAML within the limits of a spec: aliases count as often as they are used
        content = json.loads(text) if text.lstrip()[:1] in "[{" else parse_mapping(text, str(path))
    except (ValueError, RecursionError) as error:
        raise SpecError(f"is neither JSON nor YAML: {str(error)[:80]}", file=str(path)) from None
    found = _of(content)
    if found is None:
        raise SpecError(f"is no placement; known are those of {KNOWN}", file=str(path))
    if not isinstance(found.rows, list):
        raise SpecError(
            f"got {str(found.rows)[:40]}; expected a list of expert ids per layer", file=str(path), field=found.field
        )
    return found


def _of(content: Any) -> Earlier | None:
    if isinstance(content, list):
        return Earlier(content, "vllm")
    if not isinstance(content, dict):
        return None
    for field, form in (("expert_of_slot", "moewright"), ("phy2log", "eplb"), ("physical_to_logical_map", "sglang")):
        if field in content:
            gpus = content.get("gpus")
            return Earlier(content[field], form, gpus if type(gpus) is int and gpus > 0 else None, field)
    table = content.get("initial_global_assignments")
    if isinstance(table, dict) and all(type(layer) is int for layer in table):
        return Earlier([table[layer] for layer in sorted(table)], "tensorrt-llm")
    if isinstance(content.get("layer_list"), list):
        return _of_ascend(content["layer_list"])
    return None


def _of_ascend(layers: list[Any]) -> Earlier | None:
    """``{"layer_list": [{"layer_id": 0, "device_list": [{"device_id": 0, "device_expert": [0, 5]}]}]}``."""
    rows, gpus = [], 0
    try:
        for layer in sorted(layers, key=lambda x: x["layer_id"]):
            devices = sorted(layer["device_list"], key=lambda x: x["device_id"])
            rows.append([expert for device in devices for expert in device["device_expert"]])
            gpus = len(devices)
    except (KeyError, TypeError):
        return None
    return Earlier(rows, "vllm-ascend", gpus or None)


def survivors(old: int, gpus: int, lost: tuple[int, ...]) -> list[int | None]:
    """For each of ``gpus`` GPUs the one of ``old`` that it is, or None where it is new: those that were not lost, in
    order, then new ones; where fewer are wanted, the last ones are given up. Raises SpecError."""
    bad = [g for g in lost if not 0 <= g < old]
    if bad:
        raise SpecError(f"got {bad[0]}; expected GPUs from 0 to {old - 1} of the earlier placement", field="lost")
    left: list[int | None] = [g for g in range(old) if g not in set(lost)]
    if not left:
        raise SpecError(f"got all {old} GPUs; nothing is left of the earlier placement", field="lost")
    return left[:gpus] + [None] * (gpus - len(left))


def kept_experts(rows: np.ndarray, old: int, gpus: list[int | None]) -> list[list[list[int]]]:
    """[layers][gpus]: experts that each GPU of ``gpus`` has already, of ``rows`` [layers, slots] on ``old`` GPUs."""
    each = rows.shape[1] // old
    return [[[] if g is None else row[g * each : (g + 1) * each].tolist() for g in gpus] for row in rows]


def fitted(load: np.ndarray, kept: list[list[int]], each: int) -> np.ndarray:
    """Experts [gpus, each] of one layer: what the GPUs have already, with as few copies as may be. Experts that no GPU
    has left go, the heaviest first, to the emptiest GPU with a free slot; where there is none, replicas that are missed
    least give way; slots still free get replicas of the experts whose replicas are heaviest."""
    rows = [list(row) for row in kept]
    counts = Counter(e for row in rows for e in row)
    for row in rows:
        while len(row) > each:
            _drop(row, load, counts)
    missing = [int(e) for e in np.argsort(-load, kind="stable") if not counts[int(e)]]
    while sum(each - len(row) for row in rows) < len(missing):
        holders = [row for row in rows if any(counts[e] > 1 for e in row)]
        if not holders:
            raise SpecError(f"{len(load)} experts need more slots than are left", field="slots")
        _drop(max(holders, key=lambda row: _weight(row, load, counts)), load, counts)
    for e in missing:
        counts[e] += 1
        _emptiest(rows, each, load, counts, e).append(e)
    while any(len(row) < each for row in rows):
        order = sorted(range(len(load)), key=lambda e: -load[e] / counts[e])
        row = _emptiest(rows, each, load, counts, None)
        e = next((x for x in order if x not in row), order[0])
        counts[e] += 1
        row.append(e)
    return np.array(rows, dtype=np.int64)


def _weight(row: list[int], load: np.ndarray, counts: Counter[int]) -> float:
    return float(sum(load[e] / counts[e] for e in row))


def _emptiest(
    rows: list[list[int]], each: int, load: np.ndarray, counts: Counter[int], expert: int | None
) -> list[int]:
    free = [row for row in rows if len(row) < each]
    return min(free, key=lambda row: (expert in row, _weight(row, load, counts)))


def _drop(row: list[int], load: np.ndarray, counts: Counter[int]) -> None:
    """The replica that is missed least leaves ``row``: one of several on the GPU, else of several anywhere, else the
    lightest."""
    here = Counter(row)
    e = min(row, key=lambda x: (here[x] < 2, counts[x] < 2, load[x] / counts[x]))
    row.remove(e)
    counts[e] -= 1


def copies(kept: list[list[int]], after: np.ndarray) -> list[tuple[int, int]]:
    """(GPU, expert) of every replica in ``after`` [gpus, each] that its GPU has not in ``kept``."""
    found = []
    for gpu, row in enumerate(after.tolist()):
        left = Counter(kept[gpu])
        for e in row:
            if left[e]:
                left[e] -= 1
            else:
                found.append((gpu, int(e)))
    return found
