"""Case: model, cluster, workload and what is wanted, the start of every plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moewright.case.cluster import Cluster
from moewright.case.file.calibration_file import Calibration
from moewright.case.model import ModelSpec
from moewright.case.serving import Serving
from moewright.case.strategy import StrategySpec
from moewright.case.train.train_workload import Training
from moewright.case.workload import Goal, Routing, Workload


@dataclass(frozen=True, slots=True)
class TableSource:
    """Measured tables to price with: the ``folder`` that holds them, and the ``engine`` whose kernels are meant."""

    folder: Path
    engine: str


@dataclass(frozen=True, slots=True)
class Case:
    """``document``: the spec as it was written, for a plan's file, which must tell the same case again.
    ``serving``: where an engine serves requests; ``workload`` is then one decode step at mean context. ``tables``:
    measured tables that its work is priced with, where they have the device. ``training``: where a training step is
    meant; ``workload`` is then its forward pass. ``calibration``: factors that measured results give for a served
    case."""

    model: ModelSpec
    cluster: Cluster
    workload: Workload
    goal: Goal = field(default_factory=Goal)
    routing: Routing = field(default_factory=Routing)
    strategy: StrategySpec | None = None
    file: str | None = None
    serving: Serving | None = None
    document: dict[str, Any] | None = field(default=None, compare=False, repr=False)
    tables: TableSource | None = None
    training: Training | None = None
    calibration: Calibration | None = None
