"""Number formats: bytes of one element, its share of block scales included, and the unit that multiplies it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from moewright.case.tensors.tensor import Tensor

#: format → (bytes per element with its share of scales, widest common matrix unit)
#: fp8_block: DeepSeek-V3, one fp32 scale per 128×128 block (arXiv 2412.19437 §3.3).
#: mxfp4, mxfp8: one 8-bit scale per 32 elements (OCP Microscaling Formats v1.0). nvfp4: one fp8 scale per 16.
#: int4: one bf16 scale per group of 32 (compressed-tensors W4A16, as Kimi-K2.5 ships); int8: a scale per row.
#: nf4: bitsandbytes, one fp32 scale per 64 elements; nf4_double: those in 8 bits, one fp32 for each 256 of them
#: (arXiv 2305.14314 §3).
FORMATS: Final[dict[str, tuple[float, str]]] = {
    "fp32": (4.0, "fp32"),
    "bf16": (2.0, "bf16"),
    "fp16": (2.0, "fp16"),
    "fp8": (1.0, "fp8"),
    "fp8_block": (1.0 + 4.0 / (128 * 128), "fp8"),
    "mxfp8": (1.0 + 1.0 / 32, "fp8"),
    "int8": (1.0, "int8"),
    "mxfp4": (0.5 + 1.0 / 32, "fp4"),
    "nvfp4": (0.5 + 1.0 / 16, "fp4"),
    "int4": (0.5 + 2.0 / 32, "int4"),
    "nf4": (0.5 + 4.0 / 64, "int4"),
    "nf4_double": (0.5 + 1.0 / 64 + 4.0 / (64 * 256), "int4"),
}
#: bytes of an element of a bias beside matrices of fewer bits
BIAS_BYTES: Final = 2.0
_WIDTH: Final = {"fp4": 4, "int4": 4, "fp8": 8, "int8": 8, "bf16": 16, "fp16": 16, "fp32": 32}
#: int4_g128: 4 bits, a 16-bit scale per group of 128; _zp: with zero points of as many bits (AWQ, GPTQ); _offset:
#: with 16-bit offsets (MLX); int4_row: a scale per row, which is not counted
GROUPED_PATTERN: Final = r"^int([2-8])(?:_row|_g([0-9]{1,5})(_zp|_offset)?)$"
_GROUPED: Final = re.compile(GROUPED_PATTERN)
#: how a message tells what is accepted
KNOWN_FORMATS: Final = ", ".join(FORMATS) + ", int4_g128 (bits, group), int4_g128_zp (zero points too), int4_row"


def is_format(name: object) -> bool:
    """Whether ``name`` is a number format: of ``FORMATS``, or whole numbers in groups such as int4_g128_zp."""
    return isinstance(name, str) and (name in FORMATS or _GROUPED.fullmatch(name) is not None)


@cache
def _format(name: str) -> tuple[float, str]:
    known = FORMATS.get(name)
    if known is not None:
        return known
    match = _GROUPED.fullmatch(name)
    if match is None:
        raise KeyError(name)
    bits, group = int(match[1]), int(match[2] or 0)
    beside = {None: 16, "_zp": 16 + bits, "_offset": 32}[match[3]] / group if group else 0.0
    return (bits + beside) / 8, "int4" if bits <= 4 else "int8"


def element_bytes(name: str) -> float:
    """Bytes of one element of format ``name``, block scales included."""
    return _format(name)[0]


def format_unit(name: str) -> str:
    """The widest common matrix unit for numbers of format ``name``."""
    return _format(name)[1]


def plain_format(name: str) -> str:
    """``name`` without how its scales are kept: int4 for int4_g128_zp and nf4."""
    return name if name in FORMATS and not name.startswith("nf4") else format_unit(name)


@dataclass(frozen=True, slots=True)
class Precision:
    """The format of each kind of tensor. ``weights`` holds overrides by kind of tensor
    (attention, experts, shared_experts, dense, router, vocabulary, norm); ``default`` is the rest's."""

    default: str = "bf16"
    weights: dict[str, str] = field(default_factory=dict)
    activations: str = "bf16"
    kv_cache: str = "bf16"
    dispatch: str = "bf16"
    combine: str = "bf16"

    @property
    def residual(self) -> str:
        """The format of what passes between layers: never narrower than 16 bits."""
        return "fp32" if self.activations == "fp32" else "bf16"

    def weight(self, kind: str) -> str:
        """The format of weights of ``kind``."""
        return self.weights.get(kind, self.default)

    def tensor_format(self, tensor: Tensor) -> str:
        """The format of ``tensor``: its own, or that of its kind."""
        return tensor.format or self.weight(tensor.kind)

    def tensor_bytes(self, tensor: Tensor) -> float:
        """Bytes of ``tensor``, block scales included. Biases stay in 16 bits where matrices have fewer (gpt-oss)."""
        size = element_bytes(self.tensor_format(tensor))
        return tensor.parameters * (max(size, BIAS_BYTES) if tensor.name.endswith("_bias") else size)

    def compute(self, kind: str, supported: tuple[str, ...]) -> str:
        """The matrix unit that multiplies weights of ``kind``: no narrower than the weights' or the
        activations' format, and the narrowest such that the device has (weights are multiplied out
        to the activations' format where it lacks their own). Raises KeyError if it has none."""
        need = max(_WIDTH[format_unit(self.weight(kind))], _WIDTH[format_unit(self.activations)])
        fits = sorted((u for u in supported if _WIDTH[u] >= need and u != "int4"), key=lambda u: (_WIDTH[u], u))
        preferred = [u for u in fits if u == format_unit(self.activations)]
        if preferred and _WIDTH[preferred[0]] == _WIDTH[fits[0]]:
            return preferred[0]
        if not fits:
            raise KeyError(f"no matrix unit of {need} bits or more")
        return fits[0]
