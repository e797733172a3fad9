"""Matrix products, by the fastest way that torch has for them on a CPU; on other devices torch's own.

On CPUs ``F.linear`` in fp32 goes to MKL, which on some processors reaches half of what oneDNN reaches, for few rows
above all. Few rows against many matrices (decode) are bound by reading these: ``bmm`` spreads them over the cores,
one after another would not. What was measured: ``python -m benchmarks run``.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from moewright.run.formats import scaled
from moewright.run.formats.scaled import Scaled

#: a matrix of weights, [..., out, in]
Matrix = Tensor | Scaled
#: oneDNN's product, which torch's own compiler calls; None in a build without it
_ONEDNN: Final[Any] = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
#: rows of a product up to which reading the matrix is what takes the time
FEW: Final = 16
#: the same of a slot in FP8, whose sums are read and written again for every group of columns; no GPU has shown it yet
FEW_SCALED: Final = 64
#: part of the experts that must have tokens for all to be multiplied at once
MOST: Final = 0.75
#: elements of a matrix from which one product alone keeps all cores busy
LARGE: Final = 1 << 20


def linear(x: Tensor, w: Matrix, bias: Tensor | None = None) -> Tensor:
    """x [n, in] times w [out, in] transposed, plus ``bias``."""
    if isinstance(w, Scaled):
        done = scaled.product(x, w)
        return done if bias is None else done + bias
    if _ONEDNN is not None and x.dtype == torch.float32 and x.device.type == "cpu" and len(x):
        out: Tensor = _ONEDNN(x.contiguous(), w, bias, "none", [], "")
        return out
    return F.linear(x, w, bias)


def round_up(rows: Tensor) -> Tensor:
    """The numbers of some rows, and more of them (row 0 again) until 32 divide their count. oneDNN compiles a kernel
    for every count that it meets, which takes as long as the product of a small expert."""
    return rows if len(rows) <= FEW else F.pad(rows, (0, -len(rows) % 32))


def one_by_one(x: Tensor, matrices: tuple[Matrix, Matrix], rows: int, counts: Tensor, fixed: bool) -> bool:
    """Whether experts, of two products with ``matrices`` each and ``counts`` of ``rows`` [slots], are best taken one
    after another: on a CPU in fp32, unless most of them have a few rows and are small; in FP8, where torch's grouped
    product has to be made of many, unless all have a few rows, or nothing may wait for the device to tell the counts
    (``fixed``)."""
    up, down = matrices
    if not (isinstance(up, Scaled) or isinstance(down, Scaled)):
        return x.device.type == "cpu" and x.dtype == torch.float32 and not _together(x, up, counts)
    together = all(m.together for m in matrices if isinstance(m, Scaled)) and rows <= FEW_SCALED * len(up)
    return x.device.type == "cpu" or not (fixed or together)


def _together(x: Tensor, matrices: Tensor, counts: Tensor) -> bool:
    if int(counts.max()) > FEW or int((counts > 0).sum()) < MOST * len(matrices):
        return False
    return x.dtype != torch.float32 or matrices[0].numel() < LARGE


def grouped(rows: Tensor, matrices: Matrix, ends: Tensor) -> Tensor:
    """Rows [n, in], sorted by slot, times matrices [slots, out, in] transposed, each slot's rows by its own matrix.
    ``ends`` [slots], 32-bit: where the rows of each end."""
    if isinstance(matrices, Scaled):
        return scaled.grouped(rows, matrices, ends)
    if rows.device.type == "cpu":
        counts = torch.diff(ends, prepend=ends.new_zeros(1))
        if _together(rows, matrices, counts):
            return _filled(rows, matrices, counts)
        if rows.dtype == torch.float32 or matrices.shape[-1] * matrices.element_size() % 16:
            # also what grouped_mm does not take, rows that are no whole 16 bytes
            return _one_after_another(rows, matrices, counts)
    elif matrices.shape[-1] * matrices.element_size() % 16:
        counts = torch.diff(ends, prepend=ends.new_zeros(1))
        return _one_after_another(rows, matrices, counts)
    out: Tensor = F.grouped_mm(rows, matrices.transpose(-2, -1), offs=ends)
    return out


def unwaiting(matrices: Matrix, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether ``grouped`` of them waits for no device. torch's grouped product does so (GroupedBlas.cpp, torch 2.13)
    only of bf16 on compute capability 9 and 10; elsewhere it asks how many rows each slot has. FP8 products are tried
    at the start."""
    if device.type != "cuda" or isinstance(matrices, Scaled):
        return True
    major, _ = torch.cuda.get_device_capability(device)
    return dtype == torch.bfloat16 and major in (9, 10) and matrices.shape[-1] * matrices.element_size() % 16 == 0


def _one_after_another(rows: Tensor, matrices: Tensor, counts: Tensor) -> Tensor:
    parts = torch.split(rows, counts.tolist())
    return torch.cat([linear(part, matrices[slot]) for slot, part in enumerate(parts) if len(part)])


def _filled(rows: Tensor, matrices: Tensor, counts: Tensor) -> Tensor:
    """All slots in one batch, each with as many rows as the longest; those that it lacks are zero."""
    most = int(counts.max())
    real = torch.arange(most) < counts[:, None]
    every = rows.new_zeros(len(matrices), most, rows.shape[1])
    every[real] = rows
    return torch.bmm(every, matrices.transpose(1, 2))[real]
