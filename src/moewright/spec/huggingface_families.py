"""How each Hugging Face model_type names its layers: from a config's fields to a list of ``Layer``.

Field names, defaults and layer patterns are those of the configuration and modeling files in
Hugging Face transformers 5 (``models/<model_type>``); the tests build the same models there and compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from moewright.spec.fields import Fields
from moewright.spec.model import (
    Attention,
    DenseFfn,
    Ffn,
    Indexer,
    LatentAttention,
    Layer,
    LinearAttention,
    MoeFfn,
    SoftmaxAttention,
)

MOST_LAYERS: Final = 4096
_MOST_EXPERTS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Family:
    """How one architecture reads: its attentions and feed-forwards, one for each of ``count`` layers."""

    attentions: Callable[[Fields, int], list[Attention]]
    ffns: Callable[[Fields, int], list[Ffn]]
    hidden: str = "hidden_size"
    depth: str = "num_hidden_layers"
    norm_bias: bool = False


def layers(family: Family, fields: Fields) -> tuple[Layer, ...]:
    """The layers of the model that ``fields`` describe."""
    count = fields.integer(family.depth, most=MOST_LAYERS)
    pairs = zip(family.attentions(fields, count), family.ffns(fields, count), strict=True)
    return tuple(Layer(attention, ffn, norm_bias=family.norm_bias) for attention, ffn in pairs)


# ---------------------------------------------------------------------------------------- attention


def _grouped(
    f: Fields,
    *,
    head_dim: int | None = None,
    kv_default: bool = False,
    bias: bool = False,
    qkv_bias: bool = False,
    qk_norm: str = "none",
) -> SoftmaxAttention:
    """Grouped-query attention in the usual names; ``head_dim`` is the family's where the config has none
    (hidden_size / heads for most), ``kv_default``: num_key_value_heads may be missing and is then heads;
    ``bias``: on all four projections, ``qkv_bias``: not on the output's."""
    heads = f.integer("num_attention_heads")
    kv_heads = f.integer("num_key_value_heads", heads) if kv_default else f.integer("num_key_value_heads")
    if heads % kv_heads:
        raise f.error(
            "num_key_value_heads", f"got {kv_heads}, which does not divide num_attention_heads {heads}"
        )
    return SoftmaxAttention(
        heads,
        kv_heads,
        f.integer("head_dim", head_dim or _even_head_dim(f, heads)),
        qkv_bias=bias or qkv_bias,
        output_bias=bias,
        qk_norm=qk_norm,
    )


def _even_head_dim(f: Fields, heads: int, hidden: str = "hidden_size") -> int:
    width = f.integer(hidden)
    if width % heads and not f.has("head_dim"):
        raise f.error(
            hidden, f"got {width}, which {heads} attention heads do not divide, and there is no head_dim"
        )
    return max(1, width // heads)


def _windows(f: Fields, count: int, otherwise: Callable[[int], bool]) -> list[int | None]:
    """Sliding window of each layer: by ``layer_types``, or where ``otherwise`` says so."""
    kinds = layer_kinds(f, "layer_types", count, ("sliding_attention", "full_attention"))
    slides = (
        [kind == "sliding_attention" for kind in kinds] if kinds else [otherwise(i) for i in range(count)]
    )
    window = f.integer("sliding_window") if any(slides) else None
    return [window if slide else None for slide in slides]


def layer_kinds(f: Fields, name: str, count: int, known: tuple[str, ...]) -> list[str] | None:
    """The list ``name`` with one of the ``known`` kinds for each of ``count`` layers, or None."""
    kinds = f.texts(name)
    if kinds is None:
        return None
    if len(kinds) != count:
        raise f.error(name, f"has {len(kinds)} entries for {count} layers")
    for position, kind in enumerate(kinds):
        if kind not in known:
            raise f.error(name, f"entry {position} is {kind[:40]!r}; known are {', '.join(known)}")
    return kinds


def _everywhere(attention: Callable[[Fields], Attention]) -> Callable[[Fields, int], list[Attention]]:
    return lambda f, count: [attention(f)] * count


def _mixtral_attention(f: Fields) -> Attention:
    return replace(_grouped(f), window=f.optional("sliding_window"))


def _phimoe_attention(f: Fields) -> Attention:
    return replace(_grouped(f, bias=f.flag("attention_bias", False)), window=f.optional("sliding_window"))


def _llama_attention(f: Fields) -> Attention:
    return _grouped(f, kv_default=True, bias=f.flag("attention_bias", False))


def _olmoe_attention(f: Fields) -> Attention:
    return _grouped(f, kv_default=True, qk_norm="full", bias=f.flag("attention_bias", False))


def _glm4_moe_attention(f: Fields) -> Attention:
    norm = "head" if f.flag("use_qk_norm", False) else "none"
    return _grouped(f, qkv_bias=f.flag("attention_bias", False), qk_norm=norm)


def _minimax_attention(f: Fields) -> Attention:
    return _grouped(f, head_dim=128, qk_norm="full" if f.flag("use_qk_norm", True) else "none")


def _dbrx_attention(f: Fields) -> Attention:
    heads, inner = f.integer("n_heads"), f.section("attn_config")
    kv_heads = inner.integer("kv_n_heads")
    if heads % kv_heads:
        raise inner.error("kv_n_heads", f"got {kv_heads}, which does not divide n_heads {heads}")
    return SoftmaxAttention(heads, kv_heads, _even_head_dim(f, heads, "d_model"))


def _qwen2_attentions(f: Fields, count: int) -> list[Attention]:
    return _late_windows(f, count, _grouped(f, qkv_bias=True))


def _qwen3_attentions(f: Fields, count: int) -> list[Attention]:
    return _late_windows(
        f, count, _grouped(f, head_dim=128, qk_norm="head", bias=f.flag("attention_bias", False))
    )


def _late_windows(f: Fields, count: int, base: SoftmaxAttention) -> list[Attention]:
    """Qwen2 and Qwen3: with use_sliding_window, the layers from max_window_layers on slide."""
    if not f.flag("use_sliding_window", False):
        return [base] * count
    first = f.integer("max_window_layers", 28, least=0)
    return [replace(base, window=window) for window in _windows(f, count, lambda i: i >= first)]


def _qwen2_moe_attentions(f: Fields, count: int) -> list[Attention]:
    """With use_sliding_window, every other layer below max_window_layers slides."""
    base = _grouped(f, qkv_bias=f.flag("qkv_bias", True))
    if not f.flag("use_sliding_window", False):
        return [base] * count
    last = f.integer("max_window_layers", 28, least=0)
    return [replace(base, window=window) for window in _windows(f, count, lambda i: i % 2 == 0 and i < last)]


def _qwen3_moe_attention(f: Fields) -> Attention:
    window = f.optional("sliding_window") if f.flag("use_sliding_window", False) else None
    return replace(_grouped(f, qk_norm="head", bias=f.flag("attention_bias", False)), window=window)


def _gpt_oss_attentions(f: Fields, count: int) -> list[Attention]:
    """Even layers slide (128 tokens), odd ones see all; each head has a learned sink."""
    base = replace(_grouped(f, head_dim=64, bias=f.flag("attention_bias", True)), sinks=True)
    return [replace(base, window=window) for window in _windows(f, count, lambda i: i % 2 == 0)]


def _llama4_attentions(f: Fields, count: int) -> list[Attention]:
    """Layers with rotary embedding attend inside chunks; every fourth has neither (NoPE) and sees all."""
    base = _grouped(f, head_dim=128, bias=f.flag("attention_bias", False))
    chunk = f.optional("attention_chunk_size") if "attention_chunk_size" in f.raw else 8192
    kinds = layer_kinds(f, "layer_types", count, ("chunked_attention", "full_attention"))
    if kinds is None:
        every = f.integer("no_rope_layer_interval", 4)
        rope = f.integers("no_rope_layers") or [int((i + 1) % every != 0) for i in range(count)]
        if len(rope) != count:
            raise f.error("no_rope_layers", f"has {len(rope)} entries for {count} layers")
        kinds = ["chunked_attention" if uses else "full_attention" for uses in rope]
    return [replace(base, chunk=chunk if kind == "chunked_attention" else None) for kind in kinds]


def _qwen3_next_attentions(f: Fields, count: int) -> list[Attention]:
    """Three gated-delta layers, then one of gated full attention, unless ``layer_types`` says otherwise."""
    gate = f.flag("attn_output_gate", True)
    full = replace(
        _grouped(f, head_dim=256, qk_norm="head", bias=f.flag("attention_bias", False)), output_gate=gate
    )
    linear = LinearAttention(
        f.integer("linear_num_key_heads"),
        f.integer("linear_num_value_heads"),
        f.integer("linear_key_head_dim"),
        f.integer("linear_value_head_dim"),
        f.integer("linear_conv_kernel_dim"),
    )
    if linear.value_heads % linear.key_heads:
        raise f.error(
            "linear_num_value_heads", f"got {linear.value_heads}, not a multiple of {linear.key_heads}"
        )
    kinds = layer_kinds(f, "layer_types", count, ("linear_attention", "full_attention"))
    if kinds is None:
        every = f.integer("full_attention_interval", 4)
        kinds = ["linear_attention" if (i + 1) % every else "full_attention" for i in range(count)]
    return [linear if kind == "linear_attention" else full for kind in kinds]


def _latent(f: Fields) -> LatentAttention:
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


def _sparse_attentions(f: Fields, count: int) -> list[Attention]:
    """DeepSeek sparse attention. GLM-5.2 on: some layers have no indexer of their own and take the keys
    that the last one before them picked (``indexer_types``, or every index_topk_freq-th)."""
    f.integer("q_lora_rank")
    indexer = Indexer(f.integer("index_n_heads"), f.integer("index_head_dim"), f.integer("index_topk"))
    own = replace(_latent(f), indexer=indexer)
    shared = replace(own, indexer=replace(indexer, shared=True))
    kinds = layer_kinds(f, "indexer_types", count, ("full", "shared"))
    if kinds is None:
        every, offset = f.integer("index_topk_freq", 1), f.integer("index_skip_topk_offset", 2, least=0)
        kinds = ["shared" if max(i - offset + 1, 0) % every else "full" for i in range(count)]
    return [own if kind == "full" else shared for kind in kinds]


# ------------------------------------------------------------------------------------- feed-forward


def _moe(f: Fields, *, experts: tuple[str, ...], width: str = "intermediate_size", top_k: str) -> MoeFfn:
    name = f.first(*experts)
    number = f.integer(name, most=_MOST_EXPERTS)
    active = f.integer(top_k, most=_MOST_EXPERTS)
    if active > number:
        raise f.error(top_k, f"got {active}, more than the {number} experts of {name}")
    return MoeFfn(number, active, f.integer(width))


def _local_experts(f: Fields) -> MoeFfn:
    return _moe(f, experts=("num_local_experts", "num_experts"), top_k="num_experts_per_tok")


def _moe_everywhere(f: Fields, count: int) -> list[Ffn]:
    return [_local_experts(f)] * count


def _minimax_ffns(f: Fields, count: int) -> list[Ffn]:
    if f.integer("shared_intermediate_size", 0, least=0):
        raise f.error("shared_intermediate_size", "shared experts are not known for minimax_m2; expected 0")
    return _moe_everywhere(f, count)


def _gpt_oss_ffns(f: Fields, count: int) -> list[Ffn]:
    return [replace(_local_experts(f), bias=True, router_bias=True)] * count


def _dbrx_ffns(f: Fields, count: int) -> list[Ffn]:
    inner = f.section("ffn_config")
    return [_moe(inner, experts=("moe_num_experts",), width="ffn_hidden_size", top_k="moe_top_k")] * count


def _dense_ffns(f: Fields, count: int) -> list[Ffn]:
    return [DenseFfn(f.integer("intermediate_size"), bias=f.flag("mlp_bias", False))] * count


def _llama4_ffns(f: Fields, count: int) -> list[Ffn]:
    """Every interleave_moe_layer_step-th layer has experts and one shared expert of their width."""
    moe = _local_experts(f)
    moe = replace(moe, shared_width=moe.width)
    step = f.integer("interleave_moe_layer_step", 1)
    listed = f.integers("moe_layers")
    positions = set(range(step - 1, count, step) if listed is None else listed)
    if not positions <= set(range(count)):
        raise f.error("moe_layers", f"names layers outside 0 to {count - 1}")
    dense = DenseFfn(f.integer("intermediate_size_mlp")) if len(positions) < count else moe
    return [moe if i in positions else dense for i in range(count)]


def _qwen_moe_ffns(f: Fields, count: int, shared: bool = False) -> list[Ffn]:
    """Experts in every decoder_sparse_step-th layer that mlp_only_layers does not name; the shared
    expert, where there is one, passes through a sigmoid gate."""
    moe = _moe(
        f,
        experts=("num_experts", "num_local_experts"),
        width="moe_intermediate_size",
        top_k="num_experts_per_tok",
    )
    if shared:
        width = f.integer("shared_expert_intermediate_size", least=0)
        moe = replace(moe, shared_width=width, shared_gate=True)
    step, plain = f.integer("decoder_sparse_step", 1), set(f.integers("mlp_only_layers") or [])
    sparse = [i not in plain and (i + 1) % step == 0 for i in range(count)]
    dense = moe if all(sparse) else DenseFfn(f.integer("intermediate_size"))
    return [moe if experts else dense for experts in sparse]


def _qwen_shared_ffns(f: Fields, count: int) -> list[Ffn]:
    return _qwen_moe_ffns(f, count, shared=True)


def _deepseek_ffns(f: Fields, count: int) -> list[Ffn]:
    """The first first_k_dense_replace layers are dense; n_shared_experts share one wide matrix."""
    bias = f.flag("mlp_bias", False) and f.text("model_type") == "deepseek_v2"
    moe = _grouped_routing(f)
    moe = replace(moe, shared_width=f.integer("n_shared_experts", 0, least=0) * moe.width, shared_bias=bias)
    kinds = layer_kinds(f, "mlp_layer_types", count, ("dense", "sparse"))
    if kinds is None:
        first, step = f.integer("first_k_dense_replace", 0, least=0), f.integer("moe_layer_freq", 1)
        kinds = ["sparse" if i >= first and i % step == 0 else "dense" for i in range(count)]
    dense = DenseFfn(f.integer("intermediate_size"), bias=bias) if "dense" in kinds else moe
    return [moe if kind == "sparse" else dense for kind in kinds]


def _grouped_routing(f: Fields) -> MoeFfn:
    """Experts in n_group groups, of which topk_group are open to a token (DeepSeek-V2 §2.2.2)."""
    experts = ("n_routed_experts", "num_experts")
    moe = _moe(f, experts=experts, width="moe_intermediate_size", top_k="num_experts_per_tok")
    groups = f.integer("n_group", 1)
    open_groups = f.integer("topk_group", groups)
    if moe.experts % groups:
        raise f.error("n_group", f"got {groups}, which does not divide the {moe.experts} experts")
    if open_groups > groups or moe.experts // groups * open_groups < moe.top_k:
        raise f.error(
            "topk_group", f"got {open_groups} of {groups} groups, too few or too many for {moe.top_k} experts"
        )
    return replace(moe, groups=groups, top_groups=open_groups)


# ---------------------------------------------------------------------------------------- families

_DEEPSEEK = Family(_everywhere(_latent), _deepseek_ffns)
_SPARSE = Family(_sparse_attentions, _deepseek_ffns)
_QWEN35 = Family(_qwen3_next_attentions, _dense_ffns)
_QWEN_NEXT = Family(_qwen3_next_attentions, _qwen_shared_ffns)
_LLAMA4 = Family(_llama4_attentions, _llama4_ffns)

#: model_type → how it reads
KNOWN: Final[dict[str, Family]] = {
    "dbrx": Family(_everywhere(_dbrx_attention), _dbrx_ffns, "d_model", "n_layers"),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v32": _SPARSE,
    "glm4_moe": Family(_everywhere(_glm4_moe_attention), _deepseek_ffns),
    "glm_moe_dsa": _SPARSE,
    "gpt_oss": Family(_gpt_oss_attentions, _gpt_oss_ffns),
    "granitemoe": Family(_everywhere(_llama_attention), _moe_everywhere),
    "kimi_k2": _DEEPSEEK,
    "kimi_k25": _DEEPSEEK,
    "llama": Family(_everywhere(_llama_attention), _dense_ffns),
    "llama4": _LLAMA4,
    "llama4_text": _LLAMA4,
    "minimax_m2": Family(_everywhere(_minimax_attention), _minimax_ffns),
    "mixtral": Family(_everywhere(_mixtral_attention), _moe_everywhere),
    "olmoe": Family(_everywhere(_olmoe_attention), _moe_everywhere),
    "phimoe": Family(_everywhere(_phimoe_attention), _moe_everywhere, norm_bias=True),
    "qwen2": Family(_qwen2_attentions, _dense_ffns),
    "qwen2_moe": Family(_qwen2_moe_attentions, _qwen_shared_ffns),
    "qwen3": Family(_qwen3_attentions, _dense_ffns),
    "qwen3_5": _QWEN35,
    "qwen3_5_moe": _QWEN_NEXT,
    "qwen3_5_moe_text": _QWEN_NEXT,
    "qwen3_5_text": _QWEN35,
    "qwen3_moe": Family(_everywhere(_qwen3_moe_attention), _qwen_moe_ffns),
    "qwen3_next": _QWEN_NEXT,
}

#: types whose config holds the language model in ``text_config``, beside a vision tower
NESTED: Final = frozenset({"kimi_k25", "llama4", "qwen3_5", "qwen3_5_moe"})
