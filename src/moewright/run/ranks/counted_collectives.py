"""Collectives that count what leaves a rank: by operation, the calls and the bytes of the tensors given to them.

What travels beside the tokens (where copies go, and with which weights) is counted apart, as ``<name>_routing``.
The exchange of row counts before each uneven exchange is not counted: it carries no tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.run.ranks.progress import inside

# torch 2.13 renamed both; the older names still serve torch 2.6
_all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


@dataclass(slots=True)
class Count:
    """Calls of one operation, bytes that left this rank in them, and the size of its group."""

    calls: int = 0
    bytes: int = 0
    group: int = 2


@dataclass(slots=True)
class Traffic:
    """This rank's collectives. A group of one moves nothing and is not counted. ``done``: told of each."""

    counts: dict[str, Count] = field(default_factory=dict)
    done: Callable[[str], None] | None = None

    def _add(self, name: str, size: int, group: int, beside: bool = False) -> None:
        count = self.counts.setdefault(name, Count(group=group))
        count.calls += 1
        count.bytes += size
        if self.done is not None and not beside:
            self.done(name)

    def all_gather(self, name: str, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        """Equal parts [n, …] of every member → [size · n, …]; each sends its part to all others."""
        size = dist.get_world_size(group)
        if size == 1:
            return x
        out = x.new_empty(size * x.shape[0], *x.shape[1:])
        with inside:
            _all_gather(out, x.contiguous(), group=group)
        self._add(name, (size - 1) * x.numel() * x.element_size(), size)
        return out

    def gather_rows(self, name: str, x: Tensor, counts: list[int], group: dist.ProcessGroup) -> Tensor:
        """Parts [counts[i], …] of every member, which need not be equal → [sum(counts), …]."""
        if len(set(counts)) == 1:
            return self.all_gather(name, x, group)
        size = dist.get_world_size(group)
        return self.exchange(name, x.repeat(size, *[1] * (x.dim() - 1)), [len(x)] * size, counts, group)

    def reduce_scatter(self, name: str, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        """Sums of [size · n, …] over the members → this one's part [n, …]."""
        size = dist.get_world_size(group)
        if size == 1:
            return x
        out = x.new_empty(x.shape[0] // size, *x.shape[1:])
        with inside:
            _reduce_scatter(out, x.contiguous(), group=group)
        self._add(name, (size - 1) * out.numel() * out.element_size(), size)
        return out

    def all_reduce(self, name: str, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        """Sums over the members, in place. Counted as the bandwidth-optimal algorithm sends: 2 (n−1)/n."""
        size = dist.get_world_size(group)
        if size > 1:
            with inside:
                dist.all_reduce(x, group=group)
            self._add(name, 2 * (size - 1) * x.numel() * x.element_size() // size, size)
        return x

    def broadcast(self, name: str, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        """The first member's ``x``, in place, to all; it sends a copy to each."""
        size = dist.get_world_size(group)
        if size > 1:
            with inside:
                dist.broadcast(x, src=dist.get_global_rank(group, 0), group=group)
            self._add(name, (size - 1) * x.numel() * x.element_size() if dist.get_rank(group) == 0 else 0, size)
        return x

    def exchange(
        self, name: str, x: Tensor, send: list[int], receive: list[int], group: dist.ProcessGroup, beside: int = 0
    ) -> Tensor:
        """All-to-all of rows [sum(send), …] in order of their members → [sum(receive), …]. The last ``beside``
        bytes of a row tell where it goes and are counted apart."""
        size = dist.get_world_size(group)
        if size == 1:
            return x
        out = x.new_empty(sum(receive), *x.shape[1:])
        with inside:
            dist.all_to_all_single(out, x.contiguous(), receive, send, group=group)
        away = sum(send) - send[dist.get_rank(group)]
        self._add(name, away * (x[:1].numel() // max(len(x[:1]), 1) * x.element_size() - beside), size)
        if beside:
            self._add(f"{name}_routing", away * beside, size, beside=True)
        return out

    def counts_of(self, send: list[int], group: dist.ProcessGroup, device: torch.device) -> list[int]:
        """What the others will send: one number from each member to each."""
        if dist.get_world_size(group) == 1:
            return send
        out = torch.empty(len(send), dtype=torch.int64, device=device)
        with inside:
            dist.all_to_all_single(out, torch.tensor(send, dtype=torch.int64, device=device), group=group)
        if self.done is not None:
            self.done("counts")
        received: list[int] = out.tolist()
        return received

    def receive(self, name: str, x: Tensor, source: int) -> None:
        """Into ``x`` what the rank ``source`` sends; the bytes are the sender's."""
        with inside:
            dist.recv(x, source)
        if self.done is not None:
            self.done(name)

    def send(self, name: str, x: Tensor, to: int) -> None:
        """``x`` to the rank ``to``."""
        with inside:
            dist.send(x.contiguous(), to)
        self._add(name, x.numel() * x.element_size(), 2)
