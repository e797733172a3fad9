"""Decode in fixed shapes, for a rank that has no peers: on CUDA one graph, replayed for every token.

All that changes from step to step stands in tensors: ids and positions. Attention reads the whole room of the cache
behind a mask, instead of the part that is filled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moewright.run.model.shard import Logits, Shard
from moewright.run.model.sharded_attention import Step
from moewright.run.ranks.schedule import Chunk


class StaticStep(Step):
    """One token of each sequence of ``chunk``, wherever ``position`` [sequences] says that it stands, below
    ``room``."""

    def __init__(self, shard: Shard, chunk: Chunk, room: int) -> None:
        super().__init__(chunk, shard.numerics, shard.device, shard.dtype)
        self.room = room
        self.tables: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def start(self) -> int | None:
        return None

    def turning(self, dim: int) -> tuple[Tensor, Tensor]:
        if dim not in self.tables:
            self.tables[dim] = self.angles(dim, torch.arange(self.room, device=self.device))
        cos, sin = self.tables[dim]
        return cos[self.position], sin[self.position]

    def cache_mask(self, room: int) -> Tensor | None:
        return (torch.arange(room, device=self.device) <= self.position[:, None])[:, None, None, :]

    def seen(self, room: int) -> int:
        return room


class Decoder:
    """Steps of the sequences of one chunk."""

    def __init__(self, shard: Shard, chunk: Chunk, room: int) -> None:
        self.shard, self.chunk = shard, chunk
        self.step = StaticStep(shard, chunk, room)
        self.ids = torch.zeros(len(chunk.counts), dtype=torch.int64, device=shard.device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.out: Logits | None = None
        self.copies: dict[int, int] = {}
        self.choices: dict[int, list[Tensor]] | None = None

    def __call__(self, chunk: Chunk, ids: Tensor) -> Logits | None:
        """The output of ``chunk``, the next token of each sequence, whose ids are ``ids``."""
        self.ids.copy_(ids)
        self.step.position.copy_(torch.tensor(chunk.starts))
        if self.shard.device.type != "cuda":
            return self._pass()
        if self.graph is None:
            self._capture()
        assert self.graph is not None
        assert self.out is not None
        self.graph.replay()
        done = self.shard.tally.copies
        for position, copies in self.copies.items():
            done[position] = done.get(position, 0) + copies
        if self.shard.choices is not None and self.choices is not None:
            self.shard.choices = {position: [t.clone() for t in found] for position, found in self.choices.items()}
        return Logits(self.out.rows, self.out.columns, self.out.values.clone())

    def _pass(self) -> Logits | None:
        self.shard.fixed = True
        out = self.shard.forward(self.chunk, self.ids, False, self.step)
        self.shard.fixed = False
        return out

    def _capture(self) -> None:
        """Once to warm up, once to record. Both write to the cache what the replay writes again; what they count is
        taken back."""
        tally = self.shard.tally
        loads, copies = {p: t.clone() for p, t in tally.loads.items()}, dict(tally.copies)
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self._pass()
        torch.cuda.current_stream().wait_stream(aside)
        warm = dict(tally.copies)
        if self.shard.choices is not None:
            self.shard.choices = {}
        graph = torch.cuda.CUDAGraph()
        # another thread may go on, such as the one that watches over NCCL
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.out = self._pass()
        self.copies = {position: count - warm[position] for position, count in tally.copies.items()}
        self.choices, self.graph = self.shard.choices, graph
        tally.copies = copies
        for position, found in tally.loads.items():
            if position in loads:
                found.copy_(loads[position])
            else:
                found.zero_()
