"""``run --output report.html``."""

from __future__ import annotations

from typing import Any

from moewright.report.figures.run_figure import run_bytes_figure, run_time_figure
from moewright.report.html.report_record import Command, Number, Report
from moewright.report.run_page import run_sections
from moewright.report.training.step_page import step_sections
from moewright.units import format_bytes, format_seconds


def run_report(r: dict[str, Any], command: str) -> Report:
    """The report of an executed plan, of its plain values; ``command``: the one that ran it."""
    moved = sum(c["bytes_moved"] for c in r["collectives"])
    wrong = [c["name"] for c in r["collectives"] if c["bytes_predicted"] != c["bytes_moved"]]
    verdict = "is verified" if r["verified"] else "is NOT verified" if r["failures"] else "was not verified, as asked"
    answer = f"{r['strategy']} on {r['ranks']} ranks {verdict}"
    if r["verified"]:
        answer += ": its output is the unsharded model's, and every collective moved the bytes predicted"
    elif r["failures"]:
        answer += f": {'; '.join(r['failures'][:3])}"
    error = "–" if r["max_error"] is None else f"{r['max_error']:.3g}"
    figures = [f for f in (run_time_figure(r), run_bytes_figure(r)) if f is not None]
    return Report(
        f"Run of {r['strategy']} on {r['ranks']} ranks",
        f"{answer}.",
        (
            Number(error, "Largest difference", "from the unsharded model's output"),
            Number(
                format_bytes(moved),
                "Bytes moved by all ranks",
                f"different: {', '.join(wrong)}" if wrong else "as predicted",
            ),
            Number(format_seconds(r["seconds"]["forward"], 3), "The passes took", f"on {r['device']}"),
        ),
        Command(command, "Runs it again."),
        f"Everything on this page but what is called predicted: the plan ran on {r['device']}.",
        "The bytes and the memory that the plan predicts.",
        tuple(figures),
        tuple(run_sections(r)),
    )


def step_report_page(r: dict[str, Any], name: str, command: str) -> Report:
    """The report of an executed training step."""
    verdict = "is verified" if r["verified"] else "is NOT verified"
    return Report(
        f"Training step of {name}",
        f"The training step of {name} {verdict} against the same step in one process.",
        (
            Number(f"{r['gradient_error']:.1e}", "Largest error of a gradient", f"{r['tolerance']:.0e} is tolerated"),
            Number(f"{r['weight_error']:.1e}", "Largest error of a weight", "after the update"),
            Number(f"{r['loss']:.6f}", "Loss", f"{r['reference_loss']:.6f} in one process"),
        ),
        Command(command, "Runs it again."),
        "Losses, gradients, weights and the bytes sent.",
        "The bytes predicted.",
        (),
        tuple(step_sections(r, name)),
    )
