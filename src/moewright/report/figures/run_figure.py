"""What an executed plan spent its time on, and the bytes it moved beside those predicted."""

from __future__ import annotations

from typing import Any

from moewright.report.figures.parts_figure import stacked
from moewright.report.figures.theme import SERIES, Figure, byte_unit, time_unit
from moewright.units import format_bytes, format_seconds


def run_time_figure(r: dict[str, Any]) -> Figure | None:
    """Seconds of a rank, the mean over all, by operation."""
    parts: dict[str, float] = r["operations"]
    whole = sum(parts.values())
    if whole <= 0:
        return None
    large = {k: v for k, v in parts.items() if v >= whole / 100}
    rest = whole - sum(large.values())
    parts = {**dict(list(large.items())[:9]), **({"others": rest} if rest > 0 else {})}
    colour = {name: SERIES[i % len(SERIES)] for i, name in enumerate(parts)}
    factor, unit = time_unit(whole)
    chart = stacked([("", format_seconds(whole), parts)], colour, f"a rank's time ({unit})", factor)
    return Figure("time", "Where a rank's time went", "Measured, the mean over all ranks.", chart)


def run_bytes_figure(r: dict[str, Any]) -> Figure | None:
    """Bytes of each collective, predicted and moved."""
    rows = [c for c in r["collectives"] if c["bytes_predicted"] or c["bytes_moved"]]
    if not rows:
        return None
    factor, unit = byte_unit(max(c["bytes_moved"] for c in rows) or 1)
    bars = []
    for c in rows:
        same = "equal" if c["bytes_predicted"] == c["bytes_moved"] else "different"
        bars.append(
            (f"{c['name']}: predicted", format_bytes(c["bytes_predicted"]), {"predicted": c["bytes_predicted"]})
        )
        bars.append((f"{c['name']}: moved", f"{format_bytes(c['bytes_moved'])}, {same}", {"moved": c["bytes_moved"]}))
    chart = stacked(
        bars, {"predicted": SERIES[1], "moved": SERIES[0]}, f"all ranks ({unit})", factor, form=format_bytes
    )
    caption = "Every collective was counted while the plan ran."
    return Figure("bytes", "Bytes predicted and bytes moved", caption, chart)
