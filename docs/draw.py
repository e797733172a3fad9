"""Draw docs/plan.svg: where the time of a pass goes, for the seed's case. Run: python docs/draw.py"""

from __future__ import annotations

from pathlib import Path

import moewright
from moewright.case.file.strategy_text import parse_strategy
from moewright.cli.output import write_file
from moewright.planning.record import Plan

ROOT = Path(__file__).parents[1]
#: kind of time → (colour, the terms of the breakdown it sums)
KINDS = {
    "experts": ("#2f6f9f", ("experts",)),
    "attention": ("#6aa4c8", ("attention_projections", "attention", "output_projection")),
    "norms, router": ("#b5cfdf", ("norms", "router")),
    "dispatch and combine": ("#d1603d", ("dispatch", "combine")),
    "other collectives": (
        "#eba87c",
        ("attention_gather", "attention_reduce", "expert_gather", "expert_reduce", "context_gather"),
    ),
}
LEFT, SCALE, ROW = 500, 86, 34


def bar(plan: Plan, y: int, note: str) -> str:
    """One strategy: its name and the parts of its time."""
    bold = ' font-weight="600"' if note else ""
    parts = [f'<text x="{LEFT - 12}" y="{y + 17}" text-anchor="end"{bold}>{plan.name}</text>']
    hidden = -plan.latency.breakdown.get("hidden_by_overlap", 0.0)
    x = float(LEFT)
    for kind, (colour, terms) in KINDS.items():
        seconds = sum(plan.latency.breakdown.get(term, 0.0) for term in terms)
        if kind == "dispatch and combine":  # what overlap hides is communication
            seconds -= hidden
        width = max(seconds, 0.0) * 1e3 * SCALE
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="24" fill="{colour}"/>')
        x += width
    parts.append(f'<text x="{x + 8:.1f}" y="{y + 17}">{plan.latency.seconds * 1e3:.2f} ms{note}</text>')
    return "\n".join(parts)


def main() -> None:
    """Plan the case and draw its best strategies, the document's, and the bound."""
    case = moewright.load(ROOT / "examples" / "paper.yaml")
    literal = moewright.plan(moewright.load(ROOT / "examples" / "paper-literal.yaml")).best
    result = moewright.plan(case, [parse_strategy("EP64×TP2")], top=3)
    plans = [
        (result.best, "  chosen"),
        *((p, "") for p in result.alternatives),
        (result.comparisons[0].plan, "  the document's"),
    ]
    bound = LEFT + result.best.latency.bound_seconds * 1e3 * SCALE
    height = 70 + ROW * len(plans) + 62
    rows = "\n".join(bar(p, 60 + ROW * i, note) for i, (p, note) in enumerate(plans))
    legend, x = [], 24
    for kind, (colour, _) in KINDS.items():
        legend.append(f'<rect x="{x}" y="{height - 42}" width="14" height="14" fill="{colour}"/>')
        legend.append(f'<text x="{x + 20}" y="{height - 30}">{kind}</text>')
        x += 44 + 7 * len(kind)
    least = f"bound {result.best.latency.bound_seconds * 1e3:.2f} ms"
    foot = f"The document read literally, attention repeated in all 64 groups: {literal.latency.seconds * 1e3:.0f} ms."
    title = "One pass of the seed's case on 128 GPUs, by where its time goes"
    foot_style = f'x="24" y="{height - 8}" font-size="12" fill="#5a6672"'
    svg = f"""<svg xmlns="http://www.w3.org/2000/svg" width="1080" height="{height}" viewBox="0 0 1080 {height}"
 font-family="system-ui, sans-serif" font-size="13" fill="#1d2733">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="24" y="30" font-size="16" font-weight="600">{title}</text>
{rows}
<line x1="{bound:.1f}" x2="{bound:.1f}" y1="50" y2="{56 + ROW * len(plans)}" stroke="#1d2733" stroke-dasharray="4 3"/>
<text x="{bound:.1f}" y="46" text-anchor="middle" font-size="12">{least}</text>
{"".join(legend)}
<text {foot_style}>{foot}</text>
</svg>
"""
    write_file(Path(__file__).with_name("plan.svg"), svg)


if __name__ == "__main__":
    main()
