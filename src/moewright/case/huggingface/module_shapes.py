"""Attention, experts and feed-forward of a built layer, by the names and shapes of its parameters.

What has no known form is kept as weights that every rank holds, and a mixer that is neither attention nor a known
state as ``UnknownAttention``: weighed, not priced.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

from moewright.case.model import (
    Attention,
    DenseFfn,
    Ffn,
    LatentAttention,
    Layer,
    LinearAttention,
    MoeFfn,
    SoftmaxAttention,
    UnknownAttention,
)
from moewright.case.tensors.layer_tensors import attention_tensors
from moewright.case.tensors.tensor import Tensor

_ATTENTION: Final = re.compile(r"attn|attention|mamba|mixer|conv|ssm|compress")
_STATE: Final = re.compile(r"A_log|conv1d|ssm")
_DOWN: Final = re.compile(r"down|w2|output|fc2|dense_4h")
_ROUTER: Final = re.compile(r"router|gate\.weight|classifier|wg\.")
_TOP_K: Final = (
    *("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_topk", "moe_k", "top_k_experts"),
    *("num_selected_experts", "expert_num_per_tok"),
)

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Block:
    """Parameters of one layer by name, its module, the model's configuration, and which are accounted for."""

    shapes: Shapes
    module: Any
    config: Any
    position: int
    taken: set[str] = field(default_factory=set)

    def left(self) -> Shapes:
        """Parameters that are not accounted for."""
        return {name: shape for name, shape in self.shapes.items() if name not in self.taken}

    def with_attributes(self, *attributes: str) -> Any:
        """The first module of the layer that has all of ``attributes``, or None."""
        for module in self.module.modules():
            if all(getattr(module, name, None) is not None for name in attributes):
                return module
        return None


def layer_of(block: Block, hidden: int) -> Layer:
    """The layer; its parameters sum to the block's."""
    attention = _attention(block, hidden)
    ffn = _experts(block, hidden) or _dense(block, hidden)
    if any("expert" in n and len(s) == 3 for n, s in block.left().items()):
        # experts that would be taken for a dense network: the layer is weighed only
        attention, ffn = _unknown(block, "experts of no known form"), DenseFfn(0)
    norms = [n for n, shape in block.left().items() if shape == (hidden,) and n.endswith("weight") and "norm" in n]
    block.taken.update(norms)
    return Layer(attention, ffn, norms=len(norms), extra=_others(block, block.left()))


def whole(name: str, shape: tuple[int, ...], kind: str) -> Tensor:
    """A parameter of no known form, which every rank holds."""
    rows, columns = (shape[0] if shape else 1), 1
    for size in shape[1:]:
        columns *= size
    return Tensor(name, rows, columns, kind, gemm=len(shape) == 2 and columns > 1 and "embed" not in name)


def _others(block: Block, shapes: Shapes) -> tuple[Tensor, ...]:
    block.taken.update(shapes)
    return tuple(whole(name, shape, _kind(name)) for name, shape in shapes.items())


def _kind(name: str) -> str:
    if "norm" in name:
        return "norm"
    return "attention" if _ATTENTION.search(name) else "dense"


def _experts(block: Block, hidden: int) -> MoeFfn | None:
    """Experts stacked in parameters of three dimensions, their router, and shared ones."""
    stacked = {n: s for n, s in block.left().items() if len(s) == 3 and "expert" in n and "shared" not in n}
    downs = {n: s for n, s in stacked.items() if _DOWN.search(n)}
    if len(downs) != 1:
        return None
    (count, rows, columns) = next(iter(downs.values()))
    width, odd = divmod(rows * columns, hidden)
    held = sum(s[0] * s[1] * s[2] for n, s in stacked.items() if n not in downs)
    top_k = _top_k(block.config)
    # a stack may have room for the choices that compute nothing
    matrices = {1: 1, 2: 2}.get(held // (count * width * hidden)) if width and not odd else None
    exact = matrices is not None and held == matrices * count * width * hidden
    router = _router(block, hidden, count)
    if not exact or router is None or not top_k:
        return None
    block.taken.update(stacked, (router,))
    zero = block.shapes[router][0] - count
    shared, gated = _matrices(block, hidden, "shared")
    return MoeFfn(
        count,
        min(top_k, count + zero),
        width,
        gated=matrices == 2,
        shared_width=shared,
        shared_gated=gated,
        zero_experts=zero,
    )


def _router(block: Block, hidden: int, experts: int) -> str | None:
    matrices = {n: s for n, s in block.left().items() if len(s) == 2 and s[1] == hidden and _ROUTER.search(n)}
    exact = [n for n, s in matrices.items() if s[0] == experts]
    wider = [n for n, s in matrices.items() if experts < s[0] < 4 * experts and "shared" not in n]
    return next(iter(exact or wider), None)


def _top_k(config: Any) -> int:
    for name in _TOP_K:
        value = getattr(config, name, None)
        if isinstance(value, list) and value and len(set(value)) == 1:
            value = value[0]
        if isinstance(value, int) and value > 0:
            return value
    return 0


def _matrices(block: Block, hidden: int, part: str) -> tuple[int, bool]:
    """Width of a network of two or three matrices whose names hold ``part``, and whether it is gated; 0 if none."""
    mine = {n: s for n, s in block.left().items() if part in n and n.endswith("weight") and len(s) == 2}
    downs = {n: s for n, s in mine.items() if s[0] == hidden and _DOWN.search(n)}
    if len(downs) != 1:
        return 0, True
    width = next(iter(downs.values()))[1]
    ups = {n: s for n, s in mine.items() if n not in downs and s[1] == hidden and s[0] in (width, 2 * width)}
    matrices = sum(s[0] for s in ups.values()) // width
    if matrices not in (1, 2):
        return 0, True
    block.taken.update(ups, downs)
    return width, matrices == 2


def _dense(block: Block, hidden: int) -> Ffn:
    for part in ("mlp", "feed_forward", "ffn", "mixer"):
        width, gated = _matrices(block, hidden, part)
        if width:
            return DenseFfn(width, gated)
    return DenseFfn(0)


def _attention(block: Block, hidden: int) -> Attention:
    """The mixer of a layer; its parameters that have no place in the record are its ``extra``."""
    found: Attention | None = _latent(block) or _state(block) or _grouped(block, hidden)
    if isinstance(found, SoftmaxAttention | LatentAttention) and any(_STATE.search(n) for n in block.left()):
        found = None  # attention and a state beside each other
    mine = {n: s for n, s in block.left().items() if _ATTENTION.search(n.rpartition(".")[0]) and s != (hidden,)}
    mine = {n: s for n, s in mine.items() if "expert" not in n and "mlp" not in n}
    if isinstance(found, SoftmaxAttention | LatentAttention):
        return replace(found, extra=_others(block, mine))
    return found or _unknown(
        block, next((type(m).__name__ for m in block.module.children() if _is_mixer(m)), "no mixer")
    )


def _unknown(block: Block, name: str) -> UnknownAttention:
    """A layer that can be weighed and not priced: its mixer, or its experts, are of no known form."""
    block.taken.clear()
    mine = {n: s for n, s in block.left().items() if _ATTENTION.search(n.rpartition(".")[0]) and "expert" not in n}
    heads = int(getattr(block.config, "num_attention_heads", 1) or 1)
    return UnknownAttention(name, heads, heads, _others(block, mine))


def _is_mixer(module: Any) -> bool:
    name = type(module).__name__.lower()
    return bool(_ATTENTION.search(name)) and "norm" not in name


def _grouped(block: Block, hidden: int) -> SoftmaxAttention | None:
    module = block.with_attributes("head_dim", "q_proj", "k_proj", "v_proj")
    if module is None or not isinstance(module.head_dim, int):
        return None
    dim = module.head_dim
    q, k, v = (tuple(getattr(module, name).weight.shape) for name in ("q_proj", "k_proj", "v_proj"))
    out = getattr(module, "o_proj", None) or getattr(module, "out_proj", None)
    if out is None or {q[1], k[1], v[1], out.weight.shape[0]} != {hidden} or k[0] % dim:
        return None
    kv_heads = k[0] // dim
    value, odd = divmod(v[0], kv_heads)
    heads = int(out.weight.shape[1]) // value if value else 0
    gated = q[0] == 2 * heads * dim
    if odd or not heads or heads % kv_heads or not (gated or q[0] == heads * dim):
        return None
    if getattr(module, "indexer", None) is not None or any("conv" in n for n, _ in module.named_parameters()):
        return None  # keys that an index picks, or that a convolution mixes: its cache is of another kind
    path = next(n for n, m in block.module.named_modules() if m is module)
    block.taken.update(f"{path}.{n}.weight" for n in ("q_proj", "k_proj", "v_proj", "o_proj", "out_proj"))
    own = None if value == dim else value
    return SoftmaxAttention(heads, kv_heads, dim, own, output_gate=gated, window=_window(block, module))


def _window(block: Block, module: Any) -> int | None:
    window = getattr(module, "sliding_window", None) or getattr(block.config, "sliding_window", None)
    kinds = getattr(block.config, "layer_types", None)
    named = isinstance(kinds, list) and block.position < len(kinds)
    slides = "sliding" in kinds[block.position] if named and kinds else getattr(module, "sliding_window", None)
    return window if slides and isinstance(window, int) and window > 0 else None


def _latent(block: Block) -> LatentAttention | None:
    module = block.with_attributes("kv_a_proj_with_mqa", "kv_b_proj", "o_proj", "qk_rope_head_dim", "v_head_dim")
    if module is None or getattr(module, "indexer", None) is not None:
        return None
    rope, value = int(module.qk_rope_head_dim), int(module.v_head_dim)
    rank = int(module.kv_a_proj_with_mqa.weight.shape[0]) - rope
    heads = int(module.o_proj.weight.shape[1]) // value
    nope = int(module.kv_b_proj.weight.shape[0]) // heads - value
    low = getattr(module, "q_a_proj", None)
    q_rank = None if low is None else int(low.weight.shape[0])
    queries = ("q_a_proj.weight", "q_a_layernorm.weight", "q_b_proj.weight") if q_rank else ("q_proj.weight",)
    wanted = (*queries, "kv_a_proj_with_mqa.weight", "kv_a_layernorm.weight", "kv_b_proj.weight", "o_proj.weight")
    attention = LatentAttention(heads, q_rank, rank, nope, rope, value)
    hidden = int(module.o_proj.weight.shape[0])
    names = [n for n in block.left() if any(n.endswith(f".{w}") for w in wanted)]
    sizes = sum(_size(block.shapes[n]) for n in names)
    if len(names) != len(wanted) or sizes != sum(t.parameters for t in attention_tensors(attention, hidden)):
        return None
    block.taken.update(names)
    return attention


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


def _state(block: Block) -> LinearAttention | None:
    delta = block.with_attributes("num_k_heads", "num_v_heads", "head_k_dim", "head_v_dim", "conv_kernel_size")
    if delta is not None:
        heads = int(delta.num_k_heads), int(delta.num_v_heads), int(delta.head_k_dim), int(delta.head_v_dim)
        return _taken(block, delta, LinearAttention(*heads, int(delta.conv_kernel_size)))
    mamba = block.with_attributes("num_heads", "head_dim", "n_groups", "ssm_state_size", "conv_kernel_size", "A_log")
    if mamba is None:
        return None
    sizes = int(mamba.n_groups), int(mamba.num_heads), int(mamba.ssm_state_size), int(mamba.head_dim)
    kernel, bias = int(mamba.conv_kernel_size), mamba.conv1d.bias is not None
    norm = getattr(mamba, "norm", None) is not None
    attention = LinearAttention(*sizes, kernel, rule="mamba2", conv_bias=bias, output_norm=norm)
    return _taken(block, mamba, attention)


def _taken(block: Block, module: Any, attention: LinearAttention) -> LinearAttention | None:
    """``attention`` where its weights are as many as those of ``module``, which then are accounted for."""
    path = next(n for n, m in block.module.named_modules() if m is module)
    hidden = int(module.out_proj.weight.shape[0])
    wanted = sum(t.parameters for t in attention_tensors(attention, hidden))
    if wanted != sum(p.numel() for p in module.parameters()):
        return None
    block.taken.update(n for n in block.shapes if n.startswith(f"{path}."))
    return attention
