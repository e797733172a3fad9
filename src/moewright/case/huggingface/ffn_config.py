"""The feed-forward of each layer, dense or of experts, as the Hugging Face families name it.

Field names, defaults and layer patterns are those of the configuration and modeling files in
Hugging Face transformers 5 (``models/<model_type>``); the tests build the same models there and compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from moewright.case.huggingface.attention_config import layer_kinds
from moewright.case.huggingface.fields import Fields
from moewright.case.model import DenseFfn, Ffn, MoeFfn
from moewright.case.tensors.tensor import vector

_MOST_EXPERTS: Final = 1 << 16
_NO_FFN: Final = DenseFfn(0)


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


def biased_ffns(field: str) -> Callable[[Fields, int], list[Ffn]]:
    """Dense, with biases where ``field`` says so."""
    return lambda f, count: [DenseFfn(f.integer("intermediate_size"), bias=f.flag(field, False))] * count


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


#: spellings of the same fields
EXPERTS: Final = ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts")
TOP_K: Final = (*("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_topk", "moe_k", "top_k_experts"),)
WIDTH: Final = ("moe_intermediate_size", "expert_ffn_hidden_size")
SHARED: Final = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert")
GROUPS: Final = ("n_group", "num_expert_group")


def routed(f: Fields, *, width: tuple[str, ...] = WIDTH, grouped: bool = False) -> MoeFfn:
    """Routed experts, by whatever spelling the fields have. ``grouped``: in n_group groups, of which topk_group are
    open to a token (DeepSeek-V2 §2.2.2)."""
    name, top = f.first(*EXPERTS), f.first(*TOP_K)
    number, active = f.alike(name, most=_MOST_EXPERTS), f.alike(top, most=_MOST_EXPERTS)
    if active > number:
        raise f.error(top, f"got {active}, more than the {number} experts of {name}")
    moe = MoeFfn(number, active, f.alike(f.first(*width)))
    if not grouped:
        return moe
    spelling = f.first(*GROUPS)
    groups = f.integer(spelling, 1)
    open_groups = f.integer("topk_group", groups)
    if number % groups:
        raise f.error(spelling, f"got {groups}, which does not divide the {number} experts")
    if open_groups > groups or number // groups * open_groups < active:
        raise f.error("topk_group", f"got {open_groups} of {groups} groups, too few or too many for {active} experts")
    return replace(moe, groups=groups, top_groups=open_groups)


def sparse_positions(f: Fields, count: int, first: int = 0) -> list[bool]:
    """Which layers have experts: mlp_layer_types, a list of moe_layer_freq or of moe_layers_enum, or all from
    first_k_dense_replace (``first`` where it is missing) on, every moe_layer_freq-th."""
    kinds = layer_kinds(f, "mlp_layer_types", count, ("dense", "sparse", "moe", "hash_moe"), padded=True)
    if kinds is not None:
        return [kind != "dense" for kind in kinds]
    if isinstance(f.raw.get("moe_layer_freq"), list):
        listed = f.integers("moe_layer_freq") or []
        if len(listed) < count:
            raise f.error("moe_layer_freq", f"has {len(listed)} entries for {count} layers")
        return [bool(one) for one in listed[:count]]
    if f.has("moe_layers_enum"):
        named = set(f.numbers_of("moe_layers_enum"))
        return [i in named for i in range(count)]
    start = f.integer(f.first("first_k_dense_replace", "num_dense_layers"), first, least=0)
    step = f.integer("moe_layer_freq", 1)
    return [i >= start and i % step == 0 for i in range(count)]


def deepseek_ffns(f: Fields, count: int) -> list[Ffn]:
    """The first first_k_dense_replace layers are dense; n_shared_experts share one wide matrix."""
    bias = f.flag("mlp_bias", False) and f.text("model_type") == "deepseek_v2"
    return _sparse_ffns(f, count, bias=bias)


def _sparse_ffns(
    f: Fields,
    count: int,
    *,
    bias: bool = False,
    first: int = 0,
    shared: int = 0,
    widths: tuple[str, ...] = ("intermediate_size", *WIDTH),
    more: Callable[[MoeFfn], MoeFfn] = lambda moe: moe,
) -> list[Ffn]:
    sparse = sparse_positions(f, count, first)
    dense = DenseFfn(f.integer(widths[0]), bias=bias) if not all(sparse) else _NO_FFN
    if not any(sparse):
        return [dense] * count
    moe = routed(f, width=widths[1:], grouped=True)
    moe = more(replace(moe, shared_width=shared_width(f, moe.width, shared), shared_bias=bias))
    return [moe if experts else dense for experts in sparse]


def shared_width(f: Fields, expert: int, otherwise: int = 0) -> int:
    """Width of all shared experts together: as many as n_shared_experts of the routed ones' width, or of their own."""
    number = f.alike(f.first(*SHARED), otherwise, least=0)
    return number * f.integer("moe_shared_expert_intermediate_size", expert)


def sparse_ffns(
    *,
    first: int = 0,
    shared: int = 0,
    dense: str = "intermediate_size",
    width: tuple[str, ...] = WIDTH,
    router_bias: bool = False,
) -> Callable[[Fields, int], list[Ffn]]:
    """As DeepSeek's, with the family's defaults: ``first`` layer with experts, ``shared`` experts, the field of the
    ``dense`` layers' width; ``router_bias``: the correction of the router's choice is a parameter."""

    def read(f: Fields, count: int) -> list[Ffn]:
        return _sparse_ffns(
            f,
            count,
            first=first,
            shared=shared,
            widths=(dense, *width),
            more=lambda m: replace(m, router_bias=router_bias),
        )

    return read


def one_shared_ffns(
    names: tuple[str, ...], first: int = 0, router_bias: bool = False
) -> Callable[[Fields, int], list[Ffn]]:
    """One shared expert, as wide as the first of ``names`` that the config has says."""

    def read(f: Fields, count: int) -> list[Ffn]:
        width = f.integer(f.first(*names), 0, least=0)
        return _sparse_ffns(
            f, count, first=first, more=lambda m: replace(m, shared_width=width, router_bias=router_bias)
        )

    return read


def axk1_ffns(f: Fields, count: int) -> list[Ffn]:
    """As DeepSeek's, with a norm after the experts."""
    norm = vector("post_mlp_norm", f.integer("hidden_size"), "norm")
    return _sparse_ffns(f, count, first=1, shared=1, more=lambda m: replace(m, extra=(norm,)))


def flint_ffns(f: Fields, count: int) -> list[Ffn]:
    """A shared expert without a gate; dense layers are those of mlp_only_layers, else the first two."""
    moe = replace(routed(f), shared_width=f.integer("shared_expert_intermediate_size", 0, least=0))
    listed = f.integers("mlp_only_layers")
    plain = set([0, 1] if listed is None else listed)
    dense = DenseFfn(f.integer("intermediate_size"))
    return [dense if i in plain else moe for i in range(count)]


def laguna_ffns(f: Fields, count: int) -> list[Ffn]:
    """One shared expert; the correction of the router's choice is a parameter."""
    return one_shared_ffns(("shared_expert_intermediate_size",), first=1, router_bias=True)(f, count)


def ernie_ffns(f: Fields, count: int) -> list[Ffn]:
    """Experts from moe_layer_start_index to moe_layer_end_index, every moe_layer_interval-th."""
    start, end = f.integer("moe_layer_start_index", 1, least=0), f.integer("moe_layer_end_index", -1, least=-1)
    step, last, bias = f.integer("moe_layer_interval", 1), count - 1 if end == -1 else end, f.flag("use_bias", False)
    moe = routed(f)
    moe = replace(moe, router_bias=True, shared_width=shared_width(f, moe.width, 2), shared_bias=bias)
    dense = DenseFfn(f.integer("intermediate_size"), bias=bias)
    return [moe if start <= i <= last and (i + 1) % step == 0 else dense for i in range(count)]


def hunyuan_ffns(f: Fields, count: int) -> list[Ffn]:
    """Experts in all layers beside shared ones of the same width."""
    if f.alike("num_experts", 1) == 1:
        return [DenseFfn(f.integer("intermediate_size"))] * count
    moe = routed(f, width=("moe_intermediate_size", "intermediate_size"))
    return [replace(moe, shared_width=shared_width(f, moe.width, 1))] * count


def jamba_ffns(f: Fields, count: int) -> list[Ffn]:
    """Experts of the dense layers' width in every expert_layer_period-th layer."""
    period, offset = f.integer("expert_layer_period", 2), f.integer("expert_layer_offset", 1, least=0)
    dense: Ffn = DenseFfn(f.integer("intermediate_size"))
    if f.integer("num_experts", 16) == 1:
        return [dense] * count
    moe = _moe(f, experts=("num_experts", "num_local_experts"), top_k="num_experts_per_tok")
    return [moe if i % period == offset else dense for i in range(count)]


def granite_shared_ffns(f: Fields, count: int) -> list[Ffn]:
    """Experts, or none of them, beside a shared network."""
    shared = f.integer("shared_intermediate_size", 0, least=0)
    if f.integer("num_local_experts", 8, least=0) == 0:
        return [DenseFfn(shared)] * count
    return [replace(_local_experts(f), shared_width=shared)] * count


def arctic_ffns(f: Fields, count: int) -> list[Ffn]:
    """Snowflake Arctic: a dense network as wide as the model beside the experts of every moe_layer_frequency-th
    layer, with a norm of its own."""
    hidden, step = f.integer("hidden_size"), f.integer("moe_layer_frequency", 2)
    moe = replace(_local_experts(f), shared_width=hidden, extra=(vector("residual_norm", hidden, "norm"),))
    if not f.flag("parallel_attn_mlp_res", False):
        moe = replace(moe, shared_width=0, extra=())
    dense = DenseFfn(f.integer("intermediate_size"))
    return [moe if (i + 1) % step == 0 else dense for i in range(count)]


def grok_ffns(f: Fields, count: int) -> list[Ffn]:
    """Grok-1: experts of intermediate_size; Grok-2: of moe_intermediate_size beside a dense network."""
    moe = routed(f, width=("moe_intermediate_size", "intermediate_size"))
    shared = f.integer("intermediate_size") if f.flag("residual_moe", False) else 0
    return [replace(moe, shared_width=shared)] * count


def xverse_ffns(f: Fields, count: int) -> list[Ffn]:
    """XVERSE-MoE: experts of intermediate_size beside shared ones; dense without num_experts."""
    if not f.has("num_experts"):
        return [DenseFfn(f.integer("intermediate_size"))] * count
    moe = routed(f, width=("intermediate_size",))
    return [replace(moe, shared_width=shared_width(f, moe.width))] * count


def kimi_linear_ffns(f: Fields, count: int) -> list[Ffn]:
    """As DeepSeek's; routed experts may take fewer numbers of a token (routed_expert_hidden_size, Kimi-K3)."""
    latent = f.optional("routed_expert_hidden_size")
    norm = (vector("latent_norm", latent, "norm"),) if latent and f.flag("latent_moe_use_norm", False) else ()
    return _sparse_ffns(f, count, first=1, shared=1, more=lambda m: replace(m, latent=latent, extra=norm))
