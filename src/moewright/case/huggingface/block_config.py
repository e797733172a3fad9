"""Families whose blocks are not one attention and one feed-forward: the layers of each, pair by pair.

Field names, defaults and patterns are those of Hugging Face transformers 5 (``models/<model_type>``) or, where it has
no class, of the model's own repository.
"""

from __future__ import annotations

from dataclasses import replace

from moewright.case.huggingface.attention_config import grouped, latent, layer_kinds
from moewright.case.huggingface.attention_families import nemotron_nas_attention
from moewright.case.huggingface.ffn_config import routed
from moewright.case.huggingface.fields import Fields
from moewright.case.huggingface.state_config import mamba2
from moewright.case.model import (
    Attention,
    CompressedAttention,
    DenseFfn,
    Ffn,
    Indexer,
    Layer,
    LinearAttention,
    MoeFfn,
    NoAttention,
    SoftmaxAttention,
)
from moewright.case.tensors.tensor import Tensor, vector

_NOTHING = DenseFfn(0)
_NO_TENSORS: tuple[Tensor, ...] = ()


def longcat_layers(f: Fields, count: int) -> list[Layer]:
    """LongCat-Flash (arXiv 2509.01322 §2.2): a block has attention, dense, attention, dense, and experts beside the
    first of each, whose sum is added at the end. Counted as two layers; the experts of 256 choices do nothing."""
    attention = latent(f)
    width = f.integer(f.first("ffn_hidden_size", "intermediate_size"))
    moe = routed(f, width=("expert_ffn_hidden_size", "moe_intermediate_size"))
    moe = replace(moe, zero_experts=f.integer("zero_expert_num", 0, least=0), shared_width=width)
    return [layer for _ in range(count) for layer in (Layer(attention, moe), Layer(attention, DenseFfn(width)))]


def _pairs(blocks: list[Attention | Ffn], norms: int = 1) -> list[Layer]:
    """Blocks of one mixer or one feed-forward each, as layers of both where a feed-forward follows a mixer."""
    layers: list[Layer] = []
    for block in blocks:
        if not isinstance(block, DenseFfn | MoeFfn):
            layers.append(Layer(block, _NOTHING, norms=norms))
        elif layers and layers[-1].ffn == _NOTHING:
            layers[-1] = replace(layers[-1], ffn=block, norms=2 * norms)
        else:
            layers.append(Layer(NoAttention(), block, norms=norms))
    return layers


_LETTERS = {"M": "linear_attention", "*": "full_attention", "E": "moe", "-": "mlp"}
_BLOCKS = {"mamba": "linear_attention", "attention": "full_attention"}


def nemotron_h_layers(f: Fields, count: int) -> list[Layer]:
    """Nemotron-H and Nemotron 3: each block is a Mamba-2, an attention, experts, or a dense feed-forward."""
    pattern = f.text("hybrid_override_pattern")
    name = f.first("layers_block_type", "layer_types")
    if pattern is not None:
        unknown = set(pattern) - set(_LETTERS)
        if unknown or len(pattern) > 4096:
            raise f.error("hybrid_override_pattern", f"has {sorted(unknown)[:4]}; known are {', '.join(_LETTERS)}")
        kinds = [_LETTERS[letter] for letter in pattern]
    else:
        listed = f.texts(name)
        if listed is None:
            raise f.error("hybrid_override_pattern", "is missing; expected a text such as MEM*E")
        kinds = [_BLOCKS.get(kind, kind) for kind in listed]
    reader = {"linear_attention": _nemotron_mamba, "full_attention": _nemotron_attention}
    readers = {**reader, "moe": _nemotron_experts, "mlp": _nemotron_dense}
    for kind in kinds:
        if kind not in readers:
            raise f.error(name, f"has {kind[:40]!r}; known are {', '.join(readers)}")
    made = {kind: readers[kind](f) for kind in dict.fromkeys(kinds)}
    return _pairs([made[kind] for kind in kinds])


def _nemotron_mamba(f: Fields) -> Attention:
    heads, dim = f.integer("mamba_num_heads", 128), f.integer("mamba_head_dim", 64)
    groups, state = f.integer(f.first("n_groups", "mamba_n_groups"), 8), f.integer("ssm_state_size", 128)
    hidden, biased = f.integer("hidden_size"), f.flag("use_bias", False)
    projected = 2 * heads * dim + 2 * groups * state + heads
    extra = (vector("in_proj_bias", projected, "attention", "heads"), vector("out_proj_bias", hidden, "attention"))
    return LinearAttention(
        groups,
        heads,
        state,
        dim,
        f.integer(f.first("conv_kernel", "mamba_d_conv"), 4),
        rule="mamba2",
        conv_bias=f.flag(f.first("use_conv_bias", "mamba_conv_bias"), True),
        extra=extra if biased else (),
    )


def _nemotron_attention(f: Fields) -> Attention:
    heads = f.integer("num_attention_heads", 32)
    head_dim = f.integer(f.first("head_dim", "attention_head_dim"), 128)
    return SoftmaxAttention(
        heads, f.integer("num_key_value_heads", heads), head_dim, window=f.optional("sliding_window")
    )


def _nemotron_experts(f: Fields) -> Ffn:
    moe = routed(f, grouped=True)
    shared = f.integer("n_shared_experts", 1, least=0) and f.integer("moe_shared_expert_intermediate_size")
    latent_width = f.optional("moe_latent_size")
    return replace(moe, gated=False, shared_width=shared, shared_gated=False, latent=latent_width)


def _nemotron_dense(f: Fields) -> Ffn:
    return DenseFfn(f.integer("intermediate_size"), gated=False, bias=f.flag("mlp_bias", False))


def falcon_h1_layers(f: Fields, count: int) -> list[Layer]:
    """Falcon-H1: attention and Mamba-2 beside each other, added up, before one feed-forward; counted as two layers."""
    mamba = mamba2(f, f.optional("mamba_d_ssm"))
    mamba = replace(mamba, output_norm=f.flag("mamba_rms_norm", False))
    attention = grouped(f, kv_default=True, bias=f.flag("attention_bias", False))
    ffn = DenseFfn(f.integer("intermediate_size"), bias=f.flag("mlp_bias", False))
    pair = (Layer(mamba, _NOTHING, norms=0), Layer(attention, ffn, norms=2))
    return [layer for _ in range(count) for layer in pair]


def nemotron_nas_layers(f: Fields, count: int) -> list[Layer]:
    """Llama-Nemotron, pruned by search: ``block_configs`` say what each block has left."""
    blocks = f.mappings("block_configs")
    if blocks is None or len(blocks) != count:
        raise f.error("block_configs", f"has {len(blocks or [])} entries for {count} layers")
    heads, hidden = f.integer("num_attention_heads"), f.integer("hidden_size")
    layers = []
    for block in blocks:
        attention, ffn = block.section("attention"), block.section("ffn")
        mixer: Attention = NoAttention()
        norms = 0
        if attention.flag("replace_with_linear", False):
            mixer = NoAttention(extra=(Tensor("linear_attn", hidden, hidden, "attention", "heads"),))
            norms += 1
        elif not attention.flag("no_op", False):
            mixer = nemotron_nas_attention(f, attention.integer("n_heads_in_group"), heads)
            norms += 1
        network, more = _NOTHING, _NO_TENSORS
        if ffn.flag("replace_with_linear", False):
            more = (Tensor("linear_mlp", hidden, hidden, "dense", "width"),)
            norms += 1
        elif not ffn.flag("no_op", False):
            network = DenseFfn(_multiplied(hidden, ffn.number("ffn_mult")))
            norms += 1
        layers.append(Layer(mixer, network, norms=norms, extra=more))
    return layers


def _multiplied(hidden: int, times: float) -> int:
    """Width of a feed-forward ``times`` as wide, two thirds of it (it is gated), in 256s (DeciLM's own rule)."""
    return -(-int(2 * times * hidden / 3) // 256) * 256


def gemma4_layers(f: Fields, count: int) -> list[Layer]:
    """Gemma 4: windows but in every sixth layer, whose heads are wider and whose values may be the keys; the last
    layers may take keys and values of earlier ones; experts beside a dense network; an input of its own a layer."""
    kinds = layer_kinds(f, "layer_types", count, ("sliding_attention", "full_attention"))
    if kinds is None:
        kinds = ["full_attention" if (i + 1) % 6 == 0 or i == count - 1 else "sliding_attention" for i in range(count)]
    hidden, dense, shared = f.integer("hidden_size"), f.integer("intermediate_size"), _shared_layers(f, count)
    sliding, full = _gemma4_attentions(f)
    moe = None
    if f.flag("enable_moe_block", False):
        more = (vector("router_scale", hidden, "router"), vector("expert_scales", f.integer("num_experts"), "router"))
        moe = replace(routed(f), shared_width=dense, extra=more)
    inner = f.integer("hidden_size_per_layer_input", 256, least=0)
    extra: tuple[Tensor, ...] = ()
    if inner:
        gate = Tensor("per_layer_gate", inner, hidden, "dense")
        extra = (gate, Tensor("per_layer_projection", hidden, inner, "dense"), vector("per_layer_norm", hidden, "norm"))
    wide = f.flag("use_double_wide_mlp", False)
    layers = []
    for i, kind in enumerate(kinds):
        attention = replace(sliding if kind == "sliding_attention" else full, shared_cache=i in shared)
        ffn: Ffn = moe or DenseFfn(dense * (2 if wide and i in shared else 1))
        layers.append(Layer(attention, ffn, norms=7 if moe else 4, extra=extra))
    return layers


def _shared_layers(f: Fields, count: int) -> range:
    return range(count - f.integer("num_kv_shared_layers", 0, least=0), count)


def _gemma4_attentions(f: Fields) -> tuple[SoftmaxAttention, SoftmaxAttention]:
    base = grouped(f, head_dim=256, qk_norm="head", bias=f.flag("attention_bias", False))
    tied = f.flag("attention_k_eq_v", False)
    kv_heads = f.integer("num_global_key_value_heads", base.kv_heads) if tied else base.kv_heads
    full = replace(base, head_dim=f.integer("global_head_dim", 512), kv_heads=kv_heads, tied_values=tied)
    return replace(base, window=f.integer("sliding_window", 512)), full


def gemma4_extra(f: Fields) -> tuple[Tensor, ...]:
    """The embedding of every layer's own input, and its projection."""
    inner, count = f.integer("hidden_size_per_layer_input", 256, least=0), f.integer("num_hidden_layers")
    if not inner:
        return ()
    rows = f.integer("vocab_size_per_layer_input", f.integer("vocab_size"))
    return (
        Tensor("per_layer_embedding", rows, count * inner, "vocabulary", "vocabulary", gemm=False),
        Tensor("per_layer_model_projection", count * inner, f.integer("hidden_size"), "dense"),
        vector("per_layer_projection_norm", inner, "norm"),
    )


_RATIOS = {"sliding_attention": 0, "compressed_sparse_attention": 4, "heavily_compressed_attention": 128}


def deepseek_v4_layers(f: Fields, count: int) -> list[Layer]:
    """DeepSeek-V4: compressed sparse and heavily compressed attention in turn, a stream of ``hc_mult`` residuals."""
    hidden = f.integer("hidden_size")
    index = Indexer(f.integer("index_n_heads", 64), f.integer("index_head_dim", 128), f.integer("index_topk", 512))
    sliding = CompressedAttention(
        f.integer("num_attention_heads"),
        f.integer("q_lora_rank"),
        f.integer("head_dim", 512),
        f.integer("sliding_window", 128),
        0,
        f.integer("o_groups", 8),
        f.integer("o_lora_rank", 1024),
    )
    rates = f.section("compress_rates") if f.has("compress_rates") else None
    sparse = rates.integer("compressed_sparse_attention", 4) if rates else f.integer("compress_rate_csa", 4)
    heavy = rates.integer("heavily_compressed_attention", 128) if rates else f.integer("compress_rate_hca", 128)
    made: dict[str, Attention] = {
        "sliding_attention": sliding,
        "compressed_sparse_attention": replace(sliding, ratio=sparse, indexer=index),
        "heavily_compressed_attention": replace(sliding, ratio=heavy),
    }
    moe = routed(f, grouped=True)
    moe = replace(moe, shared_width=f.integer("n_shared_experts", 1, least=0) * moe.width)
    streams = f.integer("hc_mult", 4)
    mixes = (2 + streams) * streams
    extra = (
        Tensor("hyper_connection", mixes, streams * hidden, "norm", count=2),
        vector("hyper_base", mixes, "norm", count=2),
        vector("hyper_scale", 3, "norm", count=2),
    )
    return [Layer(made[kind], moe, extra=extra) for kind in _v4_kinds(f, count)]


def _v4_kinds(f: Fields, count: int) -> list[str]:
    kinds = layer_kinds(f, "layer_types", count, tuple(_RATIOS))
    ratios = f.integers("compress_ratios")
    if kinds is None and ratios is not None:
        named = {ratio: kind for kind, ratio in _RATIOS.items()}
        unknown = [ratio for ratio in ratios if ratio not in named]
        if unknown or len(ratios) < count:  # an entry of the prediction layer may follow
            got = unknown[0] if unknown else f"{len(ratios)} entries for {count} layers"
            raise f.error("compress_ratios", f"got {got}; expected one of 0, 4 and 128 for each layer")
        kinds = [named[ratio] for ratio in ratios[:count]]
    if kinds is None:
        turns = ("heavily_compressed_attention", "compressed_sparse_attention")
        kinds = [turns[0] if i < 2 else turns[i % 2] for i in range(count)]
    return kinds


def deepseek_v4_extra(f: Fields) -> tuple[Tensor, ...]:
    """What joins the residual streams before the head."""
    streams, hidden = f.integer("hc_mult", 4), f.integer("hidden_size")
    return (
        Tensor("hyper_head", streams, streams * hidden, "norm"),
        vector("hyper_head_base", streams, "norm"),
        vector("hyper_head_scale", 1, "norm"),
    )
