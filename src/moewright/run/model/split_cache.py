"""Decode context parallelism: the ranks of a dcp group keep every dcp-th token of each sequence.

Every rank attends with the queries of the whole group over the tokens it keeps. Two partial outputs are added up by the
logarithms of their sums of exponentials (Milakov, Gimelshein, arXiv 1805.02867).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from moewright.run.ranks.counted_collectives import Traffic


@dataclass(frozen=True, slots=True)
class SplitCache:
    """Of ``parts`` ranks of ``group`` this is number ``part``: it keeps the tokens at part, part + parts, …"""

    part: int
    parts: int
    group: dist.ProcessGroup
    traffic: Traffic

    def room(self, tokens: int) -> int:
        """Places for the tokens kept of sequences of ``tokens``."""
        return -(-tokens // self.parts)

    def keep(self, cache: Tensor, packed: Tensor, rows: Tensor, position: Tensor) -> None:
        """Into the cache [sequences, heads, room, d]: of the tokens [tokens, heads, d], of sequences ``rows`` at
        ``position``, those that this rank keeps."""
        mine = position % self.parts == self.part
        cache[rows[mine], :, position[mine] // self.parts] = packed[mine]

    def attend(self, q: Tensor, keys: Tensor, values: Tensor, starts: tuple[int, ...], scale: float) -> Tensor:
        """One token's queries of this rank's heads [sequences, heads, d] over the keys [sequences, 1, room, d] and
        values [sequences, 1, room, v] that the group keeps, of positions up to ``starts`` → [sequences, heads, v]."""
        heads, kept = q.shape[1], [max(0, (start - self.part) // self.parts + 1) for start in starts]
        every = self.traffic.all_gather("query_gather", q.transpose(0, 1), self.group).transpose(0, 1)
        scores = (every @ keys[:, 0].transpose(1, 2)).float() * scale  # [sequences, group's heads, room]
        places = torch.arange(scores.shape[2], device=q.device)
        scores = scores.masked_fill(places >= torch.tensor(kept, device=q.device)[:, None, None], -torch.inf)
        sums = scores.logsumexp(-1)
        shares = torch.exp(scores - sums.clamp_min(torch.finfo(sums.dtype).min)[..., None])
        gathered = self.traffic.all_gather("score_sum_gather", sums.T.contiguous(), self.group)
        whole = gathered.view(self.parts, every.shape[1], -1).logsumexp(0).T
        out = (shares.to(q.dtype) @ values[:, 0]) * torch.exp(sums - whole).to(q.dtype)[..., None]
        mine = self.traffic.reduce_scatter("attention_output_reduce", out.transpose(0, 1), self.group)
        assert mine.shape[0] == heads
        return mine.transpose(0, 1)
