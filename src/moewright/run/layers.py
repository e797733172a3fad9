"""The mathematics of norms, feed-forwards, routers and experts on plain tensors, without a word of ranks."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from moewright.run.numerics import Numerics
from moewright.spec.model import MoeFfn


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """x / rms(x) · weight over the last axis; x itself where there is no norm."""
    return x if weight is None else F.rms_norm(x, (x.shape[-1],), weight, eps)


def activate(x: Tensor, gated: bool, n: Numerics) -> Tensor:
    """The gate's first half, activated, times the second; of an ungated feed-forward the GELU. gpt-oss clamps
    both halves and adds 1 to the second."""
    if not gated:
        return F.gelu(x)
    gate, up = x.chunk(2, -1)
    if n.limit is not None:
        gate, up = gate.clamp(max=n.limit), up.clamp(-n.limit, n.limit)
        return (up + 1) * gate * torch.sigmoid(gate * n.alpha)
    if n.activation == "silu":
        return F.silu(gate).mul_(up)
    return (F.gelu(gate) if n.activation == "gelu" else F.relu(gate)) * up


def mlp(x: Tensor, up: Tensor, down: Tensor, gated: bool, n: Numerics) -> Tensor:
    """A feed-forward, or the partial sum of the part of its width in ``up`` and ``down``."""
    return F.linear(activate(F.linear(x, up), gated, n), down)


def route(x: Tensor, w: dict[str, Tensor], ffn: MoeFfn, n: Numerics) -> tuple[Tensor, Tensor]:
    """(experts, weights), both [tokens, top_k], the weights in fp32.

    Softmax routers as Mixtral and Qwen3-MoE; sigmoid scores with a correction that counts for the choice only and
    groups ranked by their two best, as DeepSeek-V3 (arXiv 2412.19437 §2.1.2).
    """
    if n.scoring == "sigmoid":
        logits = F.linear(x.float(), w["router"].float())
        scores = logits.sigmoid()
        ranked = _open_groups(scores + w["correction"] if "correction" in w else scores, ffn)
        chosen = ranked.topk(ffn.top_k, dim=-1).indices
        weights = scores.gather(1, chosen)
        if n.normalize:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return chosen, weights * n.routed_scale
    logits = F.linear(x, w["router"], w.get("router_bias"))
    if n.scoring == "chosen":
        values, chosen = logits.topk(ffn.top_k, dim=-1)
        return chosen, values.float().softmax(-1)
    values, chosen = logits.float().softmax(-1).topk(ffn.top_k, dim=-1)
    return chosen, values / values.sum(-1, keepdim=True) if n.normalize else values


def _open_groups(scores: Tensor, ffn: MoeFfn) -> Tensor:
    """−∞ for the experts of groups that are closed to a token."""
    if ffn.groups == 1:
        return scores
    grouped = scores.view(len(scores), ffn.groups, -1)
    best = grouped.topk(min(2, grouped.shape[-1]), dim=-1).values.sum(-1).topk(ffn.top_groups, dim=-1).indices
    closed = torch.ones_like(grouped[..., 0], dtype=torch.bool).scatter_(1, best, False)
    return grouped.masked_fill(closed.unsqueeze(-1), -torch.inf).view_as(scores)


def experts(
    x: Tensor, slots: Tensor, weights: Tensor, w: dict[str, Tensor], ffn: MoeFfn, n: Numerics, columns: slice
) -> Tensor:
    """Weighted sum [tokens, hidden] of the chosen experts, or of their parts, that this rank holds.

    ``slots`` [tokens, top_k]: local slot of each choice, −1 for one that lives elsewhere. Copies are sorted by
    slot, so that each expert is one product over its own rows. ``columns``: where a down bias here belongs.
    """
    up, down = w["experts_up"], w["experts_down"]
    flat = slots.flatten()
    order = flat.argsort(stable=True)
    ends = torch.bincount(flat + 1, minlength=len(up) + 1).cumsum(0)
    order = order[ends[0] :]  # those at −1 come first
    if not len(order):
        return torch.zeros_like(x)
    token = order // slots.shape[1]
    rows, offsets = x[token], (ends[1:] - ends[0]).to(torch.int32)
    hidden = grouped(rows, up, offsets, w.get("experts_up_bias"))
    done = grouped(activate(hidden, ffn.gated, n), down, offsets, None)
    if "experts_down_bias" in w:
        done[:, columns] += w["experts_down_bias"][flat[order]]
    done = done * weights.flatten()[order, None].to(done.dtype)
    return torch.zeros_like(x).index_add_(0, token, done)


def grouped(rows: Tensor, matrices: Tensor, offsets: Tensor, bias: Tensor | None) -> Tensor:
    """Rows [n, in] times [slots, out, in], each slot's over its own rows, which end at ``offsets``."""
    if matrices.shape[-1] * matrices.element_size() % 16 == 0:
        out: Tensor = F.grouped_mm(rows, matrices.transpose(-2, -1), offs=offsets)
    else:  # grouped_mm wants rows of whole 16 bytes
        out, start = rows.new_empty(len(rows), matrices.shape[1]), 0
        for slot, end in enumerate(offsets.tolist()):
            if end > start:
                torch.mm(rows[start:end], matrices[slot].T, out=out[start:end])
            start = end
    if bias is not None:
        counts = torch.diff(offsets, prepend=offsets.new_zeros(1))
        out += bias.repeat_interleave(counts, dim=0)
    return out
