"""moewright: lay a Mixture-of-Experts transformer out over a GPU cluster.

    case = moewright.load("examples/paper.yaml")
    result = moewright.plan(case)               # Result: best, alternatives, frontier
    plan = moewright.evaluate(case, moewright.StrategySpec(dp=64, tp=2, ep=64, etp=2))

Records: ``Case``, ``Strategy``, ``StrategySpec``, ``Plan``, ``Result``. Errors: ``SpecError`` for bad input,
``InfeasibleError`` for a strategy that is not legal or does not fit; both are ``MoewrightError``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.errors import InfeasibleError as InfeasibleError
from moewright.errors import MoewrightError as MoewrightError
from moewright.errors import SpecError as SpecError
from moewright.version import __version__ as __version__

if TYPE_CHECKING:
    from moewright.case.case import Case as Case
    from moewright.case.cluster import Cluster as Cluster
    from moewright.case.cluster import Device as Device
    from moewright.case.cluster import Tier as Tier
    from moewright.case.model import ModelSpec as ModelSpec
    from moewright.case.strategy import AttentionParallel as AttentionParallel
    from moewright.case.strategy import ExpertParallel as ExpertParallel
    from moewright.case.strategy import Strategy as Strategy
    from moewright.case.strategy import StrategySpec as StrategySpec
    from moewright.case.workload import Goal as Goal
    from moewright.case.workload import Routing as Routing
    from moewright.case.workload import Workload as Workload
    from moewright.placement.expert_placement import ExpertPlacement as ExpertPlacement
    from moewright.planning.record import Check as Check
    from moewright.planning.record import Comparison as Comparison
    from moewright.planning.record import Plan as Plan
    from moewright.planning.record import Result as Result
    from moewright.serving.planner.serving_plan import ServingPlan as ServingPlan
    from moewright.serving.simulation.outcome import Outcome as Outcome
    from moewright.training.training_record import TrainingPlan as TrainingPlan
    from moewright.training.training_record import TrainingResult as TrainingResult

#: module → the names it gives to this one, imported when first asked for
_RECORDS = {
    "case.case": ("Case",),
    "case.cluster": ("Cluster", "Device", "Tier"),
    "case.model": ("ModelSpec",),
    "case.strategy": ("AttentionParallel", "ExpertParallel", "Strategy", "StrategySpec"),
    "case.workload": ("Goal", "Routing", "Workload"),
    "placement.expert_placement": ("ExpertPlacement",),
    "planning.record": ("Check", "Comparison", "Plan", "Result"),
    "serving.planner.serving_plan": ("ServingPlan",),
    "serving.simulation.outcome": ("Outcome",),
    "training.training_record": ("TrainingPlan", "TrainingResult"),
}
_MODULE_OF = {name: module for module, names in _RECORDS.items() for name in names}
_HERE = (
    "InfeasibleError",
    "MoewrightError",
    "SpecError",
    "evaluate",
    "load",
    "place",
    "plan",
    "plan_serving",
    "plan_training",
    "serve",
)


def load(path: str | Path) -> Case:
    """The case of a spec file (.yaml, .yml, .toml, .json). Raises SpecError."""
    from moewright.case.file.load import load as run

    return run(path)


def plan(case: Case, compare: Sequence[StrategySpec] = (), top: int = 5) -> Result:
    """The best strategy for ``case``, the ``top`` next layouts, the Pareto frontier, and why each strategy
    of ``compare`` loses. Raises SpecError, and InfeasibleError where nothing is legal, fits or meets the limits."""
    if case.serving is not None:
        raise SpecError("got 'serving'; moewright.plan_serving plans it", file=case.file, field="workload.kind")
    if case.training is not None:
        raise SpecError("got 'train'; moewright.plan_training plans it", file=case.file, field="workload.kind")
    from moewright.planning.search import plan as run

    return run(case, compare, top)


def plan_serving(case: Case, top: int = 5) -> ServingPlan:
    """The best strategy and concurrency of a serving workload, and its frontier, whose front is simulated. Raises
    SpecError, and InfeasibleError where nothing is legal, fits or meets the limits."""
    from moewright.serving.planner.serving_plan import plan_serving as run

    return run(case, top)


def plan_training(case: Case, top: int = 5) -> TrainingResult:
    """The fastest layout of a training step that fits, its memory, and what it leaves behind. Raises SpecError, and
    InfeasibleError where nothing is legal or fits."""
    from moewright.training.plan_training import plan_training as run

    return run(case, top=top)


def serve(case: Case, concurrency: int | None = None) -> Outcome:
    """What users of the case's engine would see: a simulation of its strategy, or of the planner's best. Raises
    SpecError, InfeasibleError."""
    from moewright.serving.planner.chosen import chosen
    from moewright.serving.simulation.simulate import simulate

    return simulate(chosen(case, concurrency))


def place(loads: Any, **options: Any) -> ExpertPlacement:
    """Where the experts of ``loads`` [layers, experts] live: ``slots=``, ``gpus=``, and as
    ``placement.request.Request`` has them. Raises SpecError."""
    from moewright.placement.search.solve import place as run

    return run(loads, **options)


def evaluate(case: Case, strategy: Strategy | StrategySpec, batch: int | None = None) -> Plan:
    """The plan of one strategy, checked. ``batch``: sequences, where the case offers several. Raises
    SpecError for sizes that contradict the cluster's, InfeasibleError where it is not legal or does not fit."""
    from moewright.planning.search import evaluate as run

    return run(case, strategy, batch)


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    if name in _MODULE_OF:
        return getattr(import_module(f"moewright.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*_HERE, *_MODULE_OF, "__version__"))
