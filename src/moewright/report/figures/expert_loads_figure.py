"""Loads of GPUs before and after a placement of experts."""

from __future__ import annotations

from typing import Final

import altair as alt
import numpy as np

from moewright.placement.expert_placement import ExpertPlacement, evenness
from moewright.report.figures.theme import (
    EXCHANGE,
    EXPERTS,
    GOOD,
    HEAT,
    INK,
    Figure,
    Rows,
    colours,
    data,
    layered,
    picked_rows,
    tips,
)

#: layers, and parts of a row, that are drawn at most
MOST_LAYERS, MOST_ACROSS = 32, 96
#: between the colours of a heat map: a GPU's load over the mean
_STEPS: Final = (0.5, 0.8, 0.95, 1.05, 1.25, 1.75)


def balance_figure(p: ExpertPlacement) -> Figure:
    """Of each layer the largest load over the mean, before and after, and the least that any placement could have."""
    rows: Rows = []
    before = evenness(p.before)
    for layer in range(len(p.gpu_load)):
        for kind, value in (
            ("before", before[layer]),
            ("after", p.layer_balancedness[layer]),
            ("no placement is below", p.layer_bound[layer]),
        ):
            over = 1 / float(value) if value > 0 else 1.0
            rows.append({"layer": layer, "kind": kind, "over": float(f"{over:.6g}"), "shown": f"{over:.4f}"})
    kinds = ("before", "after", "no placement is below")
    base = alt.Chart(data(rows)).encode(
        x=alt.X("layer:Q", title="layer", axis=alt.Axis(format="d", tickMinStep=1), scale=alt.Scale(nice=False)),
        y=alt.Y("over:Q", title="largest load ÷ mean", scale=alt.Scale(zero=False)),
        color=colours(kinds, (EXCHANGE, EXPERTS, GOOD)),
        tooltip=tips(("layer", "layer"), ("kind", ""), ("shown", "largest ÷ mean")),
    )
    marks = base.mark_point(filled=True, size=60, opacity=1) if len(p.gpu_load) < 3 else base.mark_line(point=True)
    chart = layered(marks, height=240)
    old, new = 1 / max(float(before.mean()), 1e-9), 1 / max(p.balancedness, 1e-9)
    caption = (
        f"The fullest GPU of a layer sets its pace: {old:.3g} times the mean load before, {new:.3g} after "
        f"(balancedness {before.mean():.4f} to {p.balancedness:.4f}, at most {p.bound:.4f})."
    )
    return Figure("balance", "How much fuller the fullest GPU is, layer by layer", caption, chart)


def load_maps(p: ExpertPlacement) -> list[Figure]:
    """Heat maps, layers down and GPUs across: loads before, and after."""
    start = "every expert once, in order" if p.layer_moved is None else "by the earlier placement"
    return [
        _map("before", p.before, f"Load of each GPU before ({start})"),
        _map("after", p.gpu_load, "Load of each GPU after"),
    ]


def _map(name: str, load: np.ndarray, title: str) -> Figure:
    layers = picked_rows(len(load), MOST_LAYERS)
    parts = np.array_split(np.arange(load.shape[1]), min(MOST_ACROSS, load.shape[1]))
    rows: Rows = []
    for at, layer in enumerate(layers):
        mean = float(load[layer].mean()) or 1.0
        for i, gpus in enumerate(parts):
            value = float(load[layer][gpus].max()) / mean
            which = f"{gpus[0]}" if len(gpus) == 1 else f"fullest of {gpus[0]}–{gpus[-1]}"
            rows.append({"at": at, "gpu": i, "layer": str(layer), "which": which, "load": float(f"{value:.4g}")})
    scale = alt.Scale(type="threshold", domain=list(_STEPS), range=list(HEAT))
    labels = {at: layer for at, layer in enumerate(layers)}
    every = max(1, len(layers) // 8)
    y = alt.Axis(
        title="layer",
        values=[at for at in labels if at % every == 0],
        labelExpr=f"{[str(v) for v in labels.values()]}[datum.value]",
        ticks=False,
        domain=False,
    )
    x = alt.Axis(
        title="GPU" if len(parts) == load.shape[1] else f"GPU (parts of {load.shape[1]})",
        labels=False,
        ticks=False,
        domain=False,
    )
    chart = (
        alt.Chart(data(rows))
        .mark_rect(stroke="var(--page)", strokeWidth=0.5)
        .encode(
            x=alt.X("gpu:O", axis=x),
            y=alt.Y("at:O", axis=y),
            color=alt.Color(
                "load:Q", scale=scale, legend=alt.Legend(title="load ÷ mean", labelColor=INK, format=".2f")
            ),
            tooltip=tips(("layer", "layer"), ("which", "GPU"), ("load", "load ÷ mean")),
        )
    )
    some = f" {len(layers)} of {len(load)} layers are drawn." if len(layers) < len(load) else ""
    caption = f"A cell is a GPU's load over the mean of its layer.{some}"
    return Figure(name, title, caption, layered(chart, height=max(70, min(360, 18 * len(layers) + 10))))
