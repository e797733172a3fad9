"""One layer in time: what the fullest rank computes and sends, what overlap hides, and how long others wait for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import altair as alt
import numpy as np

from moewright.case.case import Case
from moewright.case.model import MoeFfn
from moewright.cost.batch import batch_of
from moewright.cost.layer import layer_work
from moewright.cost.prices.price import Priced
from moewright.cost.table import Table
from moewright.planning.evaluate import pass_of, price_of
from moewright.planning.record import Plan
from moewright.report.figures.parts_figure import KINDS, kind_of
from moewright.report.figures.theme import IDLE, ON, SERIES, Figure, Rows, colours, data, layered, time_unit, tips
from moewright.units import format_bytes, format_flops, format_seconds

_WAITS: Final = "waiting for the fullest rank"
#: lanes, top down
_LANES: Final = ("compute", "communicate", "a rank with the mean load")


def layer_operations(case: Case, plan: Plan, even: bool = False) -> list[Priced]:
    """The operations of the model's commonest layer with experts (else of its commonest) under ``plan``, in order, each
    of one chunk. ``even``: of a rank whose experts get exactly the mean number of tokens."""
    case = replace(case, workload=replace(case.workload, batch=(plan.batch,)))
    table = Table.one(plan.strategy, plan.batch)
    p = pass_of(case, table, batch_of(case.workload, table))
    if even:
        loads = {moe: replace(load, straggler=np.ones_like(load.straggler)) for moe, load in p.loads.items()}
        p = replace(p, loads=loads)
    kinds = case.model.layer_kinds()
    layer, _ = max(kinds, key=lambda kind: (isinstance(kind[0].ffn, MoeFfn), len(kind[1])))
    return [x for x in price_of(case).price(layer_work(p, layer)) if float(x.seconds.flat[0]) > 0]


def layer_timeline(case: Case, plan: Plan) -> Figure:
    """Bars of a layer's operations over time, as they are priced: one after another; under two_batch one half computes
    while the other communicates."""
    operations, even = layer_operations(case, plan), layer_operations(case, plan, even=True)
    halves = int(Table.one(plan.strategy, plan.batch).halves[0])
    bars = _two_batch(operations) if halves == 2 else _in_turn(operations)
    end = max(start + float(x.seconds.flat[0]) for x, start, _ in bars)
    mean = {x.work.name: float(x.seconds.flat[0]) for x in even}
    factor, unit = time_unit(end)
    rows: Rows = [_row(x, start, half, 1 if x.is_collective else 0, factor) for x, start, half in bars]
    waited = 0.0
    for x, start, half in bars:
        seconds = float(x.seconds.flat[0])
        own = min(mean.get(x.work.name, seconds), seconds)
        rows.append(_row(x, start, half, 2, factor, own))
        if seconds - own > 1e-12:
            waited += seconds - own
            rows.append({**_row(x, start + own, half, 2, factor, seconds - own), "kind": _WAITS, "label": ""})
    caption = (
        f"A layer of one {'half of a ' if halves == 2 else ''}micro-batch takes {format_seconds(end)} as priced. The "
        f"fullest rank's experts get {plan.balance.straggler:.3f} times the mean tokens; a rank with the mean load "
        f"waits {format_seconds(waited)} of a layer for it."
    )
    if halves == 2:
        caption += " Under two-batch overlap each half's communication is drawn as one block, as it is priced."
    return Figure("layer", "A layer in time, on the rank that sets the pace", caption, _gantt(rows, unit))


def _in_turn(operations: list[Priced]) -> list[tuple[Priced, float, str]]:
    at, bars = 0.0, []
    for x in operations:
        bars.append((x, at, ""))
        at += float(x.seconds.flat[0])
    return bars


def _two_batch(operations: list[Priced]) -> list[tuple[Priced, float, str]]:
    """2·max(C, X) + min(C, X): the first half's computing and the last half's communication stand alone."""
    compute = [x for x in operations if not x.is_collective]
    exchange = [x for x in operations if x.is_collective]
    c, x = (sum((float(o.seconds.flat[0]) for o in some), 0.0) for some in (compute, exchange))
    starts = (
        (compute, 0.0, "first half"),
        (exchange, c, "first half"),
        (compute, c, "second half"),
        (exchange, c + max(c, x), "second half"),
    )
    bars = []
    for some, at, half in starts:
        for o in some:
            bars.append((o, at, half))
            at += float(o.seconds.flat[0])
    return bars


def _row(x: Priced, start: float, half: str, lane: int, factor: float, seconds: float | None = None) -> dict[str, Any]:
    taken = float(x.seconds.flat[0]) if seconds is None else seconds
    work = x.work
    name = work.name.replace("_", " ")
    kind = kind_of(work.name, [work.name] if x.is_collective else [])
    if work.collective is not None:
        does = f"{work.collective.collective}, {format_bytes(float(work.collective.sent.flat[0]))} sent"
    else:
        does = f"{format_flops(float(work.flops.flat[0]))}, {format_bytes(float(work.traffic.flat[0]))} of memory"
    return {
        "name": f"{name}{', ' + half if half else ''}",
        "label": name,
        "kind": kind,
        "lane": lane,
        "from": float(f"{start * factor:.6g}"),
        "to": float(f"{(start + taken) * factor:.6g}"),
        "takes": format_seconds(taken),
        "does": does,
    }


def _gantt(rows: Rows, unit: str) -> alt.LayerChart:
    end = max(row["to"] for row in rows)
    names = [*KINDS, _WAITS]
    values = [*(colour for colour, _ in KINDS.values()), IDLE]
    used = [i for i, name in enumerate(names) if any(row["kind"] == name for row in rows)]
    on = [ON[SERIES.index(values[i])] for i in used]
    for row in rows:
        row["middle"] = (row["from"] + row["to"]) / 2
    y = alt.Y("lane:O", axis=None, scale=alt.Scale(domain=[0, 1, 2], paddingInner=0.45, paddingOuter=0.4))
    x = alt.X("from:Q", title=f"time in the layer ({unit})", scale=alt.Scale(domain=[0, end], nice=False))
    base = alt.Chart(data(rows))
    bars = base.mark_bar(stroke="var(--page)", strokeWidth=1).encode(
        x=x,
        x2="to:Q",
        y=y,
        color=colours([names[i] for i in used], [values[i] for i in used]),
        tooltip=tips(("name", "operation"), ("kind", "kind"), ("takes", "takes"), ("does", "does")),
    )
    room = f"(datum.to - datum.from) / {end:.6g} * width > 6 * length(datum.label) + 6"
    text = base.mark_text(fontSize=11, text=alt.ExprRef(f"{room} ? datum.label : ''")).encode(
        x=alt.X("middle:Q"),
        y=y,
        color=alt.Color("kind:N", scale=alt.Scale(domain=[names[i] for i in used], range=on), legend=None),
    )
    heads = data([{"lane": i, "text": text} for i, text in enumerate(_LANES)])
    lanes = alt.Chart(heads).mark_text(align="left", baseline="bottom", dy=-19, x=0).encode(y=y, text="text:N")
    return layered(bars, text, lanes, height=200, own_colours=True)
