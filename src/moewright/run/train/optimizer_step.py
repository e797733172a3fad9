"""The end of a step: gradients summed over the ranks that hold the same weights, a step of Adam, what it changed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.case.train.train_strategy import Sharding
from moewright.run.ranks.counted_collectives import Traffic
from moewright.run.ranks.progress import inside
from moewright.run.train.plain import ADAM_EPSILON
from moewright.run.train.train_place import TrainPlace, is_expert, is_whole
from moewright.run.train.weight_shards import ShardedWeights

#: of Adam
FIRST, SECOND = 0.9, 0.999


@dataclass(frozen=True, slots=True)
class Updated:
    """Summed gradients and new weights by parameter; bytes alive of weights, gradients and optimizer states."""

    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]
    alive: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Adam:
    """The states of a buffer; moments begin at 0."""

    first: Tensor
    second: Tensor

    @staticmethod
    def of(w: Tensor) -> _Adam:
        return _Adam(torch.zeros_like(w), torch.zeros_like(w))

    def step(self, w: Tensor, g: Tensor, rate: float) -> Tensor:
        """New weights after the first step."""
        self.first.lerp_(g, 1 - FIRST)
        self.second.mul_(SECOND).addcmul_(g, g, value=1 - SECOND)
        return w - rate * (self.first / (1 - FIRST)) / ((self.second / (1 - SECOND)).sqrt() + ADAM_EPSILON)

    @property
    def bytes(self) -> int:
        return _bytes(self.first) + _bytes(self.second)


def _bytes(x: Tensor) -> int:
    return x.numel() * x.element_size()


@torch.no_grad()
def updated(w: dict[str, Tensor], p: TrainPlace, traffic: Traffic, rate: float, skip: str) -> Updated:
    """Of whole parameters ``w``: of a rank's share of them where the optimizer is divided, which then are gathered."""
    trained = {n: x for n, x in w.items() if x.requires_grad}
    gradients = {n: x.grad if x.grad is not None else torch.zeros_like(x) for n, x in trained.items()}
    alive = {
        "weights": sum(map(_bytes, w.values())),
        "gradients": sum(map(_bytes, gradients.values())),
        "optimizer": 0,
    }
    for name, g in gradients.items():
        if is_whole(name) and skip != "replicated_gradients":
            traffic.all_reduce("replicated_gradients", g, p.tp)
    weights: dict[str, Tensor] = {}
    for experts in (False, True):
        names = [n for n in trained if is_expert(n) == experts]
        if not names:
            continue
        group, name = (p.same_experts, "expert_gradients") if experts else (p.dense, "dense_gradients")
        flat = torch.cat([gradients[n].flatten() for n in names])
        own = torch.cat([w[n].detach().flatten() for n in names])
        flat, new, states = _step(p, group, "" if skip == name else name, traffic, (flat, own, rate))
        alive["optimizer"] += states
        sizes = [w[n].numel() for n in names]
        for n, g, x in zip(names, torch.split(flat, sizes), torch.split(new, sizes), strict=True):
            gradients[n], weights[n] = g.view_as(w[n]), x.view_as(w[n])
    return Updated(gradients, weights, alive)


def _step(
    p: TrainPlace, group: dist.ProcessGroup, name: str, traffic: Traffic, buffers: tuple[Tensor, Tensor, float]
) -> tuple[Tensor, Tensor, int]:
    """(summed gradients, new weights, bytes of states) of one buffer; without a ``name`` nothing is summed."""
    flat, own, rate = buffers
    size = dist.get_world_size(group)
    if not name or p.strategy.sharding is Sharding.NONE or size == 1:
        flat = traffic.all_reduce(name, flat, group) if name else flat
        states = _Adam.of(own)
        return flat, states.step(own, flat, rate), states.bytes
    end, pad = len(flat), -len(flat) % size
    flat, own = (torch.nn.functional.pad(x, (0, pad)) for x in (flat, own))
    part = traffic.reduce_scatter(name, flat, group)
    mine = own.chunk(size)[dist.get_rank(group)]
    states = _Adam.of(mine)
    new = traffic.all_gather(f"{name}_weights", states.step(mine, part, rate), group)
    return _whole(part, group)[:end], new[:end], states.bytes


def _whole(part: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The parts of all, for the comparison alone: not counted."""
    parts = [torch.empty_like(part) for _ in range(dist.get_world_size(group))]
    with inside:
        dist.all_gather(parts, part.contiguous(), group=group)
    return torch.cat(parts)


def updated_shards(weights: ShardedWeights, rate: float) -> Updated:
    """Of shards, whose gradients are summed already."""
    gradients: dict[str, Tensor] = {}
    new: dict[str, Tensor] = {}
    alive = dict.fromkeys(("weights", "gradients", "optimizer"), 0)
    for shard in weights.shards:
        g = shard.own.grad
        assert g is not None
        states = _Adam.of(g)
        after = states.step(shard.own.detach(), g, rate)
        gradients |= shard.parts(_whole(g, shard.group))
        new |= shard.parts(_whole(after, shard.group))
        for line, size in (("weights", _bytes(shard.own)), ("gradients", _bytes(g)), ("optimizer", states.bytes)):
            alive[line] += size
    return Updated(gradients, new, alive)
