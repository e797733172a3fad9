"""The unsharded pass, written plainly and apart from the engine: what a sharded run must equal.

Whole tensors, one expert after another, every score of every key, no cache. It works in fp32, whatever the
format of the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from moewright.case.model import LatentAttention, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.run.formats.scaled import Scaled, input_of
from moewright.run.model.numerics import Numerics
from moewright.run.run_error import RunError
from moewright.run.weights.weight_source import Source

#: rows that are sought among a run's at once
_AT_ONCE = 256


@dataclass(slots=True)
class Reference:
    """``output`` [batch, length, hidden or vocabulary]; ``routing`` by layer: experts [batch, length, top_k].
    ``unlike``: tokens whose recorded experts are not the best ones here, by more than rounding."""

    output: Tensor
    routing: dict[int, Tensor] = field(default_factory=dict)
    unlike: int = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a run chose and rounded, to be followed where this pass is as near to it. ``experts``: [batch, length,
    top_k] by layer, taken where their scores are within ``tolerance`` of this pass's own choice. ``quantised``: values
    [rows, columns] of what it multiplied FP8 matrices with, by input and group of columns: where a value of this pass
    is within ``rounding`` of the group's largest of being rounded to another code, the run's row is taken."""

    experts: dict[int, Tensor] = field(default_factory=dict)
    tolerance: float = 1e-4
    quantised: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    rounding: float = 1e-4


@dataclass(slots=True)
class _Pass:
    model: ModelSpec
    numerics: Numerics
    source: Source
    causal: bool
    recorded: Recorded
    found: Reference

    def read(self, name: str, *shape: int) -> Tensor:
        return self.source.tensor(name, shape).float()

    def linear(self, x: Tensor, name: str, out: int, bias: str | None = None) -> Tensor:
        scaled = self.source.scaled(name, (out, x.shape[-1]))
        y = x @ self.read(name, out, x.shape[-1]).T if scaled is None else _quantised(self, x, scaled, input_of(name))
        return y + self.read(bias, out) if bias else y

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.numerics.eps) * weight


def reference(
    model: ModelSpec,
    numerics: Numerics,
    source: Source,
    inputs: Tensor,
    causal: bool = True,
    recorded: Recorded | None = None,
) -> Reference:
    """One pass of the whole model over ``inputs``: ids [batch, length], or hidden states [batch, length, hidden] of
    a model without an embedding."""
    h = model.hidden_size
    if model.vocab_size:
        table = source.tensor("embedding", (model.vocab_size, h)).float()
        x = table[inputs]
    else:
        x = inputs.float()
    p = _Pass(model, numerics, source, causal, recorded or Recorded(), Reference(x))
    for i, layer in enumerate(model.layers):
        name, a = f"layers.{i}", layer.attention
        normed = p.norm(x, p.read(f"{name}.norm0", h)) if layer.norms else x
        if isinstance(a, LatentAttention):
            x = x + _latent(p, normed, name, a)
        elif isinstance(a, SoftmaxAttention):
            x = x + _softmax(p, normed, name, a)
        else:
            raise RunError(f"{name}: {type(a).__name__} is not run yet")
        normed = p.norm(x, p.read(f"{name}.norm1", h)) if layer.norms else x
        if isinstance(layer.ffn, MoeFfn):
            x = x + _experts(p, normed, i, layer.ffn)
        else:
            x = x + _mlp(p, normed, f"{name}.dense", layer.ffn.width, layer.ffn.gated)
    if model.final_norm:
        x = p.norm(x, p.read("final_norm", h))
    if model.vocab_size:
        x = x @ (table if model.tied_embeddings else p.read("head", model.vocab_size, h)).T
    p.found.output = x
    return p.found


def _quantised(p: _Pass, x: Tensor, w: Scaled, name: str) -> Tensor:
    """x [..., columns] times an FP8 matrix transposed: of each group of columns, x in steps of its largest value's
    448th part, rounded as E4M3 rounds."""
    total = torch.zeros(*x.shape[:-1], w.shape[0])
    for i, start in enumerate(range(0, x.shape[-1], w.group)):
        part, codes = x[..., start : start + w.group], w.codes[:, start : start + w.group].float()
        rounded = _rounded(p, part.reshape(-1, part.shape[-1]), w.codes.dtype, p.recorded.quantised.get((name, i)))
        scales = w.scales[:, i if w.width else 0]
        rows = torch.arange(w.shape[0]) // w.height
        total += rounded.view(part.shape) @ (codes * scales[rows, None]).T
    return total


def _rounded(p: _Pass, x: Tensor, form: torch.dtype, ran: Tensor | None) -> Tensor:
    """Rows [n, columns] of one group, rounded; where that may go either way, as in the nearest row of ``ran``, if all
    of it is what some value as near as that is rounded to."""
    most = torch.finfo(form).max
    largest = x.abs().amax(-1, keepdim=True)
    step = torch.where(largest > 0, largest / most, 1.0)

    def of(values: Tensor) -> Tensor:
        return (values / step).clamp(-most, most).to(form).float() * step

    own = of(x)
    if ran is None or ran.shape[1] != x.shape[1]:
        return own
    slack = p.recorded.rounding * largest
    low, high = of(x - slack), of(x + slack)
    doubtful = (low != high).any(-1).nonzero()[:, 0]
    for rows in torch.split(doubtful, _AT_ONCE):
        near = torch.cdist(x[rows], ran, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
        theirs, room = ran[near], slack[rows]
        fits = ((theirs >= low[rows] - room) & (theirs <= high[rows] + room)).all(-1, keepdim=True)
        own[rows] = torch.where(fits, theirs, own[rows])
    return own


def _turned(p: _Pass, x: Tensor) -> Tensor:
    """[batch, length, heads, dim] as complex numbers, each times e^(i · position · frequency)."""
    frequencies, factor = p.numerics.frequencies(x.shape[-1])
    angle = torch.arange(x.shape[1])[:, None].float() * frequencies
    turn = torch.polar(torch.full_like(angle, factor), angle)[:, None, :]
    half = len(frequencies)
    still = x[..., 2 * half :]
    if p.numerics.interleaved:
        pairs = torch.complex(x[..., 0 : 2 * half : 2].contiguous(), x[..., 1 : 2 * half : 2].contiguous())
    else:
        pairs = torch.complex(x[..., :half].contiguous(), x[..., half : 2 * half].contiguous())
    turned = pairs * turn
    return torch.cat([turned.real, turned.imag, still], dim=-1)


def _weighted(
    p: _Pass, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None = None, sinks: Tensor | None = None
) -> Tensor:
    """[batch, length, heads · d] of queries, keys and values [batch, length, heads, d]."""
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * scale
    i = torch.arange(q.shape[1])
    if p.causal:
        hidden = i[None, :] > i[:, None]
        if window:
            hidden = hidden | (i[None, :] <= i[:, None] - window)
        scores = scores.masked_fill(hidden, -math.inf)
    if sinks is not None:
        most = torch.maximum(scores.amax(-1), sinks[None, :, None])
        raised = (scores - most[..., None]).exp()
        shares = raised / (raised.sum(-1) + (sinks[None, :, None] - most).exp())[..., None]
    else:
        shares = scores.softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", shares, v).flatten(2)


def _softmax(p: _Pass, x: Tensor, name: str, a: SoftmaxAttention) -> Tensor:
    batch, length, _ = x.shape
    sizes = {"q": (a.heads, a.head_dim), "k": (a.kv_heads, a.head_dim), "v": (a.kv_heads, a.v_dim)}
    q, k, v = (
        p.linear(x, f"{name}.{part}_proj", heads * dim, f"{name}.{part}_bias" if a.qkv_bias else None).view(
            batch, length, heads, dim
        )
        for part, (heads, dim) in sizes.items()
    )
    if a.qk_norm == "head":
        q, k = p.norm(q, p.read(f"{name}.q_norm", a.head_dim)), p.norm(k, p.read(f"{name}.k_norm", a.head_dim))
    share = a.heads // a.kv_heads
    k, v = _turned(p, k).repeat_interleave(share, 2), v.repeat_interleave(share, 2)
    sinks = p.read(f"{name}.sinks", a.heads) if a.sinks else None
    scale = p.numerics.score_scale / math.sqrt(a.head_dim)
    out = _weighted(p, _turned(p, q), k, v, scale, a.window, sinks)
    return p.linear(out, f"{name}.o_proj", x.shape[-1], f"{name}.o_bias" if a.output_bias else None)


def _latent(p: _Pass, x: Tensor, name: str, a: LatentAttention) -> Tensor:
    batch, length, hidden = x.shape
    dim = a.nope_dim + a.rope_dim
    if a.q_rank is None:
        q = p.linear(x, f"{name}.q_proj", a.heads * dim)
    else:
        low = p.linear(x, f"{name}.q_a_proj", a.q_rank, f"{name}.q_a_bias" if a.bias else None)
        q = p.linear(p.norm(low, p.read(f"{name}.q_a_norm", a.q_rank)), f"{name}.q_b_proj", a.heads * dim)
    q = q.view(batch, length, a.heads, dim)
    both = p.linear(x, f"{name}.kv_a_proj", a.kv_rank + a.rope_dim, f"{name}.kv_a_bias" if a.bias else None)
    latent = p.norm(both[..., : a.kv_rank], p.read(f"{name}.kv_a_norm", a.kv_rank))
    kv = p.linear(latent, f"{name}.kv_b_proj", a.heads * (a.nope_dim + a.value_dim)).view(batch, length, a.heads, -1)
    k_rope = _turned(p, both[..., a.kv_rank :].unsqueeze(2)).expand(-1, -1, a.heads, -1)
    k = torch.cat([kv[..., : a.nope_dim], k_rope], dim=-1)
    q = torch.cat([q[..., : a.nope_dim], _turned(p, q[..., a.nope_dim :])], dim=-1)
    out = _weighted(p, q, k, kv[..., a.nope_dim :], p.numerics.score_scale / math.sqrt(dim))
    return p.linear(out, f"{name}.o_proj", hidden, f"{name}.o_bias" if a.bias else None)


def _mlp(p: _Pass, x: Tensor, name: str, width: int, gated: bool, bias: bool = False) -> Tensor:
    up = p.linear(x, f"{name}.up", width, f"{name}.up_bias" if bias else None)
    n = p.numerics
    if not gated:
        up = torch.nn.functional.gelu(up)
    else:
        gate = p.linear(x, f"{name}.gate", width, f"{name}.gate_bias" if bias else None)
        if n.limit is not None:
            gate = gate.clamp(max=n.limit)
            up = gate / (1 + (-n.alpha * gate).exp()) * (up.clamp(-n.limit, n.limit) + 1)
        else:
            up = getattr(torch.nn.functional, n.activation)(gate) * up
    return p.linear(up, f"{name}.down", x.shape[-1], f"{name}.down_bias" if bias else None)


def _experts(p: _Pass, x: Tensor, position: int, ffn: MoeFfn) -> Tensor:
    name = f"layers.{position}"
    chosen, weights = _routed(p, x, position, ffn)
    p.found.routing[position] = chosen
    share = torch.zeros(*x.shape[:2], ffn.experts).scatter(-1, chosen, weights)
    picked = torch.zeros_like(share, dtype=torch.bool).scatter(-1, chosen, True)
    out = torch.zeros_like(x)
    for e in range(ffn.experts):
        mine = picked[..., e]
        if mine.any():
            done = _mlp(p, x[mine], f"{name}.experts.{e}", ffn.width, ffn.gated, ffn.bias)
            out[mine] += share[..., e][mine].unsqueeze(-1) * done
    if ffn.shared_width:
        shared = _mlp(p, x, f"{name}.shared", ffn.shared_width, ffn.shared_gated)
        if ffn.shared_gate:
            shared = shared * torch.sigmoid(p.linear(x, f"{name}.shared_gate", 1))
        out = out + shared
    return out


def _routed(p: _Pass, x: Tensor, position: int, ffn: MoeFfn) -> tuple[Tensor, Tensor]:
    """(experts, weights) of every token, and the check of what was recorded."""
    name, n = f"layers.{position}", p.numerics
    logits = p.linear(x, f"{name}.router", ffn.experts, f"{name}.router_bias" if ffn.router_bias else None)
    scores = logits.sigmoid() if n.scoring == "sigmoid" else logits.softmax(-1)
    ranked = scores
    if n.correction:
        ranked = scores + p.source.tensor(f"{name}.correction", (ffn.experts,)).float()
    if n.scoring == "sigmoid" and ffn.groups > 1:
        by_group = ranked.view(*ranked.shape[:-1], ffn.groups, -1)
        worth = by_group.sort(-1, descending=True).values[..., :2].sum(-1)
        rank = (worth.unsqueeze(-1) < worth.unsqueeze(-2)).sum(-1)  # groups that are better
        ranked = by_group.masked_fill((rank >= ffn.top_groups).unsqueeze(-1), -math.inf).flatten(-2)
    best, chosen = ranked.sort(-1, descending=True)
    chosen = chosen[..., : ffn.top_k]
    if position in p.recorded.experts:
        ran = p.recorded.experts[position].long()
        ran = torch.where(ran < 0, chosen, ran)  # of a token that was not recorded
        worst = ranked.gather(-1, ran).amin(-1)
        p.found.unlike += int((best[..., ffn.top_k - 1] - worst > p.recorded.tolerance).sum())
        chosen = ran
    weights = scores.gather(-1, chosen)
    if n.scoring == "chosen" or n.normalize:
        weights = weights / weights.sum(-1, keepdim=True)
    return chosen, weights * n.routed_scale
