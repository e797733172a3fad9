"""``audit --output report.html``."""

from __future__ import annotations

from moewright.audit.audit_record import Audit, Verdict
from moewright.report.audit_page import audit_sections
from moewright.report.figures.claims_figure import better_figure, claims_figure
from moewright.report.html.marked_document import marked_document
from moewright.report.html.report_record import Command, Number, Report
from moewright.units import format_seconds


def audit_report(text: str, a: Audit) -> Report:
    """The report of an audit; ``text``: the document."""
    counts = a.summary
    failing = [v for v in Verdict if v not in (Verdict.HOLDS, Verdict.NOT_CHECKED)]
    bad = sum(counts.get(str(v), 0) for v in failing)
    answer = f"Of {len(a.claims)} claims in {a.file}, {counts.get('holds', 0)} hold and {bad} do not"
    if a.better is not None and a.better.strategies:
        best = a.better.strategies[-1]
        answer += f"; {best.name} would take {format_seconds(best.seconds)} a pass"
        others = [p for p in a.better.strategies if p.reading != "best"]
        if others:
            answer += f", the document's strategy {format_seconds(others[0].seconds)}"
    if not a.claims:
        answer = f"{a.file} holds no claim that can be checked"
    figures = [f for f in (claims_figure(a), better_figure(a)) if f is not None]
    given = f"{len(a.premises)} premises read from the document"
    given += f", {len(a.assumptions)} assumed" if a.assumptions else ""
    return Report(
        f"Audit of {a.file}",
        f"{answer}.",
        (
            Number(str(counts.get("holds", 0)), "Claims that hold", f"of {len(a.claims)}"),
            Number(
                str(bad), "Claims that do not", ", ".join(f"{counts[str(v)]} {v}" for v in failing if str(v) in counts)
            ),
            Number(str(counts.get("not checked", 0)), "Not checked", "no admissible reading settles them"),
        ),
        Command(
            f"moewright audit {a.file} --annotate annotated.md", "Writes a copy of the document with the verdicts."
        ),
        f"Nothing: an audit recomputes. {given}.",
        "Every verdict: a figure fails only where no admissible reading of it agrees; seconds by the same formulas as "
        "`moewright plan`.",
        tuple(figures),
        tuple(audit_sections(a)),
        marked_document(text, a, not a.file.lower().endswith((".yaml", ".yml"))),
        "The document, each claim marked in place",
    )
