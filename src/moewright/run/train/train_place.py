"""Where a rank stands in a training step: its coordinates, its groups, its tokens, its part of each parameter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.case.train.train_strategy import TrainStrategy


@dataclass(frozen=True, slots=True)
class TrainPlace:
    """One rank. ``dense``: those that hold the same attention (dp · cp); ``same_experts``: expert-dp; ``all_experts``:
    those that hold all experts together (ep · etp); ``stage``: the pipeline stage's number."""

    strategy: TrainStrategy
    rank: int
    tp: dist.ProcessGroup
    cp: dist.ProcessGroup
    dense: dist.ProcessGroup
    ep: dist.ProcessGroup
    etp: dist.ProcessGroup
    same_experts: dist.ProcessGroup
    all_experts: dist.ProcessGroup

    @property
    def stage(self) -> int:
        return self.rank // self.ranks

    @property
    def ranks(self) -> int:
        """Ranks of a stage."""
        s = self.strategy
        return s.dp * s.cp * s.tp

    def at(self, name: str) -> int:
        """The coordinate dp, cp, tp, ep or etp."""
        s, local = self.strategy, self.rank % self.ranks
        if name == "dp":
            return local // (s.cp * s.tp)
        if name == "cp":
            return local // s.tp % s.cp
        if name == "tp":
            return local % s.tp
        return local // s.etp % s.ep if name == "ep" else local % s.etp


def train_place(s: TrainStrategy) -> TrainPlace:
    """The place of this process in the world that is already there. Every rank makes every group, in one order."""
    world = torch.arange(s.gpus)
    attention = world.view(s.pp, s.dp, s.cp, s.tp)
    experts = world.view(s.pp, s.expert_dp, s.ep, s.etp)
    rank = dist.get_rank()

    def mine(groups: Tensor) -> dist.ProcessGroup:
        own: dist.ProcessGroup | None = None
        for members in groups.tolist():
            made: dist.ProcessGroup = dist.new_group(members)
            if rank in members:
                own = made
        assert own is not None
        return own

    return TrainPlace(
        s,
        rank,
        mine(attention.reshape(-1, s.tp)),
        mine(attention.movedim(2, -1).reshape(-1, s.cp)),
        mine(attention.movedim(3, 1).reshape(-1, s.dp * s.cp)),
        mine(experts.movedim(2, -1).reshape(-1, s.ep)),
        mine(experts.reshape(-1, s.etp)),
        mine(experts.movedim(1, -1).reshape(-1, s.expert_dp)),
        mine(experts.reshape(-1, s.ep * s.etp)),
    )


def positions_of(p: TrainPlace, sequence: int) -> Tensor:
    """Positions of a rank's tokens in their sequence: two halves that make causal work even over cp, and of these the
    part of its tp coordinate."""
    s = p.strategy
    halves = torch.arange(sequence).view(2 * s.cp, -1)
    mine = torch.cat((halves[p.at("cp")], halves[2 * s.cp - 1 - p.at("cp")]))
    return mine.view(s.tp, -1)[p.at("tp")]


def group_positions(p: TrainPlace, sequence: int, cp: int) -> Tensor:
    """Positions of the tokens of all tp ranks at the cp coordinate ``cp``, in their order."""
    halves = torch.arange(sequence).view(2 * p.strategy.cp, -1)
    return torch.cat((halves[cp], halves[2 * p.strategy.cp - 1 - cp]))


def part_of(name: str, x: Tensor, p: TrainPlace) -> Tensor:
    """This rank's part of the parameter ``name``, of ``x`` in full. Adapters are divided where their matrix is, on the
    axis that they have of it."""
    s, base = p.strategy, name.removesuffix(".lora_a").removesuffix(".lora_b")
    kind, adapter = base.rpartition(".")[2], name[len(base) + 1 :]

    def cut(y: Tensor, dim: int, over: str, size: int) -> Tensor:
        return y.chunk(size, dim)[p.at(over)]

    if kind in ("q", "k", "v", "q_b", "kv_b", "embedding", "head"):
        return x if adapter == "lora_a" else cut(x, 0, "tp", s.tp)
    if kind in ("shared_up", "dense_up"):
        return x if adapter == "lora_a" else cut(x, 1, "tp", s.tp)
    if kind in ("o", "shared_down", "dense_down"):
        return x if adapter == "lora_b" else cut(x, 1, "tp", s.tp)
    if kind in ("experts_up", "experts_down"):
        mine = cut(x, 0, "ep", s.ep)
        return mine if adapter else cut(mine, 2, "etp", s.etp)
    return x


def is_expert(name: str) -> bool:
    """Whether ``name`` is of the experts that are divided over ep and etp."""
    return "experts_up" in name or "experts_down" in name


def is_whole(name: str) -> bool:
    """Whether every tp rank has all of ``name``, and a part of its gradients alone."""
    base = name.removesuffix(".lora_a").removesuffix(".lora_b")
    kind, adapter = base.rpartition(".")[2], name[len(base) + 1 :]
    if adapter:
        inner = kind in ("o", "shared_down", "dense_down")
        return not is_expert(name) and (adapter == "lora_b") == inner
    return kind.endswith(("norm", "norm1", "norm2")) or kind in ("router", "q_a", "kv_a")
