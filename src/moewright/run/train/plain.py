"""The unsharded model of a training step: parameters, and the loss as a function of them.

Layers as Mixtral has them (grouped-query attention with rotary embedding, softmax routers over the chosen experts),
shared experts and dense layers beside, or multi-head latent attention as DeepSeek-V2 has it; torch's autograd gives the
gradients that ranks must equal. Adapters are added to the matrices that they are beside.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from moewright.case.model import Attention, LatentAttention, Layer, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.case.train.tuning import Tuning

#: of norms
EPS = 1e-5
#: of rotary embedding
THETA = 10000.0

#: of Adam: larger than frameworks' 1e-8, by which rounding in gradients of next to nothing would be a step's size
ADAM_EPSILON = 1e-4

Parameters = dict[str, Tensor]


def shapes(model: ModelSpec, tuning: Tuning | None = None) -> dict[str, tuple[int, ...]]:
    """Name of each parameter → its shape; widths of gated networks apart from their two halves. Adapters of a matrix
    are ``<its name>.lora_a`` and ``.lora_b``."""
    h = model.hidden_size
    found: dict[str, tuple[int, ...]] = {"embedding": (model.vocab_size, h)}
    for i, layer in enumerate(model.layers):
        own = {"norm1": (h,), **_attention_shapes(layer.attention, h), "norm2": (h,), **_feed_forward_shapes(layer, h)}
        adapted = tuning.of_layer(model, i) if tuning else None
        for name, shape in own.items():
            found[f"{i}.{name}"] = shape
            if adapted and adapted.rank and len(shape) > 1 and part_of_name(name) in adapted.adapted:
                found |= _adapter_shapes(f"{i}.{name}", shape, adapted.rank)
    return found | {"final_norm": (h,), "head": (model.vocab_size, h)}


def _attention_shapes(a: Attention, h: int) -> dict[str, tuple[int, ...]]:
    if isinstance(a, LatentAttention):
        queries, source = (a.heads, a.nope_dim + a.rope_dim), a.q_rank or h
        down = {"q_a": (a.q_rank, h), "q_a_norm": (a.q_rank,)} if a.q_rank else {}
        return {
            **down,
            "q_b": (*queries, source),
            "kv_a": (a.kv_rank + a.rope_dim, h),
            "kv_a_norm": (a.kv_rank,),
            "kv_b": (a.heads, a.nope_dim + a.value_dim, a.kv_rank),
            "o": (h, a.heads, a.value_dim),
        }
    assert isinstance(a, SoftmaxAttention)
    keys = (a.kv_heads, a.head_dim, h)
    return {"q": (a.heads, a.head_dim, h), "k": keys, "v": keys, "o": (h, a.heads, a.head_dim)}


def _feed_forward_shapes(layer: Layer, h: int) -> dict[str, tuple[int, ...]]:
    ffn = layer.ffn
    if not isinstance(ffn, MoeFfn):
        return {"dense_up": (2, ffn.width, h), "dense_down": (h, ffn.width)}
    found: dict[str, tuple[int, ...]] = {
        "router": (ffn.experts, h),
        "experts_up": (ffn.experts, 2, ffn.width, h),
        "experts_down": (ffn.experts, h, ffn.width),
    }
    if ffn.shared_width:
        found |= {"shared_up": (2, ffn.shared_width, h), "shared_down": (h, ffn.shared_width)}
    return found


def _adapter_shapes(name: str, shape: tuple[int, ...], rank: int) -> dict[str, tuple[int, ...]]:
    """A has the inputs of its matrix, B the outputs."""
    several = shape[:1] if name.endswith(("experts_up", "experts_down")) else ()
    own = shape[len(several) :]
    outputs, inputs = (own[:1], own[1:]) if name.endswith((".o", "_down")) else (own[:-1], own[-1:])
    return {f"{name}.lora_a": (*several, rank, *inputs), f"{name}.lora_b": (*several, *outputs, rank)}


def part_of_name(name: str) -> str:
    """The part of the model (``tuning.PARTS``) that the parameter ``name`` is of."""
    kind = name.removesuffix(".lora_a").removesuffix(".lora_b").rpartition(".")[2]
    if kind.endswith(("norm", "norm1", "norm2")):
        return "norms"
    if kind in ("embedding", "head", "router"):
        return kind
    known = {"experts_": "experts", "shared_": "shared_experts", "dense_": "dense"}
    return next((part for start, part in known.items() if kind.startswith(start)), "attention")


def is_trained(name: str, model: ModelSpec, tuning: Tuning) -> bool:
    """Whether the parameter ``name`` has gradients."""
    if name.endswith((".lora_a", ".lora_b")):
        return True
    part, number = part_of_name(name), name.partition(".")[0]
    if number.isdigit():
        return part in tuning.of_layer(model, int(number)).parts
    return tuning.trains_embedding(model) if part == "embedding" else part in tuning.parts


def drawn(model: ModelSpec, seed: int, tuning: Tuning | None = None) -> Parameters:
    """Random parameters in fp32: matrices scaled by the root of what they sum over, norms near 1."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes(model, tuning).items():
        x = torch.randn(shape, generator=generator)
        depth = shape[-1] * (shape[-2] if name.endswith((".o", ".o.lora_a")) else 1)
        made[name] = 1 + 0.1 * x if part_of_name(name) == "norms" else x / depth**0.5
    return made


def effective(w: Mapping[str, Tensor], name: str) -> Tensor:
    """The matrix ``name`` with its adapters, if it has any: W + B·A."""
    if f"{name}.lora_a" not in w:
        return w[name]
    a, b = w[f"{name}.lora_a"], w[f"{name}.lora_b"]
    if name.endswith(("experts_up", "experts_down")):
        return w[name] + torch.einsum("e...r,eri->e...i", b, a)
    return w[name] + torch.einsum("...r,rx->...x", b, a.flatten(1)).view_as(w[name])


def rotated(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary embedding of [tokens, batch, heads, dim] at ``positions`` [tokens]."""
    half = x.shape[-1] // 2
    angles = positions[:, None].float() * THETA ** (-torch.arange(half, device=x.device) / half)
    cos, sin = angles.cos()[:, None, None, :], angles.sin()[:, None, None, :]
    one, two = x[..., :half], x[..., half:]
    return torch.cat((one * cos - two * sin, two * cos + one * sin), -1)


def attend(q: Tensor, k: Tensor, v: Tensor, at: Tensor, keys_at: Tensor) -> Tensor:
    """Causal attention [tokens, batch, heads, dim] of queries at positions ``at`` over keys at ``keys_at``."""
    groups = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(groups, 2), v.repeat_interleave(groups, 2)
    scores = torch.einsum("qbhd,kbhd->bhqk", q, k) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(keys_at[None, :] > at[:, None], -torch.inf)
    return torch.einsum("bhqk,kbhd->qbhd", scores.softmax(-1), v)


def norm(x: Tensor, weight: Tensor) -> Tensor:
    """x / rms(x) · weight over the last axis."""
    return F.rms_norm(x, (x.shape[-1],), weight, EPS)


def gated(x: Tensor, up: Tensor) -> Tensor:
    """silu(x · gate) times x · up; ``up`` [2, width, hidden]."""
    return F.silu(x @ up[0].T) * (x @ up[1].T)


def route(x: Tensor, router: Tensor, ffn: MoeFfn) -> tuple[Tensor, Tensor]:
    """(experts, weights) [tokens, top_k]: the softmax over all scores, of the chosen made to sum to one."""
    values, chosen = (x @ router.T).softmax(-1).topk(ffn.top_k, -1)
    return chosen, values / values.sum(-1, keepdim=True)


def experts_sum(x: Tensor, share: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Σ over experts of ``share`` [tokens, experts] times the expert's output, for those with a share."""
    out = torch.zeros_like(x)
    for e in range(share.shape[1]):
        rows = share[:, e].nonzero()[:, 0]
        done = gated(x[rows], up[e]) @ down[e].T
        out = out.index_add(0, rows, done * share[rows, e, None])
    return out


def shares_of(chosen: Tensor, weights: Tensor, experts: int) -> Tensor:
    """[tokens, experts]: the weight of each chosen expert, 0 elsewhere."""
    return weights.new_zeros(len(chosen), experts).scatter(1, chosen, weights)


def attention_inputs(w: Mapping[str, Tensor], y: Tensor, a: Attention, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [tokens, batch, heads, dim] of normed inputs; ``w`` by kind."""

    def product(x: Tensor, name: str) -> Tensor:
        return torch.einsum("tbc,hdc->tbhd", x, w[name])

    if isinstance(a, LatentAttention):
        latent = norm(y @ w["q_a"].T, w["q_a_norm"]) if a.q_rank else y
        plain, turned = torch.split(product(latent, "q_b"), [a.nope_dim, a.rope_dim], -1)
        low = y @ w["kv_a"].T
        wide = product(norm(low[..., : a.kv_rank], w["kv_a_norm"]), "kv_b")
        keys, values = torch.split(wide, [a.nope_dim, a.value_dim], -1)
        shared = rotated(low[..., None, a.kv_rank :], at).expand(-1, -1, a.heads, -1)
        return torch.cat((plain, rotated(turned, at)), -1), torch.cat((keys, shared), -1), values
    q, k, v = (product(y, name) for name in "qkv")
    return rotated(q, at), rotated(k, at), v


def layer_forward(x: Tensor, w: Mapping[str, Tensor], i: int, layer: Layer, chosen: list[Tensor]) -> Tensor:
    """One layer of [tokens, batch, hidden]; what its router chose is added to ``chosen``."""
    ffn, at = layer.ffn, torch.arange(len(x))
    kinds = {name.partition(".")[2] for name in w if name.startswith(f"{i}.") and ".lora_" not in name}
    own = {kind: effective(w, f"{i}.{kind}") for kind in kinds}
    y = norm(x, own["norm1"])
    done = attend(*attention_inputs(own, y, layer.attention, at), at, at)
    x = x + torch.einsum("tbhd,chd->tbc", done, own["o"])
    y = norm(x, own["norm2"])
    if not isinstance(ffn, MoeFfn):
        return x + gated(y, own["dense_up"]) @ own["dense_down"].T
    flat = y.reshape(-1, y.shape[-1])
    experts, weights = route(flat, own["router"], ffn)
    chosen.append(experts.reshape(*y.shape[:2], -1))
    share = shares_of(experts, weights, ffn.experts)
    z = experts_sum(flat, share, own["experts_up"], own["experts_down"]).view_as(y)
    if ffn.shared_width:
        z = z + gated(y, own["shared_up"]) @ own["shared_down"].T
    return x + z


def loss_of(w: Mapping[str, Tensor], model: ModelSpec, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
    """(sum of the cross-entropies of next tokens, choices of each router [tokens, batch, top_k]) of ``ids`` [batch,
    tokens + 1]."""
    chosen: list[Tensor] = []
    x = F.embedding(ids[:, :-1].T, w["embedding"])
    for i, layer in enumerate(model.layers):
        x = layer_forward(x, w, i, layer, chosen)
    logits = norm(x, w["final_norm"]) @ w["head"].T
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].T.flatten(), reduction="sum"), chosen


def adam(w: Tensor, g: Tensor, rate: float) -> Tensor:
    """The first step of Adam from ``w``: moments begin at 0, so that bias correction leaves g / (|g| + ε)."""
    first, second = 0.1 * g, 0.001 * g * g
    return w - rate * (first / 0.1) / ((second / 0.001).sqrt() + ADAM_EPSILON)
