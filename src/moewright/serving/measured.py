"""A strategy's steps priced by measured kernels, where the device has tables: what ``moewright serve`` simulates."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moewright.case.case import Case
from moewright.case.precision import element_bytes
from moewright.case.strategy import Strategy
from moewright.cost.silicon import ENGINES, SYSTEMS, Tables
from moewright.cost.silicon.tables import GEMM_FORMATS, MOE_FORMATS
from moewright.cost.table import Table
from moewright.serving.engines.engine import Engine
from moewright.serving.kernel_steps import KernelSteps
from moewright.serving.kernels import Kernels, table_format
from moewright.serving.layout import Formats, Layout
from moewright.serving.step import Step, StepModel
from moewright.serving.validation.predictions import fitted


class MeasuredModel(StepModel):
    """As ``StepModel``, its seconds out of measured kernels and weighted by the fitted constants of ``closed_form``
    (``speed`` holds the host time of a step) and by the engine's implementation of the model; what fits in memory is
    the same."""

    def __init__(self, case: Case, strategy: Strategy, engine: Engine, steps: KernelSteps) -> None:
        super().__init__(case, Table.one(strategy, strategy.replicas * strategy.attention.dp), engine)
        self.steps = steps
        fit = fitted(True)
        c = fit.constants
        made, _ = fit.implementations.get(f"{engine.name} {case.model.name}", (1.0, 1.0))
        self._speed = c.speed[ENGINES.index(engine.name)] * made
        self._weights = {"communication": c.communication, "small": c.small, "router": c.small}

    def _parts(self, step: Step) -> dict[str, np.ndarray]:
        parts = self.steps.parts(step)
        return {name: v * self._speed * self._weights.get(name, 1.0) for name, v in parts.items()}

    def seconds(self, step: Step) -> np.ndarray:
        """Seconds of one step through the whole model, host included."""
        return np.asarray(sum(self._parts(step).values(), start=np.asarray(0.0)), dtype=float)

    def parts(self, step: Step) -> dict[str, float]:
        """Seconds of one step (scalars) by group of operations; they add up to ``seconds``."""
        return {name: float(v) for name, v in self._parts(step).items() if float(v) > 0}


def measured_model(case: Case, strategy: Strategy, engine: Engine, folder: Path | None) -> MeasuredModel | None:
    """The model of ``strategy`` where ``folder`` has tables of the device and the formats, else None."""
    system = SYSTEMS.get(case.cluster.device.name)
    if folder is None or system is None or not (folder / system).is_dir():
        return None
    a, e = strategy.attention, strategy.experts
    formats = _formats(case)
    if a.repeated > 1 or a.cp > 1 or strategy.pp > 1 or formats is None:
        return None
    moe = case.model.moe is not None
    layout = Layout(a.tp, a.dp, 1, e.tp if moe else a.tp, e.ep if moe else 1)
    kernels = Kernels(case.cluster, Tables(folder, system, engine.name))
    return MeasuredModel(case, strategy, engine, KernelSteps(case.model, layout, formats, kernels))


def _formats(case: Case) -> Formats | None:
    p = case.model.precision
    names = {"fp16": "bf16"}
    one = {kind: names.get(p.weight(kind), p.weight(kind)) for kind in ("attention", "dense", "experts")}
    known = all(table_format(one[k]) in GEMM_FORMATS for k in ("attention", "dense"))
    if not known or table_format(one["experts"]) not in MOE_FORMATS:
        return None
    return Formats(**one, kv="fp8" if element_bytes(p.kv_cache) <= 1 else "bf16")
