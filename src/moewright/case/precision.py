"""Number formats: bytes of one element, its share of block scales included, and the unit that multiplies it."""

from __future__ import annotations

from dataclasses import dataclass, field

#: format → (bytes per element with its share of scales, widest common matrix unit)
#: fp8_block: DeepSeek-V3, one fp32 scale per 128×128 block (arXiv 2412.19437 §3.3).
#: mxfp4: one 8-bit scale per 32 elements (OCP Microscaling Formats v1.0). nvfp4: one fp8 scale per 16.
#: int4: one bf16 scale per group of 32 (compressed-tensors W4A16, as Kimi-K2.5 ships).
FORMATS: dict[str, tuple[float, str]] = {
    "fp32": (4.0, "fp32"),
    "bf16": (2.0, "bf16"),
    "fp16": (2.0, "fp16"),
    "fp8": (1.0, "fp8"),
    "fp8_block": (1.0 + 4.0 / (128 * 128), "fp8"),
    "int8": (1.0, "int8"),
    "mxfp4": (0.5 + 1.0 / 32, "fp4"),
    "nvfp4": (0.5 + 1.0 / 16, "fp4"),
    "int4": (0.5 + 2.0 / 32, "int4"),
}
_WIDTH = {"fp4": 4, "int4": 4, "fp8": 8, "int8": 8, "bf16": 16, "fp16": 16, "fp32": 32}


def element_bytes(name: str) -> float:
    """Bytes of one element of format ``name``, block scales included."""
    return FORMATS[name][0]


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

    def compute(self, kind: str, supported: tuple[str, ...]) -> str:
        """The matrix unit that multiplies weights of ``kind``: no narrower than the weights' or the
        activations' format, and the narrowest such that the device has (weights are multiplied out
        to the activations' format where it lacks their own). Raises KeyError if it has none."""
        need = max(_WIDTH[FORMATS[self.weight(kind)][1]], _WIDTH[FORMATS[self.activations][1]])
        fits = sorted((u for u in supported if _WIDTH[u] >= need and u != "int4"), key=lambda u: (_WIDTH[u], u))
        preferred = [u for u in fits if u == FORMATS[self.activations][1]]
        if preferred and _WIDTH[preferred[0]] == _WIDTH[fits[0]]:
            return preferred[0]
        if not fits:
            raise KeyError(f"no matrix unit of {need} bits or more")
        return fits[0]
