"""A strategy given in part, completed: what is left out follows from the rest, and contradictions are errors."""

from __future__ import annotations

import math

from moewright.case.case import Case
from moewright.case.strategy import Dispatch, Gate, Overlap, StrategySpec
from moewright.errors import SpecError


def divisors(n: int) -> list[int]:
    """All divisors of ``n``, ascending."""
    small = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)})


def named(want: StrategySpec) -> str:
    """The name of a completed strategy."""
    return want.strategy.name


def complete(want: StrategySpec, case: Case) -> StrategySpec:
    """Fill in what the sizes given imply, and check that they contradict neither each other nor the GPUs.

    Replicas follow from a stage that is given whole, else are 1; tp defaults to 1, dp to the rest of the stage,
    ep to the most that divides stage and experts, the experts' tp to the rest.
    Raises SpecError naming both sides of a contradiction.
    """
    gpus = case.cluster.gpus

    def fail(field: str, message: str) -> SpecError:
        return SpecError(message, file=case.file, field=field)

    def rest(field: str, whole: int, part: int, what: str) -> int:
        if whole % part:
            raise fail(field, f"{what} {part} does not divide {whole}, the ranks left for it of cluster.gpus {gpus}")
        return whole // part

    if (want.repeated or 1) > 1 and want.dispatch is Dispatch.ALL_TO_ALL:
        raise fail("strategy.attention.repeated", f"{want.repeated} contradicts experts.dispatch all_to_all")
    replicated = want.dispatch is Dispatch.REPLICATED or (want.repeated or 1) > 1
    if replicated and (want.dp or 1) * (want.cp or 1) > 1:
        raise fail(
            "strategy.attention.dp",
            f"dp {want.dp or 1} × cp {want.cp or 1} contradicts dispatch replicated, in which every rank holds "
            "all tokens; write repeated instead of dp",
        )
    if want.gate is Gate.LEADER and not replicated:
        raise fail(
            "strategy.experts.gate",
            "got leader, which needs dispatch replicated: under all_to_all every token is routed once as it is",
        )
    pp, cp = want.pp or 1, want.cp or 1
    copies = want.repeated if replicated else want.dp
    outer = rest("strategy.pp", gpus, pp * (want.replicas or 1), "replicas × pp")
    stage = outer
    if want.replicas is None and want.tp and copies:
        stage = want.tp * copies * cp
        rest("strategy.attention", outer, stage, "dp × cp × tp × repeated")
    elif want.replicas is None and want.ep and want.etp:
        stage = want.ep * want.etp
        rest("strategy.experts", outer, stage, "ep × tp")
    tp = want.tp or (rest("strategy.attention", stage, copies * cp, "dp × cp × repeated") if copies else 1)
    copies = copies or rest("strategy.attention", stage, tp * cp, "cp × tp")
    if want.gate is Gate.LEADER and tp == 1:
        raise fail("strategy.experts.gate", "got leader, which needs an attention tp of at least 2; it is 1")
    attention = tp * copies * cp
    moe = case.model.moe
    if moe is None:
        ep, etp = want.ep or 1, want.etp or attention // (want.ep or 1)
    elif want.ep is None and want.etp is None:
        ep = math.gcd(attention, moe.experts + (want.redundant or 0))
        etp = attention // ep
    else:
        etp = want.etp or rest("strategy.experts.ep", attention, want.ep or 1, "ep")
        ep = want.ep or rest("strategy.experts.tp", attention, etp, "experts.tp")
        slots = moe.experts + (want.redundant or 0)
        if slots % ep or ep > moe.experts:
            fitting = ", ".join(str(d) for d in divisors(gpus) if slots % d == 0 and d <= moe.experts)
            filled = f", or experts.redundant {-moe.experts % ep} to fill it up" if ep <= moe.experts else ""
            raise fail(
                "strategy.experts.ep",
                f"got {ep}, which does not divide {slots} experts; expected one of {fitting}{filled}",
            )
    if attention != ep * etp:
        raise fail(
            "strategy",
            f"attention dp×cp×tp×repeated = {attention}, but experts ep×tp = {ep * etp}: "
            "both fold the same ranks and must be equal",
        )
    replicas = want.replicas or outer // attention
    if replicas * pp * attention != gpus:
        raise fail("strategy", f"replicas × pp × attention = {replicas * pp * attention}, but cluster.gpus = {gpus}")
    return StrategySpec(
        replicas=replicas,
        pp=pp,
        micro_batches=want.micro_batches or 1,
        overlap=want.overlap or Overlap.NONE,
        dp=1 if replicated else copies,
        cp=cp,
        tp=tp,
        repeated=copies if replicated else 1,
        ep=ep,
        etp=etp,
        redundant=want.redundant or 0,
        dispatch=Dispatch.REPLICATED if replicated else Dispatch.ALL_TO_ALL,
        gate=want.gate or Gate.EACH,
    )
