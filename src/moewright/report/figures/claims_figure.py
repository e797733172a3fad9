"""The claims of a document beside what is right."""

from __future__ import annotations

from typing import Final

import altair as alt

from moewright.audit.audit_record import Audit, Verdict
from moewright.report.figures.parts_figure import stacked
from moewright.report.figures.theme import (
    BAD,
    EXPERTS,
    GOOD,
    IDLE,
    INK,
    OTHER,
    WARN,
    Figure,
    Rows,
    colours,
    data,
    layered,
    spaced_values,
    time_unit,
    tips,
)
from moewright.units import format_seconds

COLOURS: Final = {
    Verdict.HOLDS: GOOD,
    Verdict.WRONG: BAD,
    Verdict.IMPOSSIBLE: "var(--h6)",
    Verdict.CONTRADICTED: OTHER,
    Verdict.UNSUPPORTED: WARN,
    Verdict.NOT_CHECKED: IDLE,
}
#: ratios further off are drawn at the edge
MOST: Final = 1000.0


def claims_figure(a: Audit) -> Figure | None:
    """Each figure of the document over the right one, by its line; None where nothing can be compared."""
    rows: Rows = []
    for c in a.claims:
        if c.ratio is None or c.ratio <= 0:
            continue
        shown = min(max(c.ratio, 1 / MOST), MOST)
        rows.append(
            {
                "line": c.line,
                "ratio": float(f"{shown:.5g}"),
                "shown": f"{c.ratio:.4g} ×",
                "kind": str(c.verdict),
                "text": c.text[:120],
                "why": c.why[:240],
                "quantity": c.quantity,
            }
        )
    if not rows:
        return None
    low, high = min(min(row["ratio"] for row in rows), 0.5) / 1.3, max(max(row["ratio"] for row in rows), 2) * 1.3
    used = [v for v in COLOURS if any(row["kind"] == str(v) for row in rows)]
    points = (
        alt.Chart(data(rows))
        .mark_point(filled=True, size=70, opacity=0.9)
        .encode(
            x=alt.X("line:Q", title="line of the document", scale=alt.Scale(zero=False, padding=10)),
            y=alt.Y(
                "ratio:Q",
                title="claimed ÷ right",
                scale=alt.Scale(type="log", domain=[low, high], nice=False),
                axis=alt.Axis(format="~r", values=spaced_values(low, high)),
            ),
            color=colours([str(v) for v in used], [COLOURS[v] for v in used]),
            tooltip=tips(
                ("text", "claim"),
                ("quantity", "quantity"),
                ("kind", "verdict"),
                ("shown", "claimed ÷ right"),
                ("why", "why"),
            ),
        )
    )
    one = alt.Chart(data([{"ratio": 1}])).mark_rule(color=INK, strokeDash=[5, 3]).encode(y="ratio:Q")
    caption = (
        "On the dashed line a figure is right; a point above it claims too much, below it too little. Of claims "
        "without a figure of their own see the document below."
    )
    return Figure("claims", "How far off each figure is", caption, layered(one, points, height=300))


def better_figure(a: Audit) -> Figure | None:
    """Seconds of a pass of the document's strategy and of the best; None where nothing was found."""
    if a.better is None or not a.better.strategies:
        return None
    b = a.better
    names = {
        "split": "as written, tokens split among the groups",
        "broadcast": "as its flow says, all tokens on every GPU",
        "best": "best found",
    }
    factor, unit = time_unit(max(p.seconds for p in b.strategies))
    bars = [(f"{names[p.reading]}: {p.name}", format_seconds(p.seconds), {"a pass": p.seconds}) for p in b.strategies]
    chart = stacked(bars, {"a pass": EXPERTS}, f"a pass ({unit})", factor, (b.bound * factor, "bound"))
    caption = f"No strategy takes less than {format_seconds(b.bound)}: {b.bound_reason}."
    return Figure("better", "The better plan", caption, chart)
