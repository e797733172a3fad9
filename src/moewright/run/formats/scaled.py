"""Matrices in FP8 with scales, and products that multiply them as they are (DeepSeek-V3, arXiv 2412.19437 §3.3).

What meets such a matrix is quantised too: every row by groups of columns, each to the range of E4M3. The same
arithmetic has several ways: torch's own scaled products where a device has them, and the plain one (both sides
multiplied out, the product in fp32) anywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

#: the format, and its largest value
E4M3: Final = torch.float8_e4m3fn
LARGEST: Final = 448.0
#: columns of a group of activations where the weights say nothing else, and side of the blocks that devices take
BLOCK: Final = 128
#: rows that cuBLASLt wants a multiple of under block scales
_ROWS: Final = 4
#: torch's names of scalings (2.10 and later)
_SCALING: Final[Any] = getattr(F, "ScalingType", None)
_torch: Final[Any] = F  # whose stubs lack the products


class Way(StrEnum):
    """How a product is made: ``plain`` on any device; ``blocks`` by torch's product of block scales (compute
    capability 9); ``columns`` a group of columns after the other, with a scale for each row, summed in fp32."""

    PLAIN = "plain"
    BLOCKS = "blocks"
    COLUMNS = "columns"


#: of an input (see input_of) and the number of a group of its columns: rows as a run quantised them, codes and scales
Kept = dict[tuple[str, int], list[tuple[Tensor, Tensor]]]


def input_of(name: str) -> str:
    """What the matrix ``name`` is multiplied with, as a name: one for all experts, and for all of a product."""
    name = re.sub(r"\.experts\.\d+\.", ".experts.*.", name)
    return re.sub(r"\.up$", ".gate", re.sub(r"\.[kv]_proj$", ".q_proj", name))


@dataclass(frozen=True, slots=True)
class Scaled:
    """A matrix, or several, [..., rows, columns]: E4M3 ``codes``, and fp32 ``scales`` of blocks of ``height`` rows and
    ``width`` columns [..., ⌈rows / height⌉, ⌈columns / width⌉]. ``width`` 0: of whole rows, [..., rows, 1].
    ``together``: ``grouped`` works on the device. ``kept``: takes every row that it is multiplied with, quantised, as
    ``input`` in the columns from ``first``."""

    codes: Tensor
    scales: Tensor
    height: int = BLOCK
    width: int = BLOCK
    way: Way = Way.PLAIN
    together: bool = False
    kept: Kept | None = None
    input: str = ""
    first: int = 0

    @property
    def shape(self) -> torch.Size:
        return self.codes.shape

    @property
    def group(self) -> int:
        """Columns of a group of activations."""
        return self.width or BLOCK

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.numel() * self.codes.element_size() + self.scales.numel() * self.scales.element_size()

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, slot: int) -> Scaled:
        return replace(self, codes=self.codes[slot], scales=self.scales[slot])

    def to(self, device: torch.device) -> Scaled:
        """The same on ``device``."""
        return replace(self, codes=self.codes.to(device), scales=self.scales.to(device))

    def quantized(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` [n, columns] as it meets this matrix."""
        codes, scales = quantized(x, self.group)
        if self.kept is not None and len(x):
            for i, part in enumerate(torch.split(codes.view(torch.uint8).cpu(), self.group, dim=1)):
                rows = self.kept.setdefault((self.input, self.first // self.group + i), [])
                rows.append((part.clone().view(E4M3), scales[:, i].cpu()))
        return codes, scales

    def rows_scales(self, block: int) -> Tensor:
        """Scales of all rows in the ``block``-th block of columns, [..., rows]."""
        if not self.width:
            return self.scales[..., 0]
        return self.scales[..., block].repeat_interleave(self.height, dim=-1)[..., : self.shape[-2]]

    def wide(self) -> Tensor:
        """Multiplied out, fp32."""
        scales = self.scales
        if self.width:
            scales = scales.repeat_interleave(self.height, dim=-2)[..., : self.shape[-2], :]
            scales = scales.repeat_interleave(self.width, dim=-1)[..., : self.shape[-1]]
        return self.codes.float() * scales


def stack_rows(parts: list[Scaled]) -> Scaled:
    """One above the other; all but the last of whole blocks."""
    codes, scales = torch.cat([p.codes for p in parts]), torch.cat([p.scales for p in parts])
    return replace(parts[0], codes=codes, scales=scales)


def stack(each: list[Scaled]) -> Scaled:
    """Equal matrices as [number, rows, columns]; lets go of what it has copied."""
    first, count = each[0], len(each)
    codes, scales = first.codes.new_empty(count, *first.codes.shape), first.scales.new_empty(count, *first.scales.shape)
    out = replace(first, codes=codes, scales=scales)
    for i in range(count):
        codes[i], scales[i], each[i] = each[i].codes, each[i].scales, out
    return out


def quantized(x: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Rows [n, columns] → codes of the same shape, and scales [n, ⌈columns / group⌉]. Zeros have the scale 1."""
    blocks = -(-x.shape[1] // group)
    whole = F.pad(x.float(), (0, -x.shape[1] % group)).reshape(len(x), blocks, group)
    scales = whole.abs().amax(-1) / LARGEST
    scales = torch.where(scales > 0, scales, 1.0)
    codes = (whole / scales[..., None]).clamp(-LARGEST, LARGEST).to(E4M3)
    return codes.flatten(1)[:, : x.shape[1]].contiguous(), scales


def product(x: Tensor, w: Scaled) -> Tensor:
    """x [n, columns] times ``w`` [rows, columns] transposed, in the format of ``x``."""
    codes, scales = w.quantized(x)
    if not len(x):
        return x.new_zeros(0, w.shape[0])
    if w.way is Way.BLOCKS:
        return _by_blocks(codes, scales, w, x.dtype)
    if w.way is Way.COLUMNS:
        return _by_columns(codes, scales, w).to(x.dtype)
    wide = Scaled(codes, scales, 1, w.group).wide()
    return (wide @ w.wide().T).to(x.dtype)


def _by_blocks(codes: Tensor, scales: Tensor, w: Scaled, dtype: torch.dtype) -> Tensor:
    """By one product of torch: 1 × 128 scales on the left, 128 × 128 on the right (scales of whole rows are
    multiplied in after). cuBLASLt reads the left ones column by column, the right ones row by row with their count
    along the columns filled up to a multiple of 4, and takes whole fours of rows."""
    rows, lacking = len(codes), -len(codes) % _ROWS
    if lacking:  # fp8 has no padding of its own
        codes = F.pad(codes.view(torch.uint8), (0, 0, 0, lacking)).view(E4M3)
        scales = F.pad(scales, (0, 0, 0, lacking), value=1.0)
    right = w.scales
    if not w.width:
        right = right.new_ones(-(-w.shape[0] // BLOCK), -(-w.shape[1] // BLOCK))
    right = F.pad(right, (0, -right.shape[1] % 4), value=1.0).contiguous().t()
    out: Tensor = _torch.scaled_mm(
        codes,
        w.codes.t(),
        scales.t().contiguous().t(),
        _SCALING.BlockWise1x128,
        right,
        _SCALING.BlockWise128x128,
        output_dtype=torch.bfloat16 if dtype == torch.bfloat16 else torch.float32,
    )[:rows]
    return (out if w.width else out * w.scales[:, 0]).to(dtype)


def _by_columns(codes: Tensor, scales: Tensor, w: Scaled) -> Tensor:
    """A product with a scale for each row on both sides for every group of columns, summed in fp32."""
    total = codes.new_zeros(len(codes), w.shape[0], dtype=torch.float32)
    for block in range(scales.shape[1]):
        part = slice(block * w.group, (block + 1) * w.group)
        total += _torch.scaled_mm(
            codes[:, part],
            w.codes[:, part].t(),
            scales[:, block : block + 1].contiguous(),
            _SCALING.RowWise,
            w.rows_scales(block)[None].contiguous(),
            _SCALING.RowWise,
            output_dtype=torch.float32,
        )
    return total


def grouped(rows: Tensor, w: Scaled, ends: Tensor) -> Tensor:
    """Rows [n, columns], sorted by slot, times matrices [slots, rows, columns] transposed, each slot's rows by its own
    matrix. Nothing waits for the device to tell ``ends`` [slots], so that a graph can hold it. torch's grouped
    product has scales for rows only, and gives bf16: a group of columns after the other, summed in fp32."""
    codes, scales = w.quantized(rows)
    total = rows.new_zeros(len(rows), w.shape[1], dtype=torch.float32)
    for block in range(scales.shape[1]):
        part = slice(block * w.group, (block + 1) * w.group)
        total += _torch.scaled_grouped_mm(
            codes[:, part],
            w.codes[..., part].transpose(1, 2),
            scales[:, block].contiguous(),
            _SCALING.RowWise,
            w.rows_scales(block).contiguous(),
            _SCALING.RowWise,
            offs=ends,
        )
    return total.to(rows.dtype)
