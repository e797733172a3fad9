"""The layout and formats of one serving engine (one replica): what a step's time depends on beside its batch."""

from __future__ import annotations

from dataclasses import dataclass

from moewright.case.precision import Precision
from moewright.case.strategy import AttentionParallel, ExpertParallel, Strategy


@dataclass(frozen=True, slots=True)
class Layout:
    """Attention ``dp × tp``, experts ``ep × etp`` on the same ranks, ``pp`` stages of them."""

    tp: int = 1
    dp: int = 1
    pp: int = 1
    etp: int = 1
    ep: int = 1

    @property
    def gpus(self) -> int:
        return self.tp * self.dp * self.pp

    @property
    def strategy(self) -> Strategy:
        """The layout in the planner's words."""
        attention, experts = AttentionParallel(self.dp, 1, self.tp), ExpertParallel(self.ep, self.etp)
        return Strategy(1, self.pp, attention=attention, experts=experts)

    @property
    def name(self) -> str:
        pipeline = f"PP{self.pp} · " if self.pp > 1 else ""
        return f"{pipeline}attn DP{self.dp}×TP{self.tp} · moe EP{self.ep}×TP{self.etp}"


@dataclass(frozen=True, slots=True)
class Formats:
    """Formats of matrices by kind, and of the KV cache; names of ``case.precision.FORMATS``."""

    attention: str = "bf16"
    dense: str = "bf16"
    experts: str = "bf16"
    kv: str = "bf16"

    @property
    def precision(self) -> Precision:
        """The same for the formulas of memory: shared experts as dense ones, all else in bf16."""
        kinds = {
            "attention": self.attention,
            "dense": self.dense,
            "shared_experts": self.dense,
            "experts": self.experts,
        }
        return Precision("bf16", kinds, kv_cache=self.kv)
