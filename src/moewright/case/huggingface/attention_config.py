"""The attention of each layer, as the Hugging Face families name it.

Field names, defaults and layer patterns are those of the configuration and modeling files in
Hugging Face transformers 5 (``models/<model_type>``); the tests build the same models there and compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from moewright.case.huggingface.fields import Fields
from moewright.case.model import Attention, Indexer, LatentAttention, LinearAttention, SoftmaxAttention

#: spellings of the number of multi-token-prediction layers
PREDICTION_NAMES = ("num_nextn_predict_layers", "num_mtp_modules", "mtp_num_hidden_layers", "num_mtp_layers")


def grouped(
    f: Fields,
    *,
    head_dim: int | None = None,
    kv_default: bool = False,
    kv_names: tuple[str, ...] = ("num_key_value_heads",),
    bias: bool = False,
    qkv_bias: bool = False,
    qk_norm: str = "none",
) -> SoftmaxAttention:
    """Grouped-query attention in the usual names; ``head_dim`` is the family's where the config has none
    (hidden_size / heads for most), ``kv_default``: num_key_value_heads may be missing and is then heads;
    ``bias``: on all four projections, ``qkv_bias``: not on the output's."""
    heads = f.integer("num_attention_heads")
    kv_name = f.first(*kv_names)
    kv_heads = f.integer(kv_name, heads) if kv_default else f.integer(kv_name)
    if heads % kv_heads:
        raise f.error(kv_name, f"got {kv_heads}, which does not divide num_attention_heads {heads}")
    return SoftmaxAttention(
        heads,
        kv_heads,
        f.integer("head_dim", head_dim or even_head_dim(f, heads)),
        qkv_bias=bias or qkv_bias,
        output_bias=bias,
        qk_norm=qk_norm,
    )


def even_head_dim(f: Fields, heads: int, hidden: str = "hidden_size") -> int:
    width = f.integer(hidden)
    if width % heads and not f.has("head_dim"):
        raise f.error(hidden, f"got {width}, which {heads} attention heads do not divide, and there is no head_dim")
    return max(1, width // heads)


def windows(f: Fields, count: int, otherwise: Callable[[int], bool]) -> list[int | None]:
    """Sliding window of each layer: by ``layer_types``, or where ``otherwise`` says so."""
    kinds = layer_kinds(f, "layer_types", count, ("sliding_attention", "full_attention"))
    slides = [kind == "sliding_attention" for kind in kinds] if kinds else [otherwise(i) for i in range(count)]
    window = f.integer("sliding_window") if any(slides) else None
    return [window if slide else None for slide in slides]


def layer_kinds(f: Fields, name: str, count: int, known: tuple[str, ...], padded: bool = False) -> list[str] | None:
    """The list ``name`` with one of the ``known`` kinds for each of ``count`` layers, or None. ``padded``: entries
    of prediction layers may follow."""
    kinds = f.texts(name)
    if kinds is None:
        return None
    if padded and len(kinds) == count + f.integer(f.first(*PREDICTION_NAMES), 0, least=0):
        kinds = kinds[:count]
    if len(kinds) != count:
        raise f.error(name, f"has {len(kinds)} entries for {count} layers")
    for position, kind in enumerate(kinds):
        if kind not in known:
            raise f.error(name, f"entry {position} is {kind[:40]!r}; known are {', '.join(known)}")
    return kinds


def everywhere(attention: Callable[[Fields], Attention]) -> Callable[[Fields, int], list[Attention]]:
    return lambda f, count: [attention(f)] * count


def mixtral_attention(f: Fields) -> Attention:
    return replace(grouped(f), window=f.optional("sliding_window"))


def phimoe_attention(f: Fields) -> Attention:
    return replace(grouped(f, bias=f.flag("attention_bias", False)), window=f.optional("sliding_window"))


def llama_attention(f: Fields) -> Attention:
    return grouped(f, kv_default=True, bias=f.flag("attention_bias", False))


def olmoe_attention(f: Fields) -> Attention:
    return grouped(f, kv_default=True, qk_norm="full", bias=f.flag("attention_bias", False))


def glm4_moe_attention(f: Fields) -> Attention:
    norm = "head" if f.flag("use_qk_norm", False) else "none"
    return grouped(f, qkv_bias=f.flag("attention_bias", False), qk_norm=norm)


def minimax_attention(f: Fields) -> Attention:
    return grouped(f, head_dim=128, qk_norm="full" if f.flag("use_qk_norm", True) else "none")


def dbrx_attention(f: Fields) -> Attention:
    heads, inner = f.integer("n_heads"), f.section("attn_config")
    kv_heads = inner.integer("kv_n_heads")
    if heads % kv_heads:
        raise inner.error("kv_n_heads", f"got {kv_heads}, which does not divide n_heads {heads}")
    return SoftmaxAttention(heads, kv_heads, even_head_dim(f, heads, "d_model"))


def qwen2_attentions(f: Fields, count: int) -> list[Attention]:
    return _late_windows(f, count, grouped(f, qkv_bias=True))


def qwen3_attentions(f: Fields, count: int) -> list[Attention]:
    return _late_windows(f, count, grouped(f, head_dim=128, qk_norm="head", bias=f.flag("attention_bias", False)))


def _late_windows(f: Fields, count: int, base: SoftmaxAttention) -> list[Attention]:
    """Qwen2 and Qwen3: with use_sliding_window, the layers from max_window_layers on slide."""
    if not f.flag("use_sliding_window", False):
        return [base] * count
    first = f.integer("max_window_layers", 28, least=0)
    return [replace(base, window=window) for window in windows(f, count, lambda i: i >= first)]


def qwen2_moe_attentions(f: Fields, count: int) -> list[Attention]:
    """With use_sliding_window, every other layer below max_window_layers slides."""
    base = grouped(f, qkv_bias=f.flag("qkv_bias", True))
    if not f.flag("use_sliding_window", False):
        return [base] * count
    last = f.integer("max_window_layers", 28, least=0)
    return [replace(base, window=window) for window in windows(f, count, lambda i: i % 2 == 0 and i < last)]


def qwen3_moe_attention(f: Fields) -> Attention:
    window = f.optional("sliding_window") if f.flag("use_sliding_window", False) else None
    return replace(grouped(f, qk_norm="head", bias=f.flag("attention_bias", False)), window=window)


def gpt_oss_attentions(f: Fields, count: int) -> list[Attention]:
    """Even layers slide (128 tokens), odd ones see all; each head has a learned sink."""
    base = replace(grouped(f, head_dim=64, bias=f.flag("attention_bias", True)), sinks=True)
    return [replace(base, window=window) for window in windows(f, count, lambda i: i % 2 == 0)]


def llama4_attentions(f: Fields, count: int) -> list[Attention]:
    """Layers with rotary embedding attend inside chunks; every fourth has neither (NoPE) and sees all."""
    base = grouped(f, head_dim=128, bias=f.flag("attention_bias", False))
    chunk = f.optional("attention_chunk_size") if "attention_chunk_size" in f.raw else 8192
    kinds = layer_kinds(f, "layer_types", count, ("chunked_attention", "full_attention"))
    if kinds is None:
        every = f.integer("no_rope_layer_interval", 4)
        rope = f.integers("no_rope_layers") or [int((i + 1) % every != 0) for i in range(count)]
        if len(rope) != count:
            raise f.error("no_rope_layers", f"has {len(rope)} entries for {count} layers")
        kinds = ["chunked_attention" if uses else "full_attention" for uses in rope]
    return [replace(base, chunk=chunk if kind == "chunked_attention" else None) for kind in kinds]


def qwen3_next_attentions(f: Fields, count: int) -> list[Attention]:
    """Three gated-delta layers, then one of gated full attention, unless ``layer_types`` says otherwise."""
    gate = f.flag("attn_output_gate", True)
    full = replace(grouped(f, head_dim=256, qk_norm="head", bias=f.flag("attention_bias", False)), output_gate=gate)
    linear = LinearAttention(
        f.integer("linear_num_key_heads"),
        f.integer("linear_num_value_heads"),
        f.integer("linear_key_head_dim"),
        f.integer("linear_value_head_dim"),
        f.integer("linear_conv_kernel_dim"),
    )
    if linear.value_heads % linear.key_heads:
        raise f.error("linear_num_value_heads", f"got {linear.value_heads}, not a multiple of {linear.key_heads}")
    kinds = layer_kinds(f, "layer_types", count, ("linear_attention", "full_attention"))
    if kinds is None:
        every = f.integer("full_attention_interval", 4)
        kinds = ["linear_attention" if (i + 1) % every else "full_attention" for i in range(count)]
    return [linear if kind == "linear_attention" else full for kind in kinds]


def latent(f: Fields) -> LatentAttention:
    """Multi-head latent attention; q_lora_rank null: queries are not compressed (DeepSeek-V2-Lite)."""
    return LatentAttention(
        f.integer("num_attention_heads"),
        f.optional("q_lora_rank"),
        f.integer("kv_lora_rank"),
        f.integer("qk_nope_head_dim"),
        f.integer("qk_rope_head_dim"),
        f.integer("v_head_dim"),
        bias=f.flag("attention_bias", False),
    )


def sparse_attentions(f: Fields, count: int) -> list[Attention]:
    """DeepSeek sparse attention. GLM-5.2 on: some layers have no indexer of their own and take the keys
    that the last one before them picked (``indexer_types``, or every index_topk_freq-th)."""
    f.integer("q_lora_rank")
    indexer = Indexer(f.integer("index_n_heads"), f.integer("index_head_dim"), f.integer("index_topk"))
    own = replace(latent(f), indexer=indexer)
    shared = replace(own, indexer=replace(indexer, shared=True))
    kinds = layer_kinds(f, "indexer_types", count, ("full", "shared"))
    if kinds is None:
        every, offset = f.integer("index_topk_freq", 1), f.integer("index_skip_topk_offset", 2, least=0)
        kinds = ["shared" if max(i - offset + 1, 0) % every else "full" for i in range(count)]
    return [own if kind == "full" else shared for kind in kinds]
