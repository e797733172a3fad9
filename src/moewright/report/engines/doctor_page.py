"""What a launch command does, on a terminal."""

from __future__ import annotations

from moewright.doctor.diagnose import Diagnosis
from moewright.report.blocks import Section, Table, facts, plural
from moewright.units import format_count, format_seconds

_WORDS = {True: "yes", False: "no", None: "cannot be told"}


def doctor_sections(d: Diagnosis, cluster: str | None) -> list[Section]:
    """The layout, what is wrong, memory, what users would see, and what was not said."""
    sections = [Section(_title(d), (_layout(d),))]
    if d.problems:
        rows = tuple(("stops it" if p.stops else "", p.option, p.what, p.source) for p in d.problems)
        sections.append(Section("What to know about the options", (Table(("", "option", "what", "source"), rows),)))
    sections.append(Section("Memory", (d.fit.why[:1].upper() + d.fit.why[1:] + ".",)))
    if d.expects is not None:
        sections.append(Section("What users see", (_expects(d),)))
    if d.better is not None:
        sections.append(Section("Better on the same GPUs", (d.better, *_gain(d))))
    left = [f"Not said, or taken for granted: {', '.join(d.missing)}."] if d.missing else []
    if d.notes or left:
        sections.append(Section("Notes", (*d.notes, *left)))
    return sections


def _title(d: Diagnosis) -> str:
    total = d.reading.layout.gpus_total
    on = f" on {plural(total, 'GPU')}" if total else ""
    name = d.model.name if d.model else "a model"
    return f"{name}, {d.engine} {d.version or ''}".rstrip() + on


def _layout(d: Diagnosis) -> Table:
    s = d.reading.settings
    return facts(
        ("Layout", d.reading.layout_name),
        ("Starts", _WORDS[d.starts]),
        ("Fits", _WORDS[d.fit.fits]),
        *((_LABELS[name], _shown(s[name])) for name in _LABELS if s.get(name) not in (None, False, 0)),
    )


_LABELS = {
    "role": "Role",
    "kv_dtype": "KV cache",
    "mem_fraction": "Memory fraction",
    "max_seqs": "Sequences",
    "chunk": "Tokens of a step",
    "a2a": "All-to-all",
    "eplb": "Balanced experts",
    "redundant": "Redundant experts",
    "two_batch": "Two batches",
    "spec": "Speculation",
    "dp": "Data parallel",
    "expert_dp": "Data parallel of experts",
    "num_microbatches": "Micro-batches",
}


def _shown(value: object) -> str:
    if isinstance(value, dict):
        known = {k: v for k, v in value.items() if v is not None}
        first = known.pop("value", None)
        rest = ", ".join(f"{k} {v}" for k, v in known.items())
        shown = str(first) if first is not None else "default" if "per" in known else ""
        return f"{shown} ({rest})".strip() if rest else shown
    return "on" if value is True else str(value)


def _expects(d: Diagnosis) -> Table:
    assert d.expects is not None
    e = d.expects
    rows = []
    for name, label in (("ttft", "First token (TTFT)"), ("tpot", "Each further one (TPOT)")):
        if e[name] is None:
            continue
        ends = e["ranges"].get(name)
        within = f", 80 % within {format_seconds(ends[0])} to {format_seconds(ends[1])}" if ends else ""
        rows.append((label, f"{format_seconds(e[name])}{within}"))
    rows.append(("Output", f"{format_count(e['output_per_gpu'])} tokens/s a GPU"))
    rows.append(("Binds", str(e["binds"])))
    return facts(*rows)


def _gain(d: Diagnosis) -> list[str]:
    if d.gain is None:
        return []
    words = [
        f"{name} {_figure(name, after)}"
        if before is None
        else f"{name} {_figure(name, before)} → {_figure(name, after)}"
        for name, (before, after) in d.gain.items()
    ]
    return [f"{'; '.join(words)}."]


def _figure(name: str, value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return format_seconds(value) if name in ("ttft", "tpot") else format_count(value)
