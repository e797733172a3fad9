"""Which new tokens pass the layers together: chunks of sequences, the same to the engine and to the prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moewright.spec.strategy import Overlap, Strategy


@dataclass(frozen=True, slots=True)
class Chunk:
    """``counts`` new tokens of each of ``sequences`` (numbers over the whole cluster), after ``starts`` that the
    cache holds. ``slot``: the first's row of the rank's cache; the others follow it."""

    sequences: tuple[int, ...]
    starts: tuple[int, ...]
    counts: tuple[int, ...]
    slot: int = 0

    @property
    def tokens(self) -> int:
        return sum(self.counts)

    def after(self) -> Chunk:
        """One more token of each sequence."""
        ends = tuple(start + count for start, count in zip(self.starts, self.counts, strict=True))
        return Chunk(self.sequences, ends, (1,) * len(ends), self.slot)


def parts(s: Strategy) -> int:
    """Equal parts that a batch is divided into, over the cluster and over time."""
    return s.replicas * s.attention.dp * chunks(s)


def chunks(s: Strategy) -> int:
    """Chunks that an attention rank's sequences pass the layers in."""
    return s.micro_batches * (2 if s.overlap is Overlap.TWO_BATCH else 1)


def prompts(s: Strategy, lengths: list[int], group: int) -> list[Chunk]:
    """The first chunks of attention group ``group`` (replica · dp + its dp coordinate), whole prompts each."""
    each = len(lengths) // (s.replicas * s.attention.dp)
    size = each // chunks(s)
    found = []
    for i in range(chunks(s)):
        first = group * each + i * size
        sequences = tuple(range(first, first + size))
        found.append(Chunk(sequences, (0,) * size, tuple(lengths[q] for q in sequences), i * size))
    return found


def positions(chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
    """(row of the chunk, position in its sequence) of every new token, both [tokens]."""
    counts = np.array(chunk.counts)
    row = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, within + np.array(chunk.starts)[row]
