"""The feed-forward of each layer, dense or of experts, as the Hugging Face families name it.

Field names, defaults and layer patterns are those of the configuration and modeling files in
Hugging Face transformers 5 (``models/<model_type>``); the tests build the same models there and compare.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from moewright.case.huggingface.attention_config import layer_kinds
from moewright.case.huggingface.fields import Fields
from moewright.case.model import DenseFfn, Ffn, MoeFfn

_MOST_EXPERTS: Final = 1 << 16


def _moe(f: Fields, *, experts: tuple[str, ...], width: str = "intermediate_size", top_k: str) -> MoeFfn:
    name = f.first(*experts)
    number = f.integer(name, most=_MOST_EXPERTS)
    active = f.integer(top_k, most=_MOST_EXPERTS)
    if active > number:
        raise f.error(top_k, f"got {active}, more than the {number} experts of {name}")
    return MoeFfn(number, active, f.integer(width))


def _local_experts(f: Fields) -> MoeFfn:
    return _moe(f, experts=("num_local_experts", "num_experts"), top_k="num_experts_per_tok")


def moe_everywhere(f: Fields, count: int) -> list[Ffn]:
    return [_local_experts(f)] * count


def minimax_ffns(f: Fields, count: int) -> list[Ffn]:
    if f.integer("shared_intermediate_size", 0, least=0):
        raise f.error("shared_intermediate_size", "shared experts are not known for minimax_m2; expected 0")
    return moe_everywhere(f, count)


def gpt_oss_ffns(f: Fields, count: int) -> list[Ffn]:
    return [replace(_local_experts(f), bias=True, router_bias=True)] * count


def dbrx_ffns(f: Fields, count: int) -> list[Ffn]:
    inner = f.section("ffn_config")
    return [_moe(inner, experts=("moe_num_experts",), width="ffn_hidden_size", top_k="moe_top_k")] * count


def dense_ffns(f: Fields, count: int) -> list[Ffn]:
    return [DenseFfn(f.integer("intermediate_size"), bias=f.flag("mlp_bias", False))] * count


def llama4_ffns(f: Fields, count: int) -> list[Ffn]:
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


def qwen_moe_ffns(f: Fields, count: int, shared: bool = False) -> list[Ffn]:
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


def qwen_shared_ffns(f: Fields, count: int) -> list[Ffn]:
    return qwen_moe_ffns(f, count, shared=True)


def deepseek_ffns(f: Fields, count: int) -> list[Ffn]:
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
