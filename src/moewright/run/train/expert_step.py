"""A rank's part of a layer's experts: router, tokens to their experts by the dispatcher, experts, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.case.model import MoeFfn
from moewright.case.train.train_strategy import Dispatcher
from moewright.run.ranks.progress import inside
from moewright.run.train.operations.graph_collectives import exchange, gather, scatter
from moewright.run.train.operations.step_functions import activated, added_rows, from_inputs, routed
from moewright.run.train.operations.step_products import expert_products, matrix, products
from moewright.run.train.rank_model import RankModel


def experts_of_rank(r: RankModel, y: Tensor, w: Mapping[str, Tensor], ffn: MoeFfn) -> Tensor:
    """The weighted sum of the experts of a rank's own tokens [tokens, batch, hidden]."""
    p, s = r.place, r.place.strategy
    flat = y.reshape(-1, y.shape[-1])
    (logits,) = products(r.call(""), flat, matrix(w, "router"))
    share = routed(logits, ffn.top_k)
    if s.dispatcher is Dispatcher.ALL_GATHER and s.ep > 1:
        every = gather(flat, "dispatch_all", p.all_experts, r.traffic)
        shares = gather(share, "dispatch_shares", p.all_experts, r.traffic)
        mine = shares.view(len(shares), s.ep, -1)[:, p.at("ep")].contiguous()
        return scatter(_experts(r, every, mine, w), "combine_all", p.all_experts, r.traffic).view_as(y)
    local = ffn.experts // s.ep
    by_rank = share.view(len(flat), s.ep, local)
    if s.dispatcher is Dispatcher.ALL_TO_ALL:  # each copy is a row of its own
        to, token, expert = by_rank.detach().permute(1, 0, 2).nonzero(as_tuple=True)
        own = share.new_zeros(len(to), local).scatter(1, expert[:, None], by_rank[token, to, expert][:, None])
    else:  # once to each rank that has any of its experts
        to, token = (by_rank.detach() > 0).any(-1).T.nonzero(as_tuple=True)
        own = by_rank[token, to]
    send = torch.bincount(to, minlength=s.ep).tolist()
    with inside:
        receive = r.traffic.counts_of(send, p.ep, flat.device)
    rows = exchange(flat[token], "dispatch", send, receive, p.ep, r.traffic)
    shares = exchange(own, "dispatch_shares", send, receive, p.ep, r.traffic)
    back = exchange(_of_slices(r, rows, shares, w), "combine", receive, send, p.ep, r.traffic)
    return added_rows(back, token, len(flat)).view_as(y)


def _of_slices(r: RankModel, rows: Tensor, shares: Tensor, w: Mapping[str, Tensor]) -> Tensor:
    """The experts of this rank on ``rows``; where they are divided over etp, on those of all its members, whose parts
    are added up where the rows are."""
    p = r.place
    size = p.strategy.etp
    if size == 1:
        return _experts(r, rows, shares, w)
    counts = [0] * size
    with inside:
        dist.all_gather_object(counts, len(rows), group=p.etp)
    n, mine = len(rows), [len(rows)] * size
    all_rows = exchange(rows.repeat(size, 1), "expert_gather", mine, counts, p.etp, r.traffic)
    all_shares = exchange(shares.repeat(size, 1), "expert_gather_shares", mine, counts, p.etp, r.traffic)
    parts = _experts(r, all_rows, all_shares, w)
    return exchange(parts, "expert_reduce", counts, mine, p.etp, r.traffic).view(size, n, rows.shape[1]).sum(0)


def _experts(r: RankModel, rows: Tensor, shares: Tensor, w: Mapping[str, Tensor]) -> Tensor:
    """Σ over this rank's experts of their outputs for ``rows``, times ``shares`` [rows, experts]: a copy of a row for
    each of its experts, in the order of these."""
    expert, row = (shares.detach() > 0).T.nonzero(as_tuple=True)
    counts = torch.bincount(expert, minlength=shares.shape[1]).tolist()
    weights = shares[row, expert]
    up = expert_products(r.late, rows[row], counts, matrix(w, "experts_up"))
    inner = from_inputs(activated, up, weights)
    if "moe_act" in r.again and "moe" not in r.again:
        kept_up, kept_weights = up.detach(), weights.detach()
        r.kept.make_again(inner, lambda: activated(kept_up, kept_weights), kept_up, kept_weights)
    down = expert_products(r.late, inner, counts, matrix(w, "experts_down"))
    return added_rows(down, row, len(rows))
