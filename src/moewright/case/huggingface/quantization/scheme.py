"""What one part of a quantization_config does: to which modules, with which formats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from moewright.case.huggingface.quantization.module_names import Names

#: kinds of tensors that a method quantizes where it says nothing else
MATRICES: Final = ("attention", "experts", "shared_experts", "dense")
EVERYTHING: Final = (*MATRICES, "router", "vocabulary")
PLAIN: Final = ""


@dataclass(frozen=True, slots=True)
class Scheme:
    """Weights and activations of the modules it applies to: ``only`` those, if given, and not ``but``. Weights
    ``PLAIN``: they stay in the checkpoint's dtype."""

    weights: str
    activations: str | None = None
    only: Names | None = None
    but: Names | None = None
    kinds: tuple[str, ...] = field(default=MATRICES)

    def applies(self, kind: str, modules: list[str]) -> bool:
        """Whether a tensor of ``kind``, whose module has one of the names ``modules``, is of this scheme."""
        if kind not in self.kinds or (self.but and any(map(self.but.match, modules))):
            return False
        return self.only is None or any(map(self.only.match, modules))


def whole_numbers(bits: int, group: int | None, zero_points: str = "") -> str:
    """The format of whole numbers of ``bits``; ``group`` None or below 1: a scale per row."""
    if group is None or group < 1:
        return "int8" if bits == 8 else f"int{bits}_row"
    if bits == 4 and group == 32 and not zero_points:
        return "int4"
    return f"int{bits}_g{group}{zero_points}"
