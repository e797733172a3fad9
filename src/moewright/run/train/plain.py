"""The unsharded model of a training step: parameters, and the loss as a function of them.

Layers as Mixtral has them (grouped-query attention with rotary embedding, softmax routers over the chosen experts),
shared experts and dense layers beside; torch's autograd gives the gradients that ranks must equal.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from moewright.case.model import Layer, ModelSpec, MoeFfn, SoftmaxAttention

#: of norms
EPS = 1e-5
#: of rotary embedding
THETA = 10000.0

Parameters = dict[str, Tensor]


def attention_of(layer: Layer) -> SoftmaxAttention:
    """The attention of a layer that ``refusals`` let pass."""
    assert isinstance(layer.attention, SoftmaxAttention)
    return layer.attention


def shapes(model: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Name of each parameter → its shape; widths of gated networks apart from their two halves."""
    h = model.hidden_size
    found: dict[str, tuple[int, ...]] = {"embedding": (model.vocab_size, h)}
    for i, layer in enumerate(model.layers):
        a, ffn = attention_of(layer), layer.ffn
        found |= {
            f"{i}.norm1": (h,),
            f"{i}.q": (a.heads, a.head_dim, h),
            f"{i}.k": (a.kv_heads, a.head_dim, h),
            f"{i}.v": (a.kv_heads, a.head_dim, h),
            f"{i}.o": (h, a.heads, a.head_dim),
            f"{i}.norm2": (h,),
        }
        if isinstance(ffn, MoeFfn):
            found |= {
                f"{i}.router": (ffn.experts, h),
                f"{i}.experts_up": (ffn.experts, 2, ffn.width, h),
                f"{i}.experts_down": (ffn.experts, h, ffn.width),
            }
            if ffn.shared_width:
                found |= {f"{i}.shared_up": (2, ffn.shared_width, h), f"{i}.shared_down": (h, ffn.shared_width)}
        else:
            found |= {f"{i}.dense_up": (2, ffn.width, h), f"{i}.dense_down": (h, ffn.width)}
    return found | {"final_norm": (h,), "head": (model.vocab_size, h)}


def drawn(model: ModelSpec, seed: int) -> Parameters:
    """Random parameters in fp32: matrices scaled by the root of what they sum over, norms near 1."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes(model).items():
        x = torch.randn(shape, generator=generator)
        depth = shape[-1] * (shape[-2] if name.endswith(".o") else 1)
        made[name] = 1 + 0.1 * x if name.endswith(("norm1", "norm2", "final_norm")) else x / depth**0.5
    return made


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


def layer_forward(x: Tensor, w: Mapping[str, Tensor], i: int, layer: Layer, chosen: list[Tensor]) -> Tensor:
    """One layer of [tokens, batch, hidden]; what its router chose is added to ``chosen``."""
    a, ffn = attention_of(layer), layer.ffn
    at = torch.arange(len(x))
    y = norm(x, w[f"{i}.norm1"])
    q, k, v = (torch.einsum("tbc,hdc->tbhd", y, w[f"{i}.{name}"]) for name in "qkv")
    done = attend(rotated(q, at), rotated(k, at), v, at, at)
    assert done.shape[2] == a.heads
    x = x + torch.einsum("tbhd,chd->tbc", done, w[f"{i}.o"])
    y = norm(x, w[f"{i}.norm2"])
    if not isinstance(ffn, MoeFfn):
        return x + gated(y, w[f"{i}.dense_up"]) @ w[f"{i}.dense_down"].T
    flat = y.reshape(-1, y.shape[-1])
    experts, weights = route(flat, w[f"{i}.router"], ffn)
    chosen.append(experts.reshape(*y.shape[:2], -1))
    share = shares_of(experts, weights, ffn.experts)
    z = experts_sum(flat, share, w[f"{i}.experts_up"], w[f"{i}.experts_down"]).view_as(y)
    if ffn.shared_width:
        z = z + gated(y, w[f"{i}.shared_up"]) @ w[f"{i}.shared_down"].T
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
    return w - rate * (first / 0.1) / ((second / 0.001).sqrt() + 1e-8)
