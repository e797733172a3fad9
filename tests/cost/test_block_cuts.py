"""Cuts through blocks: what engines refuse to load, against the sizes of public reports and a second derivation."""

from dataclasses import replace

import numpy as np
import pytest

from moewright.case.catalogue.model_catalogue import load_model
from moewright.case.precision import Precision
from moewright.case.strategy import AttentionParallel, ExpertParallel, Strategy
from moewright.cost.block_cuts import block_cuts, block_of
from moewright.cost.table import Table

#: model, tp, ep, experts' tp, whether it loads: vllm#25292, sglang#3345, TensorRT-LLM#14613, vllm/recipes#567
REPORTS = [
    ("qwen3-235b-a22b-fp8", 8, 1, 8, False),  # 1536 / 8 = 192
    ("qwen3-235b-a22b-fp8", 4, 1, 4, True),  # 384
    ("qwen3-235b-a22b-fp8", 8, 8, 1, True),
    ("qwen3-30b-a3b-fp8", 4, 1, 4, False),  # 768 / 4 = 192
    ("qwen3-30b-a3b-fp8", 2, 1, 2, True),
    ("minimax-m2", 8, 1, 8, False),
    ("deepseek-v3", 8, 1, 8, True),  # 256
    ("deepseek-v3", 16, 1, 16, True),  # 128
    ("deepseek-v3", 32, 1, 32, False),  # 64
    ("qwen3-235b-a22b", 8, 1, 8, True),  # bf16 has no blocks
    ("gpt-oss-120b", 8, 1, 8, True),  # MXFP4 under Marlin is filled up
    ("kimi-k2-thinking", 8, 1, 8, True),  # 2048 / 8 = 256, groups of 32
]


def cut(model, tp, ep, etp, dp=1):
    strategy = Strategy(attention=AttentionParallel(dp=dp, tp=tp), experts=ExpertParallel(ep=ep, tp=etp))
    return [reason for mask, reason in block_cuts(model, Table.one(strategy, dp)) if mask[0]]


@pytest.mark.parametrize(("name", "tp", "ep", "etp", "loads"), REPORTS)
def test_what_engines_load(name, tp, ep, etp, loads):
    assert (not cut(load_model(name), tp, ep, etp)) is loads


def test_shared_experts_are_cut_too():
    """Qwen3-Next in FP8: 512 / 8 = 64 columns of its shared expert, whatever ep."""
    model = load_model("qwen3-next-80b-a3b")
    weights = {kind: "fp8_block" for kind in ("experts", "shared_experts")}
    model = replace(model, precision=Precision("bf16", weights))
    assert cut(model, 8, 8, 1) == ["shared width 512 divided by tp is no multiple of the 128 of a block of fp8_block"]
    assert cut(model, 4, 4, 1) == []


@pytest.mark.parametrize(("name", "block"), [("int4_g128_zp", (1, 128)), ("int4_g32", (1, 32)), ("fp8", (1, 1))])
def test_blocks_of_formats(name, block):
    assert block_of(name) == block


@pytest.mark.parametrize("width", [384, 512, 640, 768, 1280, 1408, 1536, 2048, 2560])
@pytest.mark.parametrize("name", ["fp8_block", "int4_g128", "nvfp4", "mxfp8"])
def test_against_cutting_an_array_of_block_numbers(width, name):
    """Each column has the number of its block: no block may stand in two slices."""
    base = load_model("qwen3-30b-a3b")
    layers = tuple(replace(x, ffn=replace(x.ffn, width=width)) for x in base.layers[:1])
    model = replace(base, layers=layers, precision=Precision("bf16", {"experts": name}))
    rows, columns = block_of(name)
    for etp in (d for d in range(1, 33) if width % d == 0 and 32 % d == 0):
        numbers = np.arange(width) // max(rows, columns)
        slices = [set(part) for part in np.split(numbers, etp)]
        torn = any(a & b for i, a in enumerate(slices) for b in slices[i + 1 :])
        assert bool(cut(model, 32, 32 // etp, etp, dp=1)) == torn
