"""Strategies as one table of arrays: the form in which a whole space is priced at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Gate, Overlap, Strategy
from moewright.cost.arrays import Bools, Ints


@dataclass(frozen=True, slots=True)
class Table:
    """One strategy a row: columns of shape [rows]. ``batch`` is the sequences on the whole cluster."""

    replicas: Ints
    pp: Ints
    micro_batches: Ints
    dp: Ints
    cp: Ints
    tp: Ints
    repeated: Ints
    dcp: Ints
    ep: Ints
    etp: Ints
    redundant: Ints
    replicated: Bools  # dispatch = replicated
    leader: Bools  # gate = leader
    two_batch: Bools  # overlap = two_batch
    batch: Ints

    def __len__(self) -> int:
        return int(np.size(self.pp))

    @property
    def stage(self) -> Ints:
        """Ranks of one pipeline stage."""
        return self.repeated * self.dp * self.cp * self.tp

    @property
    def sequences(self) -> Ints:
        """Sequences of one attention rank, all micro-batches together."""
        return self.batch // (self.replicas * self.dp)

    @property
    def halves(self) -> Ints:
        """Parts that a micro-batch passes the layers in: 2 under two_batch, else 1."""
        return np.where(self.two_batch, 2, 1)

    @property
    def chunks(self) -> Ints:
        """Equal parts a rank's batch passes the layers in: micro-batches, halved again for two_batch."""
        return self.micro_batches * self.halves

    def take(self, index: slice | Ints | Bools) -> Table:
        """The rows of ``index`` (a mask, positions or a slice)."""
        return Table(*(getattr(self, f.name)[index] for f in fields(self)))

    def row(self, index: int) -> tuple[Strategy, int]:
        """Row ``index`` as a Strategy, and its batch."""
        strategy = Strategy(
            int(self.replicas[index]),
            int(self.pp[index]),
            int(self.micro_batches[index]),
            Overlap.TWO_BATCH if self.two_batch[index] else Overlap.NONE,
            AttentionParallel(*(int(column[index]) for column in (self.dp, self.cp, self.tp, self.repeated, self.dcp))),
            ExpertParallel(
                int(self.ep[index]),
                int(self.etp[index]),
                int(self.redundant[index]),
                Dispatch.REPLICATED if self.replicated[index] else Dispatch.ALL_TO_ALL,
                Gate.LEADER if self.leader[index] else Gate.EACH,
            ),
        )
        return strategy, int(self.batch[index])

    @staticmethod
    def of(strategies: list[Strategy], batches: list[int]) -> Table:
        """Strategies, each with its batch, as a table of as many rows."""
        rows = [_values(s, b) for s, b in zip(strategies, batches, strict=True)]
        return Table(*(np.array(column) for column in zip(*rows, strict=True)))

    @staticmethod
    def one(strategy: Strategy, batch: int) -> Table:
        """One strategy as a table of one row."""
        return Table.of([strategy], [batch])

    @staticmethod
    def join(tables: list[Table]) -> Table:
        """The rows of all ``tables``, in order."""
        return Table(*(np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(Table)))

    def columns(self) -> list[NDArray[np.generic]]:
        """The columns in the order of the fields."""
        return [getattr(self, f.name) for f in fields(self)]


def _values(s: Strategy, batch: int) -> tuple[int | bool, ...]:
    a, e = s.attention, s.experts
    return (
        *(s.replicas, s.pp, s.micro_batches, a.dp, a.cp, a.tp, a.repeated, a.dcp, e.ep, e.tp, e.redundant),
        e.dispatch is Dispatch.REPLICATED,
        e.gate is Gate.LEADER,
        s.overlap is Overlap.TWO_BATCH,
        batch,
    )
