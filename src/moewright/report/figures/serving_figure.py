"""A served workload over time, and what its users saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import altair as alt
import numpy as np

from moewright.report.figures.parts_figure import stacked
from moewright.report.figures.theme import (
    ATTENTION,
    COLLECTIVE,
    EXCHANGE,
    EXPERTS,
    GOOD,
    IDLE,
    INK,
    OTHER,
    REST,
    SERIES,
    WARN,
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
from moewright.serving.simulation.outcome import Outcome, Summary
from moewright.units import format_bytes, format_seconds

#: requests drawn at most as points
MOST: Final = 900
#: a GPU's memory by the engine's rule: part → words, colour
MEMORY_PARTS: Final = {
    "weights": ("weights", EXPERTS),
    "activations": ("activations", WARN),
    "buffers": ("buffers of dispatch and combine", EXCHANGE),
    "graphs": ("CUDA graphs", OTHER),
    "other": ("context, libraries", IDLE),
    "kv_cache": ("KV cache", GOOD),
}


def requests_figure(o: Outcome) -> Figure:
    """Requests that run and that wait, over time."""
    factor, unit = time_unit(o.seconds)
    rows: Rows = []
    for at, running, queued in zip(o.series["time"], o.series["running"], o.series["queued"], strict=True):
        for kind, value in (("running", running), ("queued", queued)):
            rows.append(
                {
                    "t": float(f"{at * factor:.5g}"),
                    "kind": kind,
                    "n": value,
                    "order": kind == "queued",
                    "shown": f"{value:.0f}",
                }
            )
    chart = (
        alt.Chart(data(rows))
        .mark_area(opacity=0.85, line=True, interpolate="step-after")
        .encode(
            x=_time(unit),
            y=alt.Y("n:Q", title="requests", stack="zero"),
            color=colours(("running", "queued"), (EXPERTS, EXCHANGE)),
            order="order:Q",
            tooltip=tips(("t", unit), ("kind", ""), ("shown", "requests")),
        )
    )
    begin, end = (format_seconds(t) for t in o.window)
    caption = (
        f"In the mean {o.running:.1f} run and {o.queued:.1f} wait; at most {o.most_running} ran. Throughput is taken "
        f"from {begin} to {end}, between the dashed lines."
    )
    return Figure("requests", "Requests over time", caption, _with_window(chart, o, factor, 240))


def cache_figure(o: Outcome) -> Figure:
    """The share of all KV caches in use, over time."""
    factor, unit = time_unit(o.seconds)
    rows: Rows = [
        {"t": float(f"{at * factor:.5g}"), "share": value, "shown": f"{value:.1%}"}
        for at, value in zip(o.series["time"], o.series["kv"], strict=True)
    ]
    chart = (
        alt.Chart(data(rows))
        .mark_area(color=GOOD, opacity=0.75, line={"color": GOOD}, interpolate="step-after")
        .encode(
            x=_time(unit),
            y=alt.Y("share:Q", title="KV caches used", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            tooltip=tips(("t", unit), ("shown", "used")),
        )
    )
    caption = f"All caches together; at most {o.kv_peak:.0%} were used."
    return Figure("cache", "KV cache over time", caption, _with_window(chart, o, factor, 180))


def latencies_figure(o: Outcome) -> Figure:
    """TTFT of each request by when it arrived, with mean and percentiles as lines."""
    served = o.served[o.warmup :] or o.served
    picked = [served[i] for i in picked_rows(len(served), MOST)]
    factor, unit = time_unit(o.seconds)
    small, small_unit = time_unit(max(r.ttft for r in served))
    rows: Rows = [
        {
            "t": float(f"{r.arrival * factor:.5g}"),
            "ttft": float(f"{r.ttft * small:.5g}"),
            "shown": format_seconds(r.ttft),
            "tokens": f"{r.input} in, {r.output} out",
        }
        for r in picked
    ]
    points = (
        alt.Chart(data(rows))
        .mark_point(filled=True, size=18, color=ATTENTION, opacity=0.6)
        .encode(
            x=_time(unit, "arrival"),
            y=alt.Y("ttft:Q", title=f"time to first token ({small_unit})"),
            tooltip=tips(("t", f"arrival, {unit}"), ("shown", "TTFT"), ("tokens", "tokens")),
        )
    )
    marks = _percentiles(o.ttft, small)
    lines = alt.Chart(data(marks)).mark_rule(strokeDash=[5, 3], color=INK).encode(y="at:Q")
    names = (
        alt.Chart(data(marks))
        .mark_text(align="right", baseline="bottom", dy=-2, x=alt.ExprRef("width"), color=INK)
        .encode(y="at:Q", text="name:N")
    )
    left = f" {len(picked)} of {len(served)} requests are drawn." if len(picked) < len(served) else ""
    caption = f"A point is a request; the lines are the median and the 90th and 99th percentile.{left}"
    chart = layered(points, lines, names, height=260)
    return Figure("latencies", "Time to the first token, request by request", caption, chart)


def _percentiles(x: Summary, factor: float) -> Rows:
    return [
        {"at": value * factor, "name": f"{name} {format_seconds(value)}"}
        for name, value in (("p50", x.p50), ("p90", x.p90), ("p99", x.p99))
    ]


def spread_figure(o: Outcome) -> Figure | None:
    """How TPOT is spread over requests: the share that is served within so many seconds."""
    values = sorted(t for r in o.served[o.warmup :] if (t := r.tpot) is not None)
    if len(values) < 2 or o.tpot is None:
        return None
    factor, unit = time_unit(values[-1])
    rows: Rows = [
        {"x": float(f"{values[i] * factor:.5g}"), "share": (i + 1) / len(values), "shown": format_seconds(values[i])}
        for i in picked_rows(len(values), 300)
    ]
    for row in rows:
        row["of"] = f"{row['share']:.1%}"
    line = (
        alt.Chart(data(rows))
        .mark_line(color=EXPERTS, interpolate="step-after")
        .encode(
            x=alt.X("x:Q", title=f"time of each further token, TPOT ({unit})", scale=alt.Scale(zero=False)),
            y=alt.Y("share:Q", title="share of requests", axis=alt.Axis(format="%")),
            tooltip=tips(("shown", "TPOT at most"), ("of", "of requests")),
        )
    )
    marks = _percentiles(o.tpot, factor)
    rules = alt.Chart(data(marks)).mark_rule(strokeDash=[5, 3], color=INK).encode(x="at:Q")
    limits = o.limits.get("tpot")
    layers: list[alt.Chart] = [line, rules]
    if limits is not None:
        at = data([{"at": limits.limit * factor}])
        layers.append(alt.Chart(at).mark_rule(color=SERIES[7], strokeWidth=2).encode(x="at:Q"))
    shown = ", ".join(str(m["name"]) for m in marks)
    caption = f"Up and to the left is better. The dashed lines are {shown}" + (
        f"; the red line is the limit, {format_seconds(limits.limit)}." if limits else "."
    )
    return Figure("tpot", "How fast answers are written", caption, layered(*layers, height=220))


def shares_figure(o: Outcome) -> Figure:
    """What the GPUs' busy seconds go to."""
    parts = {name: share for name, share in o.parts.items() if share >= 5e-4}
    palette = (EXPERTS, ATTENTION, EXCHANGE, COLLECTIVE, GOOD, WARN, OTHER, REST, IDLE)
    colour = {name: palette[i % len(palette)] for i, name in enumerate(parts)}
    chart = stacked([("", "", parts)], colour, "share of busy seconds (%)", 100.0, form=lambda v: f"{v:.1%}")
    return Figure("time", "Where the GPUs' time goes", f"Binds: {o.binds}.", chart)


def engine_memory(o: Outcome) -> Figure:
    """A GPU's memory by the engine's rule, of each pool."""
    return memory_figure([(f"{p.phase}: {p.name}" if len(o.pools) > 1 else p.name, p.memory) for p in o.pools])


def memory_figure(named: Sequence[tuple[str, dict[str, str | float | int]]]) -> Figure:
    """Memory by an engine's rule: (name, bytes by part with ``capacity`` and ``fraction``)."""

    def size(memory: dict[str, str | float | int], part: str) -> float:
        return float(memory.get(part, 0.0))

    capacity = max(size(m, "capacity") for _, m in named)
    taken = min(size(m, "fraction") for _, m in named) * capacity
    factor, unit = byte_unit(capacity)
    colour = {words: c for words, c in MEMORY_PARTS.values()}
    bars = []
    for name, memory in named:
        parts = {words: size(memory, part) for part, (words, _) in MEMORY_PARTS.items()}
        bars.append((name, format_bytes(sum(parts.values())), parts))
    chart = stacked(bars, colour, f"a GPU ({unit})", factor, (taken * factor, "the engine takes"), form=format_bytes)
    rule = named[0][1].get("rule", "")
    caption = (
        f"By the engine's rule ({rule}) it takes {format_bytes(taken)} of {format_bytes(capacity)}; the KV cache gets "
        "what the rest leaves."
    )
    return Figure("memory", "What a GPU's memory holds", caption, chart)


def _time(unit: str, what: str = "time") -> alt.X:
    return alt.X("t:Q", title=f"{what} ({unit})", scale=alt.Scale(nice=False))


def _with_window(chart: alt.Chart, o: Outcome, factor: float, height: float) -> alt.LayerChart:
    if o.whole:
        return layered(chart, height=height)
    ends = data([{"t": float(np.round(t * factor, 6))} for t in o.window])
    rule = alt.Chart(ends).mark_rule(strokeDash=[5, 3], color=INK).encode(x="t:Q")
    return layered(chart, rule, height=height)
