"""Which strategies an engine can run and load, of a whole table; and of one that it cannot, the nearest that it can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from moewright.case.model import ModelSpec
from moewright.case.serving import ENGINE_FILES, ENGINES
from moewright.case.strategy import Strategy
from moewright.cost.arrays import Bools
from moewright.cost.block_cuts import block_cuts
from moewright.cost.table import Table


@dataclass(frozen=True, slots=True)
class Layouts:
    """What an engine's options can say. ``experts``: ``one``: experts are divided over all ranks of a stage by ep, or
    all by tp; ``both``: any ep × tp. ``planned``: the same, of what a search offers. ``attention_dp``: ``all``: every
    rank of a stage or none; ``any``: any part. ``decode_cp``: ``yes`` where parts of a
    sequence's cache may stand on several ranks of tp. ``exchange``: ``dp``: tokens travel only where attention is dp;
    ``any``: also where one tp group is the stage."""

    experts: str = "both"
    planned: str = "one"
    attention_dp: str = "any"
    exchange: str = "any"
    decode_cp: str = "yes"


def layouts_of(raw: Mapping[str, Any]) -> Layouts:
    """``layouts`` of an engine's file."""
    return Layouts(**{name: str(value) for name, value in raw.items()})


def refusals(engine: str, layouts: Layouts, model: ModelSpec, t: Table, searched: bool) -> list[tuple[Bools, str]]:
    """(rows, reason) of what ``engine`` does not run: what its options cannot say, and what cuts through blocks of a
    number format. ``searched``: by what a search offers, else by what it takes."""
    return [*inexpressible(engine, layouts, model, t, searched), *block_cuts(model, t)]


def inexpressible(engine: str, layouts: Layouts, model: ModelSpec, t: Table, searched: bool) -> list[tuple[Bools, str]]:
    """(rows, reason) of what ``engine``'s options cannot say."""
    experts = layouts.planned if searched else layouts.experts
    none = np.zeros(len(t), dtype=bool)
    alone = (t.dp == 1) & (t.cp == 1)
    reasons = [
        (t.repeated > 1, f"{engine} does not repeat attention"),
        (t.leader, f"{engine}'s ranks route all of their tokens themselves"),
        (t.micro_batches > 1, f"{engine} makes its own batches of a step: micro_batches is a sequence of steps"),
        (t.replicated & ~alone, f"{engine} keeps all tokens on every rank only where one tp group is the stage"),
        (
            (t.ep > 1) & (t.etp > 1) if experts == "one" and model.moe else none,
            f"{engine} divides experts over all ranks of a stage by ep or all by tp, not by both",
        ),
        (
            (t.dp > 1) & (t.dp < t.stage) if layouts.attention_dp == "all" else none,
            f"{engine}'s attention dp is all ranks of a stage or none",
        ),
        (t.dcp > 1 if layouts.decode_cp != "yes" else none, f"{engine} has no decode context parallelism"),
        (
            alone & (t.stage > 1) & ~t.replicated if layouts.exchange == "dp" and model.moe else none,
            f"{engine} exchanges no tokens where attention is one tp group: every rank has them all",
        ),
    ]
    return [(mask, reason) for mask, reason in reasons if mask.any()]


@cache
def _known() -> dict[str, Layouts]:
    """The layouts of every engine that has a file."""
    import yaml

    loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = {}
    for name in ENGINES:
        raw: dict[str, Any] = yaml.load((ENGINE_FILES / f"{name}.yaml").read_text(encoding="utf-8"), Loader=loader)
        found[name] = layouts_of(raw.get("layouts", {}))
    return found


def by_engine(strategy: Strategy, model: ModelSpec) -> dict[str, list[str]]:
    """Of each engine why it does not run ``strategy``: nothing where it does. Micro-batches are an engine's steps."""
    one = Table.one(replace(strategy, micro_batches=1), strategy.replicas * strategy.attention.dp)
    return {
        name: [reason for _, reason in refusals(name, layouts, model, one, searched=False)]
        for name, layouts in _known().items()
    }


def runs(engine: str, layouts: Layouts, model: ModelSpec, t: Table, rejected: Counter[str]) -> Bools:
    """Rows of ``t`` that ``engine`` runs and loads; the others are counted by reason in ``rejected``."""
    keep = np.ones(len(t), dtype=bool)
    for mask, reason in refusals(engine, layouts, model, t, searched=True):
        rejected[reason] += int((mask & keep).sum())
        keep &= ~mask
    return keep


def nearest(wanted: Strategy, t: Table) -> Strategy | None:
    """The row of ``t`` whose sizes differ least from ``wanted``: the fewest, then by the smallest factors."""
    a, e = wanted.attention, wanted.experts
    sizes = {"replicas": wanted.replicas, "pp": wanted.pp, "dp": a.dp, "tp": a.tp, "ep": e.ep, "etp": e.tp}
    if not len(t):
        return None
    apart = np.zeros(len(t))
    for name, size in sizes.items():
        column = getattr(t, name)
        apart += np.where(column != size, 100.0, 0.0) + np.abs(np.log2(column / size))
    return t.row(int(np.argmin(apart)))[0]
