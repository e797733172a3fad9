"""Known quantities of a case, recomputed by the planner's own cost model: name and scope → readings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from moewright.audit.reading.document_case import Setting
from moewright.case.case import Case
from moewright.case.model import LatentAttention, Layer
from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Overlap, Strategy, StrategySpec
from moewright.case.workload import Kind
from moewright.planning.bounds import bound_seconds
from moewright.planning.detail import detail
from moewright.planning.record import Plan

Scope = frozenset[str]

MODEL: Final = ("model.layers", "model.hidden_size", "model.attention.heads")
EXPERT: Final = ("model.hidden_size", "model.experts.count", "model.experts.intermediate_size", "model.experts.gated")
BYTES: Final = ("model.precision",)
WORK: Final = ("workload.batch", "workload.sequence", "workload.kind")
FLOPS: Final = (*MODEL, *EXPERT, *WORK, "model.experts.top_k", "workload.causal", "model.vocab_size")
PLAN: Final = ("cluster.gpus",)
DEVICE: Final = ("cluster.device.flops", "cluster.device.mfu")
MEMORY_RATE: Final = ("cluster.device.memory_bandwidth", "cluster.device.bandwidth_utilization")
NETWORK: Final = tuple(f"cluster.network.{t}.{p}" for t in ("node", "fabric") for p in ("bandwidth", "latency"))
TIME: Final = (*FLOPS, *BYTES, *PLAN, *DEVICE, *MEMORY_RATE, *NETWORK, "cluster.gpus_per_node")


@dataclass(frozen=True, slots=True)
class Reading:
    """A value that a quantity may be taken to have (SI), how it is derived, and the fields it needs."""

    value: float
    how: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """A setting with the plans of the document's strategy, by reading (split, broadcast) and causal mask."""

    setting: Setting
    plans: dict[tuple[str, bool], Plan]
    reason: str  # why there is no plan

    @property
    def case(self) -> Case:
        return self.setting.case

    @property
    def plan(self) -> Plan | None:
        """The plan of the reading that comes first."""
        return next(iter(self.plans.values()), None)

    @cached_property
    def lowest(self) -> dict[bool, tuple[float, str]]:
        """Causal mask or not → (seconds that no strategy beats, why)."""
        return {m: _bound(self.case, m) for m in masks_of(self.setting)}

    @cached_property
    def unbeaten(self) -> float:
        """Seconds that no strategy beats with every GPU at its peaks, where the document tells no share of them."""
        case, given = self.case, self.setting.given
        device = case.cluster.device
        if not self.setting.from_spec:
            mfu = device.mfu if "cluster.device.mfu" in given else 1.0
            moved = device.bandwidth_utilization if "cluster.device.bandwidth_utilization" in given else 1.0
            device = replace(device, mfu=mfu, bandwidth_utilization=moved)
            if "cluster.device.flops" not in given:  # in which format is computed may be told otherwise
                fastest = max(rate for unit, rate in device.flops.items() if unit != "fp4" or len(device.flops) == 1)
                device = replace(device, flops=dict.fromkeys(device.flops, fastest))
        if case.workload.kind is Kind.DECODE and isinstance(case.model.layers[0].attention, LatentAttention):
            # absorbed or not, the scores of a latent cache take several times the FLOPs
            device = replace(device, flops={unit: 1e3 * rate for unit, rate in device.flops.items()})
        at_peak = replace(case, cluster=replace(case.cluster, device=device))
        return min(_bound(at_peak, m)[0] for m in masks_of(self.setting))


def masks_of(setting: Setting) -> tuple[bool, ...]:
    """The causal masks to reckon with: both where it is assumed and matters, which it does not for decode."""
    causal = setting.case.workload.causal
    open_ = (
        "workload.causal" in setting.assumed and not setting.from_spec and setting.case.workload.kind is not Kind.DECODE
    )
    return (causal, not causal) if open_ else (causal,)


def facts_of(setting: Setting, specs: dict[str, StrategySpec], reason: str) -> Facts:
    """Plans of every reading; both masks where the mask is assumed."""
    plans = {}
    for name, spec in specs.items():
        for mask in masks_of(setting):
            case = replace(setting.case, workload=replace(setting.case.workload, causal=mask))
            plans[name, mask] = detail(case, strategy_of(spec), case.workload.batch[0])
    return Facts(setting, plans, reason)


def strategy_of(s: StrategySpec) -> Strategy:
    """A completed StrategySpec as a Strategy."""
    attention = AttentionParallel(s.dp or 1, s.cp or 1, s.tp or 1, s.repeated or 1)
    experts = ExpertParallel(s.ep or 1, s.etp or 1, s.redundant or 0, s.dispatch or Dispatch.ALL_TO_ALL)
    return Strategy(s.replicas or 1, s.pp or 1, s.micro_batches or 1, s.overlap or Overlap.NONE, attention, experts)


def moe_layer(case: Case) -> Layer:
    """The layer that documents mean: the first with experts, or the first."""
    positions = case.model.moe_layers()
    return case.model.layers[positions[0] if positions else 0]


def bounds(f: Facts) -> dict[bool, tuple[float, str]]:
    """Causal mask or not → (seconds that no strategy beats, why)."""
    return f.lowest


def _bound(case: Case, causal: bool) -> tuple[float, str]:
    return bound_seconds(replace(case, workload=replace(case.workload, causal=causal)), case.workload.batch[0])


def labelled(f: Facts, by_mask: bool = True) -> list[tuple[str, Plan]]:
    """Plans with a remark on the reading, where there are several; ``by_mask`` False: for what no mask changes."""
    several = len({name for name, _ in f.plans}) > 1
    masks = by_mask and len({mask for _, mask in f.plans}) > 1
    found = []
    for (name, mask), plan in f.plans.items():
        if not by_mask and mask != f.case.workload.causal:
            continue
        notes = []
        if several:
            notes.append({"split": "tokens split", "broadcast": "all tokens on every GPU"}[name])
        if masks:
            notes.append("causal" if mask else "full mask")
        found.append((f" ({', '.join(notes)})" if notes else "", plan))
    return found
