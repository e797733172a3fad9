"""Parameters of a rank: leaves of the graph, or shards over the ranks that hold the same (FSDP), gathered for every
pass of every micro-batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.run.ranks.counted_collectives import Traffic
from moewright.run.train.operations.kept_tensors import KeptTensors
from moewright.run.train.train_place import TrainPlace, is_expert


def unit_of(name: str) -> str:
    """What is opened together: a layer, by its number; the embedding; the head with the last norm."""
    number = name.partition(".")[0]
    return number if number.isdigit() else "embedding" if name == "embedding" else "head"


@dataclass(frozen=True, slots=True)
class WholeWeights:
    """All of a rank's parameters, ``w`` by name."""

    w: dict[str, Tensor]

    def open(self, unit: str) -> Mapping[str, Tensor]:
        """Those of ``unit`` by kind."""
        found = {n: x for n, x in self.w.items() if unit_of(n) == unit}
        return {n.partition(".")[2] if unit.isdigit() else n: x for n, x in found.items()}


@dataclass(slots=True)
class _Shard:
    """The parameters ``names`` of one unit in one buffer, of which this rank has ``own``, a leaf."""

    names: list[str]
    shapes: list[torch.Size]
    own: Tensor
    label: str
    group: dist.ProcessGroup

    @property
    def length(self) -> int:
        return sum(s.numel() for s in self.shapes)

    def parts(self, whole: Tensor) -> dict[str, Tensor]:
        """``whole`` as the parameters."""
        pieces = torch.split(whole[: self.length], [s.numel() for s in self.shapes])
        return {n: x.view(s) for n, x, s in zip(self.names, pieces, self.shapes, strict=True)}


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, shard: _Shard, weights: ShardedWeights) -> Tensor:
        ctx.shard, ctx.weights = shard, weights
        return weights.gathered(shard)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        weights: ShardedWeights = ctx.weights
        weights.gathered(ctx.shard)  # as a framework that gathers a unit before its backward pass, needed or not
        name = f"{ctx.shard.label}_gradients"
        return weights.traffic.reduce_scatter(name, gradients[0], ctx.shard.group), None, None


@dataclass(slots=True)
class ShardedWeights:
    """Shards of every unit. ``back``: whether a backward pass is at work, in which what is gathered stays until its
    end."""

    shards: list[_Shard]
    traffic: Traffic
    kept: KeptTensors
    back: bool = False
    there: dict[int, Tensor] = field(default_factory=dict)

    @staticmethod
    def of(w: dict[str, Tensor], p: TrainPlace, traffic: Traffic, kept: KeptTensors) -> ShardedWeights:
        """Divided by unit, experts apart from all else."""
        units: dict[tuple[str, bool], list[str]] = {}
        for name in w:
            units.setdefault((unit_of(name), is_expert(name)), []).append(name)
        shards = []
        for (_, experts), names in units.items():
            group, label = (p.same_experts, "expert") if experts else (p.dense, "dense")
            size = dist.get_world_size(group)
            flat = torch.cat([w[n].flatten() for n in names])
            flat = torch.nn.functional.pad(flat, (0, -len(flat) % size))
            own = flat.chunk(size)[dist.get_rank(group)].clone().requires_grad_()
            shards.append(_Shard(names, [w[n].shape for n in names], own, label, group))
        return ShardedWeights(shards, traffic, kept)

    def gathered(self, shard: _Shard) -> Tensor:
        """The whole buffer."""
        if id(shard) in self.there:
            return self.there[id(shard)]
        whole = self.traffic.all_gather(f"{shard.label}_weights_gather", shard.own.detach(), shard.group)
        if whole.data_ptr() == shard.own.data_ptr():  # a group of one
            whole = whole.clone()
        if self.back:
            self.there[id(shard)] = whole
        return whole

    def open(self, unit: str) -> Mapping[str, Tensor]:
        """Those of ``unit`` by kind, gathered; an operation that keeps one has it gathered again."""
        found: dict[str, Tensor] = {}
        for shard in self.shards:
            if unit_of(shard.names[0]) == unit:
                flat: Tensor = _Gathered.apply(shard.own, shard, self)  # type: ignore[no-untyped-call]
                self.kept.make_again(flat, lambda shard=shard: self.gathered(shard))  # type: ignore[misc]
                found |= shard.parts(flat)
        return {n.partition(".")[2] if unit.isdigit() else n: x for n, x in found.items()}
