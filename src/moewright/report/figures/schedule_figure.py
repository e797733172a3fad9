"""A training step on its pipeline: what each stage does when, its bubbles, and its memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import altair as alt

from moewright.report.figures.theme import (
    ATTENTION,
    EXCHANGE,
    EXPERTS,
    IDLE,
    INK,
    ON,
    SERIES,
    Figure,
    Rows,
    byte_unit,
    colours,
    data,
    layered,
    picked_rows,
    time_unit,
    tips,
)
from moewright.training.stages.simulated_pipelines import Span
from moewright.training.training_record import TrainingResult
from moewright.units import format_bytes, format_seconds

#: operations drawn at once
MOST: Final = 480
_KINDS: Final = {
    "F": ("forward", ATTENTION),
    "B": ("backward", EXPERTS),
    "W": ("weights' gradient", EXCHANGE),
    "": ("bubble", IDLE),
}


def schedule_figure(r: TrainingResult) -> Figure | None:
    """A lane a stage; None where the pipeline was not simulated or has one stage."""
    if not r.spans or r.best.strategy.pp == 1:
        return None
    spans = sorted(r.spans, key=lambda s: s.start)
    end = max(s.end for s in spans)
    parts = {"": (0.0, end)}
    if len(spans) > MOST:
        wide = end * MOST / len(spans)
        parts = {"beginning": (0.0, wide), "end": (end - wide, end)}
    factor, unit = time_unit(end)
    rows = [row for name, (a, b) in parts.items() for row in _part(spans, name, a, b, factor)]
    caption = (
        f"Schedule {r.best.strategy.schedule}, simulated operation by operation; numbers are micro-batches. Grey is "
        f"the bubble, in which a stage waits for others: {r.best.bubble:.1%} of the step by the formula."
    )
    if len(parts) > 1:
        caption += f" Of {len(spans)} operations those of the beginning or of the end are drawn, as the list says."
    wide = next(b - a for a, b in parts.values()) * factor
    return Figure("schedule", "The training schedule and its bubbles", caption, _lanes(rows, unit, wide, list(parts)))


def _part(spans: Sequence[Span], part: str, start: float, end: float, factor: float) -> Rows:
    """Operations and bubbles between ``start`` and ``end``, cut at both."""
    inside = [s for s in spans if s.end > start and s.start < end]
    rows = []
    for s in inside:
        o = s.operation
        row = _row(s.stage, o.kind, max(s.start, start), min(s.end, end), factor, o.micro, o.chunk)
        rows.append({**row, "part": part, "takes": format_seconds(s.end - s.start), "at": format_seconds(s.start)})
    for stage in sorted({s.stage for s in spans}):
        gaps = _gaps([s for s in inside if s.stage == stage], start, end)
        rows += [{**_row(stage, "", a, b, factor), "part": part} for a, b in gaps]
    return rows


def _lanes(rows: Rows, unit: str, wide: float, parts: list[str]) -> alt.LayerChart:
    """A lane a stage; ``wide``: what the axis spans; with two ``parts`` a list chooses between them."""
    used = [kind for kind in _KINDS.values() if any(row["kind"] == kind[0] for row in rows)]
    base = alt.Chart(data(rows))
    y = alt.Y("stage:O", title="stage", axis=alt.Axis(ticks=False, domain=False))
    bars = base.mark_bar(stroke="var(--page)", strokeWidth=0.6).encode(
        x=alt.X("from:Q", title=f"time ({unit})", scale=alt.Scale(nice=False, zero=False)),
        x2="to:Q",
        y=y,
        color=colours([k[0] for k in used], [k[1] for k in used]),
        tooltip=tips(("what", "operation"), ("stage", "stage"), ("takes", "takes"), ("at", "from")),
    )
    room = f"(datum.to - datum.from) / {wide:.6g} * width > 14"
    on = [ON[SERIES.index(k[1])] for k in used]
    text = base.mark_text(fontSize=10, text=alt.ExprRef(f"{room} ? datum.label : ''")).encode(
        x=alt.X("middle:Q"),
        y=y,
        color=alt.Color("kind:N", scale=alt.Scale(domain=[k[0] for k in used], range=on), legend=None),
    )
    if len(parts) > 1:
        shown = alt.param(name="part", value=parts[0], bind=alt.binding_select(options=parts, name="part of the step "))
        bars = bars.add_params(shown).transform_filter("datum.part == part")
        text = text.transform_filter("datum.part == part")
    stages = len({row["stage"] for row in rows})
    return layered(bars, text, height=min(420, 26 * stages + 20), own_colours=True)


def _row(
    stage: int, kind: str, start: float, end: float, factor: float, micro: int = 0, chunk: int = 0
) -> dict[str, object]:
    name = _KINDS[kind][0]
    ends = {"from": float(f"{start * factor:.6g}"), "to": float(f"{end * factor:.6g}")}
    return {
        "stage": stage,
        "kind": name,
        "label": str(micro) if kind else "",
        "what": f"{name} of micro-batch {micro}, chunk {chunk}" if kind else name,
        **ends,
        "middle": (ends["from"] + ends["to"]) / 2,
        "takes": format_seconds(end - start),
        "at": format_seconds(start),
    }


def _gaps(spans: Sequence[Span], start: float, end: float) -> list[tuple[float, float]]:
    """When a stage does nothing between ``start`` and ``end``."""
    gaps, at = [], start
    for s in sorted(spans, key=lambda s: s.start):
        if s.start - at > end * 1e-4:
            gaps.append((at, s.start))
        at = max(at, s.end)
    if end - at > end * 1e-4:
        gaps.append((at, end))
    return gaps


def stage_memory_figure(r: TrainingResult) -> Figure | None:
    """Memory of each stage over a step; None where it was not simulated or nothing changes."""
    if not r.moments:
        return None
    end = max(m.seconds for line in r.moments for m in line)
    most = max(m.bytes for line in r.moments for m in line)
    if end <= 0:
        return None
    factor, unit = time_unit(end)
    scale, size = byte_unit(max(most, r.best.usable))
    rows: Rows = []
    for line in r.moments:
        for i in picked_rows(len(line), 160):
            m = line[i]
            ends = {"t": float(f"{m.seconds * factor:.5g}"), "held": float(f"{m.bytes * scale:.5g}")}
            rows.append({"stage": f"stage {m.stage}", **ends, "shown": format_bytes(m.bytes)})
    names = [f"stage {line[0].stage}" for line in r.moments]
    colour = alt.Color(
        "stage:N",
        scale=alt.Scale(domain=names, range=[SERIES[i % len(SERIES)] for i in range(len(names))]),
        legend=alt.Legend(title=None),
    )
    lines = (
        alt.Chart(data(rows))
        .mark_line(interpolate="step-after", strokeWidth=1.5)
        .encode(
            x=alt.X("t:Q", title=f"time ({unit})", scale=alt.Scale(nice=False)),
            y=alt.Y("held:Q", title=f"memory of a rank ({size})"),
            color=colour,
            tooltip=tips(("stage", ""), ("shown", "holds"), ("t", unit)),
        )
    )
    usable = data([{"held": r.best.usable * scale, "text": "usable"}])
    rule = alt.Chart(usable).mark_rule(strokeDash=[5, 4], color=INK).encode(y="held:Q")
    name = alt.Chart(usable).mark_text(align="left", baseline="bottom", x=4, dy=-2).encode(y="held:Q", text="text:N")
    caption = f"By the simulated schedule; the most is {format_bytes(most)} of {format_bytes(r.best.usable)} usable."
    return Figure("held", "Memory of each stage over a step", caption, layered(lines, rule, name, height=260))
