"""Where weights come from: each rank asks for its slices of tensors by name.

Names: ``layers.<i>.`` q_proj, k_proj, v_proj, o_proj (and _bias), q_norm, k_norm, sinks; q_a_proj, q_a_norm,
q_b_proj, kv_a_proj, kv_a_norm, kv_b_proj; norm0, norm1; dense.gate, dense.up, dense.down; router, router_bias,
correction; experts.<e>.gate, .up, .down (and _bias); shared.gate, .up, .down, shared_gate; and embedding, head,
final_norm.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from moewright.run.formats.scaled import Scaled

WHOLE = slice(None)


class Source(Protocol):
    """Tensors by name, in one format."""

    @property
    def dtype(self) -> torch.dtype: ...

    def tensor(self, name: str, shape: tuple[int, ...], rows: slice = WHOLE, columns: slice = WHOLE) -> Tensor:
        """A slice of the tensor ``name`` of ``shape`` ([rows, columns], or a vector), of its own memory."""

    def scaled(self, name: str, shape: tuple[int, int], rows: slice = WHOLE, columns: slice = WHOLE) -> Scaled | None:
        """The same of a matrix that is held in FP8; None of another."""


@dataclass(frozen=True, slots=True)
class RandomSource:
    """Every tensor is drawn whole from a generator of its own, seeded by ``seed`` and the tensor's name, and
    then cut: the model does not depend on how it is divided. Matrices have variance 1 / columns, vectors
    deviation 0.1 around 1 (norms) or 0."""

    seed: int = 0
    dtype: torch.dtype = torch.float32

    def tensor(self, name: str, shape: tuple[int, ...], rows: slice = WHOLE, columns: slice = WHOLE) -> Tensor:
        """See Source."""
        generator = self._generator(name)
        if len(shape) == 1:
            around = 1.0 if "norm" in name else 0.0
            drawn: Tensor = around + 0.1 * torch.randn(shape, generator=generator)
            return drawn[rows].to(self.dtype, copy=True)
        drawn = torch.randn(shape, generator=generator).mul_(shape[1] ** -0.5)
        return drawn[rows, columns].to(self.dtype, copy=True).contiguous()

    def scaled(self, name: str, shape: tuple[int, int], rows: slice = WHOLE, columns: slice = WHOLE) -> Scaled | None:
        """See Source: nothing drawn is FP8."""
        return None

    def inputs(self, sequence: int, length: int, hidden: int) -> Tensor:
        """Hidden states [length, hidden] of one sequence, for a model without an embedding."""
        return torch.randn(length, hidden, generator=self._generator(f"inputs {sequence}")).to(self.dtype)

    def tokens(self, sequence: int, length: int, vocabulary: int) -> Tensor:
        """Token ids [length] of one sequence."""
        return torch.randint(vocabulary, (length,), generator=self._generator(f"tokens {sequence}"))

    def _generator(self, name: str) -> torch.Generator:
        digest = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
