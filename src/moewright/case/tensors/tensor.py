"""One entry of a model's list of weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tensor:
    """``count`` equal tensors of ``rows × columns`` (output × input; a vector has ``columns = 1`` and
    ``gemm = False``). ``kind`` is the class whose precision and memory line it falls under, ``shard``
    the axis it is divided over: heads, kv_heads, width, experts, vocabulary or none (every rank holds it).
    ``format``: its number format where a checkpoint gives it one of its own, else None (``Precision`` has it)."""

    name: str
    rows: int
    columns: int
    kind: str
    shard: str = "none"
    count: int = 1
    gemm: bool = True
    format: str | None = None

    @property
    def parameters(self) -> int:
        return self.rows * self.columns * self.count


def vector(name: str, size: int, kind: str, shard: str = "none", count: int = 1) -> Tensor:
    """A tensor that no matrix product reads: a bias, the weight of a norm, a learned scale."""
    return Tensor(name, size, 1, kind, shard, count, gemm=False)
