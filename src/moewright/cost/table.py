"""Strategies as one table of arrays: the form in which a whole space is priced at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.ma

from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Gate, Overlap, Strategy

#: an array of candidates, or one number: every formula takes either
Numbers = Any


@dataclass(frozen=True, slots=True)
class Table:
    """One strategy per row (or one alone, as scalars). ``batch`` is the sequences on the whole cluster."""

    replicas: Numbers
    pp: Numbers
    micro_batches: Numbers
    dp: Numbers
    cp: Numbers
    tp: Numbers
    repeated: Numbers
    ep: Numbers
    etp: Numbers
    redundant: Numbers
    replicated: Numbers  # bool: dispatch = replicated
    leader: Numbers  # bool: gate = leader
    two_batch: Numbers  # bool: overlap = two_batch
    batch: Numbers

    def __len__(self) -> int:
        return int(np.size(self.pp))

    @property
    def stage(self) -> Numbers:
        return self.repeated * self.dp * self.cp * self.tp

    @property
    def sequences(self) -> Numbers:
        """Sequences of one attention rank, all micro-batches together."""
        return self.batch // (self.replicas * self.dp)

    @property
    def chunks(self) -> Numbers:
        """Equal parts a rank's batch passes the layers in: micro-batches, halved again for two_batch."""
        return self.micro_batches * np.where(self.two_batch, 2, 1)

    def take(self, index: Any) -> Table:
        """The rows of ``index`` (a mask, positions, or one position for scalars)."""
        return Table(*(getattr(self, f.name)[index] for f in fields(self)))

    def row(self, index: int) -> tuple[Strategy, int]:
        """Row ``index`` as a Strategy, and its batch."""
        v = {f.name: np.atleast_1d(getattr(self, f.name))[index].item() for f in fields(self)}
        strategy = Strategy(
            v["replicas"],
            v["pp"],
            v["micro_batches"],
            Overlap.TWO_BATCH if v["two_batch"] else Overlap.NONE,
            AttentionParallel(v["dp"], v["cp"], v["tp"], v["repeated"]),
            ExpertParallel(
                *(v["ep"], v["etp"], v["redundant"]),
                Dispatch.REPLICATED if v["replicated"] else Dispatch.ALL_TO_ALL,
                Gate.LEADER if v["leader"] else Gate.EACH,
            ),
        )
        return strategy, v["batch"]

    @staticmethod
    def of(strategies: list[Strategy], batches: list[int]) -> Table:
        """Strategies, each with its batch, as a table of as many rows."""
        columns = zip(*(_values(s, b) for s, b in zip(strategies, batches, strict=True)), strict=True)
        return Table(*(np.array(c) for c in columns))

    @staticmethod
    def one(strategy: Strategy, batch: int) -> Table:
        """One strategy as scalars: the one-by-one evaluation that the arrays must equal."""
        return Table(*_values(strategy, batch))


def _values(s: Strategy, batch: int) -> tuple[Any, ...]:
    a, e = s.attention, s.experts
    return (
        *(s.replicas, s.pp, s.micro_batches, a.dp, a.cp, a.tp, a.repeated, e.ep, e.tp, e.redundant),
        e.dispatch is Dispatch.REPLICATED,
        e.gate is Gate.LEADER,
        s.overlap is Overlap.TWO_BATCH,
        batch,
    )


def over_unique(function: Callable[..., float], *columns: Numbers) -> Numbers:
    """``function`` of each row of ``columns``, called once per distinct row: for costs that need a sum
    or an enumeration of their own. Scalars in, scalar out."""
    if all(np.ndim(c) == 0 for c in columns):
        return function(*(float(c) for c in columns))
    rows = np.stack(np.broadcast_arrays(*(np.asarray(c, dtype=float) for c in columns)), axis=1)
    code = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:  # one integer per distinct row, without the slow row-wise np.unique
        values, inverse = np.unique(column, return_inverse=True)
        code = code * len(values) + inverse
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    return np.array([function(*rows[i]) for i in first])[inverse]
