"""Which token follows: the likeliest, or one drawn with a temperature from the likeliest ``top_p``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sampling:
    """``temperature`` 0: the likeliest. A sequence's draws depend on ``seed``, its number and its step alone, so
    that every rank draws the same."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def pick(self, logits: Tensor, sequences: tuple[int, ...], step: int) -> Tensor:
        """Ids [sequences] from logits [sequences, vocabulary]."""
        if self.temperature <= 0:
            return logits.argmax(-1)
        draws = torch.tensor([self._draw(q, step) for q in sequences], device=logits.device)
        shares, order = (logits.float() / self.temperature).softmax(-1).sort(stable=True, dim=-1, descending=True)
        sums = shares.cumsum(-1)
        inside = sums - shares < self.top_p  # the smallest set that reaches top_p; never empty
        whole = (shares * inside).sum(-1)
        place = (sums < (draws * whole)[:, None]).sum(-1).clamp(max=inside.sum(-1) - 1)
        picked: Tensor = order.gather(1, place[:, None])[:, 0]
        return picked

    def _draw(self, sequence: int, step: int) -> float:
        digest = hashlib.sha256(f"{self.seed} draw {sequence} {step}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48
