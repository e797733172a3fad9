"""Where a cut of a matrix would go through a block of its number format, which engines refuse to load."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from moewright.case.model import ModelSpec
from moewright.case.tensors.layer_tensors import layer_attention_tensors, layer_ffn_tensors
from moewright.case.tensors.tensor import Tensor
from moewright.cost.arrays import Array, Bools, array
from moewright.cost.attention import head_share
from moewright.cost.table import Table

#: format → (rows, columns) of a block that shares a scale; the rows are a product's outputs.
#: fp8_block: vLLM ``validate_fp8_block_shape`` and ``Fp8MoEMethod.create_weights``, SGLang ``Fp8LinearMethod``, the
#: assertion of TensorRT-LLM's kernels (vllm#25292, sglang#3345, TensorRT-LLM#14613). mxfp4 is absent: engines fill its
#: experts up.
BLOCKS: Final[dict[str, tuple[int, int]]] = {
    "fp8_block": (128, 128),
    "nvfp4": (1, 16),
    "mxfp8": (1, 32),
    "int4": (1, 32),
}
_GROUP: Final = re.compile(r"_g(\d+)(?:_|$)")
#: products whose inputs are divided, not their outputs
_BY_COLUMN: Final = ("o_proj", "out_proj", "expert_down", "shared_down", "dense_down")
#: both products of a pair are cut along the same width
_WIDTHS: Final = {"experts": "expert width", "shared_experts": "shared width", "dense": "dense width"}


def block_of(number_format: str) -> tuple[int, int]:
    """(rows, columns) of a block of ``number_format``; (1, 1) where every number stands by itself."""
    group = _GROUP.search(number_format)
    return (1, int(group[1])) if group else BLOCKS.get(number_format, (1, 1))


def block_cuts(model: ModelSpec, t: Table) -> list[tuple[Bools, str]]:
    """For each matrix that some row of ``t`` cuts through a block: which rows do, and why, without their sizes."""
    reasons: dict[str, Bools] = {}
    for layer, _ in model.layer_kinds():
        tensors = [*layer_attention_tensors(layer, model.hidden_size), *layer_ffn_tensors(layer, model.hidden_size)]
        for x in (x for x in tensors if x.gemm):
            name = model.precision.tensor_format(x)
            rows, columns = block_of(name)
            block = columns if x.name in _BY_COLUMN else rows
            if block == 1:
                continue
            length = x.columns if x.name in _BY_COLUMN else x.rows // _joined(x, layer.ffn.gated)
            ways, share = _ways(x, t), 1 / _ways(x, t)
            if x.shard in ("heads", "kv_heads"):
                share = head_share(layer.attention, x.shard, array(t.tp))
            slices = length * share
            cut = (ways > 1) & (share < 1) & (np.abs(slices / block - np.round(slices / block)) > 1e-9)
            if cut.any():
                size = "experts.tp" if x.shard == "experts" else "tp"
                what = f"{_WIDTHS[x.kind]} {length}" if x.kind in _WIDTHS else f"{x.name} of {length}"
                reason = f"{what} divided by {size} is no multiple of the {block} of a block of {name}"
                reasons[reason] = reasons.get(reason, np.zeros(len(t), dtype=bool)) | cut
    return [(mask, reason) for reason, mask in reasons.items()]


def _ways(x: Tensor, t: Table) -> Array:
    """Ranks over which a matrix of ``x`` is cut."""
    if x.shard == "experts":
        return array(t.etp)
    return array(t.tp) if x.shard in ("heads", "kv_heads", "width") else np.ones(len(t))


def _joined(x: Tensor, gated: bool) -> int:
    """Matrices that stand in ``x`` one below the other and are cut each by itself (a gate's and an up-projection)."""
    return 2 if gated and x.name in ("expert_up", "shared_up", "dense_up") else 1
