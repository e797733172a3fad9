"""The mathematics of norms, feed-forwards, routers and experts on plain tensors, without a word of ranks."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from moewright.case.model import MoeFfn
from moewright.run.model.numerics import Numerics
from moewright.run.model.products import Matrix, grouped, linear, one_by_one, round_up
from moewright.run.weights.rank_weights import Weights


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


def mlp(x: Tensor, up: Matrix, down: Matrix, gated: bool, n: Numerics) -> Tensor:
    """A feed-forward, or the partial sum of the part of its width in ``up`` and ``down``."""
    return linear(activate(linear(x, up), gated, n), down)


def route(x: Tensor, w: Weights, ffn: MoeFfn, n: Numerics) -> tuple[Tensor, Tensor]:
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
    logits = linear(x, w["router"], w.get("router_bias"))
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


def counted(values: Tensor, count: int) -> Tensor:
    """How often each of 0 … count − 1 is in ``values``; unlike bincount it does not wait for a device."""
    flat = values.flatten()
    return torch.zeros(count, dtype=torch.int64, device=values.device).scatter_add_(0, flat, torch.ones_like(flat))


#: bytes of the experts' hidden rows above which a CPU takes one expert after another: what fits the caches, and
#: needs no fresh pages, is up to a third faster
_LARGE = 16 << 20


class Chosen(NamedTuple):
    """``slots`` [tokens, top_k]: local slot of each choice, −1 for one that lives elsewhere; ``weights`` of the same
    shape; ``copies``: how many live here, where that is known, so that nothing waits for a device to tell; ``fixed``:
    in a graph, so that nothing may wait for the device at all."""

    slots: Tensor
    weights: Tensor
    copies: int | None = None
    fixed: bool = False


def experts(x: Tensor, chosen: Chosen, w: Weights, ffn: MoeFfn, n: Numerics, columns: slice) -> Tensor:
    """Weighted sum [tokens, hidden] of the chosen experts, or of their parts, that this rank holds.

    Copies are sorted by slot, so that each expert is one product over its own rows. ``columns``: where a down bias here
    belongs.
    """
    slots, weights, copies, fixed = chosen
    up = w["experts_up"]
    flat = slots.flatten()
    order = flat.argsort(stable=True)
    counts = counted(flat + 1, len(up) + 1)
    order = order[len(order) - (int((flat >= 0).sum()) if copies is None else copies) :]  # those at −1 come first
    out, counts = torch.zeros_like(x), counts[1:]
    if not len(order):
        return out
    token, share = order // slots.shape[1], weights.flatten()[order, None].to(x.dtype)
    large = x.device.type == "cpu" and len(order) * up.shape[1] * x.element_size() > _LARGE
    if not large and not one_by_one(x, (up, w["experts_down"]), len(order), counts, fixed):
        ends = counts.cumsum(0).to(torch.int32)
        return out.index_add_(0, token, _all(x[token], counts, ends, w, ffn, n, columns).mul_(share))
    sizes = counts.tolist()
    of_slot = zip(torch.split(token, sizes), torch.split(share, sizes), strict=True)
    for slot, (mine, parts) in enumerate(of_slot):
        if len(mine):
            done = _one(x[round_up(mine)], slot, w, ffn, n, columns)[: len(mine)]
            out.index_add_(0, mine, done.mul_(parts))
    return out


def _one(rows: Tensor, slot: int, w: Weights, ffn: MoeFfn, n: Numerics, columns: slice) -> Tensor:
    """Rows [n, hidden] through one expert."""
    bias = w["experts_up_bias"][slot] if "experts_up_bias" in w else None
    done = linear(activate(linear(rows, w["experts_up"][slot], bias), ffn.gated, n), w["experts_down"][slot])
    if "experts_down_bias" in w:
        done[:, columns] += w["experts_down_bias"][slot]
    return done


def _all(rows: Tensor, counts: Tensor, ends: Tensor, w: Weights, ffn: MoeFfn, n: Numerics, columns: slice) -> Tensor:
    """Rows [n, hidden], sorted by slot, through the expert of each."""
    hidden = grouped(rows, w["experts_up"], ends)
    if "experts_up_bias" in w:
        hidden += w["experts_up_bias"].repeat_interleave(counts, dim=0, output_size=len(rows))
    done = grouped(activate(hidden, ffn.gated, n), w["experts_down"], ends)
    if "experts_down_bias" in w:
        done[:, columns] += w["experts_down_bias"].repeat_interleave(counts, dim=0, output_size=len(rows))
    return done
