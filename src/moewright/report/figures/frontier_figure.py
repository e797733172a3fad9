"""Strategies as points: what one gains in latency another gains in throughput."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import altair as alt

from moewright.planning.record import Plan, Result
from moewright.report.figures.theme import (
    ATTENTION,
    EXCHANGE,
    EXPERTS,
    GOOD,
    IDLE,
    INK,
    Figure,
    Rows,
    colours,
    data,
    layered,
    spaced_values,
    time_unit,
    tips,
)
from moewright.serving.planner.option import Choice
from moewright.serving.planner.serving_plan import ServingPlan
from moewright.training.training_record import TrainingPlan, TrainingResult
from moewright.units import format_bytes, format_count, format_seconds

#: kinds of points, the least important first, with their colours and sizes
KINDS: Final = (
    ("other strategies", IDLE, 24),
    ("alternatives", ATTENTION, 70),
    ("frontier", EXPERTS, 70),
    ("compared", EXCHANGE, 130),
    ("best", GOOD, 200),
)
#: sizes of a strategy that points can be filtered by
DIMENSIONS: Final = {
    "replicas": "replicas",
    "pp": "pp",
    "dp": "attention dp",
    "cp": "attention cp",
    "tp": "attention tp",
    "ep": "expert ep",
    "etp": "expert tp",
}


def dimensions(strategy: Any) -> dict[str, int]:
    """The sizes of a pass's strategy by the names of ``DIMENSIONS``."""
    a, e = strategy.attention, strategy.experts
    sizes = (strategy.replicas, strategy.pp, a.dp * a.repeated, a.cp, a.tp, e.ep, e.tp)
    return dict(zip(DIMENSIONS, sizes, strict=True))


def pass_frontier(result: Result) -> Figure:
    """Latency of a pass against tokens/s of a GPU: every strategy of the sample, the frontier through the best."""
    factor, unit = time_unit(result.best.latency.seconds)
    rows: Rows = []
    sample = result.sample
    for i in range(0 if sample is None else len(sample.seconds)):
        assert sample is not None
        sizes = dict(zip(DIMENSIONS, (int(column[i]) for column in sample.sizes), strict=True))
        rows.append(
            _point(sample.names[i], 0, sample.seconds[i] * factor, sample.rates[i], sample.memory[i], unit, sizes)
        )

    def plan(p: Plan, kind: int) -> dict[str, Any]:
        rate = p.throughput.tokens_per_second_per_gpu
        return _point(p.name, kind, p.latency.seconds * factor, rate, p.memory.total, unit, dimensions(p.strategy))

    rows += [plan(p, 1) for p in result.alternatives]
    rows += [plan(p, 2) for p in result.frontier]
    rows += [plan(c.plan, 3) for c in result.comparisons]
    rows.append(plan(result.best, 4))
    rows = _once(rows)
    shown = "" if sample is None or sample.of <= len(sample.seconds) else f" {len(sample.seconds)} of"
    caption = (
        f"Up and to the left is better. Of{shown} {result.candidates} legal strategies, those that fit and meet the "
        "limits. Click a point for its figures; the lists below the figure leave only strategies of those sizes."
    )
    labels = {
        "name": "strategy",
        "what": "",
        "latency": "latency",
        "rate": "tokens/s a GPU",
        "memory": "memory of a GPU",
    }
    title = "Which strategies there are: latency against throughput"
    return Figure(
        "frontier", title, caption, _scatter(rows, f"latency ({unit})", "tokens/s a GPU", DIMENSIONS, labels), labels
    )


def _point(name: str, kind: int, x: float, y: float, memory: float, unit: str, sizes: dict[str, int]) -> dict[str, Any]:
    return {
        "name": name,
        "kind": KINDS[kind][0],
        "what": KINDS[kind][0],
        "size": KINDS[kind][2],
        "order": kind,
        "x": float(f"{x:.6g}"),
        "y": float(f"{y:.6g}"),
        "latency": f"{x:.4g} {unit}",
        "rate": format_count(float(y)),
        "memory": format_bytes(float(memory)),
        **sizes,
    }


def _once(rows: Rows) -> Rows:
    """Each strategy once, as the most important that it is; the most important drawn last."""
    best: dict[tuple[str, float, float], dict[str, Any]] = {}
    for row in rows:
        key = (row["name"], row["x"], row["y"])
        if key not in best or best[key]["order"] < row["order"]:
            best[key] = row
    return sorted(best.values(), key=lambda row: (row["order"], row["x"]))


def _scatter(rows: Rows, x: str, y: str, filters: dict[str, str], labels: dict[str, str]) -> alt.LayerChart:
    used = [kind for kind in KINDS if any(row["kind"] == kind[0] for row in rows)]
    colour = colours([k[0] for k in used], [k[1] for k in used])
    base = alt.Chart(data(rows)).encode(x=_axis("x", x, rows), y=_axis("y", y, rows))
    picked = alt.selection_point(name="picked", on="click", fields=["name"], empty=False)
    points = (
        base.mark_point(filled=True, opacity=0.85)
        .encode(
            color=colour,
            size=alt.Size("size:Q", scale=None),
            tooltip=tips(*((name, label or "is") for name, label in labels.items())),
            stroke=alt.condition(picked, alt.value(INK), alt.value("transparent")),
            strokeWidth=alt.value(2.5),
        )
        .add_params(picked)
    )
    line = (
        base.transform_filter(alt.FieldOneOfPredicate("kind", ["frontier", "best"]))
        .mark_line(color=EXPERTS, opacity=0.5, strokeWidth=1.5)
        .encode(order="x:Q")
    )
    for name, label in filters.items():
        values = sorted({row[name] for row in rows if name in row})
        if len(values) < 2:
            continue
        bind = alt.binding_select(options=[None, *values], labels=["any", *map(str, values)], name=f"{label} ")
        param = alt.param(name=f"only_{name}", bind=bind, value=None)
        points = points.add_params(param).transform_filter(
            f"only_{name} == null || datum.{name} == only_{name} || datum.kind == 'best'"
        )
    return layered(line, points, height=340)


def _axis(name: str, title: str, rows: Rows) -> Any:
    values = [row[name] for row in rows]
    wide = min(values) > 0 and max(values) / min(values) > 20
    axis = alt.Axis(title=title, format="~s", labelOverlap=True, tickCount=6)
    scale = alt.Scale(zero=False, nice=True, padding=12)
    if wide:
        low, high = min(values) / 1.2, max(values) * 1.2
        scale = alt.Scale(type="log", domain=[low, high], nice=False)
        axis = alt.Axis(title=title, format="~s", values=spaced_values(low, high))
    return alt.X(f"{name}:Q", scale=scale, axis=axis) if name == "x" else alt.Y(f"{name}:Q", scale=scale, axis=axis)


def serving_frontier(p: ServingPlan) -> Figure:
    """Tokens/s of a user against tokens/s of a GPU, of all choices that were simulated."""
    rows: Rows = []

    def add(choices: Sequence[Choice], kind: int) -> None:
        for c in choices:
            seen = c.seen
            row = _point(f"{c.name}, concurrency {c.concurrency}", kind, c.of_user, seen.of_cluster, 0.0, "", {})
            held = c.simulation.pools[-1].memory.get("kv_cache", 0.0) if c.simulation else 0.0
            row |= {
                "latency": f"TTFT {format_seconds(seen.ttft)}, TPOT {format_seconds(seen.tpot)}",
                "user": f"{c.of_user:.4g}",
                "memory": format_bytes(float(held)),
                "flight": c.concurrency,
                "gpus": sum(c.gpus),
            }
            rows.append(row)

    add(p.alternatives, 1)
    add(p.frontier, 2)
    add((p.best,), 4)
    labels = {
        "name": "strategy",
        "what": "",
        "user": "tokens/s of a user",
        "rate": "tokens/s of a GPU",
        "latency": "latency",
        "memory": "KV cache of a GPU",
    }
    caption = (
        "Up and to the right is better: every point was simulated and meets the limits. Click one for its figures; the "
        "list below the figure leaves only one concurrency."
    )
    chart = _scatter(
        _once(rows), "tokens/s of a user", "output tokens/s of a GPU", {"flight": "concurrency", "gpus": "GPUs"}, labels
    )
    return Figure("frontier", "What users get against what GPUs give", caption, chart, labels)


def training_frontier(r: TrainingResult) -> Figure:
    """Seconds of a step against memory of the fullest rank."""
    factor, unit = time_unit(r.best.seconds)
    rows: Rows = []

    def add(plans: Sequence[TrainingPlan], kind: int) -> None:
        for p in plans:
            s = p.strategy
            sizes = {"pp": s.pp, "dp": s.dp, "cp": s.cp, "tp": s.tp, "ep": s.ep, "etp": s.etp}
            rows.append(_point(s.name, kind, p.seconds * factor, p.peak * 1e-9, p.peak, unit, sizes))
            rows[-1]["rate"] = format_count(p.tokens_s_gpu)

    add(r.alternatives, 1)
    add(r.frontier, 2)
    add([c.plan for c in r.comparisons], 3)
    add((r.best,), 4)
    labels = {
        "name": "strategy",
        "what": "",
        "latency": "a step",
        "rate": "tokens/s a GPU",
        "memory": "peak memory",
    }
    caption = (
        f"Down and to the left is better. Of {r.candidates} legal layouts: the fastest, those that no other beats in "
        "both, and those that were asked about. Click a point for its figures."
    )
    filters = {name: label for name, label in DIMENSIONS.items() if name != "replicas"}
    chart = _scatter(_once(rows), f"a step ({unit})", "peak memory of a GPU (GB)", filters, labels)
    return Figure("frontier", "What a step takes against the memory it needs", caption, chart, labels)
