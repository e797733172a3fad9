"""Placement files through SGLang's own reader: it makes of them what was placed, layer of the model by layer."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np

import moewright
from moewright.placement.files.engine_files import engine_file
from moewright.placement.files.engine_layers import EngineLayers, engine_layers

HERE = Path(__file__).parent
#: model, slots beyond the experts, GPUs
CASES = (("DeepSeek-V3", 32, 32), ("Qwen3-30B-A3B", 16, 16), ("gpt-oss-20b", 32, 32), ("DeepSeek-V2-Lite", 0, 8))


def check_placements(python: Path) -> int:
    """How many files SGLang refuses or reads otherwise; a file without the dense layers is seen to be wrong."""
    asked, wanted = [], []
    for model, redundant, gpus in CASES:
        layers = engine_layers(model)
        loads = np.random.default_rng(0).lognormal(size=(len(layers.positions), layers.experts))
        p = moewright.place(loads, slots=layers.experts + redundant, gpus=gpus, seconds=0)
        content = engine_file(p, "sglang", layers=layers)
        asked.append(_line(content, layers, gpus, redundant))
        wanted.append(_slots(p.expert_of_slot.tolist(), layers))
    answers = _answers(python, asked)
    failed = sum(a["error"] is not None or a["slots"] != w for a, w in zip(answers, wanted, strict=True))
    print(f"sglang: {len(CASES)} placement files, {failed} refused or read otherwise")
    return failed


def _slots(rows: list[list[int]], layers: EngineLayers) -> list[list[list[int]]]:
    """Slots [layers of the model][experts], those of a layer without experts in order."""
    plain = [slot % layers.experts for slot in range(len(rows[0]))]
    placed = dict(zip(layers.positions, rows, strict=True))
    found = []
    for layer in range(layers.layers):
        row = placed.get(layer, plain)
        found.append([[s for s, e in enumerate(row) if e == expert] for expert in range(layers.experts)])
    return found


def _line(content: str, layers: EngineLayers, ep: int, redundant: int) -> str:
    sizes = {"layers": layers.layers, "experts": layers.experts, "ep": ep, "redundant": redundant}
    return json.dumps({"content": content, **sizes})


def _answers(python: Path, lines: list[str]) -> list[dict[str, object]]:
    command = [str(python), str(HERE / "sglang_placements.py")]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
