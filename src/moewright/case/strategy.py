"""Strategy: the parallel sizes, and which rank is in which group.

The vocabulary, once: ``gpus = replicas · pp · stage``. A stage's ranks are folded twice, as attention
``dp · cp · tp`` (times ``repeated`` where every tp group repeats the same attention) and as experts
``ep · etp``. ``dcp`` ranks of a tp group, next to each other, keep 1/dcp of the cached tokens of their sequences
each (decode context parallelism). Ranks are numbered replica, stage, then dp, cp, tp (ep, etp), the last one fastest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Dispatch(StrEnum):
    ALL_TO_ALL = "all_to_all"
    REPLICATED = "replicated"


class Gate(StrEnum):
    """Under ``replicated`` dispatch every rank of a tp group routes all tokens, or its leader does and tells them."""

    EACH = "each"
    LEADER = "leader"


class Overlap(StrEnum):
    NONE = "none"
    TWO_BATCH = "two_batch"


@dataclass(frozen=True, slots=True)
class AttentionParallel:
    dp: int = 1
    cp: int = 1
    tp: int = 1
    repeated: int = 1
    dcp: int = 1


@dataclass(frozen=True, slots=True)
class ExpertParallel:
    ep: int = 1
    tp: int = 1
    redundant: int = 0
    dispatch: Dispatch = Dispatch.ALL_TO_ALL
    gate: Gate = Gate.EACH


@dataclass(frozen=True, slots=True)
class Strategy:
    replicas: int = 1
    pp: int = 1
    micro_batches: int = 1
    overlap: Overlap = Overlap.NONE
    attention: AttentionParallel = field(default_factory=AttentionParallel)
    experts: ExpertParallel = field(default_factory=ExpertParallel)

    @property
    def stage(self) -> int:
        """Ranks of one pipeline stage."""
        a = self.attention
        return a.repeated * a.dp * a.cp * a.tp

    @property
    def gpus(self) -> int:
        return self.replicas * self.pp * self.stage

    @property
    def name(self) -> str:
        """The short name, the same everywhere: ``R16 · PP1 · attn DP8×TP1 · moe EP8×TP1 · all-to-all``."""
        a, e = self.attention, self.experts
        attention = f"DP{a.dp}" + (f"×CP{a.cp}" if a.cp > 1 else "") + f"×TP{a.tp}"
        attention += f"/DCP{a.dcp}" if a.dcp > 1 else ""
        attention += f" repeated ×{a.repeated}" if a.repeated > 1 else ""
        experts = f"EP{e.ep}×TP{e.tp}" + (f"+{e.redundant}" if e.redundant else "")
        pipeline = f"PP{self.pp}" + (f"/{self.micro_batches}" if self.micro_batches > 1 else "")
        parts = [f"R{self.replicas}", pipeline, f"attn {attention}", f"moe {experts}", e.dispatch.replace("_", "-")]
        if e.gate is not Gate.EACH:
            parts.append(f"gate-{e.gate}")
        if self.overlap is not Overlap.NONE:
            parts.append(self.overlap.replace("_", "-"))
        return " · ".join(parts)

    @property
    def dense_name(self) -> str:
        """The short name where the model has no experts."""
        return " · ".join(p for p in self.name.split(" · ") if not p.startswith("moe ") and p != "all-to-all")

    @property
    def spec(self) -> StrategySpec:
        """The strategy as a user would write it in full."""
        a, e = self.attention, self.experts
        return StrategySpec(
            replicas=self.replicas,
            pp=self.pp,
            micro_batches=self.micro_batches,
            overlap=self.overlap,
            dp=a.dp,
            cp=a.cp,
            tp=a.tp,
            repeated=a.repeated,
            dcp=a.dcp,
            ep=e.ep,
            etp=e.tp,
            redundant=e.redundant,
            dispatch=e.dispatch,
            gate=e.gate,
        )

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> Strategy:
        """What ``to_dict`` gave. Raises KeyError, TypeError or ValueError for anything else."""
        a, e = AttentionParallel(**plain["attention"]), dict(plain["experts"])
        dispatch, gate = Dispatch(e.pop("dispatch")), Gate(e.pop("gate", Gate.EACH))
        experts = ExpertParallel(**e, dispatch=dispatch, gate=gate)
        sizes = plain["replicas"], plain["pp"], plain["micro_batches"]
        return Strategy(*sizes, Overlap(plain["overlap"]), a, experts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a gate of each is left out, and a dcp of 1."""
        plain = asdict(self)
        if self.attention.dcp == 1:
            del plain["attention"]["dcp"]
        if self.experts.gate is Gate.EACH:
            del plain["experts"]["gate"]
        return plain


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """A strategy as a user writes it: what is None follows from the rest (``planning.complete``)."""

    replicas: int | None = None
    pp: int | None = None
    micro_batches: int | None = None
    overlap: Overlap | None = None
    dp: int | None = None
    cp: int | None = None
    tp: int | None = None
    repeated: int | None = None
    ep: int | None = None
    etp: int | None = None
    redundant: int | None = None
    dispatch: Dispatch | None = None
    gate: Gate | None = None
    dcp: int | None = None

    @property
    def strategy(self) -> Strategy:
        """The sizes in full, those left out as 1 (``planning.complete`` fills them in for a case)."""
        attention = AttentionParallel(self.dp or 1, self.cp or 1, self.tp or 1, self.repeated or 1, self.dcp or 1)
        experts = ExpertParallel(
            self.ep or 1,
            self.etp or 1,
            self.redundant or 0,
            self.dispatch or Dispatch.ALL_TO_ALL,
            self.gate or Gate.EACH,
        )
        overlap = self.overlap or Overlap.NONE
        return Strategy(self.replicas or 1, self.pp or 1, self.micro_batches or 1, overlap, attention, experts)


def stage_layers(layers: int, pp: int) -> list[range]:
    """Layers of each stage: contiguous, the first ``layers mod pp`` stages hold one more."""
    each, more = divmod(layers, pp)
    starts = [i * each + min(i, more) for i in range(pp + 1)]
    return [range(starts[i], starts[i + 1]) for i in range(pp)]
