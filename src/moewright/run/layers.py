"""The mathematics of a layer on plain tensors, without a word of ranks."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from moewright.spec.model import MoeFfn, SoftmaxAttention

ROPE_THETA = 10_000.0
EPS = 1e-6


def rms_norm(x: Tensor, weight: Tensor | None) -> Tensor:
    """x / rms(x) · weight over the last axis; x itself where there is no norm."""
    return x if weight is None else F.rms_norm(x, (x.shape[-1],), weight, EPS)


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary embedding (arXiv 2104.09864, halves paired) of [tokens, heads, dim] at ``positions`` [tokens]."""
    half = x.shape[-1] // 2
    frequency = ROPE_THETA ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = positions[:, None].float() * frequency
    cos, sin = angle.cos()[:, None, :], angle.sin()[:, None, :]
    first, second = x[..., :half], x[..., half : 2 * half]
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin, x[..., 2 * half :]], dim=-1)
    return turned.to(x.dtype)


def attention(x: Tensor, w: dict[str, Tensor], a: SoftmaxAttention, sequences: int, causal: bool) -> Tensor:
    """Partial output [tokens, hidden] of the heads in ``w`` for [tokens, hidden] of equal ``sequences``."""
    length = len(x) // sequences
    positions = torch.arange(length).repeat(sequences)
    q = (x @ w["q"].T).view(len(x), -1, a.head_dim)
    k = (x @ w["k"].T).view(len(x), -1, a.head_dim)
    v = (x @ w["v"].T).view(len(x), -1, a.v_dim)
    if "q_norm" in w:
        q, k = rms_norm(q, w["q_norm"]), rms_norm(k, w["k_norm"])
    q, k = rotate(q, positions), rotate(k, positions)
    q, k, v = (t.view(sequences, length, *t.shape[1:]).transpose(1, 2) for t in (q, k, v))
    mask = attention_mask(length, a, causal)
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal and mask is None, enable_gqa=q.shape[1] != k.shape[1]
    )
    return out.transpose(1, 2).flatten(0, 1).flatten(1) @ w["o"].T


def attention_mask(length: int, a: SoftmaxAttention, causal: bool) -> Tensor | None:
    """Which keys a query sees, [length, length]; None where that is all, or all before it."""
    if not causal or not (a.window or a.chunk) or length <= (a.window or a.chunk or length):
        return None
    i = torch.arange(length)
    seen = i[:, None] >= i[None, :]
    if a.window:
        return seen & (i[:, None] - i[None, :] < a.window)
    return seen & (i[:, None] // (a.chunk or 1) == i[None, :] // (a.chunk or 1))


def activate(x: Tensor, gated: bool) -> Tensor:
    """SiLU of the first half times the second, or GELU."""
    if not gated:
        return F.gelu(x)
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


def mlp(x: Tensor, up: Tensor, down: Tensor, gated: bool) -> Tensor:
    """A feed-forward, or the partial sum of the part of its width in ``up`` and ``down``."""
    return activate(x @ up.T, gated) @ down.T


def route(x: Tensor, router: Tensor, ffn: MoeFfn) -> tuple[Tensor, Tensor]:
    """(experts, weights), both [tokens, top_k]: the largest logits, and the softmax over those."""
    values, experts = (x @ router.T).topk(ffn.top_k, dim=-1)
    return experts, values.softmax(-1)


def grouped(x: Tensor, slots: Tensor, weights: Tensor, up: Tensor, down: Tensor, gated: bool) -> Tensor:
    """Σ over a token's choices of weight · expert(x), [tokens, hidden], for the experts of this rank.

    ``slots`` [tokens, top_k]: local slot of each choice, −1 for one that lives elsewhere. Copies are sorted by
    slot, so that each expert is one product over its own rows.
    """
    token, choice = (slots >= 0).nonzero(as_tuple=True)
    slot = slots[token, choice]
    order = slot.argsort(stable=True)
    token, choice = token[order], choice[order]
    rows = x[token]
    ends = torch.bincount(slot, minlength=len(up)).cumsum(0).to(torch.int32)
    hidden = F.grouped_mm(rows, up.transpose(-2, -1), offs=ends) if len(rows) else rows @ up[0].T
    done = activate(hidden, gated)
    done = F.grouped_mm(done, down.transpose(-2, -1), offs=ends) if len(rows) else done @ down[0].T
    out = torch.zeros_like(x)
    out.index_add_(0, token, done * weights[token, choice, None].to(done.dtype))
    return out
