"""Attention's core over the ranks of cp: keys gathered, passed on around a ring, or exchanged for heads.

What is kept is a rank's own queries, keys and values, the output, and the logarithm of each query's sum; backward the
scores are computed again from these (FlashAttention-2, arXiv 2307.08691 §3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.case.train.train_strategy import ContextExchange
from moewright.run.ranks.counted_collectives import Traffic
from moewright.run.ranks.progress import inside
from moewright.run.train.operations.graph_collectives import exchange
from moewright.run.train.train_place import TrainPlace, group_positions

#: stands for the logarithm of nothing
_NOTHING = -1e30


@dataclass(frozen=True, slots=True)
class Core:
    """Where the core of attention is: ``positions`` of the tokens of each cp rank; the members of this one's group."""

    kind: ContextExchange
    positions: list[Tensor]
    at: int
    group: dist.ProcessGroup
    traffic: Traffic

    @staticmethod
    def of(p: TrainPlace, sequence: int, traffic: Traffic) -> Core:
        s = p.strategy
        positions = [group_positions(p, sequence, c) for c in range(s.cp)]
        return Core(s.cp_comm_type, positions, p.at("cp"), p.cp, traffic)

    @property
    def size(self) -> int:
        return len(self.positions)


def scores(q: Tensor, k: Tensor, at: Tensor, keys_at: Tensor) -> Tensor:
    """[batch, heads, queries, keys]; none of keys that come later."""
    k = k.repeat_interleave(q.shape[2] // k.shape[2], 2)
    found = torch.einsum("qbhd,kbhd->bhqk", q, k) / q.shape[-1] ** 0.5
    masked: Tensor = found.masked_fill(keys_at[None, :] > at[:, None], -torch.inf)
    return masked


def part(q: Tensor, k: Tensor, v: Tensor, at: Tensor, keys_at: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs, logarithms of sums [batch, heads, queries]) over some keys."""
    s = scores(q, k, at, keys_at)
    sums = s.logsumexp(-1)
    p = (s - sums.clamp(min=_NOTHING)[..., None]).exp()
    return torch.einsum("bhqk,kbhd->qbhd", p, v.repeat_interleave(q.shape[2] // v.shape[2], 2)), sums


def part_gradients(
    saved: tuple[Tensor, Tensor, Tensor], block: tuple[Tensor, Tensor, Tensor], above: Tensor, at: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of (queries, keys, values) by ``block``: keys, values, positions; ``saved``: queries, outputs, sums."""
    (q, out, sums), (k, v, keys_at) = saved, block
    groups = q.shape[2] // k.shape[2]
    p = (scores(q, k, at, keys_at) - sums[..., None]).exp()
    of_p = torch.einsum("qbhd,kbhd->bhqk", above, v.repeat_interleave(groups, 2))
    inner = (above * out).sum(-1).permute(1, 2, 0)[..., None]
    of_scores = p * (of_p - inner) / q.shape[-1] ** 0.5
    dq = torch.einsum("bhqk,kbhd->qbhd", of_scores, k.repeat_interleave(groups, 2))

    def summed(x: Tensor) -> Tensor:
        added: Tensor = x.view(*x.shape[:2], -1, groups, x.shape[3]).sum(3)
        return added

    dk, dv = torch.einsum("bhqk,qbhd->kbhd", of_scores, q), torch.einsum("bhqk,qbhd->kbhd", p, above)
    return dq, summed(dk), summed(dv)


def _packed(k: Tensor, v: Tensor) -> Tensor:
    return torch.cat((k.flatten(2), v.flatten(2)), -1)


def _unpacked(x: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    keys, values = torch.split(x, [k[0, 0].numel(), v[0, 0].numel()], -1)
    return keys.reshape(*x.shape[:-1], *k.shape[2:]), values.reshape(*x.shape[:-1], *v.shape[2:])


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, c: Core) -> Tensor:
        way = _Ring if c.kind is ContextExchange.RING else _Gathered
        out, sums = way.forward(c, q, k, v)
        out = out.contiguous()
        ctx.save_for_backward(q, k, v, out, sums)
        ctx.core, ctx.way = c, way
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        q, k, v, out, sums = ctx.saved_tensors
        return *ctx.way.backward(ctx.core, (q, out, sums), (k, v), gradients[0]), None


class _Gathered:
    @staticmethod
    def forward(c: Core, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if c.size == 1:
            return part(q, k, v, c.positions[0], c.positions[0])
        every = c.traffic.all_gather("context_gather", _packed(k, v), c.group)
        return part(q, *_unpacked(every, k, v), c.positions[c.at], torch.cat(c.positions))

    @staticmethod
    def backward(
        c: Core, saved: tuple[Tensor, Tensor, Tensor], own: tuple[Tensor, Tensor], above: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        if c.size == 1:
            return part_gradients(saved, (*own, c.positions[0]), above, c.positions[0])
        every = _unpacked(c.traffic.all_gather("context_gather_again", _packed(*own), c.group), *own)
        dq, dk, dv = part_gradients(saved, (*every, torch.cat(c.positions)), above, c.positions[c.at])
        mine = c.traffic.reduce_scatter("context_gather_gradient", _packed(dk, dv), c.group)
        return dq, *_unpacked(mine, *own)


class _Ring:
    @staticmethod
    def forward(c: Core, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        at, block = c.positions[c.at], _packed(k, v)
        out, sums = part(q, k, v, at, at)
        for step in range(1, c.size):
            block = passed_on(c, block, "context_ring")
            more, others = part(q, *_unpacked(block, k, v), at, c.positions[(c.at - step) % c.size])
            both = torch.logaddexp(sums, others)
            first, second = ((x - both).exp().permute(2, 0, 1)[..., None] for x in (sums, others))
            out, sums = out * first + more * second, both
        return out, sums

    @staticmethod
    def backward(
        c: Core, saved: tuple[Tensor, Tensor, Tensor], own: tuple[Tensor, Tensor], above: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        at, block = c.positions[c.at], _packed(*own)
        dq, of_block = torch.zeros_like(saved[0]), torch.zeros_like(block)
        for step in range(c.size):
            if step:
                block = passed_on(c, block, "context_ring_gradient")
                of_block = passed_on(c, of_block, "context_ring_gradient")
            keys_at = c.positions[(c.at - step) % c.size]
            more, dk, dv = part_gradients(saved, (*_unpacked(block, *own), keys_at), above, at)
            dq, of_block = dq + more, of_block + _packed(dk, dv)
        home = passed_on(c, of_block, "context_ring_gradient") if c.size > 1 else of_block
        return dq, *_unpacked(home, *own)


def passed_on(c: Core, x: Tensor, name: str) -> Tensor:
    """``x`` to the next member of the ring; what the one before sends."""
    members = dist.get_process_group_ranks(c.group)
    after, before = members[(c.at + 1) % c.size], members[(c.at - 1) % c.size]
    got = torch.empty_like(x)
    with inside:
        sending = dist.isend(x.contiguous(), after)
        dist.recv(got, before)
        if sending is not None:
            sending.wait()
    c.traffic._add(name, x.numel() * x.element_size(), c.size)
    return got


def attended(c: Core, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention [tokens, batch, heads, dim] of a rank's queries over the keys of all."""
    if c.kind is ContextExchange.ALL_TO_ALL and c.size > 1:
        return _by_heads(c, q, k, v)
    made: Tensor = _Attended.apply(q, k, v, c)  # type: ignore[no-untyped-call]
    return made


def _by_heads(c: Core, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Tokens of all for a part of the heads, and the outputs back."""
    n, tokens = c.size, len(q)
    rows = torch.cat([_to_members(x, n) for x in (q, k, v)], -1)
    equal = [tokens] * n
    got = exchange(rows, "context_exchange", equal, equal, c.group, c.traffic)
    sizes = [x[0, 0].numel() // n for x in (q, k, v)]
    mine = [
        y.reshape(*y.shape[:-1], x.shape[2] // n, x.shape[3]).contiguous()
        for y, x in zip(torch.split(got, sizes, -1), (q, k, v), strict=True)
    ]
    every = torch.cat(c.positions)
    whole = Core(ContextExchange.ALL_GATHER, [every], 0, c.group, c.traffic)
    done: Tensor = _Attended.apply(*mine, whole)  # type: ignore[no-untyped-call]
    back = exchange(done.flatten(2), "context_return", equal, equal, c.group, c.traffic)
    heads = back.view(n, tokens, q.shape[1], q.shape[2] // n, -1)
    return heads.permute(1, 2, 0, 3, 4).flatten(2, 3)


def _to_members(x: Tensor, n: int) -> Tensor:
    """[tokens, batch, heads, dim] → [n · tokens, batch, heads/n · dim]: the heads of each member."""
    by_member = x.reshape(*x.shape[:2], n, -1, x.shape[3]).permute(2, 0, 1, 3, 4)
    return by_member.reshape(n * x.shape[0], x.shape[1], -1)
