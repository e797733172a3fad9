"""The "Serving" part of docs/accuracy.md: what engines measured against what was predicted without having seen it.

Reads the newest ``results/serving-*.json``, which ``python -m benchmarks.serving --write`` keeps.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
RESULTS = Path(__file__).parent / "results"
#: kind of row → (name, colour); the order of the legend
KINDS = {
    "together": ("prefill and decode together", "#2f6f9f"),
    "stated": ("apart, workers stated", "#5b8c5a"),
    "open": ("apart, workers not stated", "#d1a23d"),
}
_METRICS = (("TPOT", 0, -3.0, 3), ("TTFT", 1, -2.0, 4))


def newest() -> list[Row]:
    """The rows of the newest results."""
    path = max(RESULTS.glob("serving-*.json"))
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def kind_of(r: Row) -> str:
    if not r["apart"]:
        return "together"
    return "stated" if r["stated"] else "open"


def ape(rows: list[Row], held: str, metric: int) -> np.ndarray:
    """Absolute errors of predictions by constants that had not seen the row's ``held`` (layout, system, model)."""
    return np.array([abs(r["held_out"][held][metric] / r["measured"][metric] - 1) for r in rows])


def plot(rows: list[Row], held: str = "layout") -> str:
    """Two panels, TPOT and TTFT: predicted against measured, both axes logarithmic."""
    side, top, body = 380.0, 60, []
    for panel, (name, metric, low, decades) in enumerate(_METRICS):
        left = 70 + panel * (side + 80)
        body.append(f'<text x="{left}" y="{top - 12}" font-weight="600">{name}</text>')
        body.append(f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="#1d2733"/>')
        body += _axes(left, top, side, low, decades)
        for r in rows:
            x, y = (
                (math.log10(v) - low) / decades * side for v in (r["measured"][metric], r["held_out"][held][metric])
            )
            if 0 <= x <= side and 0 <= y <= side:
                colour = KINDS[kind_of(r)][1]
                point = f'cx="{left + x:.0f}" cy="{top + side - y:.0f}"'
                body.append(f'<circle {point} r="2" fill="{colour}" fill-opacity="0.5"/>')
    for i, (text, colour) in enumerate(KINDS.values()):
        x = 70 + i * 250
        body.append(f'<circle cx="{x}" cy="{top + side + 52}" r="5" fill="{colour}"/>')
        body.append(f'<text x="{x + 12}" y="{top + side + 56}">{text}</text>')
    return _page("Serving: predicted (layout held out) against measured (dashed: 20 %)", body, 1000, 520)


def _axes(left: float, top: float, side: float, low: float, decades: int) -> list[str]:
    lines = []
    for factor, dash in ((1.0, ""), (1.2, "4 3"), (1 / 1.2, "4 3")):
        shift = math.log10(factor) / decades * side
        a, b = max(0.0, -shift), min(side, side - shift)
        start = f'x1="{left + a:.1f}" y1="{top + side - a - shift:.1f}"'
        end = f'x2="{left + b:.1f}" y2="{top + side - b - shift:.1f}"'
        lines.append(f'<line {start} {end} stroke="#888" stroke-dasharray="{dash}"/>')
    for i in range(decades + 1):
        text = _seconds(10.0 ** (low + i))
        at = i * side / decades
        lines.append(f'<text x="{left + at}" y="{top + side + 18}" text-anchor="middle">{text}</text>')
        lines.append(f'<text x="{left - 6}" y="{top + side - at + 4}" text-anchor="end">{text}</text>')
    return lines


def _seconds(value: float) -> str:
    return f"{value:g} s" if value >= 1 else f"{value * 1e3:g} ms"


def bars(rows: list[Row]) -> str:
    """Median error of TPOT by model, system and engine, MoE rows that run together or state their workers."""
    rows = [r for r in rows if r["moe"] and kind_of(r) != "open"]
    body, y = [], 60
    for key in ("model", "system", "backend"):
        body.append(f'<text x="24" y="{y}" font-weight="600">by {key}</text>')
        y += 22
        for name, group in grouped(rows, lambda r, k=key: str(r[k])).items():  # type: ignore[misc]
            medians = {held: float(np.median(ape(group, held, 0))) for held in ("layout", "system")}
            for (_, median), colour, shift in zip(medians.items(), ("#2f6f9f", "#9fc3dd"), (0, 9), strict=True):
                box = f'x="240" y="{y - 12 + shift}" width="{median * 1400:.1f}" height="8"'
                body.append(f'<rect {box} fill="{colour}"/>')
            body.append(f'<text x="230" y="{y}" text-anchor="end">{name} ({len(group)})</text>')
            at = 246 + max(medians.values()) * 1400
            body.append(f'<text x="{at:.1f}" y="{y}">{medians["layout"]:.1%}, {medians["system"]:.1%}</text>')
            y += 26
        y += 14
    title = "TPOT: median error, layout (dark) or whole system (light) held out"
    return _page(title, body, 860, y)


def _page(title: str, body: list[str], width: int, height: float) -> str:
    lines = "\n".join(body)
    box = f'width="{width}" height="{height:g}" viewBox="0 0 {width} {height:g}"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {box}
 font-family="system-ui, sans-serif" font-size="13" fill="#1d2733">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="24" y="28" font-size="16" font-weight="600">{title}</text>
{lines}
</svg>
"""


def grouped(rows: list[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Rows by ``key``, the largest group first."""
    found: dict[str, list[Row]] = defaultdict(list)
    for r in rows:
        found[key(r)].append(r)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def part(rows: list[Row]) -> str:
    """The Markdown between the markers."""
    moe = [r for r in rows if r["moe"]]
    out = ["## Serving", "", "![Predicted against measured](accuracy-serving.svg)", ""]
    out += ["![Error by group](accuracy-serving-groups.svg)", ""]
    out += [f"{len(rows)} rows, {len(moe)} of MoE models; all are predicted. Errors of MoE rows, by what the constants"]
    out += ["had not seen:", ""]
    out += ["| rows | held out | number | TPOT median | mean | p90 | TTFT median | mean | p90 |"]
    out += ["|---|---|---:|---:|---:|---:|---:|---:|---:|"]
    sets = {
        **{name: [r for r in moe if kind_of(r) == kind] for kind, (name, _) in KINDS.items()},
        "all but those with workers not stated": [r for r in moe if kind_of(r) != "open"],
        "all": moe,
    }
    for name, group in sets.items():
        for held in ("layout", "system", "model"):
            cells = [f"{v:.1%}" for m in (0, 1) for v in _figures(ape(group, held, m))]
            out.append(f"| {name} | {held} | {len(group)} | " + " | ".join(cells) + " |")
    for key in ("model", "system", "backend"):
        out += ["", f"By {key}, layouts held out, all rows:", ""]
        out += [f"| {key} | rows | TPOT median | p90 | TTFT median |", "|---|---:|---:|---:|---:|"]
        for name, group in grouped(rows, lambda r, k=key: str(r[k])).items():  # type: ignore[misc]
            tpot, ttft = ape(group, "layout", 0), ape(group, "layout", 1)
            cells = (len(group), f"{np.median(tpot):.1%}", f"{np.percentile(tpot, 90):.1%}", f"{np.median(ttft):.1%}")
            out.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(out)


def _figures(errors: np.ndarray) -> tuple[float, float, float]:
    return float(np.median(errors)), float(errors.mean()), float(np.percentile(errors, 90))
