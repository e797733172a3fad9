"""The report of an audit: what was taken for given, every claim with its verdict, and the better plan."""

from __future__ import annotations

from typing import Any, Final

from moewright.audit.audit_record import WORST_FIRST, Audit, Better, Claim, Variant, Verdict
from moewright.report.blocks import Section, Table, plural
from moewright.units import format_bytes, format_count, format_quantity, format_seconds

#: a claim's text is shown up to here
MOST_TEXT: Final = 64
_HEADINGS: Final = {
    Verdict.IMPOSSIBLE: "Impossible: below a physical bound",
    Verdict.WRONG: "Wrong",
    Verdict.CONTRADICTED: "Contradicted by another place",
    Verdict.UNSUPPORTED: "Unsupported: follows from nothing given",
    Verdict.NOT_CHECKED: "Not checked",
    Verdict.HOLDS: "Holds",
}
_UNITS: Final = {
    "cluster.device.flops": "FLOP/s",
    "cluster.device.memory": "bytes",
    "bandwidth": "bytes/s",
    "latency": "seconds",
    "mfu": "share",
    "bandwidth_utilization": "share",
}


def audit_sections(a: Audit) -> list[Section]:
    """The sections of the report; the answer first."""
    title = f"Audit of {a.file}"
    if not a.claims and not a.premises:
        return [Section(title, (a.note or "nothing to check",))]
    sections = [Section(title, (_answer(a),)), *([_premises(a)] if a.premises else [])]
    if a.configurations:
        sections.append(_configurations(a.configurations))
    if a.unread:
        rows = tuple((str(u.line), _cut(u.text), u.reason) for u in a.unread)
        intro = "No case has these values, and nothing stands on them. Correct one with --assume KEY=VALUE."
        sections.append(Section("Unread", (intro, Table(("line", "text", "why"), rows, (0,)))))
    if a.assumptions or a.missing:
        sections.append(_assumptions(a))
    for verdict in WORST_FIRST:
        mine = [c for c in a.claims if c.verdict is verdict]
        if mine:
            sections.append(Section(f"{_HEADINGS[verdict]} ({len(mine)})", (_table(mine, verdict),)))
    if a.better is not None:
        sections.append(_better(a.better))
    return sections


def _answer(a: Audit) -> str:
    if not a.claims:
        return "No claim was found beside the premises."
    counts = ", ".join(f"{n} {verdict}" for verdict, n in a.summary.items())
    answer = f"{plural(len(a.claims), 'claim')}: {counts}."
    return f"{answer} Read by {a.reader}. {a.note}".strip() if a.reader else answer


def shown(field: str, value: Any) -> str:
    """A premise's value with its unit."""
    unit = _UNITS.get(field) or next((u for end, u in _UNITS.items() if field.endswith(end)), None)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int) and unit:
        return format_quantity(float(value), unit)
    return str(value)


def _premises(a: Audit) -> Section:
    rows = tuple((p.field, shown(p.field, p.value), str(p.line)) for p in a.premises)
    return Section("Premises", (Table(("field", "value", "line"), rows, (2,)),))


def _configurations(variants: tuple[Variant, ...]) -> Section:
    rows = []
    for v in variants:
        named = {p.field: p.value for p in v.premises if p.field.startswith(("strategy.", "cluster.gpus", "workload."))}
        named |= {p.field: p.value for p in v.premises if p.field in ("model.name", "cluster.device.name")}
        sizes = ", ".join(f"{field.rpartition('.')[2]} {shown(field, value)}" for field, value in named.items())
        rows.append((_cut(v.name), str(v.line), v.unpriced or sizes))
    intro = "The document has several. Each claim is judged against the one that it stands under."
    return Section("Configurations", (intro, Table(("configuration", "line", "premises"), tuple(rows), (1,))))


def _assumptions(a: Audit) -> Section:
    rows = [(x.field, shown(x.field, x.value), x.source) for x in a.assumptions]
    rows += [(field, "missing", f"give --assume {field}=…; what needs it is not checked") for field in a.missing]
    intro = "The document does not give these; verdicts that need one name it. Change one with --assume KEY=VALUE."
    return Section("Assumptions", (intro, Table(("field", "value", "from"), tuple(rows))))


def _table(claims: list[Claim], verdict: Verdict) -> Table:
    rows = []
    for c in claims:
        why = c.why + (f" [assumes {', '.join(_short(c.assumes))}]" if c.assumes else "")
        ratio = "" if c.ratio is None or verdict is Verdict.HOLDS else f"{c.ratio:.3g}"
        quantity = f"{c.quantity} of {_cut(c.configuration)}" if c.configuration else c.quantity
        rows.append((str(c.line), _cut(c.text), quantity, ratio, why))
    return Table(("line", "claim", "quantity", "× right", "why"), tuple(rows), (0, 3))


def _short(fields: tuple[str, ...]) -> list[str]:
    """Field names by their last parts; the network's four as one."""
    return list(dict.fromkeys("network" if ".network." in f else f.rpartition(".")[2] for f in fields))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


def _better(b: Better) -> Section:
    names = {
        "split": "as written, tokens split among the groups",
        "broadcast": "as its flow says, all tokens on every GPU",
        "best": "best found",
    }
    rows = tuple(
        (
            names[p.reading],
            p.name,
            format_seconds(p.seconds),
            f"{p.ratio:.3f}" if b.plan else "",
            f"{format_count(p.tokens_per_second)}/s",
            format_bytes(p.memory),
        )
        for p in b.strategies
    )
    table = Table(("reading", "strategy", "a pass", "× best", "tokens", "memory"), rows, (2, 3, 4, 5))
    bound = f"No strategy takes less than {format_seconds(b.bound)}: {b.bound_reason}."
    blocks: list[str | Table] = [table, bound]
    if b.note:
        blocks.append(b.note)
    return Section("The better plan", tuple(blocks))
