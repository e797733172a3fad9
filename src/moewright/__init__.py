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

from moewright.errors import InfeasibleError, MoewrightError, SpecError

if TYPE_CHECKING:
    from moewright.place.record import ExpertPlacement
    from moewright.plan.plan import Check, Comparison, Plan, Result
    from moewright.serve.outcome import Outcome
    from moewright.serve.plan import ServingPlan
    from moewright.spec.case import Case
    from moewright.spec.cluster import Cluster, Device, Tier
    from moewright.spec.model import ModelSpec
    from moewright.spec.strategy import AttentionParallel, ExpertParallel, Strategy, StrategySpec
    from moewright.spec.workload import Goal, Routing, Workload

__version__ = "0.1.0"

#: name → the module it comes from, imported when first asked for
_LAZY = {
    **dict.fromkeys(("Check", "Comparison", "Plan", "Result"), "moewright.plan.plan"),
    **dict.fromkeys(("AttentionParallel", "ExpertParallel", "Strategy", "StrategySpec"), "moewright.spec.strategy"),
    **dict.fromkeys(("Cluster", "Device", "Tier"), "moewright.spec.cluster"),
    **dict.fromkeys(("Goal", "Routing", "Workload"), "moewright.spec.workload"),
    "Case": "moewright.spec.case",
    "ExpertPlacement": "moewright.place.record",
    "ModelSpec": "moewright.spec.model",
    "Outcome": "moewright.serve.outcome",
    "ServingPlan": "moewright.serve.plan",
}

__all__ = [
    "AttentionParallel",
    "Case",
    "Check",
    "Cluster",
    "Comparison",
    "Device",
    "ExpertParallel",
    "ExpertPlacement",
    "Goal",
    "InfeasibleError",
    "ModelSpec",
    "MoewrightError",
    "Outcome",
    "Plan",
    "Result",
    "Routing",
    "ServingPlan",
    "SpecError",
    "Strategy",
    "StrategySpec",
    "Tier",
    "Workload",
    "__version__",
    "evaluate",
    "load",
    "place",
    "plan",
    "plan_serving",
    "serve",
]


def load(path: str | Path) -> Case:
    """The case of a spec file (.yaml, .yml, .toml, .json). Raises SpecError."""
    from moewright.spec.load import load as run

    return run(path)


def plan(case: Case, compare: Sequence[StrategySpec] = (), top: int = 5) -> Result:
    """The best strategy for ``case``, the ``top`` next layouts, the Pareto frontier, and why each strategy
    of ``compare`` loses. Raises SpecError, and InfeasibleError where nothing is legal, fits or meets the limits."""
    if case.serving is not None:
        raise SpecError("got 'serving'; moewright.plan_serving plans it", file=case.file, field="workload.kind")
    from moewright.plan.search import plan as run

    return run(case, compare, top)


def plan_serving(case: Case, top: int = 5) -> ServingPlan:
    """The best strategy and concurrency of a serving workload, and its frontier, whose front is simulated. Raises
    SpecError, and InfeasibleError where nothing is legal, fits or meets the limits."""
    from moewright.serve.plan import plan_serving as run

    return run(case, top)


def serve(case: Case, concurrency: int | None = None) -> Outcome:
    """What users of the case's engine would see: a simulation of its strategy, or of the planner's best. Raises
    SpecError, InfeasibleError."""
    from moewright.serve.chosen import chosen
    from moewright.serve.simulate import simulate

    return simulate(chosen(case, concurrency))


def place(loads: Any, **options: Any) -> ExpertPlacement:
    """Where the experts of ``loads`` [layers, experts] live: ``slots=``, ``gpus=``, and as ``place.solve.place`` has
    it. Raises SpecError."""
    from moewright.place.solve import place as run

    return run(loads, **options)


def evaluate(case: Case, strategy: Strategy | StrategySpec, batch: int | None = None) -> Plan:
    """The plan of one strategy, checked. ``batch``: sequences, where the case offers several. Raises
    SpecError for sizes that contradict the cluster's, InfeasibleError where it is not legal or does not fit."""
    from moewright.plan.search import evaluate as run

    return run(case, strategy, batch)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
