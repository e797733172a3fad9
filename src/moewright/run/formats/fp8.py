"""Whether a device's FP8 matrix units are used: what was asked, what it has, and what a trial showed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from moewright.run.formats import scaled
from moewright.run.formats.scaled import BLOCK, Scaled, Way

#: largest difference of a trial from the plain product, over its largest value: bf16 sums, and what tensor cores drop
NEAR: Final = 1e-2
#: columns and rows of FP8 matrices that torch's products take
_WHOLE: Final = 16
#: of a trial: rows of a matrix of whole blocks, and of one whose last is cut (such as DeepSeek-V3's kv_a_proj, 576)
_EVEN: Final = 2 * BLOCK
_CUT: Final = BLOCK + 4 * _WHOLE


@dataclass(frozen=True, slots=True)
class Choice:
    """``way`` of the products, or None: weights are multiplied out. ``graphs``: a graph can hold the experts'
    products. ``rows``: what must divide a matrix's. ``says``: which, and why, in one line."""

    way: Way | None
    says: str
    graphs: bool = True
    rows: int = 1

    def takes(self, rows: int, columns: int, height: int, width: int) -> bool:
        """Whether a matrix of ``rows`` × ``columns`` with scales of ``height`` × ``width`` (0: whole rows) can be
        multiplied so."""
        if self.way is None:
            return False
        if self.way is Way.PLAIN:
            return True
        sides = width == 0 or (height, width) == (BLOCK, BLOCK)
        return sides and rows % self.rows == 0 and columns % BLOCK == 0


def choose(device: torch.device, wanted: str, dtype: torch.dtype = torch.bfloat16) -> Choice:
    """The choice for ``device`` and activations in ``dtype``; ``wanted``: auto, on (the plain product where the device
    has none) or off."""
    if wanted == "off":
        return Choice(None, "multiplied out, as asked")
    if device.type != "cuda":
        why = "this device has no FP8 matrix units"
    else:
        found = _on_cuda(device, dtype)
        if isinstance(found, Choice):
            return found
        why = found
    if wanted == "on":
        return Choice(Way.PLAIN, f"quantised, by plain products: {why}", graphs=device.type != "cuda")
    return Choice(None, f"multiplied out: {why}")


def _on_cuda(device: torch.device, dtype: torch.dtype) -> Choice | str:
    """The choice, or why there is none."""
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) < (8, 9):
        return f"compute capability {major}.{minor} has no FP8 matrix units; they came with 8.9"
    reasons = []
    for way in [Way.BLOCKS, Way.COLUMNS] if major == 9 else [Way.COLUMNS]:  # torch has block scales for 9 alone
        reason = trial(device, way, dtype, _EVEN)
        if reason is None:
            without = next(filter(None, (trial(device, way, dtype, n, True) for n in (_EVEN, _CUT))), None)
            graphs = "" if without is None else f"; decode is no CUDA graph: grouped products {without}"
            rows = _WHOLE if trial(device, way, dtype, _CUT) is None else BLOCK
            return Choice(way, f"FP8 matrix units, by {way}{graphs}", without is None, rows)
        reasons.append(f"products by {way} {reason}")
    return "; ".join(reasons)


def trial(device: torch.device, way: Way, dtype: torch.dtype, rows: int, together: bool = False) -> str | None:
    """What is wrong with products of that way on ``device`` with matrices of ``rows`` (``together``: with grouped
    ones); None: nothing."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    columns = 3 * BLOCK
    scales = 0.5 + torch.rand(2, -(-rows // BLOCK), columns // BLOCK, generator=generator)
    w = Scaled(drawn(2, rows, columns).to(scaled.E4M3), scales, way=way).to(device)
    x = drawn(7, columns).to(device, dtype)
    plain = [scaled.product(part, _plain(w[i])) for i, part in enumerate((x[:3], x[3:]))]
    try:
        if together:
            got = scaled.grouped(x, w, torch.tensor([3, 7], dtype=torch.int32, device=device))
        else:
            got = torch.cat([scaled.product(x[:3], w[0]), scaled.product(x[3:], w[1])])
        error = _error(got, torch.cat(plain))
    except Exception as refusal:  # whatever this device or this torch has against it
        return f"fail ({_line(refusal)})"
    return None if error <= NEAR else f"are wrong by {error:.2g} of their largest value"


def _plain(w: Scaled) -> Scaled:
    return Scaled(w.codes, w.scales, w.height, w.width)


def _error(got: Tensor, want: Tensor) -> float:
    return float((got.float() - want.float()).abs().max() / want.float().abs().max())


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
