"""Which new tokens pass the layers together: chunks of sequences, the same to the engine and to the prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from moewright.case.strategy import Overlap, Strategy


@dataclass(frozen=True, slots=True)
class Chunk:
    """``counts`` new tokens of each of ``sequences`` (numbers over the whole cluster), after ``starts`` that the
    cache holds. ``slot``: the first's row of the rank's cache; the others follow it.

    Context parallelism: the rank of ``part`` of ``parts`` has two of 2 · parts blocks of each prompt, the part-th
    from the front and from the back, so that all see about as many keys; ``wholes`` are the prompts' lengths."""

    sequences: tuple[int, ...]
    starts: tuple[int, ...]
    counts: tuple[int, ...]
    slot: int = 0
    part: int = 0
    parts: int = 1
    wholes: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(self.counts)

    def after(self) -> Chunk:
        """One more token of each sequence. Raises ValueError for a chunk of context parallelism."""
        if self.parts > 1:
            raise ValueError("a prompt divided over cp is not decoded")
        ends = tuple(start + count for start, count in zip(self.starts, self.counts, strict=True))
        return Chunk(self.sequences, ends, (1,) * len(ends), self.slot)

    def of_part(self, part: int) -> Chunk:
        """The same prompts on another rank of cp."""
        counts = tuple(sum(stop - start for start, stop in _blocks(n, part, self.parts)) for n in self.wholes)
        return replace(self, part=part, counts=counts)

    def spans(self) -> list[tuple[int, int, int]]:
        """(index in ``sequences``, first position, position behind the last) of what the chunk's rows are."""
        if self.parts == 1:
            every = zip(self.starts, self.counts, strict=True)
            return [(i, start, start + count) for i, (start, count) in enumerate(every)]
        return [(i, *span) for i, n in enumerate(self.wholes) for span in _blocks(n, self.part, self.parts)]


def _blocks(length: int, part: int, parts: int) -> list[tuple[int, int]]:
    edges = [length * i // (2 * parts) for i in range(2 * parts + 1)]
    return [(edges[i], edges[i + 1]) for i in (part, 2 * parts - 1 - part)]


def parts(s: Strategy) -> int:
    """Equal parts that a batch is divided into, over the cluster and over time."""
    return s.replicas * s.attention.dp * chunks(s)


def chunks(s: Strategy) -> int:
    """Chunks that an attention rank's sequences pass the layers in."""
    return s.micro_batches * (2 if s.overlap is Overlap.TWO_BATCH else 1)


def groups(s: Strategy) -> int:
    """Attention groups, whose members have the same tokens: replica · dp · cp."""
    return s.replicas * s.attention.dp * s.attention.cp


def prompts(s: Strategy, lengths: list[int], group: int) -> list[Chunk]:
    """The first chunks of attention ``group`` ((replica · dp + its dp coordinate) · cp + its cp coordinate)."""
    group, part = divmod(group, s.attention.cp)
    each = len(lengths) // (s.replicas * s.attention.dp)
    size = each // chunks(s)
    found = []
    for i in range(chunks(s)):
        first = group * each + i * size
        sequences = tuple(range(first, first + size))
        mine = tuple(lengths[q] for q in sequences)
        chunk = Chunk(sequences, (0,) * size, mine, i * size)
        if s.attention.cp > 1:
            chunk = replace(chunk, parts=s.attention.cp, wholes=mine).of_part(part)
        found.append(chunk)
    return found


def positions(chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
    """(row of the chunk, position in its sequence) of every new token, both [tokens]."""
    spans = chunk.spans()
    if all(stop - start == 1 for _, start, stop in spans):  # decode
        return np.array([i for i, _, _ in spans]), np.array([start for _, start, _ in spans])
    row = np.concatenate([np.full(stop - start, i) for i, start, stop in spans])
    return row, np.concatenate([np.arange(start, stop) for _, start, stop in spans])


def last(chunk: Chunk) -> np.ndarray:
    """Which of the chunk's tokens are the last of their sequence (so far)."""
    if chunk.parts == 1:
        return np.cumsum(chunk.counts) - 1
    row, position = positions(chunk)
    return np.flatnonzero(position == np.array(chunk.wholes)[row] - 1)
