"""Micro-batches through stages, one after another, every start waiting for what it needs."""

from __future__ import annotations

from collections.abc import Sequence


def pass_through(stages: Sequence[float], micro: int, hop: float, batches: int = 1) -> list[float]:
    """When each of ``batches`` batches of ``micro`` micro-batches has left the last stage. A stage does one at a time,
    and a link carries one at a time for ``hop`` seconds."""
    free = [0.0] * len(stages)
    link = [0.0] * len(stages)
    ends = []
    for _ in range(batches):
        for _ in range(micro):
            at = 0.0
            for i, seconds in enumerate(stages):
                if i:
                    at = link[i] = max(at, link[i]) + hop
                at = free[i] = max(at, free[i]) + seconds
        ends.append(free[-1])
    return ends


def decode_round(stages: Sequence[float], parts: int, hop: float, rounds: int = 6) -> float:
    """Seconds between two tokens of a sequence, when ``parts`` parts of the batch go round and round."""
    free = [0.0] * len(stages)
    ready = [0.0] * parts
    before = 0.0
    for _ in range(rounds):
        before = ready[0]
        for part in range(parts):
            at = ready[part]
            for i, seconds in enumerate(stages):
                at = free[i] = max(at, free[i]) + seconds
                at += hop if len(stages) > 1 else 0.0
            ready[part] = at
    return ready[0] - before
