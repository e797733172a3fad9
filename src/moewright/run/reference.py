"""The unsharded pass, written plainly and apart from the engine: what a sharded run must equal."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from moewright.run.layers import EPS, rotate
from moewright.run.weights import RandomSource
from moewright.spec.model import ModelSpec, MoeFfn, SoftmaxAttention


@dataclass(slots=True)
class Reference:
    """``output`` [batch, length, hidden or vocabulary]; ``routing`` by layer: experts [batch, length, top_k]."""

    output: Tensor
    routing: dict[int, Tensor] = field(default_factory=dict)


def reference(model: ModelSpec, source: RandomSource, batch: int, length: int, causal: bool) -> Reference:
    """One pass of the whole model over ``batch`` sequences."""
    h = model.hidden_size
    if model.vocab_size:
        table = source.matrix("embedding", model.vocab_size, h)
        x = torch.stack([table[source.tokens(i, length, model.vocab_size)] for i in range(batch)])
    else:
        x = torch.stack([source.inputs(i, length, h) for i in range(batch)])
    found = Reference(x)
    for i, layer in enumerate(model.layers):
        assert isinstance(layer.attention, SoftmaxAttention)
        norms = [source.vector(f"layers.{i}.norm{n}", h, 1.0) for n in range(layer.norms)]
        x = x + _attention(_norm(x, norms[0] if norms else None), source, f"layers.{i}", layer.attention, h, causal)
        normed = _norm(x, norms[1] if norms else None)
        if isinstance(layer.ffn, MoeFfn):
            out, found.routing[i] = _experts(normed, source, f"layers.{i}", layer.ffn, h)
        else:
            out = _mlp(normed, source, f"layers.{i}.dense", layer.ffn.width, h, layer.ffn.gated)
        x = x + out
    if model.final_norm:
        x = _norm(x, source.vector("final_norm", h, 1.0))
    if model.vocab_size:
        head = table if model.tied_embeddings else source.matrix("head", model.vocab_size, h)
        x = x @ head.T
    found.output = x
    return found


def _norm(x: Tensor, weight: Tensor | None) -> Tensor:
    return x if weight is None else x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * weight


def _attention(x: Tensor, source: RandomSource, name: str, a: SoftmaxAttention, h: int, causal: bool) -> Tensor:
    batch, length, _ = x.shape
    q = (x @ source.matrix(f"{name}.q_proj", a.heads * a.head_dim, h).T).view(batch, length, a.heads, a.head_dim)
    k = (x @ source.matrix(f"{name}.k_proj", a.kv_heads * a.head_dim, h).T).view(batch, length, a.kv_heads, a.head_dim)
    v = (x @ source.matrix(f"{name}.v_proj", a.kv_heads * a.v_dim, h).T).view(batch, length, a.kv_heads, a.v_dim)
    if a.qk_norm == "head":
        q = _norm(q, source.vector(f"{name}.q_norm", a.head_dim, 1.0))
        k = _norm(k, source.vector(f"{name}.k_norm", a.head_dim, 1.0))
    positions = torch.arange(length)
    q, k = (torch.stack([rotate(one, positions) for one in t]) for t in (q, k))
    share = a.heads // a.kv_heads
    k, v = k.repeat_interleave(share, 2), v.repeat_interleave(share, 2)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(a.head_dim)
    if causal:
        i = torch.arange(length)
        hidden = i[None, :] > i[:, None]
        if a.window:
            hidden |= i[None, :] <= i[:, None] - a.window
        if a.chunk:
            hidden |= i[None, :] // a.chunk != i[:, None] // a.chunk
        scores = scores.masked_fill(hidden, -math.inf)
    out = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).flatten(2)
    return out @ source.matrix(f"{name}.o_proj", h, a.heads * a.v_dim).T


def _mlp(x: Tensor, source: RandomSource, name: str, width: int, h: int, gated: bool) -> Tensor:
    up = x @ source.matrix(f"{name}.up", (2 if gated else 1) * width, h).T
    if gated:
        up = torch.nn.functional.silu(up[..., :width]) * up[..., width:]
    else:
        up = torch.nn.functional.gelu(up)
    return up @ source.matrix(f"{name}.down", h, width).T


def _experts(x: Tensor, source: RandomSource, name: str, ffn: MoeFfn, h: int) -> tuple[Tensor, Tensor]:
    logits = x @ source.matrix(f"{name}.router", ffn.experts, h).T
    values, chosen = logits.topk(ffn.top_k, dim=-1)
    weights = torch.zeros_like(logits).scatter(-1, chosen, values.softmax(-1))
    out = torch.zeros_like(x)
    for e in range(ffn.experts):
        mine = weights[..., e] > 0
        if mine.any():
            done = _mlp(x[mine], source, f"{name}.experts.{e}", ffn.width, h, ffn.gated)
            out[mine] += weights[..., e][mine].unsqueeze(-1) * done
    if ffn.shared_width:
        out = out + _mlp(x, source, f"{name}.shared", ffn.shared_width, h, ffn.shared_gated)
    return out, chosen
