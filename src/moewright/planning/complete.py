"""A strategy given in part, completed: what is left out follows from the rest, and contradictions are errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    sizes = _Sizes(case)
    replicated = want.dispatch is Dispatch.REPLICATED or (want.repeated or 1) > 1
    sizes.check_dispatch(want, replicated)
    pp, cp, gpus = want.pp or 1, want.cp or 1, case.cluster.gpus
    outer = sizes.rest("strategy.pp", gpus, pp * (want.replicas or 1), "replicas × pp")
    tp, copies = sizes.attention(want, outer, want.repeated if replicated else want.dp)
    if want.gate is Gate.LEADER and tp == 1:
        raise sizes.fail("strategy.experts.gate", "got leader, which needs an attention tp of at least 2; it is 1")
    attention = tp * copies * cp
    ep, etp = sizes.experts(want, attention)
    if attention != ep * etp:
        raise sizes.fail(
            "strategy",
            f"attention dp×cp×tp×repeated = {attention}, but experts ep×tp = {ep * etp}: "
            "both fold the same ranks and must be equal",
        )
    replicas = want.replicas or outer // attention
    if replicas * pp * attention != gpus:
        raise sizes.fail(
            "strategy", f"replicas × pp × attention = {replicas * pp * attention}, but cluster.gpus = {gpus}"
        )
    return StrategySpec(
        replicas=replicas,
        pp=pp,
        micro_batches=want.micro_batches or 1,
        overlap=want.overlap or Overlap.NONE,
        dp=1 if replicated else copies,
        cp=cp,
        tp=tp,
        repeated=copies if replicated else 1,
        dcp=want.dcp or 1,
        ep=ep,
        etp=etp,
        redundant=want.redundant or 0,
        dispatch=Dispatch.REPLICATED if replicated else Dispatch.ALL_TO_ALL,
        gate=want.gate or Gate.EACH,
    )


@dataclass(frozen=True, slots=True)
class _Sizes:
    """The sizes of a case that a strategy must suit."""

    case: Case

    def fail(self, field: str, message: str) -> SpecError:
        return SpecError(message, file=self.case.file, field=field)

    def rest(self, field: str, whole: int, part: int, what: str) -> int:
        """What is left of ``whole`` ranks beside ``part``."""
        if whole % part:
            left = f"the ranks left for it of cluster.gpus {self.case.cluster.gpus}"
            raise self.fail(field, f"{what} {part} does not divide {whole}, {left}")
        return whole // part

    def check_dispatch(self, want: StrategySpec, replicated: bool) -> None:
        """Raises SpecError where repeated attention, dispatch and gate contradict each other."""
        if (want.repeated or 1) > 1 and want.dispatch is Dispatch.ALL_TO_ALL:
            raise self.fail("strategy.attention.repeated", f"{want.repeated} contradicts experts.dispatch all_to_all")
        if replicated and (want.dp or 1) * (want.cp or 1) > 1:
            raise self.fail(
                "strategy.attention.dp",
                f"dp {want.dp or 1} × cp {want.cp or 1} contradicts dispatch replicated, in which every rank holds "
                "all tokens; write repeated instead of dp",
            )
        if want.gate is Gate.LEADER and not replicated:
            raise self.fail(
                "strategy.experts.gate",
                "got leader, which needs dispatch replicated: under all_to_all every token is routed once as it is",
            )

    def attention(self, want: StrategySpec, outer: int, copies: int | None) -> tuple[int, int]:
        """(tp, copies: dp or repeated) of a stage that is some of ``outer`` ranks."""
        cp, stage = want.cp or 1, outer
        if want.replicas is None and want.tp and copies:
            stage = want.tp * copies * cp
            self.rest("strategy.attention", outer, stage, "dp × cp × tp × repeated")
        elif want.replicas is None and want.ep and want.etp:
            stage = want.ep * want.etp
            self.rest("strategy.experts", outer, stage, "ep × tp")
        tp = want.tp or 1
        if want.tp is None and copies:
            tp = self.rest("strategy.attention", stage, copies * cp, "dp × cp × repeated")
        return tp, copies or self.rest("strategy.attention", stage, tp * cp, "cp × tp")

    def experts(self, want: StrategySpec, attention: int) -> tuple[int, int]:
        """(ep, the experts' tp) of a stage of ``attention`` ranks."""
        moe = self.case.model.moe
        if moe is None:
            return want.ep or 1, want.etp or attention // (want.ep or 1)
        slots = moe.experts + (want.redundant or 0)
        if want.ep is None and want.etp is None:
            ep = math.gcd(attention, slots)
            return ep, attention // ep
        etp = want.etp or self.rest("strategy.experts.ep", attention, want.ep or 1, "ep")
        ep = want.ep or self.rest("strategy.experts.tp", attention, etp, "experts.tp")
        if slots % ep or ep > moe.experts:
            gpus = self.case.cluster.gpus
            fitting = ", ".join(str(d) for d in divisors(gpus) if slots % d == 0 and d <= moe.experts)
            filled = f", or experts.redundant {-moe.experts % ep} to fill it up" if ep <= moe.experts else ""
            many = f"got {ep}, more ranks than the {moe.experts} experts of a layer, of which each has one or more"
            apart = f"got {ep}, which does not divide {slots} experts"
            raise self.fail(
                "strategy.experts.ep",
                f"{many if slots % ep == 0 else apart}; expected one of {fitting}{filled}",
            )
        return ep, etp
