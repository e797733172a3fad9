"""The least time that a pass can take on a machine: bytes that must be read over bandwidth, FLOPs over the peak.

Bytes are those of weights and of keys and values that the pass reads once, experts only where they had tokens; FLOPs
those of its products and scores. Peak and bandwidth are the catalogue's where it has the device, else the best that
the benches of ``moewright measure`` attain here: a large product, and a large copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: rows, columns and depth of the product, and bytes of the copy, that show what a machine attains
PRODUCT = (2048, 2048, 2048)
COPY = 1 << 28


@dataclass(frozen=True, slots=True)
class Limits:
    """FLOPs/s and bytes/s of a machine in one format, and where they are from."""

    flops: float
    bandwidth: float
    source: str


@dataclass(frozen=True, slots=True)
class Roof:
    """What a pass must do at least."""

    flops: float
    bytes: float

    def seconds(self, limits: Limits) -> tuple[float, str]:
        """The least time, and what sets it."""
        compute, memory = self.flops / limits.flops, self.bytes / limits.bandwidth
        return max(compute, memory), "FLOPs" if compute > memory else "bytes"


def limits(device: Any, precision: str) -> Limits:
    """Of ``device`` in fp32 or bf16."""
    import torch

    from moewright.case.catalogue.hardware_catalogue import load_device
    from moewright.errors import SpecError

    if device.type == "cuda":
        name = torch.cuda.get_device_name(device).removeprefix("NVIDIA ").replace(" ", "-")
        try:
            found = load_device(name)
            return Limits(found.flops[precision], found.memory_bandwidth, f"data sheet of {found.name}")
        except (SpecError, KeyError):
            pass
    return attained(device, precision)


def attained(device: Any, precision: str, product: tuple[int, int, int] = PRODUCT, copy: int = COPY) -> Limits:
    """What the benches of ``moewright measure`` reach."""
    import torch

    from moewright.run.bench.operation_benches import operation_benches as bench
    from moewright.run.options import FORMATS

    like, (rows, columns, depth) = torch.empty(0, dtype=FORMATS[precision], device=device), product

    def best(operation: str, key: tuple[int, ...], size: int) -> float:
        return min(bench.seconds_of(bench.make(operation, key, size, like, None), device, 1, 5))

    flops = 2.0 * rows * columns * depth / best("gemm", (columns, depth), rows)
    return Limits(flops, copy / best("memory", (), copy), "attained here by a product and a copy")


def roof(shard: Any, loads: dict[int, Any], counts: Sequence[int], starts: Sequence[int]) -> Roof:
    """Of a pass of ``counts`` new tokens of each sequence after ``starts`` on one rank, which gives the logits of the
    last ones. ``loads``: layer → tokens that chose each expert."""
    from moewright.case.model import MoeFfn
    from moewright.case.tensors.layer_tensors import attention_tensors, ffn_tensors, vocabulary_tensors

    model, size = shard.model, shard.weights[0]["o"].element_size()
    tokens = sum(counts)
    flops = size_of = 0.0
    for position, layer in enumerate(model.layers):
        a, ffn = layer.attention, layer.ffn
        for t in [*attention_tensors(a, model.hidden_size), *ffn_tensors(ffn, model.hidden_size)]:
            read = t.parameters
            if t.kind == "experts" and isinstance(ffn, MoeFfn):
                read = read * int((loads[position] > 0).sum()) // ffn.experts
            share = ffn.top_k / ffn.experts if t.kind == "experts" and isinstance(ffn, MoeFfn) else 1.0
            size_of += read * size
            flops += 2.0 * t.parameters * share * tokens * t.gemm
        for count, start in zip(counts, starts, strict=True):
            pairs = count * (start + (count + 1) / 2)  # a token sees itself and what is before it
            flops += 2.0 * pairs * a.heads * (a.head_dim + a.v_dim)
            size_of += start * a.kv_heads * (a.head_dim + a.v_dim) * size
    for t in vocabulary_tensors(model):
        if t.name != "embedding":
            size_of += t.parameters * size
            flops += 2.0 * t.parameters * len(counts) * t.gemm
    return Roof(flops, size_of)
