"""Attentions of families that differ from Llama's in a few fields, layer by layer.

Field names, defaults and patterns are those of the configuration and modeling files in Hugging Face
transformers 5 (``models/<model_type>``) or, where it has no class, of the model's own repository.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from moewright.case.huggingface.attention_config import even_head_dim, grouped, layer_kinds, windows
from moewright.case.huggingface.fields import Fields
from moewright.case.model import Attention, Indexer, SoftmaxAttention
from moewright.case.tensors.tensor import Tensor

Attentions = Callable[[Fields, int], list[Attention]]


def plain(
    *,
    head_dim: int | None = None,
    bias: str | None = "attention_bias",
    biased: bool = False,
    output: bool = True,
    qk_norm: str = "none",
    sinks: bool = False,
    slides: Callable[[Fields, int], bool] | None = None,
) -> Attentions:
    """Grouped-query attention with a bias where the field ``bias`` says so (``biased`` where it is missing;
    ``output``: on the output projection too), and a window where ``slides`` or ``layer_types`` says so."""

    def read(f: Fields, count: int) -> list[Attention]:
        with_bias = f.flag(bias, biased) if bias else biased
        base = grouped(f, head_dim=head_dim, kv_default=True, qkv_bias=with_bias, qk_norm=qk_norm)
        base = replace(base, output_bias=with_bias and output, sinks=sinks)
        if slides is None and not f.has("layer_types"):
            return [replace(base, window=None)] * count
        sizes = windows(f, count, lambda i: slides is not None and slides(f, i))
        return [replace(base, window=size) for size in sizes]

    return read


def every(field: str, otherwise: int) -> Callable[[Fields, int], bool]:
    """All slide but each ``field``-th layer, where the family has a sliding_window at all."""

    def slides(f: Fields, position: int) -> bool:
        period = f.integer(field, otherwise, least=0)
        return f.has("sliding_window") and period > 0 and (position + 1) % period != 0

    return slides


def late(field: str, otherwise: int) -> Callable[[Fields, int], bool]:
    """Layers from ``field`` on slide."""
    return lambda f, position: f.has("sliding_window") and position >= f.integer(field, otherwise, least=0)


def always(f: Fields, position: int) -> bool:
    """Every layer slides, where the config has a sliding_window."""
    return f.has("sliding_window")


def flint_slides(f: Fields, position: int) -> bool:
    """All but the first two, each fourth and the last."""
    return position >= 2 and position % 4 != 1 and position != f.integer("num_hidden_layers") - 1


def head_gate(heads: int, hidden: int) -> Tensor:
    """One gate of the output for each head."""
    return Tensor("g_proj", heads, hidden, "attention", "heads")


def afmoe_attentions(f: Fields, count: int) -> list[Attention]:
    """Gated outputs, norms of each head, windows but in every fourth layer."""
    layers = plain(head_dim=128, qk_norm="head", slides=every("global_attn_every_n_layers", 4))(f, count)
    return [replace(a, output_gate=True) for a in layers if isinstance(a, SoftmaxAttention)]


def step_attentions(f: Fields, count: int) -> list[Attention]:
    """Step-3.5 and 3.7: a gate for each head; layers with a window may have heads of their own."""
    hidden = f.integer("hidden_size")
    full = grouped(f, head_dim=128, kv_names=("num_key_value_heads", "num_attention_groups"), qk_norm="head")
    other = f.section("attention_other_setting") if f.has("attention_other_setting") else None
    heads = f.optional("num_sliding_attention_heads") or (
        other.integer("num_attention_heads", full.heads) if other else full.heads
    )
    kinds = layer_kinds(f, "layer_types", count, ("sliding_attention", "full_attention"), padded=True)
    window = f.integer("sliding_window") if kinds and "sliding_attention" in kinds else None
    sliding = replace(full, heads=heads, window=window, extra=(head_gate(heads, hidden),))
    full = replace(full, extra=(head_gate(full.heads, hidden),))
    return [sliding if kind == "sliding_attention" else full for kind in kinds or ["full_attention"] * count]


def step3_attention(f: Fields) -> Attention:
    """Step-3, multi-matrix factorization attention (arXiv 2507.19427): queries of low rank, one KV head."""
    base = grouped(f, head_dim=256, kv_names=("num_attention_groups", "num_key_value_heads"))
    return replace(base, q_rank=f.integer("share_q_dim"))


def mimo_v2_attentions(f: Fields, count: int) -> list[Attention]:
    """MiMo-V2: windows with heads of their own and a sink; values narrower than keys."""
    kinds = layer_kinds(f, "layer_types", count, ("sliding_attention", "full_attention"))
    pattern = f.integers("hybrid_layer_pattern")
    if kinds is None and pattern is not None:
        kinds = ["sliding_attention" if slides else "full_attention" for slides in pattern]
    if kinds is None:
        kinds = ["sliding_attention" if i and (i + 1) % 6 else "full_attention" for i in range(count)]
    if len(kinds) != count:
        raise f.error("hybrid_layer_pattern", f"has {len(kinds)} entries for {count} layers")
    bias = f.flag("attention_bias", False)
    full = SoftmaxAttention(
        f.integer("num_attention_heads"),
        f.integer("num_key_value_heads"),
        f.integer("head_dim", 192),
        f.integer("v_head_dim", 128),
        qkv_bias=bias,
        sinks=f.flag("add_full_attention_sink_bias", False),
    )
    sliding = replace(
        full,
        heads=f.integer("swa_num_attention_heads", full.heads),
        kv_heads=f.integer("swa_num_key_value_heads", 2 * full.kv_heads),
        head_dim=f.integer("swa_head_dim", full.head_dim),
        value_dim=f.integer("swa_v_head_dim", full.v_dim),
        window=f.integer(f.first("sliding_window_size", "sliding_window"), 128),
        sinks=f.flag("add_swa_attention_sink_bias", True),
    )
    return [sliding if kind == "sliding_attention" else full for kind in kinds]


def minimax_m3_attentions(f: Fields, count: int) -> list[Attention]:
    """MiniMax-M3: an index picks blocks of keys; the first layers see all."""
    base = grouped(f, head_dim=128, qk_norm="head")
    sparse = f.section("sparse_attention_config") if f.has("sparse_attention_config") else None
    inner = sparse or f

    def size(name: str, legacy: str, otherwise: int) -> int:
        return inner.integer(legacy, otherwise) if sparse else f.integer(name, otherwise)

    block = size("index_block_size", "sparse_block_size", 128)
    index = Indexer(
        size("index_n_heads", "sparse_num_index_heads", 4),
        size("index_head_dim", "sparse_index_dim", 128),
        block * size("index_topk_blocks", "sparse_topk_blocks", 16),
        block=block,
    )
    kinds = layer_kinds(f, "layer_types", count, ("minimax_m3_sparse", "full_attention"))
    if kinds is None:
        freq = (sparse.integers("sparse_attention_freq") if sparse else None) or [0] * count
        if len(freq) != count:
            raise inner.error("sparse_attention_freq", f"has {len(freq)} entries for {count} layers")
        kinds = ["minimax_m3_sparse" if one else "full_attention" for one in freq]
    return [replace(base, indexer=index) if kind == "minimax_m3_sparse" else base for kind in kinds]


def hunyuan_attentions(f: Fields, count: int) -> list[Attention]:
    """Norms of each head; with use_cla, only every cla_share_factor-th layer has keys and values of its own."""
    norm = "head" if f.flag("use_qk_norm", True) else "none"
    base = grouped(f, kv_default=True, bias=f.flag("attention_bias", False), qk_norm=norm)
    share = f.integer("cla_share_factor", 2) if f.flag("use_cla", False) else 1
    return [replace(base, shared_cache=i % share != 0) for i in range(count)]


def laguna_attentions(f: Fields, count: int) -> list[Attention]:
    """A gate for each head, or for each number; heads may differ between layers."""
    hidden = f.integer("hidden_size")
    layers = plain(head_dim=128, qk_norm="head")(f, count)
    heads = f.integers("num_attention_heads_per_layer")
    if heads is not None and len(heads) != count:
        raise f.error("num_attention_heads_per_layer", f"has {len(heads)} entries for {count} layers")
    wide = f.raw.get("gating", True) == "per-element"
    found: list[Attention] = []
    for i, a in enumerate(layers):
        assert isinstance(a, SoftmaxAttention)
        own = replace(a, heads=heads[i] if heads else a.heads)
        found.append(replace(own, extra=(head_gate(own.heads * (own.head_dim if wide else 1), hidden),)))
    return found


def bailing_attention(f: Fields) -> SoftmaxAttention:
    """Ling and Ring: fused projections, biased by use_qkv_bias and use_bias."""
    norm = "head" if f.flag("use_qk_norm", False) else "none"
    base = grouped(f, kv_default=True, qkv_bias=f.flag("use_qkv_bias", False), qk_norm=norm)
    return replace(base, output_bias=f.flag("use_bias", False))


def sarvam_attention(f: Fields) -> Attention:
    return replace(bailing_attention(f), qk_norm="head")


def nemotron_nas_attention(f: Fields, heads_in_group: int, heads: int) -> SoftmaxAttention:
    """Of one block: query heads in groups of so many to a KV head."""
    return SoftmaxAttention(heads, heads // heads_in_group, even_head_dim(f, heads), qkv_bias=False)
