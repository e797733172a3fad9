"""The audit of a document as somebody else read it: ``audit DOCUMENT --claims FILE``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import yaml

from moewright.audit.audit_record import Audit, Claim, Unread, Variant, Verdict
from moewright.audit.judges.better import better_of
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.corrections import accepted
from moewright.audit.reading.document_case import SIZES, Setting
from moewright.audit.reading.premises import Premise
from moewright.audit.reading.restated import judge_premises, judge_strategy
from moewright.audit.setting_facts import facts_of_setting
from moewright.audit.spans import span_of
from moewright.audit.text.document import Document
from moewright.audit.typed.quantity_names import QUANTITIES, SCOPES
from moewright.audit.typed.typed_claims import judge_typed
from moewright.audit.typed.typed_reading import TypedReading, node_of, typed_reading
from moewright.errors import SpecError

#: heads of keys and values, which no quantity is of
_KV_HEADS: Final = re.compile(r"^count\.heads .*(?:\bkv\b|key)", re.IGNORECASE)
#: what makes a strategy: the rest goes with any
_SIZES: Final = tuple(f"strategy.{name}" for name in SIZES)
#: lines without a claim that are listed
_MOST_LINES: Final = 24


def audit_reading(
    document: Document, reading: TypedReading, assumed: dict[str, object], file: str, figures: Iterable[int]
) -> Audit:
    """The audit of ``document`` by the claims of ``reading``, which ``file`` (or a caller) gives; ``figures``: lines
    that have claims by the grammar. Raises SpecError."""
    settings: dict[str, tuple[Setting, list[Premise], tuple[Unread, ...]]] = {}
    facts: dict[str, Facts] = {}

    def setting_at(name: str) -> tuple[Setting, list[Premise], tuple[Unread, ...]]:
        if name not in settings:
            settings[name] = accepted(_premises(reading, name), assumed, None, document.file)
        return settings[name]

    def facts_at(name: str) -> Facts:
        if name not in facts:
            facts[name] = facts_of_setting(setting_at(name)[0])
        return facts[name]

    claims: list[Claim] = []
    unread = {(u.line, u.text): u for u in reading.unread}
    for name in ("", *reading.configurations):
        setting, premises, dropped = setting_at(name)
        unread |= {(u.line, u.text): u for u in dropped}
        own = premises if not name else [p for p in premises if p in reading.configurations[name]]
        restated = list(judge_premises(own, setting))
        if any(p.field in _SIZES for p in own):
            found = facts_at(name)
            restated += (_of_lines(c, own) for c in judge_strategy(premises, setting, found.reason, bool(found.plans)))
        claims += [replace(c, configuration=name) for c in restated]
    claims += judge_typed(reading.claims, document.lines, facts_at, file, let=reading.let)
    base, needed = setting_at("")[0], {f for c in claims for f in c.assumes}
    variants = tuple(
        Variant(name, min((p.line for p in rows), default=1), tuple(setting_at(name)[1]))
        for name, rows in reading.configurations.items()
    )
    return Audit(
        document.file,
        tuple(dict((p.field, p) for p in reversed(setting_at("")[1])).values())[::-1],
        tuple(a for a in base.assumed.values() if a.field in needed),
        (),
        tuple(sorted(claims, key=lambda c: c.line)),
        better_of(facts_at(""))[0] if any(p.field in _SIZES for p in reading.premises) else None,
        _without_claims(figures, reading),
        tuple(unread.values()),
        variants,
        document.lines,
        reading.reader,
    )


def _of_lines(c: Claim, own: list[Premise]) -> Claim:
    """``c`` on a strategy; not a verdict on one line where its sizes stand on several."""
    lines = sorted({p.line for p in own if p.field.startswith(("strategy.", "cluster.gpus"))})
    if c.verdict is not Verdict.CONTRADICTED or len(lines) < 2:
        return c
    return replace(
        c, verdict=Verdict.NOT_CHECKED, why=f"{c.why}; its sizes stand on lines {', '.join(map(str, lines))}"
    )


def _premises(reading: TypedReading, name: str) -> list[Premise]:
    """The premises of a configuration: its own, and the document's for what it does not give; a strategy as a whole."""
    own = reading.configurations.get(name, ())
    fields = {p.field for p in own}
    apart = reading.apart.get(name, ()) + (("strategy.",) if fields & set(_SIZES) else ())
    inherited = (p for p in reading.premises if not (apart and p.field.startswith(apart)))
    return [*own, *(p for p in inherited if p.field not in fields)]


def _without_claims(figures: Iterable[int], reading: TypedReading) -> str:
    """Those of ``figures`` that the reading says nothing of, in words."""
    told = {c.line for c in reading.claims} | {p.line for p in reading.premises}
    told |= {p.line for rows in reading.configurations.values() for p in rows}
    left = sorted(set(figures) - told)
    if not left:
        return ""
    more = f" and {len(left) - _MOST_LINES} more" if len(left) > _MOST_LINES else ""
    return f"The reading says nothing of figures on lines {', '.join(map(str, left[:_MOST_LINES]))}{more}."


def reading_yaml(found: Audit) -> str:
    """The grammar's reading of a document, as a file that ``read_reading`` takes, for a reader to correct."""
    doubted = {(c.line, c.quantity) for c in found.claims if c.quantity.startswith("premise ")}
    parts: dict[str, Any] = {
        "reader": "moewright's grammar",
        "document": found.file,
        "premises": [
            _row(p) for p in found.premises if "." in p.field and (p.line, f"premise {p.field}") not in doubted
        ],
    }
    base = {(p.field, p.value) for p in found.premises}
    named: dict[str, list[dict[str, Any]]] = {}
    for v in found.configurations:
        new = {p.field for p in v.premises if (p.field, p.value) not in base}
        apart = any(f.startswith("strategy.") for f in new)  # of which a configuration has all or none
        wanted = (p for p in v.premises if p.field in new or (apart and p.field.startswith("strategy.")))
        mine = [p for p in wanted if "." in p.field]
        rows = [_row(p) for p in mine if (p.line, f"premise {p.field}") not in doubted]
        named.setdefault(v.name, rows)
    parts |= {"configurations": named} if named else {}
    rows = [row for c in found.claims if (row := _typed(c, found, named))]
    parts["claims"] = list({(r["line"], r["value"]): r for r in reversed(rows)}.values())[::-1]
    head = (
        "# What moewright read. Put your name for reader, correct it, and give it to --claims.\n"
        "# A claim: line, value as written there, and quantity (with per and configuration), or expression of other\n"
        "# figures, with relation =, ~, <=, >=, < or >. docs/audit.md has the quantities.\n"
    )
    return head + yaml.safe_dump(parts, sort_keys=False, allow_unicode=True, width=110)


def _row(p: Premise) -> dict[str, Any]:
    value = p.value if isinstance(p.value, bool | int | float | str) else str(p.value)
    return {"field": p.field, "value": value, "line": p.line}


def _typed(c: Claim, found: Audit, named: Mapping[str, object]) -> dict[str, Any] | None:
    """A claim of the grammar as one of a reading, without a quantity where the grammar was in doubt of it; None for one
    in words, or whose figure is not found in its line."""
    span = span_of(found.lines, c.line, c.claimed)
    if span is None or c.quantity == "premise":
        return None
    text = found.lines[c.line - 1][span[0] : span[1]].strip()
    row: dict[str, Any] = {"line": c.line, "value": text}
    quantity, *scope = c.quantity.split(" ", 1)
    sure = c.verdict is not Verdict.NOT_CHECKED and not _KV_HEADS.search(f"{quantity} {c.text}")
    if c.quantity == "arithmetic":
        left = c.text.rpartition("=" if "=" in c.text else "≈")[0]
        row |= {"expression": left.strip()} if left.strip() and node_of(left) is not None else {}
    elif quantity in QUANTITIES and sure:
        words = " ".join(scope).replace("per GPU", "gpu").replace("in all", "all").replace("per ", "").split()
        row |= {"quantity": quantity}
        row |= {"per": words} if words and set(words) <= set(SCOPES) else {}
        row |= {"configuration": c.configuration} if c.configuration in named else {}
    try:
        typed_reading({"reader": "-", "configurations": {n: [] for n in named}, "claims": [row]}, found.file)
    except SpecError:
        return {"line": c.line, "value": text} if row.get("quantity") or row.get("expression") else None
    return row
