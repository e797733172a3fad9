"""Training strategies as one table of arrays, and the cells of it that share the seconds of a layer."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.model import MoeFfn
from moewright.case.train.train_strategy import Schedule, Sharding, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.cost.arrays import Array, Bools, Ints, array, distinct_rows
from moewright.cost.batch import Batch
from moewright.cost.network import Group, group
from moewright.cost.routing import spread
from moewright.cost.routing.router import Router
from moewright.cost.shapes import groups_of
from moewright.cost.table import Table
from moewright.cost.work import ExpertLoad, Pass
from moewright.planning.expert_loads import expert_load, moes

SCHEDULES = tuple(Schedule)
SHARDINGS = tuple(Sharding)
#: columns that the seconds of a layer depend on
_CELL = ("cp", "tp", "ep", "etp", "micro_batch")


@dataclass(frozen=True, slots=True)
class Layouts:
    """One strategy a row: columns of shape [rows]. ``schedule``, ``sharding``: positions in ``SCHEDULES`` and
    ``SHARDINGS``; ``overlap``: expert traffic overlaps with the computation of another micro-batch."""

    dp: Ints
    cp: Ints
    tp: Ints
    pp: Ints
    virtual: Ints
    ep: Ints
    etp: Ints
    micro_batch: Ints
    schedule: Ints
    sharding: Ints
    overlap: Bools

    def __len__(self) -> int:
        return len(self.pp)

    def take(self, index: slice | Ints | Bools) -> Layouts:
        """The rows of ``index`` (a mask, positions or a slice)."""
        return Layouts(*(getattr(self, f.name)[index] for f in fields(self)))

    @property
    def stage(self) -> Ints:
        """Ranks of one pipeline stage."""
        return self.dp * self.cp * self.tp

    @property
    def expert_dp(self) -> Ints:
        """Ranks that hold the same experts."""
        return self.stage // (self.ep * self.etp)

    def micro(self, training: Training) -> Array:
        """Micro-batches of a step."""
        return array(training.global_batch) / (self.dp * self.micro_batch)

    def cells(self) -> tuple[Table, Ints, Ints]:
        """(the distinct cells as a table whose stages are as small as they can be, their micro-batches, and for each
        row the position of its cell)."""
        rows = np.stack([getattr(self, name) for name in _CELL], axis=1).astype(np.float64)
        distinct, position = distinct_rows(rows)
        cp, tp, ep, etp, micro_batch = (column.astype(np.int64) for column in distinct.T)
        one, no = np.ones_like(cp), np.zeros(len(cp), dtype=np.bool_)
        table = Table(one, one, one, one, cp, tp, one, one, ep, etp, 0 * one, no, no, no, one)
        return table, micro_batch, position

    def row(self, index: int, recompute: tuple[str, ...], layers: tuple[int, ...] | None = None) -> TrainStrategy:
        """Row ``index`` as a strategy."""
        dp, cp, tp, pp, virtual, ep, etp, micro_batch = (int(getattr(self, f.name)[index]) for f in fields(self)[:8])
        return TrainStrategy(
            *(dp, cp, tp, pp, virtual, ep, etp, micro_batch),
            SCHEDULES[self.schedule[index]],
            recompute,
            SHARDINGS[self.sharding[index]],
            bool(self.overlap[index]),
            layers,
        )

    @staticmethod
    def from_columns(numbers: list[Ints], overlap: Bools) -> Layouts:
        """From the columns in order, all but the last whole numbers."""
        dp, cp, tp, pp, virtual, ep, etp, micro_batch, schedule, sharding = numbers
        return Layouts(dp, cp, tp, pp, virtual, ep, etp, micro_batch, schedule, sharding, overlap)

    @staticmethod
    def of(strategies: list[TrainStrategy]) -> Layouts:
        """Strategies as a table of as many rows."""
        numbers = [np.array([getattr(s, f.name) for s in strategies]) for f in fields(Layouts)[:8]]
        numbers.append(np.array([SCHEDULES.index(s.schedule) for s in strategies]))
        numbers.append(np.array([SHARDINGS.index(s.sharding) for s in strategies]))
        return Layouts.from_columns(numbers, np.array([s.overlap_experts for s in strategies]))


def training_case(case: Case, training: Training) -> Case:
    """``case`` with the model in the formats of the recipe, and no checkpoint's own."""
    layers = tuple(replace(layer, formats=()) for layer in case.model.layers)
    model = replace(case.model, layers=layers, precision=training.recipe.precision)
    return replace(case, model=model)


def cell_pass(case: Case, training: Training, table: Table, micro_batch: Ints) -> Pass:
    """One micro-batch's way through the layers under every cell: tokens divided over tp between attention and experts
    (sequence parallelism), and routed among the ranks of ep and etp."""
    sequences, none = array(micro_batch), np.zeros(len(table))
    tokens = sequences * training.sequence / table.cp
    own = tokens / table.tp
    routed = own * table.ep * table.etp
    length = none + training.sequence
    batch = Batch(sequences, length, none, none, none, tokens, own, routed, tokens, True)
    groups = groups_of(table, case.cluster)
    loads = {moe: training_load(case, training, table, routed, moe, groups.ep) for moe in moes(case)}
    return Pass(case, table, batch, groups, loads)


def training_load(case: Case, training: Training, table: Table, routed: Array, moe: MoeFfn, ep: Group) -> ExpertLoad:
    """What routing does to the ranks: even where it is forced to be; with a capacity, places for so many copies."""
    law = Router.of(moe)
    if training.balanced or training.capacity is not None:
        there = (spread.distinct_destinations(n, law) for n in (table.ep, ep.nodes))
        even = np.full(len(table), training.capacity or 1.0)
        return ExpertLoad(even, moe.experts / array(table.ep), *there)
    return expert_load(case, table, routed, moe, ep)


def reduction_groups(t: Layouts, case: Case) -> tuple[Group, Group]:
    """The ranks that hold the same weights of attention and all else (dp · cp), and the same experts."""
    return (
        group("dp", t.dp * t.cp, t.tp, case.cluster),
        group("expert_dp", t.expert_dp, t.ep * t.etp, case.cluster),
    )
