"""The weights of layers that keep a state: gated delta, Kimi delta, lightning attention, Mamba, short convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from moewright.case.attention_kinds import LinearAttention
from moewright.case.tensors.tensor import Tensor, vector


def linear_tensors(a: LinearAttention, hidden: int) -> Iterator[Tensor]:
    """Tensors of one layer of the rule that ``a`` has."""
    return _RULES[a.rule](a, hidden)


def _convolution(a: LinearAttention, shard: str) -> Iterator[Tensor]:
    if a.conv_kernel > 1:
        yield Tensor("conv1d", a.conv_channels, a.conv_kernel, "attention", shard, gemm=False)
        if a.conv_bias:
            yield vector("conv1d_bias", a.conv_channels, "attention", shard)


def _gated_delta(a: LinearAttention, hidden: int) -> Iterator[Tensor]:
    keys, values = a.key_heads * a.key_dim, a.value_heads * a.value_dim
    yield Tensor("in_proj_qk", 2 * keys, hidden, "attention", "kv_heads")
    yield Tensor("in_proj_vz", 2 * values, hidden, "attention", "heads")
    yield Tensor("in_proj_ba", 2 * a.value_heads, hidden, "attention", "heads")
    yield Tensor("conv1d", a.conv_channels, a.conv_kernel, "attention", "kv_heads", gemm=False)
    yield vector("dt_bias", a.value_heads, "attention", "heads")
    yield vector("A_log", a.value_heads, "attention", "heads")
    yield vector("norm", a.value_dim, "norm")
    yield Tensor("out_proj", hidden, values, "attention", "heads")


def _kda(a: LinearAttention, hidden: int) -> Iterator[Tensor]:
    """A decay for every key channel; query, key and value heads are as many."""
    keys, values = a.key_heads * a.key_dim, a.value_heads * a.value_dim
    yield Tensor("q_proj", keys, hidden, "attention", "heads")
    yield Tensor("k_proj", keys, hidden, "attention", "heads")
    yield Tensor("v_proj", values, hidden, "attention", "heads")
    yield from _convolution(a, "heads")
    for name, rank, rows in (("f", a.decay_rank, keys), ("g", a.gate_rank, values)):
        if rank:
            yield Tensor(f"{name}_a_proj", rank, hidden, "attention")
            yield Tensor(f"{name}_b_proj", rows, rank, "attention", "heads")
        else:
            yield Tensor(f"{name}_proj", rows, hidden, "attention", "heads")
    yield Tensor("b_proj", a.value_heads, hidden, "attention", "heads")
    yield vector("dt_bias", keys, "attention", "heads")
    yield vector("A_log", a.value_heads, "attention", "heads")
    yield vector("norm", a.value_dim, "norm")
    yield Tensor("o_proj", hidden, values, "attention", "heads")


def _lightning(a: LinearAttention, hidden: int) -> Iterator[Tensor]:
    keys, values = a.key_heads * a.key_dim, a.value_heads * a.value_dim
    yield Tensor("qkv_proj", 2 * keys + values, hidden, "attention", "heads")
    yield Tensor("output_gate", values, hidden, "attention", "heads")
    yield vector("norm", values, "norm", "heads")
    yield Tensor("out_proj", hidden, values, "attention", "heads")


def _mamba2(a: LinearAttention, hidden: int) -> Iterator[Tensor]:
    """Groups (``key_heads``) share B and C, each ``key_dim`` (the state) wide."""
    inner, groups = a.value_heads * a.value_dim, a.key_heads * a.key_dim
    yield Tensor("in_proj", 2 * inner + 2 * groups + a.value_heads, hidden, "attention", "heads")
    yield from _convolution(a, "heads")
    for name in ("dt_bias", "A_log", "D"):
        yield vector(name, a.value_heads, "attention", "heads")
    if a.output_norm:
        yield vector("norm", inner, "norm", "heads")
    yield Tensor("out_proj", hidden, inner, "attention", "heads")


def _mamba1(a: LinearAttention, hidden: int) -> Iterator[Tensor]:
    """Every channel is a head of its own."""
    inner = a.value_heads
    yield Tensor("in_proj", 2 * inner, hidden, "attention", "heads")
    yield from _convolution(a, "heads")
    yield Tensor("x_proj", a.dt_rank + 2 * a.key_dim, inner, "attention", "heads")
    yield Tensor("dt_proj", inner, a.dt_rank, "attention", "heads")
    yield vector("dt_bias", inner, "attention", "heads")
    yield Tensor("A_log", inner, a.key_dim, "attention", "heads", gemm=False)
    yield vector("D", inner, "attention", "heads")
    if a.output_norm:
        yield vector("state_norms", a.dt_rank + 2 * a.key_dim, "norm")
    yield Tensor("out_proj", hidden, inner, "attention", "heads")


def _short_convolution(a: LinearAttention, hidden: int) -> Iterator[Tensor]:
    """Gates before and after a convolution (LFM2)."""
    width = a.value_heads * a.value_dim
    yield Tensor("in_proj", 3 * width, hidden, "attention", "heads")
    yield from _convolution(a, "heads")
    yield Tensor("out_proj", hidden, width, "attention", "heads")


_RULES: Final[dict[str, Callable[[LinearAttention, int], Iterator[Tensor]]]] = {
    "gated_delta": _gated_delta,
    "kda": _kda,
    "lightning": _lightning,
    "mamba1": _mamba1,
    "mamba2": _mamba2,
    "convolution": _short_convolution,
}
