"""The legal strategies for a case, as one table; what is excluded is counted by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product

import numpy as np

from moewright.case.case import Case
from moewright.case.model import DenseFfn, LinearAttention, MoeFfn
from moewright.case.strategy import Dispatch, Gate, Overlap, StrategySpec
from moewright.case.workload import Kind
from moewright.cost.attention import cache_copies
from moewright.cost.table import Table
from moewright.errors import InfeasibleError
from moewright.planning.complete import complete, divisors, named

#: micro-batches beyond this many only add latency
MOST_MICRO_BATCHES = 128


@dataclass(frozen=True, slots=True)
class Space:
    table: Table
    rejected: Counter[str]


def space(case: Case) -> Space:
    """Every legal strategy: those that ``case.strategy`` allows, where it is given.

    Raises SpecError for sizes that contradict each other, InfeasibleError if none is legal.
    """
    want = complete(case.strategy, case) if case.strategy else StrategySpec()
    rejected: Counter[str] = Counter()
    rows: list[tuple[int, ...]] = []
    for pp in _choices(want.pp, divisors(case.cluster.gpus)):
        layers = len(case.model.layers)
        if pp > layers:
            rejected[f"pp exceeds the {layers} layers"] += 1
            continue
        for stage in divisors(case.cluster.gpus // pp):
            replicas = case.cluster.gpus // pp // stage
            if want.replicas is None or want.replicas == replicas:
                rows += _stage(case, want, replicas, pp, stage, rejected)
    table = _expand(case, want, rows, rejected)
    if table is None:
        reasons = "; ".join(reason if case.strategy else f"{reason} ({n})" for reason, n in rejected.most_common(4))
        which = f"{named(want)} is not legal" if case.strategy else "no legal strategy"
        raise InfeasibleError(f"{which}: {reasons or 'the sizes given leave none'}")
    return Space(table, rejected)


def _choices(wanted: int | None, legal: list[int]) -> list[int]:
    return [d for d in legal if wanted is None or d == wanted]


def _stage(
    case: Case, want: StrategySpec, replicas: int, pp: int, stage: int, rejected: Counter[str]
) -> list[tuple[int, ...]]:
    """Rows (replicas, pp, dp, cp, tp, repeated, dcp, ep, etp, redundant, replicated) of one stage size."""
    moe = case.model.moe
    attentions = _attention_foldings(case, want, stage, replicas, rejected)
    if moe is None:
        return [(replicas, pp, *a, 1, stage, 0, 0) for a in attentions if a[3] == 1]
    experts = _expert_foldings(case, want, stage, rejected)
    return [
        (replicas, pp, *a, *e, int(a[3] > 1 or kind is Dispatch.REPLICATED))
        for a, e in product(attentions, experts)
        for kind in _dispatches(want, a, stage)
    ]


def _dispatches(want: StrategySpec, a: tuple[int, ...], stage: int) -> list[Dispatch]:
    dp, cp, _, repeated, _ = a
    kinds = []
    if repeated == 1:
        kinds.append(Dispatch.ALL_TO_ALL)
    # without a second rank the two are the same
    if dp == 1 and cp == 1 and (stage > 1 or want.dispatch is Dispatch.REPLICATED):
        kinds.append(Dispatch.REPLICATED)
    if want.gate is Gate.LEADER:  # under all_to_all every token is routed once as it is
        kinds = [k for k in kinds if k is Dispatch.REPLICATED and a[2] > 1]
    return [k for k in kinds if want.dispatch in (None, k)]


def _attention_foldings(
    case: Case, want: StrategySpec, stage: int, replicas: int, rejected: Counter[str]
) -> list[tuple[int, int, int, int, int]]:
    """(dp, cp, tp, repeated, dcp) of which the first four multiply to ``stage``, and that suit heads, widths, sequence
    and batch."""
    found = []
    for tp in _choices(want.tp, divisors(stage)):
        reason = _tp_reason(case, tp)
        rest = divisors(stage // tp)
        if reason:
            rejected[reason] += len(rest)
            continue
        for cp in _choices(want.cp, rest):
            dp = stage // tp // cp
            if want.dp is not None and want.dp != dp:
                continue
            if want.repeated is not None and want.repeated != 1:
                continue
            reason = _cp_reason(case, cp) or _dp_reason(case, replicas, dp)
            if reason:
                rejected[reason] += 1
            else:
                found += [(dp, cp, tp, 1, dcp) for dcp in _dcps(case, want, tp, rejected)]
        repeated = stage // tp
        if repeated > 1 and want.repeated in (None, repeated) and (want.dp or 1) == (want.cp or 1) == 1:
            reason = _dp_reason(case, replicas, 1)
            if reason:
                rejected[reason] += 1
            else:
                found += [(1, 1, tp, repeated, dcp) for dcp in _dcps(case, want, tp, rejected)]
    return found


def _tp_reason(case: Case, tp: int) -> str | None:
    for layer, _ in case.model.layer_kinds():
        a = layer.attention
        if a.heads % tp:
            return f"{a.heads} attention heads are not divisible by tp"
        if a.kv_heads % tp and (tp % a.kv_heads or isinstance(a, LinearAttention)):
            return f"{a.kv_heads} KV heads and tp do not divide each other"
        width = layer.ffn.width if isinstance(layer.ffn, DenseFfn) else layer.ffn.shared_width
        if width % tp:
            return f"dense or shared width {width} is not divisible by tp"
    return None


def _cp_reason(case: Case, cp: int) -> str | None:
    if cp == 1:
        return None
    if case.workload.kind is Kind.DECODE:
        return "cp divides a prompt, and decode has one token per sequence"
    if case.workload.sequence % (2 * cp):
        return f"sequence {case.workload.sequence} is not divisible by 2·cp (balanced causal halves)"
    if any(isinstance(layer.attention, LinearAttention) for layer in case.model.layers):
        return "cp does not suit linear attention, whose state runs through the sequence"
    return None


def _dcps(case: Case, want: StrategySpec, tp: int, rejected: Counter[str]) -> list[int]:
    """Sizes of decode context parallelism within ``tp``: ranks that would keep the same keys keep parts of them."""
    if want.dcp == 1 or (want.dcp is None and case.workload.kind is not Kind.DECODE):
        return [1]
    found = []
    for dcp in _choices(want.dcp, divisors(tp)) if want.dcp is None or tp % want.dcp == 0 else [want.dcp]:
        reason = _dcp_reason(case, tp, dcp)
        if reason is None:
            found.append(dcp)
        elif want.dcp is not None:
            rejected[reason] += 1
    return found


def _dcp_reason(case: Case, tp: int, dcp: int) -> str | None:
    if dcp == 1:
        return None
    if case.workload.kind is not Kind.DECODE:
        return f"dcp divides the cache that decode reads; the workload is {case.workload.kind}"
    if tp % dcp:
        return f"dcp {dcp} does not divide tp {tp}"
    for layer, _ in case.model.layer_kinds():
        copies = cache_copies(layer.attention, tp)
        if copies is None:
            return "dcp divides the cache of full softmax and latent attention alone, not of windows, indexes or states"
        if copies % dcp:
            return f"dcp exceeds the {copies} ranks of tp {tp} that would keep the same keys"
    return None


def _dp_reason(case: Case, replicas: int, dp: int) -> str | None:
    if all(b % (replicas * dp) for b in case.workload.batch):
        return "batch is not divisible by replicas × dp"
    return None


def _expert_foldings(case: Case, want: StrategySpec, stage: int, rejected: Counter[str]) -> list[tuple[int, int, int]]:
    """(ep, etp, redundant) with ep·etp = ``stage`` that suit the number and width of experts."""
    found = []
    moes = list(dict.fromkeys(x.ffn for x in case.model.layers if isinstance(x.ffn, MoeFfn)))
    for ep in _choices(want.ep, divisors(stage)):
        etp = stage // ep
        if want.etp is not None and want.etp != etp:
            continue
        widths = [m.width for m in moes if m.width % etp]
        if widths:
            rejected[f"expert width {widths[0]} is not divisible by the experts' tp"] += 1
            continue
        count = moes[0].experts
        if ep > count:
            rejected[f"ep exceeds the {count} experts"] += 1
            continue
        redundants = [r for r in _redundants(case, want, count, ep) if (count + r) % ep == 0]
        if not redundants:
            rejected[f"{count} experts are not divisible by ep"] += 1
        found += [(ep, etp, r) for r in redundants]
    return found


def _redundants(case: Case, want: StrategySpec, count: int, ep: int) -> list[int]:
    """Extra expert slots worth trying: those that fill up ep, and under skewed routing 1, 2 and 4 more per rank."""
    if want.redundant is not None:
        return [want.redundant]
    first = -count % ep
    if case.routing.uniform or ep == 1:
        return [first]
    return [first, *(first + more * ep for more in (1, 2, 4) if first + more * ep < count)]


def _expand(case: Case, want: StrategySpec, rows: list[tuple[int, ...]], rejected: Counter[str]) -> Table | None:
    """Multiply foldings by batch, micro-batches and overlap."""
    if not rows:
        return None
    base = np.array(rows, dtype=np.int64)
    blocks = []
    for batch in case.workload.batch:
        per_rank, rest = np.divmod(batch, base[:, 0] * base[:, 2])
        if rest.any():
            rejected["batch is not divisible by replicas × dp"] += int((rest > 0).sum())
        for held in np.unique(per_rank[(rest == 0) & (per_rank > 0)]):
            here = base[(rest == 0) & (per_rank == held)]
            for m in _micro_batches(want, int(held)):
                keep = here if m == 1 or case.workload.kind is not Kind.DECODE else here[here[:, 1] > 1]
                blocks += _overlaps(case, want, keep, batch, m, int(held), rejected)
    columns = np.concatenate(blocks) if blocks else np.empty((0, 14), dtype=np.int64)
    if not len(columns):
        return None
    replicas, pp, dp, cp, tp, repeated, dcp, ep, etp, redundant, replicated, batches, micro, two = columns.T
    leader = np.full(len(pp), want.gate is Gate.LEADER)
    return Table(
        replicas, pp, micro, dp, cp, tp, repeated, dcp, ep, etp, redundant, replicated > 0, leader, two > 0, batches
    )


def _micro_batches(want: StrategySpec, held: int) -> list[int]:
    if want.micro_batches is not None:
        return [want.micro_batches] if held % want.micro_batches == 0 else []
    return [m for m in divisors(held) if m <= MOST_MICRO_BATCHES]


def _overlaps(
    case: Case, want: StrategySpec, rows: np.ndarray, batch: int, m: int, held: int, rejected: Counter[str]
) -> list[np.ndarray]:
    blocks = []
    for two in (0, 1):
        if want.overlap is not None and (want.overlap is Overlap.TWO_BATCH) != bool(two):
            continue
        chosen = rows
        if two:
            stage = rows[:, 2] * rows[:, 3] * rows[:, 4] * rows[:, 5]
            chosen = rows[stage > 1] if want.overlap is None else rows
            if held // m % 2:
                if len(chosen):
                    rejected["two_batch needs an even number of sequences in a micro-batch"] += len(chosen)
                continue
        if len(chosen):
            tail = np.tile(np.array([batch, m, two], dtype=np.int64), (len(chosen), 1))
            blocks.append(np.concatenate([chosen, tail], axis=1))
    return blocks
