"""How a training step is divided, and the vocabulary, once.

``gpus = pp · stage``; a stage's ranks are folded twice, as attention ``dp · cp · tp`` and as experts
``expert_dp · ep · etp`` (parallel folding, Megatron-Core, arXiv 2504.14960). Ranks are numbered stage, then dp, cp, tp
(expert_dp, ep, etp), the last one fastest. ``virtual``: chunks of layers on each stage (interleaved schedules).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Schedule(StrEnum):
    ONE_F_ONE_B = "1f1b"
    INTERLEAVED = "interleaved"
    ZERO_BUBBLE = "zero_bubble"
    DUALPIPE_V = "dualpipe_v"


class Sharding(StrEnum):
    """What is divided over the data-parallel ranks: nothing, the optimizer's states (ZeRO-1, Megatron-Core's
    distributed optimizer), or weights and gradients too (ZeRO-3, FSDP)."""

    NONE = "none"
    OPTIMIZER = "optimizer"
    FULL = "fsdp"


#: what the backward pass may compute again instead of keeping it, by Megatron-Core's names: outputs of norms; of
#: activation functions; queries, keys and values that MLA expands; attention's core; shared experts; a dense
#: feed-forward; all of an MoE; a whole layer
MODULES = ("layernorm", "moe_act", "mla_up_proj", "core_attn", "shared_experts", "mlp", "moe", "full")
#: what a search tries, in the order of what it saves
LEVELS: tuple[tuple[str, ...], ...] = (
    (),
    ("layernorm", "moe_act"),
    ("layernorm", "moe_act", "mla_up_proj"),
    ("layernorm", "mla_up_proj", "mlp", "moe"),
    ("full",),
)


@dataclass(frozen=True, slots=True)
class TrainStrategy:
    """Sizes in full. ``micro_batch`` in sequences of one rank; ``layers``: those of each chunk, in order, or None where
    they are divided as evenly as seconds allow."""

    dp: int
    cp: int
    tp: int
    pp: int
    virtual: int
    ep: int
    etp: int
    micro_batch: int
    schedule: Schedule = Schedule.ONE_F_ONE_B
    recompute: tuple[str, ...] = ()
    sharding: Sharding = Sharding.OPTIMIZER
    overlap_experts: bool = False
    layers: tuple[int, ...] | None = None

    @property
    def gpus(self) -> int:
        return self.pp * self.dp * self.cp * self.tp

    @property
    def expert_dp(self) -> int:
        return self.dp * self.cp * self.tp // (self.ep * self.etp)

    @property
    def name(self) -> str:
        """The short name: ``PP8×V4 · attn DP16×TP2 · moe EDP1×EP32×TP1 · MB1 · interleaved · recompute moe``."""
        attention = f"DP{self.dp}" + (f"×CP{self.cp}" if self.cp > 1 else "") + f"×TP{self.tp}"
        pipeline = f"PP{self.pp}" + (f"×V{self.virtual}" if self.virtual > 1 else "")
        parts = [pipeline, f"attn {attention}", f"moe EDP{self.expert_dp}×EP{self.ep}×TP{self.etp}"]
        parts.append(f"MB{self.micro_batch}")
        if self.pp > 1:
            parts.append(self.schedule.replace("_", "-"))
        if self.sharding is not Sharding.OPTIMIZER:
            parts.append(f"sharding {self.sharding}")
        if self.overlap_experts:
            parts.append("overlap")
        if self.recompute:
            parts.append(f"recompute {'+'.join(self.recompute)}")
        return " · ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ``expert_dp`` and ``gpus`` with them."""
        return {**asdict(self), "expert_dp": self.expert_dp, "gpus": self.gpus, "name": self.name}


@dataclass(frozen=True, slots=True)
class TrainSizes:
    """A strategy as a user writes it: what is None is searched, or follows from the rest."""

    dp: int | None = None
    cp: int | None = None
    tp: int | None = None
    pp: int | None = None
    virtual: int | None = None
    ep: int | None = None
    etp: int | None = None
    expert_dp: int | None = None
    micro_batch: int | None = None
    schedule: Schedule | None = None
    recompute: tuple[str, ...] | None = None
    sharding: Sharding | None = None
    overlap_experts: bool | None = None
    layers: tuple[int, ...] | None = None
