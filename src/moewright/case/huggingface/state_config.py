"""Layers that keep a state: Mamba, lightning attention, Kimi delta attention, short convolutions.

Field names and defaults are those of Hugging Face transformers 5 (``models/<model_type>``) or, where it has no
class, of the model's own repository.
"""

from __future__ import annotations

from dataclasses import replace

from moewright.case.huggingface.attention_config import grouped, latent, layer_kinds
from moewright.case.huggingface.attention_families import bailing_attention, head_gate
from moewright.case.huggingface.fields import Fields
from moewright.case.model import Attention, LatentAttention, LinearAttention
from moewright.case.tensors.tensor import Tensor, vector

#: what a config may call a layer with a state, and one of softmax attention
STATE_KINDS = ("linear_attention", "mamba", "recurrent", "conv")
FULL_KINDS = ("full_attention", "attention", "sliding_attention", "hybrid")


def _kinds(f: Fields, count: int) -> list[str] | None:
    """``layer_types`` (or layers_block_type) as linear or full."""
    name = f.first("layer_types", "layers_block_type")
    kinds = layer_kinds(f, name, count, (*STATE_KINDS, *FULL_KINDS))
    return kinds and ["linear" if kind in STATE_KINDS else "full" for kind in kinds]


def mamba2(f: Fields, inner: int | None = None) -> LinearAttention:
    """A Mamba-2 layer in the names of Bamba and Granite 4."""
    hidden, heads = f.integer("hidden_size"), f.integer("mamba_n_heads", 128)
    width = inner or f.integer("mamba_expand", 2) * hidden
    if width % heads:
        raise f.error("mamba_n_heads", f"got {heads}, which does not divide the {width} channels of a layer")
    bias = f.flag("mamba_proj_bias", False)
    groups, state = f.integer("mamba_n_groups", 1), f.integer("mamba_d_state", 256)
    projected = 2 * width + 2 * groups * state + heads
    extra = (vector("in_proj_bias", projected, "attention", "heads"), vector("out_proj_bias", hidden, "attention"))
    return LinearAttention(
        groups,
        heads,
        state,
        width // heads,
        f.integer("mamba_d_conv", 4),
        rule="mamba2",
        conv_bias=f.flag("mamba_conv_bias", True),
        extra=extra if bias else (),
    )


def bamba_attentions(f: Fields, count: int) -> list[Attention]:
    full = grouped(f, kv_default=True, bias=f.flag("attention_bias", False))
    listed = set(f.integers("attn_layer_indices") or [])
    return [full if i in listed else mamba2(f) for i in range(count)]


def granite_hybrid_attentions(f: Fields, count: int) -> list[Attention]:
    kinds = _kinds(f, count) or ["linear"] * count
    full = grouped(f, kv_default=True, bias=f.flag("attention_bias", False)) if "full" in kinds else None
    state = mamba2(f) if "linear" in kinds else None
    return [a for kind in kinds if (a := full if kind == "full" else state) is not None]


def jamba_attentions(f: Fields, count: int) -> list[Attention]:
    """Mamba-1, and attention in every attn_layer_period-th layer."""
    hidden, state = f.integer("hidden_size"), f.integer("mamba_d_state", 16)
    inner = f.integer("mamba_expand", 2) * hidden
    given = f.raw.get("mamba_dt_rank", "auto")
    rank = -(-hidden // 16) if given in ("auto", None) else f.integer("mamba_dt_rank")
    bias = f.flag("mamba_proj_bias", False)
    extra = (vector("in_proj_bias", 2 * inner, "attention", "heads"), vector("out_proj_bias", hidden, "attention"))
    mamba = LinearAttention(
        1,
        inner,
        state,
        1,
        f.integer("mamba_d_conv", 4),
        rule="mamba1",
        conv_bias=f.flag("mamba_conv_bias", True),
        dt_rank=rank,
        extra=extra if bias else (),
    )
    period, offset = f.integer("attn_layer_period", 8), f.integer("attn_layer_offset", 4, least=0)
    full = grouped(f, kv_default=True)
    return [full if i % period == offset else mamba for i in range(count)]


def lightning(heads: int, head_dim: int) -> LinearAttention:
    """MiniMax-01's lightning attention."""
    return LinearAttention(heads, heads, head_dim, head_dim, 1, rule="lightning")


def minimax_attentions(f: Fields, count: int) -> list[Attention]:
    """MiniMax-Text-01 and M1: seven layers of lightning attention, then one of softmax attention. The checkpoints
    list attn_type_list (0: lightning), transformers layer_types."""
    full = grouped(f, kv_default=True)
    kinds, listed = _kinds(f, count), f.integers("attn_type_list")
    if kinds is None and listed is not None:
        if len(listed) != count:
            raise f.error("attn_type_list", f"has {len(listed)} entries for {count} layers")
        kinds = ["full" if one else "linear" for one in listed]
    if kinds is None:
        kinds = ["linear" if i % 2 else "full" for i in range(count)]
    return [full if kind == "full" else lightning(full.heads, full.head_dim) for kind in kinds]


def kda(heads: int, dim: int, kernel: int, *, full_rank: bool, full_gate: bool) -> LinearAttention:
    """Kimi delta attention; decays and gates through ``dim`` dimensions, or by one matrix."""
    return LinearAttention(
        heads,
        heads,
        dim,
        dim,
        kernel,
        rule="kda",
        decay_rank=0 if full_rank else dim,
        gate_rank=0 if full_gate else dim,
    )


def kimi_linear_attentions(f: Fields, count: int) -> list[Attention]:
    """Kimi Linear and Kimi-K3: three layers of Kimi delta attention, then one of latent attention."""
    inner = f.section("linear_attn_config") if f.has("linear_attn_config") else None
    heads = inner.integer("num_heads", 32) if inner else f.integer("linear_num_heads", 32)
    dim = inner.integer("head_dim", 128) if inner else f.integer("linear_head_dim", 128)
    kernel = inner.integer("short_conv_kernel_size", 4) if inner else f.integer("linear_conv_kernel_dim", 4)
    wide = inner.flag("use_full_rank_gate", False) if inner else False
    state = kda(heads, dim, kernel, full_rank=False, full_gate=wide)
    full = latent(f)
    if f.flag("mla_use_output_gate", False):
        rows = full.heads * full.value_dim
        full = replace(full, extra=(Tensor("g_proj", rows, f.integer("hidden_size"), "attention", "heads"),))
    kinds = _kinds(f, count)
    listed = inner.integers("full_attn_layers") if inner else None
    if kinds is None and listed is not None:
        kinds = ["full" if i + 1 in listed else "linear" for i in range(count)]
    if kinds is None:
        kinds = ["full" if i and i % 4 == 0 else "linear" for i in range(count)]
    return [full if kind == "full" else state for kind in kinds]


def bailing_hybrid_attentions(f: Fields, count: int) -> list[Attention]:
    """Latent attention with a gate for each head in every layer_group_size-th layer, Kimi delta attention else."""
    heads, hidden = f.integer("num_attention_heads"), f.integer("hidden_size")
    dim, kernel = f.integer(f.first("linear_head_dim", "head_dim"), 128), f.integer("short_conv_kernel_size", 4)
    state = kda(heads, dim, kernel, full_rank=True, full_gate=True)
    full: LatentAttention = replace(latent(f), extra=(head_gate(heads, hidden),))
    return [full if kind == "full" else state for kind in _kinds(f, count) or _grouped_kinds(f, count, 6)]


def _grouped_kinds(f: Fields, count: int, otherwise: int) -> list[str]:
    size = f.integer("layer_group_size", otherwise)
    return ["full" if (i + 1) % size == 0 else "linear" for i in range(count)]


def bailing_linear_attentions(f: Fields, count: int) -> list[Attention]:
    """Ring-linear: lightning attention with norms of each query and key head; softmax attention ends each group."""
    full = bailing_attention(f)
    norm = (vector("qk_norm", full.head_dim, "norm", count=2),) if full.qk_norm == "head" else ()
    state = replace(lightning(full.heads, full.head_dim), extra=norm)
    last = count // f.integer("layer_group_size", 8) * f.integer("layer_group_size", 8)
    kinds = _grouped_kinds(f, count, 8)
    return [full if kind == "full" or i >= last else state for i, kind in enumerate(kinds)]


def lfm2_attentions(f: Fields, count: int) -> list[Attention]:
    """LFM2: short convolutions, and attention with norms of each head."""
    hidden = f.integer("hidden_size")
    full = grouped(f, kv_default=True, qk_norm="head")
    bias = f.flag("conv_bias", False)
    extra = (vector("in_proj_bias", 3 * hidden, "attention", "heads"), vector("out_proj_bias", hidden, "attention"))
    short = LinearAttention(
        1,
        1,
        1,
        hidden,
        f.integer("conv_L_cache", 3),
        rule="convolution",
        conv_bias=bias,
        extra=extra if bias else (),
    )
    kinds, listed = _kinds(f, count), f.integers("full_attn_idxs")
    if kinds is None:
        kinds = ["full" if listed is None or i in listed else "linear" for i in range(count)]
    return [full if kind == "full" else short for kind in kinds]
