"""The search: price the whole space, keep what fits, rank by the objective."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from moewright.case.case import Case
from moewright.case.strategy import Strategy, StrategySpec
from moewright.case.workload import Kind, Objective
from moewright.cost.table import Table
from moewright.errors import InfeasibleError, SpecError
from moewright.planning.bounds import check_units
from moewright.planning.choosing.batches import between
from moewright.planning.choosing.gpu_sizes import NODES, resized, sizes
from moewright.planning.choosing.limits import limits_of, other_seconds, own_limit
from moewright.planning.compare import compare_with
from moewright.planning.complete import complete
from moewright.planning.detail import detail
from moewright.planning.evaluate import Evaluation, evaluate_table
from moewright.planning.naming import strategy_name
from moewright.planning.record import Plan, Result, Sample
from moewright.planning.space import space
from moewright.units import format_bytes, format_seconds

_Made = TypeVar("_Made")

#: rows priced at a time: arrays of this many numbers stay in the processor's cache
BLOCK = 8192


#: told the share of the work that is done, from 0 to 1
Progress = Callable[[float], None]


def plan(
    case: Case, compare: Sequence[StrategySpec] = (), top: int = 5, progress: Progress = lambda share: None
) -> Result:
    """The best strategy for ``case``, the ``top`` next layouts, the Pareto frontier, and why each strategy
    of ``compare`` loses.

    Raises SpecError for contradictory sizes, InfeasibleError where nothing is legal, fits, or meets the limits.
    """
    start = time.perf_counter()
    found = search(case, lambda share: progress(share / 2))
    elapsed = time.perf_counter() - start
    best = detail(case, *found.row(0), placement=True)
    others, front = found.distinct(top + 1)[1:], found.frontier()
    steps = len(others) + len(front) + 8 * len(compare) + 1  # a comparison searches again at its crossings
    done = iter(range(1, steps + 1))

    def counted(made: _Made, weight: int = 1) -> _Made:
        for _ in range(weight):
            progress(0.5 + next(done) / steps / 2)
        return made

    alternatives = [counted(detail(case, *found.row(i))) for i in others]
    frontier = [counted(detail(case, *found.row(i))) for i in front]
    comparisons = [counted(compare_with(case, best, _named(case, want), search), 8) for want in compare]
    return Result(
        case,
        found.candidates,
        dict(found.rejected.most_common()),
        elapsed,
        best,
        tuple(alternatives),
        tuple(frontier),
        tuple(comparisons),
        found.sample(case),
    )


def evaluate(case: Case, strategy: Strategy | StrategySpec, batch: int | None = None) -> Plan:
    """The plan of one strategy. Raises SpecError for sizes that contradict the cluster's, InfeasibleError
    where it is not legal for the model or does not fit."""
    if isinstance(strategy, Strategy):
        strategy = strategy.spec
    if batch is not None:
        case = replace(case, workload=replace(case.workload, batch=(batch,)))
    found = search(replace(case, strategy=strategy))
    return detail(case, *found.row(0), placement=True)


def _named(case: Case, want: StrategySpec) -> Plan:
    return replace(evaluate(replace(case, strategy=None), complete(want, case)), placement=None)


class Found:
    """The candidates that fit and meet the limits, best first."""

    def __init__(
        self,
        table: Table,
        figures: tuple[np.ndarray, np.ndarray, np.ndarray],
        candidates: int,
        rejected: Counter[str],
    ):
        self.table, (self.seconds, self.rate, self.memory) = table, figures
        self.candidates, self.rejected = candidates, rejected

    def row(self, index: int) -> tuple[Strategy, int]:
        return self.table.row(index)

    def distinct(self, count: int) -> list[int]:
        """Positions of the best ``count`` whose layouts differ in more than overlap, micro-batches or batch."""
        seen: set[tuple[object, ...]] = set()
        chosen = []
        for i in range(len(self.table)):
            s, _ = self.row(i)
            layout = (s.replicas, s.pp, s.attention, s.experts)
            if layout not in seen:
                seen.add(layout)
                chosen.append(i)
            if len(chosen) == count:
                break
        return chosen

    def frontier(self, most: int = 24) -> list[int]:
        """Positions on the Pareto frontier: no other is faster and has more throughput. Fastest first."""
        order = np.lexsort((-self.rate, self.seconds))
        rates = self.rate[order]
        better = np.concatenate(([True], rates[1:] > np.maximum.accumulate(rates)[:-1] * (1 + 1e-9)))
        chosen = [int(i) for i in order[better]]
        if len(chosen) > most:
            chosen = [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, most).astype(int))]
        return chosen

    def sample(self, case: Case, most: int = 900) -> Sample:
        """At most ``most`` strategies for a picture: half of them the best, the others spread over what follows."""
        count = len(self.table)
        first = np.arange(min(count, most // 2))
        rest = np.unique(np.linspace(len(first), count - 1, min(count - len(first), most - len(first))).astype(int))
        picked = np.concatenate([first, rest[rest >= len(first)]])
        t = self.table.take(picked)
        tokens = 1 if case.workload.kind is Kind.DECODE else case.workload.sequence
        return Sample(
            count,
            tuple(strategy_name(t.row(i)[0], case.model) for i in range(len(t))),
            (t.replicas, t.pp, t.dp * t.repeated, t.cp, t.tp, t.ep, t.etp),
            self.seconds[picked],
            self.rate[picked] * tokens / case.cluster.gpus,
            self.memory[picked],
        )


def search(case: Case, progress: Progress = lambda share: None) -> Found:
    """Price every legal strategy of ``case`` and rank those that fit and meet the limits."""
    if case.serving is not None:
        raise SpecError(
            "got 'serving', which has no single step; expected forward, prefill or decode (`moewright serve` and "
            "`moewright plan` take serving)",
            file=case.file,
            field="workload.kind",
        )
    if case.training is not None:
        raise SpecError(
            "got 'train', which is no pass; expected forward, prefill or decode (`moewright plan` takes training)",
            file=case.file,
            field="workload.kind",
        )
    check_units(case)
    _check_price(case)
    legal = space(case)
    table, rejected = legal.table, legal.rejected
    # without a pipeline, more micro-batches only save memory: priced where one batch does not fit
    late = (table.pp == 1) & (table.micro_batches > 1) & (case.strategy is None)
    parts = [_priced(case, table.take(~late), progress)]
    if late.any():
        parts += _smaller(case, table, late, parts[0])
    table = Table.join([p[0] for p in parts])
    seconds, period, memory = (np.concatenate([p[i] for p in parts]) for i in (1, 2, 3))
    usable = case.cluster.device.memory * (1 - case.cluster.reserve)
    fits = memory <= usable
    if not fits.any():
        least = int(memory.argmin())
        which = (
            f"{strategy_name(table.row(least)[0], case.model)} does not fit: it"
            if case.strategy
            else "no strategy fits: the smallest"
        )
        need, short = format_bytes(memory[least]), format_bytes(memory[least] - usable)
        room = format_bytes(usable)
        raise InfeasibleError(
            f"{which} needs {need} on a GPU, {short} more than the {room} usable; {_where_it_fits(case)}"
        )
    rejected["does not fit in memory"] += int((~fits).sum())
    meets = _within_limits(case, table, seconds, memory, fits, rejected)
    rejected += Counter()  # drops reasons that never applied
    if case.workload.automatic and case.goal.objective is not Objective.LATENCY:
        more, (its_seconds, its_period, its_memory, good) = between(
            table, (seconds, period, memory, meets), lambda rows: _held_against(case, rows)
        )
        table = Table.join([table, more])
        seconds, period = np.concatenate([seconds, its_seconds]), np.concatenate([period, its_period])
        memory, meets = np.concatenate([memory, its_memory]), np.concatenate([meets, good])
    kept = np.flatnonzero(meets)
    rate = table.batch / period
    keys = (memory, table.pp, -rate, seconds)
    if case.goal.objective is not Objective.LATENCY:
        keys = (memory, table.pp, seconds, -rate)
    order = kept[np.lexsort(tuple(_rounded(k[kept]) for k in keys))]
    return Found(table.take(order), (seconds[order], rate[order], memory[order]), len(table), rejected)


def _where_it_fits(case: Case) -> str:
    """The fewest GPUs of the cluster's kind on which some strategy fits, as the end of a message."""
    usable = case.cluster.device.memory * (1 - case.cluster.reserve)
    for gpus in sizes(case.cluster):
        larger = resized(case, gpus)
        try:
            table = space(larger).table
        except InfeasibleError:
            continue
        least = table.take(table.batch == table.batch.min())
        blocks = (least.take(slice(i, i + BLOCK)) for i in range(0, len(least), BLOCK))
        if any(evaluate_table(larger, block).memory_total.min() <= usable for block in blocks):
            return f"{gpus} × {case.cluster.device.name} do"
    return f"{NODES[-1]} nodes do not either"


def _within_limits(
    case: Case, table: Table, seconds: np.ndarray, memory: np.ndarray, fits: np.ndarray, rejected: Counter[str]
) -> np.ndarray:
    """Which rows fit and meet every limit. Raises InfeasibleError where none does."""
    meets = fits
    for name, limit in limits_of(case).items():
        taken = _limited_seconds(case, name, table, seconds, memory, meets)
        good = meets & (taken <= limit)
        if not good.any():
            first = int(np.where(meets, taken, np.inf).argmin())
            fastest, strategy = float(taken[first]), strategy_name(table.row(first)[0], case.model)
            least = f"the fastest that fits takes {format_seconds(fastest)}, {strategy} with a batch of "
            least = f"{least}{table.batch[first]}" if fastest < np.inf else "none can run it"
            raise InfeasibleError(f"no strategy meets limits.{name} of {format_seconds(limit)}: {least}")
        rejected[f"slower than limits.{name}"] += int((meets & ~good).sum())
        meets = good
    return meets


def _limited_seconds(
    case: Case, name: str, table: Table, seconds: np.ndarray, memory: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Seconds that the limit ``name`` holds for, of the rows ``wanted``; infinite where they do not fit."""
    if name == own_limit(case):
        return seconds
    usable = case.cluster.device.memory * (1 - case.cluster.reserve)
    rows, taken = np.flatnonzero(wanted), np.full(len(table), np.inf)
    for i in range(0, len(rows), BLOCK):
        block = rows[i : i + BLOCK]
        other, extra = other_seconds(case, table.take(block))
        # the other phase's activations come on top of what is held
        taken[block] = np.where(memory[block] + extra <= usable, other, np.inf)
    return taken


def _held_against(case: Case, table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(seconds, period, memory, whether it fits and meets every limit) of every row."""
    _, seconds, period, memory = _priced(case, table)
    meets = memory <= case.cluster.device.memory * (1 - case.cluster.reserve)
    for name, limit in limits_of(case).items():
        meets = meets & (_limited_seconds(case, name, table, seconds, memory, meets) <= limit)
    return seconds, period, memory, meets


def _check_price(case: Case) -> None:
    """Raises SpecError where cost is wanted of a device without a price."""
    if case.goal.objective is Objective.COST and case.cluster.device.price is None:
        raise SpecError(
            "got cost, but the device has no price; give cluster.device.price, such as 2.5 USD/h",
            file=case.file,
            field="objective",
        )


def _rounded(values: np.ndarray) -> np.ndarray:
    """Ten significant digits, so that rounding noise decides no tie."""
    values = np.asarray(values, dtype=float)
    scale = 10.0 ** (9 - np.floor(np.log10(np.maximum(np.abs(values), 1e-30))))
    return np.asarray(np.round(values * scale) / scale)


def _priced(
    case: Case, table: Table, progress: Progress = lambda share: None
) -> tuple[Table, np.ndarray, np.ndarray, np.ndarray]:
    """(table, seconds, period, memory), priced block by block."""
    blocks: list[Evaluation] = []
    for i in range(0, len(table), BLOCK):
        blocks.append(evaluate_table(case, table.take(slice(i, i + BLOCK))))
        progress(min(1.0, (i + BLOCK) / len(table)))
    if not blocks:
        return table, np.empty(0), np.empty(0), np.empty(0)
    seconds, period, memory = (
        np.concatenate([np.asarray(getattr(b, name), dtype=float) for b in blocks])
        for name in ("seconds", "period", "memory_total")
    )
    return table, seconds, period, memory


def _smaller(
    case: Case, table: Table, late: np.ndarray, first: tuple[Table, np.ndarray, np.ndarray, np.ndarray]
) -> list[tuple[Table, np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of ``late`` whose layout does not fit as one micro-batch."""
    usable = case.cluster.device.memory * (1 - case.cluster.reserve)
    whole = first[0]
    tight = (first[3] > usable) & (whole.pp == 1)
    wanted = np.flatnonzero(late)
    mine = np.isin(_layout(table.take(wanted)), _layout(whole.take(tight)))
    return [_priced(case, table.take(wanted[mine]))] if mine.any() else []


def _layout(table: Table) -> np.ndarray:
    """One number per layout, micro-batches and overlap left aside."""
    code = np.zeros(len(table), dtype=np.uint64)
    for name in ("replicas", "dp", "cp", "tp", "repeated", "dcp", "ep", "etp", "redundant", "replicated", "batch"):
        code = code * np.uint64(1_000_003) + np.asarray(getattr(table, name), dtype=np.uint64)
    return code
