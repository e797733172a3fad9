"""Formats in which checkpoints of a model are published: what a row's ``precision`` means for each kind of weight."""

from __future__ import annotations

from dataclasses import replace

from moewright.case.model import LatentAttention, ModelSpec
from moewright.case.precision import Precision, plain_format

#: format of a model's experts (or products) → the word for it in rows
_WORDS = {"fp8_block": "fp8", "nvfp4": "fp4", "mxfp4": "fp4", "fp8": "fp8", "int4": "int4"}
_KINDS = ("attention", "dense", "experts", "shared_experts")


def shipped(model: ModelSpec) -> str:
    """The format in which the model's own weights come: fp4, fp8, int4 or bf16."""
    return _WORDS.get(plain_format(model.precision.weight("experts" if model.moe else "dense")), "bf16")


def in_format(model: ModelSpec, precision: str) -> ModelSpec:
    """``model`` as a checkpoint of ``precision``: its own where it ships in 4 bits (of which no others are published)
    or in that format, its cache in 8 bits where products are in 8. Else NVFP4 of all products, attention left in bf16
    where it is latent (NVIDIA's checkpoints); FP8 by blocks; or int4 of the experts alone (compressed-tensors)."""
    own = shipped(model)
    if own in ("fp4", "int4") or precision == own:
        p = model.precision
        return replace(model, precision=replace(p, kv_cache="fp8") if own == "fp8" else p)
    if precision == "fp4":
        latent = any(isinstance(x.attention, LatentAttention) for x in model.layers)
        weights = {k: "bf16" if latent and k == "attention" else "nvfp4" for k in _KINDS}
        p = Precision("bf16", weights, "fp8", "fp8", "fp8", "bf16")
    elif precision == "int4":
        p = Precision("bf16", {"experts": "int4"})
    elif precision == "fp8":
        p = Precision("bf16", dict.fromkeys(_KINDS, "fp8_block"), "fp8", "fp8", "fp8", "bf16")
    else:
        p = Precision("bf16")
    return replace(model, precision=p)
