"""A rank's part of the layers of a training step: tokens divided over tp between attention and experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.case.model import Layer, ModelSpec, MoeFfn
from moewright.run.ranks.counted_collectives import Traffic
from moewright.run.ranks.progress import inside
from moewright.run.train.graph_collectives import exchange, gather, gathered_product, scatter
from moewright.run.train.plain import (
    attend,
    attention_of,
    experts_sum,
    norm,
    rotated,
    route,
    shares_of,
)
from moewright.run.train.train_place import TrainPlace, group_positions, positions_of


@dataclass(slots=True)
class RankModel:
    """What a rank computes with. ``w``: its parts of the parameters, leaves of the graph. ``chosen``: what routers
    chose: layer → [tokens, batch, top_k] of each micro-batch in turn."""

    model: ModelSpec
    place: TrainPlace
    traffic: Traffic
    w: Mapping[str, Tensor]
    sequence: int
    chosen: dict[int, list[Tensor]] = field(default_factory=dict)

    @property
    def positions(self) -> Tensor:
        """Positions of this rank's own tokens."""
        return positions_of(self.place, self.sequence)


def embedded(r: RankModel, ids: Tensor) -> Tensor:
    """Hidden states of the rank's own tokens [tokens, batch, hidden] of ``ids`` [batch, sequence + 1]: each tp rank
    looks up its rows of the vocabulary, for the tokens of all."""
    table, p = r.w["embedding"], r.place
    at = group_positions(p, r.sequence, p.at("cp"))
    mine = ids[:, at].T - p.at("tp") * len(table)
    here = (mine >= 0) & (mine < len(table))
    rows = torch.nn.functional.embedding(mine.clamp(0, len(table) - 1), table) * here[..., None]
    return scatter(rows, "embedding_reduce", p.tp, r.traffic)


def layer_of(r: RankModel, x: Tensor, i: int) -> Tensor:
    """Layer ``i`` of [own tokens, batch, hidden]."""
    layer, w = r.model.layers[i], r.w
    x = x + _attention(r, norm(x, w[f"{i}.norm1"]), i, layer)
    y = norm(x, w[f"{i}.norm2"])
    ffn = layer.ffn
    if not isinstance(ffn, MoeFfn):
        return x + _feed_forward(r, y, i, "dense")
    z = _experts(r, y, i, ffn)
    return x + (z + _feed_forward(r, y, i, "shared") if ffn.shared_width else z)


def _attention(r: RankModel, y: Tensor, i: int, layer: Layer) -> Tensor:
    a, p, w = attention_of(layer), r.place, r.w
    tp, cp = p.strategy.tp, p.strategy.cp
    heads, kv = a.heads // tp, a.kv_heads // tp
    joined = torch.cat([w[f"{i}.{name}"].flatten(0, 1) for name in "qkv"])
    made = gathered_product(y, joined, "attention_gather", p.tp, r.traffic)
    q, k, v = made.view(*made.shape[:2], heads + 2 * kv, a.head_dim).tensor_split((heads, heads + kv), 2)
    at = group_positions(p, r.sequence, p.at("cp"))
    keys_at = torch.cat([group_positions(p, r.sequence, c) for c in range(cp)])
    both = gather(torch.cat((rotated(k, at), v), 2), "context_gather", p.cp, r.traffic)
    done = attend(rotated(q, at), both[:, :, :kv], both[:, :, kv:], at, keys_at)
    return scatter(torch.einsum("tbhd,chd->tbc", done, w[f"{i}.o"]), "attention_reduce", p.tp, r.traffic)


def _feed_forward(r: RankModel, y: Tensor, i: int, kind: str) -> Tensor:
    """A dense feed-forward, or the shared experts, of the part of the width that is here."""
    up, down = r.w[f"{i}.{kind}_up"], r.w[f"{i}.{kind}_down"]
    gate, value = gathered_product(y, up.flatten(0, 1), f"{kind}_gather", r.place.tp, r.traffic).chunk(2, -1)
    return scatter((torch.nn.functional.silu(gate) * value) @ down.T, f"{kind}_reduce", r.place.tp, r.traffic)


def _experts(r: RankModel, y: Tensor, i: int, ffn: MoeFfn) -> Tensor:
    """Router, dispatch of each token once to every rank of ep that has any of its experts, experts, combine."""
    p, s = r.place, r.place.strategy
    flat = y.reshape(-1, y.shape[-1])
    experts, weights = route(flat, r.w[f"{i}.router"], ffn)
    r.chosen.setdefault(i, []).append(experts.detach().view(*y.shape[:2], -1))
    local = ffn.experts // s.ep
    share = shares_of(experts, weights, ffn.experts).view(len(flat), s.ep, local)
    chosen = torch.zeros(len(flat), ffn.experts, dtype=torch.bool).scatter(1, experts, True).view(share.shape)
    to, token = chosen.any(-1).T.nonzero(as_tuple=True)  # in the order of destinations
    send = torch.bincount(to, minlength=s.ep).tolist()
    with inside:
        receive = r.traffic.counts_of(send, p.ep, flat.device)
    rows = exchange(flat[token], "dispatch", send, receive, p.ep, r.traffic)
    shares = exchange(share[token, to], "dispatch_shares", send, receive, p.ep, r.traffic)
    done = _of_slices(r, rows, shares, i)
    back = exchange(done, "combine", receive, send, p.ep, r.traffic)
    return torch.zeros_like(flat).index_add(0, token, back).view_as(y)


def _of_slices(r: RankModel, rows: Tensor, shares: Tensor, i: int) -> Tensor:
    """The experts of this rank on ``rows``; where they are divided over etp, on those of all its members, whose parts
    are added up where the rows are."""
    p, up, down = r.place, r.w[f"{i}.experts_up"], r.w[f"{i}.experts_down"]
    size = p.strategy.etp
    if size == 1:
        return experts_sum(rows, shares, up, down)
    counts = [0] * size
    with inside:
        dist.all_gather_object(counts, len(rows), group=p.etp)
    n, mine = len(rows), [len(rows)] * size
    all_rows = exchange(rows.repeat(size, 1), "expert_gather", mine, counts, p.etp, r.traffic)
    all_shares = exchange(shares.repeat(size, 1), "expert_gather_shares", mine, counts, p.etp, r.traffic)
    parts = experts_sum(all_rows, all_shares, up, down)
    return exchange(parts, "expert_reduce", counts, mine, p.etp, r.traffic).view(size, n, rows.shape[1]).sum(0)


def head_loss(r: RankModel, x: Tensor, ids: Tensor) -> Tensor:
    """Sum of the cross-entropies of the tokens of this rank's tp group, of logits divided over the vocabulary: what the
    softmax needs of the others is summed up over tp."""
    p, head = r.place, r.w["head"]
    logits = gathered_product(norm(x, r.w["final_norm"]), head, "head_gather", p.tp, r.traffic)
    at = group_positions(p, r.sequence, p.at("cp"))
    target = ids[:, at + 1].T - p.at("tp") * len(head)
    here = (target >= 0) & (target < len(head))
    with torch.no_grad():
        largest = logits.max(-1).values
        if p.strategy.tp > 1:
            dist.all_reduce(largest, dist.ReduceOp.MAX, group=p.tp)
    own = logits.gather(-1, target.clamp(0, len(head) - 1)[..., None])[..., 0] * here
    mass = (logits - largest[..., None]).exp().sum(-1)
    totals: Tensor = _Sum.apply(torch.stack((mass, own)), p.tp, r.traffic)  # type: ignore[no-untyped-call]
    loss: Tensor = (totals[0].log() + largest - totals[1]).sum()
    return loss


class _Sum(torch.autograd.Function):
    """Sums over tp of what each rank has of the same loss, whose gradient every rank has whole."""

    @staticmethod
    def forward(ctx: object, x: Tensor, group: dist.ProcessGroup, traffic: Traffic) -> Tensor:
        return traffic.all_reduce("loss_sums", x.clone(), group)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None
