"""What a run showed, as sections."""

from __future__ import annotations

from typing import Any

from moewright.report.blocks import Section, Table, facts, plural
from moewright.units import format_bytes, format_seconds


def run_sections(r: dict[str, Any]) -> list[Section]:
    """The sections of a run's report, of its plain values."""
    sections = [_summary(r)]
    if r["generation"] is not None:
        sections += _generated(r["generation"])
    if r["operations"]:
        sections.append(_time(r))
    if r["collectives"]:
        sections.append(_bytes(r["collectives"]))
    elif r["max_error"] is not None:
        sections.append(Section("Bytes over all ranks", ("Nothing moved: no group has more than one rank.",)))
    return sections


def _summary(r: dict[str, Any]) -> Section:
    copies, seconds = r["tokens_per_expert_rank"], r["seconds"]
    if r["verified"]:
        verdict = "Verified"
    elif r["failures"]:
        verdict = "NOT verified: " + "; ".join(r["failures"][:3])
    else:
        verdict = "Not verified, as asked"
    text = f"{verdict}."
    if r["max_error"] is not None:
        text += (
            f" The largest difference from the unsharded model is {r['max_error']:.3g}, of outputs up to "
            f"{r['max_logit']:.4g}."
        )
    return Section(
        f"Run of {r['strategy']} on {plural(r['ranks'], 'rank')}",
        (
            text,
            facts(
                ("Model", f"{r['model']}, weights {r['weights']}, in {r['precision']}"),
                ("Device", r["device"]),
                *((("FP8 weights", r["fp8"]),) if r["fp8"] else ()),
                *((("Weights' files", r["checksums"]),) if r.get("checksums") else ()),
                *((_line_name(line), _held(m, bool(r["verified"] or r["failures"]))) for line, m in _lines(r)),
                *(
                    (("Routed copies", f"{copies['min']} to {copies['max']} a layer and rank"),)
                    if copies["max"]
                    else ()
                ),
                ("Seconds", ", ".join(f"{name} {format_seconds(value, 3)}" for name, value in seconds.items())),
            ),
        ),
    )


def _lines(r: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    return list(r["memory"].items())


def _held(m: dict[str, float], compared: bool) -> str:
    low, high = m["held_min"], m["held_max"]
    span = format_bytes(high) if low == high else f"{format_bytes(low)} to {format_bytes(high)}"
    if not compared:
        return f"{span} a rank, not compared"
    if (round(m["predicted_min"]), round(m["predicted_max"])) == (low, high):
        return f"{span} a rank, as its assignment says"
    return f"{span} a rank, {format_bytes(m['predicted_min'])} to {format_bytes(m['predicted_max'])} predicted"


def _generated(g: dict[str, Any]) -> list[Section]:
    def beside(measured: float | None, predicted: float | None) -> str:
        if measured is None:
            return "–"
        shown = format_seconds(measured, 3)
        return shown if predicted is None else f"{shown} measured, {format_seconds(predicted, 3)} predicted"

    count = len(g["tokens"])
    lines = []
    for i, ids in enumerate(g["tokens"][:8]):
        text = g["text"][i] if g["text"] else " ".join(map(str, ids))
        lines.append(f"{i}: {text}")
    if count > 8:
        lines.append(f"… and {count - 8} more")
    return [
        Section(
            f"Generated for {plural(count, 'prompt')}",
            (
                facts(
                    ("TTFT", beside(g["ttft"], g["predicted_ttft"])),
                    ("TPOT", beside(g["tpot"], g["predicted_tpot"])),
                    ("Throughput", f"{g['tokens_per_second']:,.1f} tokens/s, stop ids not counted"),
                ),
                *lines,
            ),
        )
    ]


def _time(r: dict[str, Any]) -> Section:
    """Where a rank's time went, and what the run took over its computation alone."""
    whole = r["seconds"]["forward"]
    rows = tuple((name, format_seconds(s, 3), f"{s / whole:.1%}") for name, s in r["operations"].items())
    blocks: list[Any] = [Table(("operation", "seconds", "share"), rows, (1, 2))]
    if r["overhead"]:
        o = r["overhead"]
        blocks.append(
            f"The computation of all ranks alone would take {format_seconds(o['computation'], 3)} on "
            f"{plural(o['cores'], 'core')}; with its collectives the run took {o['ratio']:.3g} times that."
        )
    return Section("Time of a rank, the mean over all", tuple(blocks))


def _bytes(collectives: list[dict[str, Any]]) -> Section:
    rows = tuple(
        (
            c["name"],
            str(c["group_size"]),
            str(c["calls"]),
            f"{c['bytes_predicted']:,}",
            f"{c['bytes_moved']:,}",
            "equal" if c["bytes_predicted"] == c["bytes_moved"] else "DIFFERENT",
        )
        for c in collectives
    )
    header = ("operation", "group", "calls", "predicted", "moved", "")
    return Section("Bytes over all ranks", (Table(header, rows, (1, 2, 3, 4)),))


def _line_name(line: str) -> str:
    return {"weights": "Weights", "kv_cache": "KV cache"}.get(line, line)
