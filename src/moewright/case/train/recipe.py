"""Precision recipes of training, and the states of optimizers: formats and bytes, no seconds.

Products of layers run in the recipe's format; router, vocabulary, norms and attention's scores stay in 16 bits
(Transformer Engine and Megatron-Core do so under every recipe of FP8 and NVFP4). Bytes a parameter of what products
read: two copies, row-wise and column-wise, where a format can only be read along one axis (Transformer Engine's
MXFP8Tensor and, before Blackwell, Float8Tensor with its transpose).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moewright.case.precision import Precision

#: kinds of tensor whose products run in the recipe's format
_NARROW: Final = ("attention", "experts", "shared_experts", "dense")


@dataclass(frozen=True, slots=True)
class Recipe:
    """``compute``: format of the products' operands. ``weights``: bytes a parameter of what products read, of layers'
    matrices. ``saved``: bytes an element of a product's input that is kept for the backward pass. ``cast``: bytes read
    and written an element to bring an operand to the format. ``gather``: bytes a parameter that is gathered after the
    optimizer's step. ``wide``: bytes an element of all else."""

    name: str
    compute: str
    weights: float
    saved: float
    cast: float
    gather: float
    wide: float = 2.0

    @property
    def precision(self) -> Precision:
        """The formats of a model that is trained by this recipe."""
        if self.compute == "bf16":
            return Precision()
        narrow = dict.fromkeys(_NARROW, self.compute)
        return Precision("bf16", narrow, activations=self.compute)


RECIPES: Final = {
    recipe.name: recipe
    for recipe in (
        Recipe("bf16", "bf16", 2.0, 2.0, 0.0, 2.0),
        Recipe("fp8", "fp8", 2.0, 1.0, 4.0, 1.0),
        Recipe("fp8_block", "fp8_block", 2.0, 1.0, 4.0, 1.0),
        Recipe("mxfp8", "mxfp8", 2.0 + 2 / 32, 1.0 + 1 / 32, 4.0 + 2 / 32, 1.0 + 1 / 32),
        # two readings: the largest value first, then the rotated, rounded blocks, along both axes
        Recipe("nvfp4", "nvfp4", 2.0 + 1.0 + 2 / 16, 0.5 + 1 / 16, 2 * 2.0 + 1.0 + 2 / 16, 2.0),
    )
}
#: what ``moewright run`` executes
FP32: Final = Recipe("fp32", "fp32", 4.0, 4.0, 0.0, 4.0, 4.0)


@dataclass(frozen=True, slots=True)
class Optimizer:
    """``states``: bytes a parameter of all states, the master copy among them. ``flops``: work on one parameter beside
    what memory bounds."""

    name: str
    states: float
    flops: float = 0.0


#: smaller side of a matrix that Muon's work is counted with
_SIDE: Final = 2048
#: adam: a master copy and two moments in fp32; adam_lean: both moments in bf16 (precision-aware optimizer); muon: a
#: master copy and one momentum, and five Newton-Schulz iterations of X·Xᵀ, its square, and their product with X (Keller
#: Jordan, kellerjordan.github.io/posts/muon): 5 · (2·c + 2·c + 2·c) FLOPs a parameter of a matrix of smaller side c
OPTIMIZERS: Final = {
    optimizer.name: optimizer
    for optimizer in (Optimizer("adam", 12.0), Optimizer("adam_lean", 8.0), Optimizer("muon", 8.0, 30.0 * _SIDE))
}
