"""Matrix products, with the fast ways of CPUs: torch's own would leave half the memory bandwidth unused.

Few rows against a large matrix (decode) are bound by reading the matrix. torch multiplies one such pair at a fraction
of the bandwidth of a batch of pairs, which it spreads over the cores: so a matrix is given to ``bmm`` in as many
strips as there are threads, and experts all at once, filled up to the longest, where most of them have tokens.
Measured on two cores (`python -m benchmarks run`): up to 2 times as fast in fp32, 1.5 times in bf16.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

#: rows of a product up to which reading the matrix is what takes the time
FEW: Final = 16
#: part of the experts that must have tokens for all to be multiplied at once
MOST: Final = 0.75


def linear(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [n, in] times w [out, in] transposed, plus ``bias``."""
    out = _in_strips(x, w)
    if out is None:
        return F.linear(x, w, bias)
    return out if bias is None else out.add_(bias)


def _in_strips(x: Tensor, w: Tensor) -> Tensor | None:
    """x · wᵀ for a few rows in fp32, the strips of ``w`` side by side; None where that is not the faster way."""
    strips = torch.get_num_threads()
    if x.device.type != "cpu" or x.dtype != torch.float32 or strips == 1 or len(x) > FEW or w.shape[0] % strips:
        return None
    parts = torch.bmm(x.expand(strips, *x.shape), w.view(strips, -1, w.shape[1]).transpose(1, 2))
    return parts[:, 0].reshape(1, -1) if len(x) == 1 else parts.transpose(0, 1).reshape(len(x), -1)


def grouped(rows: Tensor, matrices: Tensor, ends: Tensor) -> Tensor:
    """Rows [n, in], sorted by slot, times matrices [slots, out, in] transposed, each slot's rows by its own matrix.
    ``ends`` [slots], 32-bit: where the rows of each end."""
    if rows.device.type == "cpu":
        counts = torch.diff(ends, prepend=ends.new_zeros(1))
        most = int(counts.max())
        if most <= FEW and int((counts > 0).sum()) >= MOST * len(matrices):
            return _filled(rows, matrices, counts, most)
        if (rows.dtype == torch.float32 and most <= FEW) or matrices.shape[-1] * matrices.element_size() % 16:
            return _one_by_one(rows, matrices, counts)
    out: Tensor = F.grouped_mm(rows, matrices.transpose(-2, -1), offs=ends)
    return out


def _filled(rows: Tensor, matrices: Tensor, counts: Tensor, most: int) -> Tensor:
    """All slots in one batch, each with ``most`` rows; those that it lacks are zero."""
    real = torch.arange(most) < counts[:, None]
    every = rows.new_zeros(len(matrices), most, rows.shape[1])
    every[real] = rows
    return torch.bmm(every, matrices.transpose(1, 2))[real]


def _one_by_one(rows: Tensor, matrices: Tensor, counts: Tensor) -> Tensor:
    """Slot after slot; also what grouped_mm does not take, rows that are no whole 16 bytes."""
    out, start = rows.new_empty(len(rows), matrices.shape[1]), 0
    for slot, count in enumerate(counts.tolist()):
        if count:
            out[start : start + count] = linear(rows[start : start + count], matrices[slot])
            start += count
    return out
