"""Remake the parts of docs/accuracy.md and their plots. Run: python -m benchmarks.accuracy"""

from __future__ import annotations

import csv
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import accuracy_serving, published
from moewright.case.cluster import Cluster
from moewright.cli.output import write_file
from moewright.units import format_seconds

DOCS = Path(__file__).parents[1] / "docs"
Row = dict[str, Any]
Fit = tuple[str, str, list[tuple[float, ...]], Callable[[Cluster, Sequence[float]], Cluster]]
COLOURS = [
    "#2f6f9f",
    "#d1603d",
    "#5b8c5a",
    "#8a5fa8",
    "#c9a227",
    "#4aa3a3",
    "#b04a6f",
    "#7a7a7a",
    "#305070",
    "#e09a5f",
    "#90b040",
    "#603030",
]
#: ids → why no prediction is made
UNPREDICTED = [
    (r"route-", "the skew of real routing: an input of a plan (`routing: FILE`), which no hardware predicts"),
    (r"flashmla", "the most a kernel reaches, at shapes that are not told"),
    (r"aic-moe.*power_law", "routing drawn from a power law whose draw is not told"),
    (r"dsprofile", "the micro-batch is not told"),
    (r"trtllm-blog3-dsr1-b200-weightmem", "bytes, not seconds: weights and activations together, rounded"),
]


def _gemm(c: Cluster, p: Sequence[float]) -> Cluster:
    assert c.device.kernels
    return replace(c, device=replace(c.device, mfu=p[0], kernels=replace(c.device.kernels, depth=p[1])))


def _latent(c: Cluster, p: Sequence[float]) -> Cluster:
    assert c.device.kernels
    return replace(c, device=replace(c.device, kernels=replace(c.device.kernels, latent_decode=p[0] * 1e-6)))


def _exchange(c: Cluster, p: Sequence[float]) -> Cluster:
    return replace(c, node=replace(c.node, exchange=p[0]))


def _start(c: Cluster, p: Sequence[float]) -> Cluster:
    return replace(c, node=replace(c.node, start=p[0] * 1e-6))


FITS: list[Fit] = [
    ("mfu, depth", r"deepgemm", list(product((0.65, 0.68, 0.71, 0.74, 0.77), (0, 165, 330, 500))), _gemm),
    ("latent_decode (us)", r"infersim-mla", [(float(x),) for x in range(5, 26, 2)], _latent),
    ("exchange", r"aic-deepep-(ll|normal)-.*-n1", [(x / 20,) for x in range(8, 21)], _exchange),
    ("start (us)", r"nccl", [(float(x),) for x in range(0, 16)], _start),
]


def held_out() -> list[Row]:
    """For each fitted parameter: the median error of its figures, each predicted with what the others fit."""
    found = []
    for name, pattern, grid, change in FITS:
        errors = []
        for values in grid:
            published.CHANGE[:] = [lambda c, v=values, f=change: f(c, v)]
            errors.append([abs(math.log(r["ratio"])) for r in published.predictions() if re.match(pattern, r["id"])])
        published.CHANGE.clear()
        inside = [abs(math.exp(e) - 1) for e in min(errors, key=sum)]
        outside, chosen = [], []
        for left in range(len(errors[0])):
            best = min(range(len(grid)), key=lambda i, k=left: sum(errors[i]) - errors[i][k])
            outside.append(math.exp(errors[best][left]) - 1)
            chosen.append(grid[best])
        spread = f"{', '.join(f'{x:g}' for x in min(chosen))} – {', '.join(f'{x:g}' for x in max(chosen))}"
        row = {"parameter": name, "figures": len(inside), "fitted": statistics.median(inside)}
        found.append({**row, "held_out": statistics.median(outside), "values": spread})
    return found


def plot(rows: list[Row]) -> str:
    """Predicted against measured, both axes logarithmic."""
    low, size, left, top = -6.0, 110.0, 70, 50
    families = list(dict.fromkeys(r["family"] for r in rows))

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (math.log10(x) - low) * size, top + 4 * size - (math.log10(y) - low) * size

    lines = []
    for factor, dash in ((1.0, ""), (1.2, "4 3"), (1 / 1.2, "4 3")):
        (x1, y1), (x2, y2) = at(1e-6, 1e-6 * factor), at(1e-2, 1e-2 * factor)
        lines.append(f'<line x1="{x1}" y1="{y1:.1f}" x2="{x2}" y2="{y2:.1f}" stroke="#888" stroke-dasharray="{dash}"/>')
    for power, name in zip(range(-6, -1), ("1 us", "10 us", "100 us", "1 ms", "10 ms"), strict=True):
        x, y = at(10.0**power, 10.0**power)
        lines.append(f'<text x="{x}" y="{top + 4 * size + 18}" text-anchor="middle">{name}</text>')
        lines.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{name}</text>')
    for r in rows:
        x, y = at(r["measured"], r["predicted"])
        colour = COLOURS[families.index(r["family"]) % len(COLOURS)]
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" fill-opacity="0.75"/>')
    for i, family in enumerate(families):
        x, y = left + 4 * size + 24, top + 14 + 22 * i
        lines.append(f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{COLOURS[i % len(COLOURS)]}"/>')
        lines.append(f'<text x="{x + 12}" y="{y}">{family}</text>')
    body, side = "\n".join(lines), 4 * size
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="860" height="540" viewBox="0 0 860 540"
 font-family="system-ui, sans-serif" font-size="13" fill="#1d2733">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="24" y="28" font-size="16" font-weight="600">Published figures: predicted over measured (dashed: 20 %)</text>
<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="none" stroke="#1d2733"/>
{body}
</svg>
"""


def part(rows: list[Row], held: list[Row]) -> str:
    """The Markdown between the markers."""
    inputs = {r["id"]: r for r in csv.DictReader(published.DATA.open(encoding="utf-8"))}
    by_family: dict[str, list[float]] = defaultdict(list)
    for r in rows:
        by_family[r["family"]].append(r["ratio"])
    out = ["## Published figures", "", "![Predicted against measured](accuracy-published.svg)", ""]
    out += ["| kind | figures | median error | least ratio | median | most |", "|---|---:|---:|---:|---:|---:|"]
    for family, ratios in by_family.items():
        error = statistics.median(abs(x - 1) for x in ratios)
        least, middle, most = min(ratios), statistics.median(ratios), max(ratios)
        out.append(f"| {family} | {len(ratios)} | {error:.1%} | {least:.2f} | {middle:.2f} | {most:.2f} |")
    out += [
        "",
        "The fitted parameters, and the error of figures that their fit did not see (each left out in turn):",
        "",
    ]
    out += ["| parameter | figures | fitted error | held-out error | values that the folds chose |"]
    out += ["|---|---:|---:|---:|---|"]
    for h in held:
        parts = (h["parameter"], h["figures"], f"{h['fitted']:.1%}", f"{h['held_out']:.1%}", h["values"])
        out.append("| " + " | ".join(map(str, parts)) + " |")
    out += ["", "Every figure; ratio is predicted over measured:", ""]
    out += ["| figure | GPUs | format | input | measured | predicted | ratio |", "|---|---|---|---|---:|---:|---:|"]
    for r in rows:
        i = inputs.pop(r["id"])
        shape = (i["id"], f"{i['n_gpus']} × {i['gpu']}", i["precision"], i["batch_or_concurrency"])
        seconds = (format_seconds(r["measured"]), format_seconds(r["predicted"]), f"{r['ratio']:.2f}")
        out.append("| " + " | ".join((*shape, *seconds)) + " |")
    out += ["", f"No prediction is made of the other {len(inputs)}:", "", "| figure | value | why |", "|---|---|---|"]
    for name, i in inputs.items():
        why = next((text for pattern, text in UNPREDICTED if re.match(pattern, name)), "no formula")
        out.append(f"| {name} | {i['measured_value']} {i['unit']} | {why} |")
    return "\n".join(out)


def place(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between the markers of part ``name``, added at the end if it has none."""
    start, end = f"<!-- part {name} -->", f"<!-- end {name} -->"
    if start not in page:
        page = page.rstrip() + f"\n\n{start}\n{end}\n"
    before, rest = page.split(start, 1)
    return f"{before}{start}\n{text}\n{end}{rest.split(end, 1)[1]}"


def run() -> list[Row]:
    """Remake the part and its plot."""
    rows, held = published.predictions(), held_out()
    write_file(DOCS / "accuracy-published.svg", plot(rows))
    page = DOCS / "accuracy.md"
    write_file(page, place(page.read_text(encoding="utf-8"), "published", part(rows, held)))
    serving = accuracy_serving.newest()
    write_file(DOCS / "accuracy-serving.svg", accuracy_serving.plot(serving))
    write_file(DOCS / "accuracy-serving-groups.svg", accuracy_serving.bars(serving))
    write_file(page, place(page.read_text(encoding="utf-8"), "serving", accuracy_serving.part(serving)))
    for h in held:
        print(
            f"{h['parameter']:20s} {h['figures']:3d} fitted {h['fitted']:.1%}, "
            f"held out {h['held_out']:.1%}, {h['values']}"
        )
    return rows


if __name__ == "__main__":
    run()
