"""Bits of numbers as they lie in memory, their scales with them, and the matrix unit that multiplies them."""

from __future__ import annotations

import re
from typing import Final

from moewright.case.precision import Precision
from moewright.case.tensors.tensor import Tensor

#: format → (bits of a number, bits of scales that a block of numbers shares, numbers in that block, its matrix unit)
_STORED: Final[dict[str, tuple[int, int, int, str]]] = {
    "fp32": (32, 0, 1, "fp32"),
    "bf16": (16, 0, 1, "bf16"),
    "fp16": (16, 0, 1, "fp16"),
    "fp8": (8, 0, 1, "fp8"),
    "fp8_block": (8, 32, 128 * 128, "fp8"),
    "mxfp8": (8, 8, 32, "fp8"),
    "int8": (8, 0, 1, "int8"),
    "mxfp4": (4, 8, 32, "fp4"),
    "nvfp4": (4, 8, 16, "fp4"),
    "int4": (4, 16, 32, "int4"),
    "nf4": (4, 32, 64, "int4"),
    "nf4_double": (4, 256 * 8 + 32, 64 * 256, "int4"),
}
_WHOLE: Final = re.compile(r"int(\d)_(?:row|g(\d+))(_zp|_offset)?")
_BITS: Final = {"fp4": 4, "int4": 4, "fp8": 8, "int8": 8, "bf16": 16, "fp16": 16, "fp32": 32}


def _stored(name: str) -> tuple[int, int, int, str]:
    if name in _STORED:
        return _STORED[name]
    match = _WHOLE.fullmatch(name)
    if match is None:
        raise KeyError(name)
    bits, group, beside = int(match[1]), match[2], match[3]
    scales = 0 if group is None else 16 + {None: 0, "_zp": bits, "_offset": 16}[beside]
    return bits, scales, int(group or 1), "int4" if bits < 5 else "int8"


def number_bytes(name: str) -> float:
    """Bytes of one number of format ``name``, its part of the scales with it."""
    bits, scales, block, _ = _stored(name)
    return (bits + scales / block) / 8


def matrix_bytes(precision: Precision, x: Tensor) -> float:
    """Bytes of one of the tensors ``x`` counts; biases have 16 bits at least."""
    one = number_bytes(x.format if x.format else precision.weights.get(x.kind, precision.default))
    if x.name.endswith("_bias"):
        one = max(one, 2.0)
    return one * x.rows * x.columns


def matrix_unit(precision: Precision, kind: str, units: dict[str, float]) -> str:
    """The unit of ``units`` that multiplies weights of ``kind`` with activations (``attention_scores``: what the cache
    holds with itself): the narrowest that holds both, and of equal ones that of the activations' format."""
    if kind == "attention_scores":
        weights = inputs = _stored(precision.kv_cache)[3]
    else:
        weights, inputs = (
            _stored(f)[3] for f in (precision.weights.get(kind, precision.default), precision.activations)
        )
    need = max(_BITS[weights], _BITS[inputs])
    fits = [(_BITS[u], u != inputs, u) for u in units if u != "int4" and _BITS[u] >= need]
    return min(fits)[2]
