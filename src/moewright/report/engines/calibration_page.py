"""Measured results beside predictions, on a terminal."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from moewright.case.file.calibration_file import TERMS, CalibratedTerm
from moewright.report.blocks import Section, Table, plural
from moewright.serving.calibration.factors import Calibrated, Compared
from moewright.units import format_seconds


def calibration_sections(found: Calibrated, name: str, output: Path | None) -> list[Section]:
    """Every point, the terms, and what became of the error."""
    points = Table(
        (
            "tool",
            "in",
            "out",
            "in flight",
            "TTFT measured",
            "predicted",
            "calibrated",
            "TPOT measured",
            "predicted",
            "calibrated",
        ),
        tuple(_point(row) for row in found.compared),
        tuple(range(1, 10)),
    )
    notes = [f"{Path(r.point.source).name}: {note}." for r in found.compared for note in r.point.notes]
    written = f"Written to {output}; `calibration: {output}` in a spec takes it." if output else "--output writes it."
    errors = "Median errors, of TTFT {} → {}, of TPOT {} → {}, on the points that it was made of.".format(
        *_errors(found)
    )
    return [
        Section(name, (points, *dict.fromkeys(notes))),
        Section("What is off", (_terms(found), *_left_at_one(found), *_left_out(found), errors, written)),
    ]


def _point(row: Compared) -> tuple[str, ...]:
    p = row.point
    first = "–" if p.ttft is None else format_seconds(p.ttft)
    return (
        p.tool,
        f"{p.input:.0f}",
        f"{p.output:.0f}",
        f"{p.concurrency:g}",
        first,
        format_seconds(row.ttft),
        format_seconds(row.ttft_calibrated),
        format_seconds(p.tpot),
        format_seconds(row.tpot),
        format_seconds(row.tpot_calibrated),
    )


def _terms(found: Calibrated) -> Table:
    rows = []
    for name, meaning in TERMS.items():
        term: CalibratedTerm = getattr(found.calibration, name)
        told = plural(term.points, "point") if name in found.told else "left at 1"
        rows.append((name, f"× {term.factor:.3f}", f"± {term.spread:.0%}", told, meaning))
    return Table(("term", "factor", "spread", "by", "what it stands before"), tuple(rows), (1, 2))


def _left_at_one(found: Calibrated) -> list[str]:
    return [f"{name} is left at 1: {why}." for name, why in found.left_at_one.items()]


def _left_out(found: Calibrated) -> list[str]:
    if found.left_out is None:
        return []
    said = [
        f"{name} {before:.1%} → {after:.1%}"
        for name, (before, after) in zip(("TTFT", "TPOT"), found.left_out, strict=True)
        if before == before
    ]
    return [f"Median errors of settings left out in turn, calibrated by the others: {', '.join(said)}."]


def _errors(found: Calibrated) -> list[str]:
    rows = found.compared
    first = [r for r in rows if r.point.ttft]
    pairs = [
        [abs(r.ttft / (r.point.ttft or 1) - 1) for r in first],
        [abs(r.ttft_calibrated / (r.point.ttft or 1) - 1) for r in first],
        [abs(r.tpot / r.point.tpot - 1) for r in rows],
        [abs(r.tpot_calibrated / r.point.tpot - 1) for r in rows],
    ]
    return [f"{median(errors):.1%}" if errors else "–" for errors in pairs]
