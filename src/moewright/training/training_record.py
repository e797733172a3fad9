"""A plan of training: what comes out, and as plain values for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from moewright.case.case import Case
from moewright.case.train.train_strategy import Schedule, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.case.train.tuning import trained_parameters
from moewright.planning.naming import describe_case
from moewright.planning.record import Check, Proof
from moewright.training.footprint.memory_timeline import MemoryPeak, Moment
from moewright.training.stages.simulated_pipelines import Span

#: how the share of FLOPs is meant
MFU = (
    "three times the FLOPs of the forward pass's products and causal attention (nothing computed again counts), over "
    "the dense peak of all GPUs in the recipe's matrix unit"
)
#: the same where parts are frozen
TUNED_MFU = (
    "the FLOPs of the forward pass's products and causal attention and of the gradients that training needs (none of "
    "frozen weights, none below the lowest trained part), over the dense peak of all GPUs in the recipe's matrix unit"
)


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """One strategy with its figures. ``parts`` sum up to ``seconds``; ``hidden``: seconds of traffic that overlap
    hides, by kind. ``memory``: bytes by line on the fullest rank; ``usable``: what the device leaves.
    ``checks``, ``proof``: of the best one, what a walk of its ranks derives again (``training.proof``)."""

    strategy: TrainStrategy
    seconds: float
    tokens_s: float
    tokens_s_gpu: float
    mfu: float
    micro_batches: int
    parts: dict[str, float]
    hidden: dict[str, float]
    memory: dict[str, float]
    peak: float
    usable: float
    days: float | None = None
    gpu_hours: float | None = None
    cost: float | None = None
    checks: tuple[Check, ...] = ()
    proof: Proof | None = None

    @property
    def fits(self) -> bool:
        return self.peak <= self.usable

    @property
    def bubble(self) -> float:
        """Share of the step in which the slowest stage is idle for want of micro-batches."""
        return self.parts["bubble"] / self.seconds

    @property
    def exposed(self) -> dict[str, float]:
        """Seconds of traffic that nothing hides, by kind."""
        kinds = ("tp_traffic", "cp_traffic", "ep_traffic", "etp_traffic", "stage_transfer")
        return {name: self.parts[name] for name in (*kinds, "gradient_reduction", "weight_gathering")}

    def to_dict(self) -> dict[str, Any]:
        """As plain values, SI units."""
        return {
            "strategy": self.strategy.to_dict(),
            "step_seconds": self.seconds,
            "tokens_s": self.tokens_s,
            "tokens_s_gpu": self.tokens_s_gpu,
            "mfu": self.mfu,
            "micro_batches": self.micro_batches,
            "breakdown": self.parts,
            "bubble": self.bubble,
            "exposed_communication": self.exposed,
            "hidden_communication": self.hidden,
            "memory": {"peak": self.peak, "usable": self.usable, "fits": self.fits, "lines": self.memory},
            "days": self.days,
            "gpu_hours": self.gpu_hours,
            "cost": self.cost,
            **({} if self.proof is None else {"checks": [asdict(c) for c in self.checks], "proof": asdict(self.proof)}),
        }


@dataclass(frozen=True, slots=True)
class StageFigures:
    """One pipeline stage of the best plan: its layers, seconds of a micro-batch, and peak bytes of a rank."""

    stage: int
    layers: int
    forward: float
    backward: float
    peak: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Wall:
    """What a step would gain without one of its parts: ``share`` of its seconds."""

    name: str
    share: float
    advice: str


@dataclass(frozen=True, slots=True)
class TrainingComparison:
    """A strategy that was asked about: how much slower than the best, and by which parts (seconds)."""

    plan: TrainingPlan
    slower: float
    differences: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"slower": self.slower, "differences": self.differences, **self.plan.to_dict()}


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """``simulated``: seconds of the same pipeline operation by operation (None where its schedule has no list of
    them), ``spans`` those operations. ``moments``: memory of each stage over the step, where it was simulated.
    ``worst_peak``: bytes of the fullest rank if routing sent it all copies that it can get; None where a capacity
    drops them."""

    case: Case
    training: Training
    candidates: int
    rejected: dict[str, int]
    search_seconds: float
    best: TrainingPlan
    stages: tuple[StageFigures, ...]
    simulated: float | None
    peak: MemoryPeak | None
    moments: tuple[tuple[Moment, ...], ...]
    worst_peak: float | None
    walls: tuple[Wall, ...]
    alternatives: tuple[TrainingPlan, ...]
    frontier: tuple[TrainingPlan, ...]
    comparisons: tuple[TrainingComparison, ...]
    notes: tuple[str, ...]
    spans: tuple[Span, ...] = ()

    @property
    def not_launched(self) -> str:
        """What of the best plan Megatron-LM does not run; empty where it runs all."""
        if not self.training.tuning.whole:
            return "frozen parts and adapters"
        schedule = self.best.strategy.schedule
        ran = self.best.strategy.pp == 1 or schedule in (Schedule.ONE_F_ONE_B, Schedule.INTERLEAVED)
        return "" if ran else f"schedule {schedule}"

    @property
    def mfu_definition(self) -> str:
        """How the share of FLOPs is meant."""
        return MFU if self.training.tuning.whole else TUNED_MFU

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        t = self.training
        tuning = t.tuning
        described = describe_case(self.case)
        described["workload"] = {
            "kind": "train",
            "global_batch": t.global_batch,
            "sequence": t.sequence,
            "tokens": t.tokens,
            "precision": t.recipe.name,
            "optimizer": t.optimizer.name,
            "gradient_bytes": t.gradients,
            "capacity_factor": t.capacity,
            "prediction_layers": t.prediction_layers,
            "balanced": t.balanced,
            "graphs": str(t.graphs),
            "fragmentation": t.fragmentation,
            "trainable": list(tuning.parts),
            "frozen_layers": tuning.frozen_layers,
            "lora": None if tuning.lora is None else asdict(tuning.lora),
            "trained_parameters": trained_parameters(self.case.model, tuning),
        }
        return {
            **described,
            "candidates": self.candidates,
            "rejected": self.rejected,
            "search_seconds": self.search_seconds,
            "best": {
                **self.best.to_dict(),
                "mfu_definition": self.mfu_definition,
                "stages": [s.to_dict() for s in self.stages],
                "simulated_pipeline_seconds": self.simulated,
                "worst_routing_peak": self.worst_peak,
                "memory_peak": None if self.peak is None else asdict(self.peak),
                "walls": [asdict(w) for w in self.walls],
            },
            "alternatives": [p.to_dict() for p in self.alternatives],
            "frontier": [p.to_dict() for p in self.frontier],
            "comparisons": [c.to_dict() for c in self.comparisons],
            "notes": list(self.notes),
        }
