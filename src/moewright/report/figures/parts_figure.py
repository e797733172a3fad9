"""Where the time of strategies goes, part by part, beside the bound; and bars of parts in general."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt

from moewright.planning.record import Plan, Result
from moewright.report.figures.theme import (
    ATTENTION,
    BAD,
    COLLECTIVE,
    EXCHANGE,
    EXPERTS,
    GOOD,
    IDLE,
    INK,
    MUTED,
    OTHER,
    REST,
    WARN,
    WHOLE,
    Figure,
    Rows,
    byte_unit,
    colours,
    data,
    layered,
    time_unit,
    tips,
)
from moewright.training.training_record import TrainingResult
from moewright.units import format_bytes, format_seconds

#: kind of time → (colour, terms of the breakdown)
KINDS: Final = {
    "experts": (EXPERTS, ("experts", "shared_experts", "dense")),
    "attention": (ATTENTION, ("attention_projections", "attention", "output_projection")),
    "norms, router, ends": (REST, ("norms", "router", "embedding", "head")),
    "dispatch and combine": (EXCHANGE, ("dispatch", "combine")),
    "other collectives": (COLLECTIVE, ()),
    "pipeline": (IDLE, ("stage_transfer", "pipeline_bubble")),
}
#: what communication is called in a breakdown, beside dispatch and combine
COLLECTIVES: Final = ("_gather", "_reduce", "_scatter", "all_reduce", "exchange", "_copy")


def kind_of(term: str, collectives: Sequence[str] = ()) -> str:
    """The kind of time that a term of a breakdown is of. ``collectives``: the names that are known to be so."""
    for kind, (_, terms) in KINDS.items():
        if term in terms:
            return kind
    if term in collectives or term.endswith(COLLECTIVES):
        return "other collectives"
    return "norms, router, ends" if not term.startswith("attention") else "attention"


def kinds_of_time(plan: Plan) -> dict[str, float]:
    """Seconds of a pass by kind; what overlap hides is taken from communication, so that they add up to the pass."""
    collectives = [o.name for o in plan.communication.operations]
    seconds = dict.fromkeys(KINDS, 0.0)
    hidden = 0.0
    for term, value in plan.latency.breakdown.items():
        if term == "hidden_by_overlap":
            hidden = -value
        else:
            seconds[kind_of(term, collectives)] += value
    for kind in ("dispatch and combine", "other collectives", *seconds):
        taken = min(hidden, seconds[kind])
        seconds[kind] -= taken
        hidden -= taken
    return seconds


def pass_parts(plans: Sequence[tuple[Plan, str]], what: str = "a pass") -> Figure:
    """A bar a plan (with a note such as "best"), by kind of time, and the bound as a line."""
    bound = plans[0][0].latency.bound_seconds
    factor, unit = time_unit(max(p.latency.seconds for p, _ in plans))
    bars = []
    for p, note in plans:
        bars.append((_noted(p.name, note), format_seconds(p.latency.seconds), kinds_of_time(p)))
    chart = stacked(bars, {k: c for k, (c, _) in KINDS.items()}, f"{what} ({unit})", factor, (bound * factor, "bound"))
    caption = (
        "Seconds on the rank that sets the pace, by what they go to; communication that computing hides is left out. "
        f"The line is the bound, {format_seconds(bound)}: {plans[0][0].latency.bound_reason}."
    )
    return Figure("time", f"Where the time of {what} goes", caption, chart)


def _noted(name: str, note: str) -> str:
    """A strategy's name after what it is: ``best: R8 · …``."""
    return f"{note}: {name}" if note else name


def shown_plans(result: Result) -> list[tuple[Plan, str]]:
    """The best, the alternatives and what was compared, each once."""
    plans = [
        (result.best, "best"),
        *((p, "") for p in result.alternatives),
        *((c.plan, "compared") for c in result.comparisons),
    ]
    seen: dict[str, tuple[Plan, str]] = {}
    for p, note in plans:
        seen.setdefault(f"{p.name} {p.batch}", (p, note))
    return list(seen.values())


def pass_memory(result: Result) -> Figure:
    """Bytes of the fullest GPU by what they are, against what is usable and what there is."""
    plans = shown_plans(result)
    m = result.best.memory
    factor, unit = byte_unit(m.capacity)
    colour = {
        "expert weights": EXPERTS,
        "other weights": ATTENTION,
        "KV cache": GOOD,
        "activations": WARN,
        "buffers": EXCHANGE,
    }
    bars = []
    for p, note in plans:
        x = p.memory
        parts = {
            "expert weights": x.weights.experts + x.weights.shared_experts,
            "other weights": x.weights.total - x.weights.experts - x.weights.shared_experts,
            "KV cache": x.kv_cache,
            "activations": x.activations,
            "buffers": x.buffers,
        }
        bars.append((_noted(p.name, note), format_bytes(x.total), parts))
    chart = stacked(bars, colour, f"fullest GPU ({unit})", factor, (m.usable * factor, "usable"), form=format_bytes)
    share = m.total / m.usable
    caption = (
        f"The best fills {share:.0%} of the {format_bytes(m.usable)} that may be used, of {format_bytes(m.capacity)} "
        "that a GPU has; activations are counted at their peak."
    )
    return Figure("memory", "What a GPU's memory holds", caption, chart)


def training_parts(r: TrainingResult, names: Mapping[str, str]) -> Figure:
    """Seconds of a training step by part, of the best and of others. ``names``: parts as a reader knows them."""
    plans = [(r.best, "best"), *((p, "") for p in r.alternatives), *((c.plan, "compared") for c in r.comparisons)]
    factor, unit = time_unit(max(p.seconds for p, _ in plans))
    palette = (EXPERTS, IDLE, IDLE, ATTENTION, OTHER, EXCHANGE, COLLECTIVE, WARN, GOOD, GOOD, REST)
    colour = {name: palette[i % len(palette)] for i, name in enumerate(names.values())}
    colour[names["bubble"]] = BAD
    bars = [
        (
            _noted(p.strategy.name, note),
            format_seconds(p.seconds),
            {names[k]: v for k, v in p.parts.items() if k in names},
        )
        for p, note in plans
    ]
    chart = stacked(bars, colour, f"a step ({unit})", factor)
    caption = "Seconds of the slowest stage, by what they go to; traffic that computing hides is left out."
    return Figure("time", "Where the time of a step goes", caption, chart)


def training_memory(r: TrainingResult, names: Mapping[str, str]) -> Figure:
    """Bytes of the fullest rank in training, against what is usable."""
    plans = [(r.best, "best"), *((p, "") for p in r.alternatives), *((c.plan, "compared") for c in r.comparisons)]
    factor, unit = byte_unit(r.best.usable)
    palette = (EXPERTS, ATTENTION, OTHER, GOOD, WARN, EXCHANGE, COLLECTIVE, REST)
    colour = {name: palette[i % len(palette)] for i, name in enumerate(names.values())}
    bars = [
        (
            _noted(p.strategy.name, note),
            format_bytes(p.peak),
            {names[k]: v for k, v in p.memory.items() if k in names},
        )
        for p, note in plans
    ]
    line = (r.best.usable * factor, "usable")
    chart = stacked(bars, colour, f"fullest rank ({unit})", factor, line, form=format_bytes)
    caption = f"At the peak of a step; {format_bytes(r.best.usable)} may be used."
    return Figure("memory", "What a GPU's memory holds in training", caption, chart)


def stacked(
    bars: Sequence[tuple[str, str, Mapping[str, float]]],
    colour: Mapping[str, str],
    axis: str,
    factor: float,
    line: tuple[float, str] | None = None,
    form: Any = format_seconds,
) -> alt.LayerChart:
    """Bars of (name, what stands after the name, amount by kind) with their names above them, as wide screens and
    narrow ones can show; ``line``: a limit on the axis, and its name."""
    rows: Rows = []
    heads: Rows = []
    for i, (name, after, parts) in enumerate(bars):
        at, whole = 0.0, sum(parts.values())
        for kind, amount in parts.items():
            if amount <= 0:
                continue
            ends = {"from": float(f"{at * factor:.6g}"), "to": float(f"{(at + amount) * factor:.6g}")}
            shown = {"amount": form(amount), "share": f"{amount / whole:.1%}"}
            rows.append({"row": i, "name": name, "kind": kind, **ends, **shown})
            at += amount
        heads.append({"row": i, "name": name, "after": after})
    used = [k for k in colour if any(row["kind"] == k for row in rows)]
    most = max((row["to"] for row in rows), default=1.0)
    beyond = line is not None and line[0] > 5 * most
    end = 1.03 * (most if beyond or line is None else max(most, line[0]))
    x = alt.X(
        "from:Q", title=axis, scale=alt.Scale(domain=[0, end], nice=False), axis=alt.Axis(tickCount=6, format="~s")
    )
    y = alt.Y("row:O", axis=None, scale=alt.Scale(paddingInner=0.58, paddingOuter=0.45))
    bar = (
        alt.Chart(data(rows))
        .mark_bar(cornerRadius=1)
        .encode(
            x=x,
            x2="to:Q",
            y=y,
            color=colours(used, [colour[k] for k in used]),
            tooltip=tips(("name", "strategy"), ("kind", "what"), ("amount", "amount"), ("share", "share")),
        )
    )
    named = alt.Chart(data(heads)).encode(y=y)
    rest = alt.ExprRef(f"width - {8 + 7 * max(len(after) for _, after, _ in bars)}")
    names = named.mark_text(align="left", baseline="bottom", dy=-11, x=0, limit=rest).encode(text="name:N")
    totals = named.mark_text(align="right", baseline="bottom", dy=-11, x=WHOLE, fontWeight=600).encode(text="after:N")
    layers = [bar, names, totals, *([] if line is None else _limit(line, end))]
    return layered(*layers, height=max(60, 42 * len(bars) + 8))


def _limit(line: tuple[float, str], end: float) -> list[alt.Chart]:
    """A limit as a dashed line with its name; what lies beyond the ``end`` of the axis is named there."""
    at, name = line
    beyond = at > end
    base = alt.Chart(data([{"at": at, "text": f"{name}: at {at:.4g}, beyond this axis →" if beyond else name}]))
    if beyond:
        return [base.mark_text(align="right", baseline="bottom", x=WHOLE, y=-6, color=MUTED).encode(text="text:N")]
    return [
        base.mark_rule(color=INK, strokeDash=[5, 4], strokeWidth=1.5).encode(x="at:Q"),
        base.mark_text(align="right" if at > end / 3 else "left", baseline="bottom", y=-5, color=MUTED).encode(
            x="at:Q", text="text:N"
        ),
    ]
