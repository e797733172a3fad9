"""What ``moewright.place`` is asked for, beside the loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Place experts on ``slots`` slots of ``gpus`` GPUs.

    ``groups`` > 1: the experts of each of so many routing groups stay in one of ``nodes`` nodes; with ``traffic``, a
    weight, as far as token copies between nodes, per copy, are worth more than that much of the largest load.
    ``shares``: equal, or optimal (a replica takes the part of its expert's tokens that balances best). ``previous``
    [layers, slots], the record of one, or the path of its file: an earlier placement to start from, of which at most
    15 % of all replicas move, in the layers where that helps most, or with ``moves`` at most so many in each layer.
    Where it was made for ``previous_gpus`` other GPUs or other slots, or GPUs of it are ``lost``, what the others have
    stays, as few copies as may be fill the rest, and beyond those no replica moves but by ``moves``.
    ``affinity`` [experts, experts] or [layers, experts, experts]: tokens that chose both of two experts, which are put
    on one GPU, or in one node, where no largest load grows by more than the part ``slack``. ``budget``: slots over all
    layers beyond ``slots`` in each, where they help most (``budget.py``). ``expert_bytes``, ``token_bytes``: for
    ``moved_bytes`` and ``cross_node_bytes``, of tokens that choose ``top_k`` experts in ``top_groups`` of the router's
    ``router_groups`` groups (where not given: ``groups``). ``seconds``: the search goes on so long while it finds, and
    no longer; without, it does an amount of work that depends on the sizes alone, so that ``seed`` decides the result.
    """

    slots: int
    gpus: int
    nodes: int = 1
    groups: int = 1
    shares: str = "equal"
    previous: Any = None
    moves: int | None = None
    previous_gpus: int | None = None
    lost: tuple[int, ...] = ()
    traffic: float | None = None
    affinity: Any = None
    slack: float = 0.01
    budget: int | None = None
    top_k: int = 8
    top_groups: int = 1
    router_groups: int | None = None
    expert_bytes: float | None = None
    token_bytes: float | None = None
    seed: int = 0
    seconds: float | None = None

    @property
    def router(self) -> tuple[int, int, int]:
        """The router's groups, the experts that a token takes, and of how many groups."""
        return (self.groups if self.router_groups is None else self.router_groups), self.top_k, self.top_groups
