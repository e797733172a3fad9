"""Which engine runs which plan, on a terminal."""

from __future__ import annotations

from moewright.case.case import Case
from moewright.launch.matrix import Cell
from moewright.report.blocks import Section, Table


def matrix_sections(case: Case, rows: list[list[Cell]]) -> list[Section]:
    """A row a plan, a column an engine; the reasons why an engine cannot are told below."""
    engines = [(cell.engine, cell.version) for cell in rows[0]]
    reasons: dict[str, int] = {}
    table = []
    for row in rows:
        cells = []
        for cell in row:
            numbers = [str(reasons.setdefault(f"{cell.engine}: {text}", len(reasons) + 1)) for text in cell.reasons]
            cells.append(f"no ({', '.join(numbers)})" if numbers else cell.text)
        table.append((row[0].plan, *cells))
    headers = ("plan", *(f"{name} {version}" for name, version in engines))
    title = f"Plans of {case.model.name} on {case.cluster.gpus} × {case.cluster.device.name}, and engines that run them"
    sections = [Section(title, (Table(headers, tuple(table)),))]
    if reasons:
        why = tuple((str(number), text) for text, number in reasons.items())
        sections.append(Section("Why not", (Table(("", ""), why),)))
    return sections
