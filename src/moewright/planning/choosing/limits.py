"""Limits on the first token and on each further one, of which a workload measures one: the other phase is
priced on the same layout.

A decode workload's TTFT: the prefill of one prompt as long as its context on every attention rank, none
waiting. A prompt workload's TPOT: a decode step of its whole batch with the prompt as context.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moewright.case.case import Case
from moewright.case.strategy import Overlap, Strategy
from moewright.case.workload import Kind
from moewright.cost.arrays import Array, where
from moewright.cost.table import Table
from moewright.planning.evaluate import evaluate_table


def limits_of(case: Case) -> dict[str, float]:
    """``ttft`` and ``tpot`` → seconds, those that are given; the one that the workload measures first."""
    wanted = {"ttft": case.goal.limits.ttft, "tpot": case.goal.limits.tpot}
    own = own_limit(case)
    return {name: wanted[name] or 0.0 for name in sorted(wanted, key=lambda n: n != own) if wanted[name] is not None}


def own_limit(case: Case) -> str:
    """The limit that the workload's own seconds are held against."""
    return "tpot" if case.workload.kind is Kind.DECODE else "ttft"


def other_phase(case: Case, strategy: Strategy, batch: int) -> tuple[Case, Strategy, int]:
    """The phase that ``case`` does not measure, as a case of its own with its strategy and batch."""
    if case.workload.kind is Kind.DECODE:
        phase, batch = Kind.PREFILL, strategy.replicas * strategy.attention.dp
        strategy = replace(strategy, micro_batches=1, overlap=Overlap.NONE)
    else:
        phase = Kind.DECODE
        strategy = replace(strategy, micro_batches=strategy.micro_batches if strategy.pp > 1 else 1)
    return replace(case, workload=replace(case.workload, kind=phase, batch=(batch,))), strategy, batch


def other_seconds(case: Case, table: Table) -> tuple[Array, Array]:
    """(seconds, bytes of activations and buffers) of the phase that ``case`` does not measure, for every row."""
    if case.workload.kind is Kind.DECODE:
        phase = Kind.PREFILL
        one = np.ones_like(table.pp)
        rows = replace(table, batch=table.replicas * table.dp, micro_batches=one, two_batch=one < 0)
    else:
        phase = Kind.DECODE
        rows = replace(table, micro_batches=np.where(table.pp > 1, table.micro_batches, 1))
    e = evaluate_table(replace(case, workload=replace(case.workload, kind=phase)), rows)
    # a prompt's context parallelism has no decode of its own
    possible = (table.cp == 1) | (phase is Kind.PREFILL)
    return where(possible, e.seconds, np.inf), e.activations + e.buffers
