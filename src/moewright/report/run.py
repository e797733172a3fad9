"""What a run showed, as sections."""

from __future__ import annotations

from typing import Any

from moewright.report.blocks import Section, Table, facts, plural
from moewright.units import format_bytes, format_seconds


def run_sections(r: dict[str, Any]) -> list[Section]:
    """The sections of a run's report, of its plain values."""
    rows = tuple(
        (
            c["name"],
            str(c["calls"]),
            f"{c['bytes_predicted']:,}",
            f"{c['bytes_moved']:,}",
            "equal" if c["bytes_predicted"] == c["bytes_moved"] else "DIFFERENT",
        )
        for c in r["collectives"]
    )
    weights, copies, seconds = r["memory"]["weights"], r["tokens_per_expert_rank"], r["seconds"]
    verdict = "Verified" if r["verified"] else "NOT verified: " + "; ".join(r["failures"][:3])
    return [
        Section(
            f"Run of {r['strategy']} on {plural(r['ranks'], 'rank')}",
            (
                f"{verdict}. The largest difference from the unsharded model is {r['max_error']:.3g}, of outputs up to "
                f"{r['max_output']:.4g}.",
                facts(
                    ("Weights", f"{format_bytes(weights['held_max'])} on the fullest rank, as planned")
                    if weights["held_max"] == weights["planned"]
                    else (
                        "Weights",
                        f"{format_bytes(weights['held_max'])} held, {format_bytes(weights['planned'])} planned",
                    ),
                    ("Routed copies", f"{copies['min']} to {copies['max']} a layer and rank"),
                    ("Seconds", ", ".join(f"{name} {format_seconds(value, 3)}" for name, value in seconds.items())),
                ),
            ),
        ),
        Section(
            "Bytes over all ranks",
            (Table(("operation", "calls", "predicted", "moved", ""), rows, (1, 2, 3)),)
            if rows
            else ("Nothing moved: no group has more than one rank.",),
        ),
    ]
