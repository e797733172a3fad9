"""Collectives with gradients: each is answered by its mirror in the backward pass, and counted by its name."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.run.ranks.counted_collectives import Traffic


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str, group: dist.ProcessGroup, traffic: Traffic) -> Tensor:
        ctx.call = name, group, traffic
        return traffic.all_gather(name, x, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        name, group, traffic = ctx.call
        return traffic.reduce_scatter(f"{name}_gradient", gradients[0], group), None, None, None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str, group: dist.ProcessGroup, traffic: Traffic) -> Tensor:
        ctx.call = name, group, traffic
        return traffic.reduce_scatter(name, x, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        name, group, traffic = ctx.call
        return traffic.all_gather(f"{name}_gradient", gradients[0], group), None, None, None


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, call: tuple[str, list[int], list[int], Any, Traffic]) -> Tensor:
        ctx.call = call
        name, send, receive, group, traffic = call
        return traffic.exchange(name, x, send, receive, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        name, send, receive, group, traffic = ctx.call
        return traffic.exchange(f"{name}_gradient", gradients[0], receive, send, group), None


def gather(x: Tensor, name: str, group: dist.ProcessGroup, traffic: Traffic) -> Tensor:
    """Parts [n, …] of every member → [size · n, …]."""
    made: Tensor = _Gather.apply(x, name, group, traffic)  # type: ignore[no-untyped-call]
    return made


def scatter(x: Tensor, name: str, group: dist.ProcessGroup, traffic: Traffic) -> Tensor:
    """Sums of [size · n, …] over the members → this one's part [n, …]."""
    made: Tensor = _Scatter.apply(x, name, group, traffic)  # type: ignore[no-untyped-call]
    return made


def exchange(
    x: Tensor, name: str, send: list[int], receive: list[int], group: dist.ProcessGroup, traffic: Traffic
) -> Tensor:
    """All-to-all of rows in the order of their members."""
    made: Tensor = _Exchange.apply(x, (name, send, receive, group, traffic))  # type: ignore[no-untyped-call]
    return made
