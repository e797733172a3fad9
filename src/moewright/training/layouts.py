"""Training strategies as one table of arrays, and the cells of it that share the seconds of a layer."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from moewright.case.case import Case
from moewright.case.model import MoeFfn
from moewright.case.train.train_strategy import ContextExchange, Dispatcher, Schedule, Sharding, TrainStrategy
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
EXCHANGES = tuple(ContextExchange)
DISPATCHERS = tuple(Dispatcher)
#: of ``cp_comm_type``: the fastest is taken
FASTEST = -1
#: columns that the seconds of a layer depend on
_CELL = ("cp", "tp", "ep", "etp", "micro_batch", "cp_comm_type", "dispatcher")


@dataclass(frozen=True, slots=True)
class CellTable:
    """The distinct cells of a table: ``table``, whose stages are as small as they can be, and columns [cells] beside;
    ``position``: of the cell of each row."""

    table: Table
    micro_batch: Ints
    cp_comm_type: Ints
    dispatcher: Ints
    position: Ints


@dataclass(frozen=True, slots=True)
class Layouts:
    """One strategy a row: columns of shape [rows]. ``schedule``, ``sharding``, ``cp_comm_type``, ``dispatcher``:
    positions in ``SCHEDULES``, ``SHARDINGS``, ``EXCHANGES`` (or ``FASTEST``) and ``DISPATCHERS``; ``overlap``: expert
    traffic overlaps with the computation of another micro-batch; the others as ``TrainStrategy`` has them."""

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
    cp_comm_type: Ints
    dispatcher: Ints
    overlap: Bools
    overlap_tp: Bools
    overlap_grad_reduce: Bools
    overlap_param_gather: Bools

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

    def cells(self) -> CellTable:
        """The cells of the rows."""
        rows = np.stack([getattr(self, name) for name in _CELL], axis=1).astype(np.float64)
        distinct, position = distinct_rows(rows)
        cp, tp, ep, etp, micro_batch, comm, dispatcher = (column.astype(np.int64) for column in distinct.T)
        one, no = np.ones_like(cp), np.zeros(len(cp), dtype=np.bool_)
        table = Table(one, one, one, one, cp, tp, one, one, ep, etp, 0 * one, no, no, no, one)
        return CellTable(table, micro_batch, comm, dispatcher, position)

    def row(
        self,
        index: int,
        recompute: tuple[str, ...],
        layers: tuple[int, ...] | None = None,
        cp_comm_type: int | None = None,
    ) -> TrainStrategy:
        """Row ``index`` as a strategy; ``cp_comm_type``: what was taken where the row says ``FASTEST``."""
        dp, cp, tp, pp, virtual, ep, etp, micro_batch = (int(getattr(self, f.name)[index]) for f in fields(self)[:8])
        comm = int(self.cp_comm_type[index])
        return TrainStrategy(
            *(dp, cp, tp, pp, virtual, ep, etp, micro_batch),
            SCHEDULES[self.schedule[index]],
            recompute,
            SHARDINGS[self.sharding[index]],
            bool(self.overlap[index]),
            layers,
            EXCHANGES[max(comm if cp_comm_type is None else cp_comm_type, 0)],
            DISPATCHERS[self.dispatcher[index]],
            bool(self.overlap_tp[index]),
            bool(self.overlap_grad_reduce[index]),
            bool(self.overlap_param_gather[index]),
        )

    @staticmethod
    def from_rows(rows: list[tuple[int, ...]]) -> Layouts:
        """From tuples with the columns in order."""
        columns = np.array(rows, dtype=np.int64).reshape(-1, len(fields(Layouts))).T
        return Layouts(*columns[:12], *(columns[12:] > 0))

    @staticmethod
    def of(strategies: list[TrainStrategy]) -> Layouts:
        """Strategies as a table of as many rows."""
        sizes = [f.name for f in fields(Layouts)[:8]]
        return Layouts.from_rows(
            [
                (
                    *(getattr(s, name) for name in sizes),
                    SCHEDULES.index(s.schedule),
                    SHARDINGS.index(s.sharding),
                    EXCHANGES.index(s.cp_comm_type),
                    DISPATCHERS.index(s.dispatcher),
                    *(s.overlap_experts, s.overlap_tp, s.overlap_grad_reduce, s.overlap_param_gather),
                )
                for s in strategies
            ]
        )


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
    batch = Batch(sequences, length, none, none, none, tokens, own, routed, tokens, True, expands_own=True)
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
