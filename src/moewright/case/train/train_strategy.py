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


class ContextExchange(StrEnum):
    """How the ranks of cp see each other's keys and values: gathered; passed on around a ring, behind the attention of
    what is there (arXiv 2310.01889); or sequences exchanged for heads (Ulysses, arXiv 2309.14509). Megatron-Core's
    ``--cp-comm-type`` all_gather, p2p and a2a."""

    ALL_GATHER = "all_gather"
    RING = "ring"
    ALL_TO_ALL = "all_to_all"


class Dispatcher(StrEnum):
    """How tokens reach their experts: once to each rank that has any of them (DeepEP; across nodes once to each node,
    where the cluster forwards), each copy by itself, or all tokens to all ranks of ep."""

    DEEPEP = "deepep"
    ALL_TO_ALL = "all_to_all"
    ALL_GATHER = "all_gather"


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
    they are divided as evenly as seconds allow. What overlaps with computing: ``overlap_experts`` traffic with another
    micro-batch, ``overlap_tp`` gathers and reductions with the products beside them, ``overlap_grad_reduce`` and
    ``overlap_param_gather`` with the last backward and the first forward pass."""

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
    cp_comm_type: ContextExchange = ContextExchange.ALL_GATHER
    dispatcher: Dispatcher = Dispatcher.DEEPEP
    overlap_tp: bool = False
    overlap_grad_reduce: bool = True
    overlap_param_gather: bool = True

    @property
    def gpus(self) -> int:
        return self.pp * self.dp * self.cp * self.tp

    @property
    def expert_dp(self) -> int:
        return self.dp * self.cp * self.tp // (self.ep * self.etp)

    @property
    def name(self) -> str:
        """The short name: ``PP8×V4 · attn DP16×TP2 · moe EDP1×EP32×TP1 · MB1 · interleaved · recompute moe``."""
        context = f"×CP{self.cp} {self.cp_comm_type.replace('_', '-')}" if self.cp > 1 else ""
        attention = f"DP{self.dp}{context}×TP{self.tp}"
        pipeline = f"PP{self.pp}" + (f"×V{self.virtual}" if self.virtual > 1 else "")
        parts = [pipeline, f"attn {attention}", f"moe EDP{self.expert_dp}×EP{self.ep}×TP{self.etp}"]
        parts.append(f"MB{self.micro_batch}")
        if self.pp > 1:
            parts.append(self.schedule.replace("_", "-"))
        if self.sharding is not Sharding.OPTIMIZER:
            parts.append(f"sharding {self.sharding}")
        if self.ep > 1 and self.dispatcher is not Dispatcher.DEEPEP:
            parts.append(f"dispatcher {self.dispatcher.replace('_', '-')}")
        if self.overlap_experts:
            parts.append("overlap")
        parts += [f"{name} {state}" for name, state in self._switched()]
        if self.recompute:
            parts.append(f"recompute {'+'.join(self.recompute)}")
        return " · ".join(parts)

    def _switched(self) -> list[tuple[str, str]]:
        """Overlaps that are not as they are by default."""
        named = (("tp", self.overlap_tp, False), ("grad-reduce", self.overlap_grad_reduce, True))
        more = (("param-gather", self.overlap_param_gather, True),)
        return [(f"overlap-{n}", "on" if on else "off") for n, on, default in (*named, *more) if on is not default]

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
    cp_comm_type: ContextExchange | None = None
    dispatcher: Dispatcher | None = None
    overlap_tp: bool | None = None
    overlap_grad_reduce: bool | None = None
    overlap_param_gather: bool | None = None
