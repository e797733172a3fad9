"""A strategy's steps priced by measured tables, where the device has any: what ``moewright serve`` simulates."""

from __future__ import annotations

from pathlib import Path

from moewright.case.case import Case
from moewright.case.strategy import Strategy
from moewright.cost.prices.measured import Measured
from moewright.cost.prices.silicon import system_of, tables_of
from moewright.cost.table import Table
from moewright.serving.engines.engine import Engine
from moewright.serving.step import StepModel


def tables_price(case: Case, engine: Engine, folder: Path | None) -> Measured | None:
    """The price of the case's work by the tables in ``folder``, as ``engine`` runs it; None where it has none of the
    device."""
    system = None if folder is None else system_of(case.cluster.device.name, folder)
    if folder is None or system is None:
        return None
    return Measured(case.cluster, case.model.precision, tables_of(folder, system, engine.name))


class MeasuredModel(StepModel):
    """A ``StepModel`` by measured tables; host seconds of a step are in its factors."""


def measured_model(case: Case, strategy: Strategy, engine: Engine, folder: Path | None) -> MeasuredModel | None:
    """The model of ``strategy`` where ``folder`` has tables of the device, else None."""
    price = tables_price(case, engine, folder)
    if price is None:
        return None
    table = Table.one(strategy, strategy.replicas * strategy.attention.dp)
    return MeasuredModel(case, table, engine, price=price, factors=engine.kernel_factors)
