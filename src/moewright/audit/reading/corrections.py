"""Premises as a user corrects them: overridden, written as YAML and taken back, or dropped where no case has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from moewright.audit.audit_record import Audit, Unread
from moewright.audit.reading.document_case import FIELDS, WHOLE, Setting, setting_of
from moewright.audit.reading.premises import Premise
from moewright.case.file.files import read_mapping
from moewright.case.spelling import did_you_mean
from moewright.errors import SpecError

#: premises that are dropped before a document is given up
MOST_DROPPED: Final = 16


def accepted(
    premises: list[Premise], assumed: Mapping[str, Any], spec: str | None, file: str
) -> tuple[Setting, list[Premise], tuple[Unread, ...]]:
    """The case of ``premises``, where ``assumed`` takes the place of what was read; those that were used; and those
    that no case has, which are dropped. Raises SpecError where dropping does not help."""
    left = [p for p in premises if p.field not in assumed]
    unread: list[Unread] = []
    while True:
        try:
            return setting_of(left, dict(assumed), spec, file), left, tuple(unread)
        except SpecError as error:
            bad = [p for p in left if error.field and (p.field == error.field or error.field.startswith(f"{p.field}."))]
            if not bad and error.field:  # what another size of the same part makes impossible
                part = error.field.rpartition(".")[0]
                bad = [p for p in left if part and p.field.rpartition(".")[0] == part]
            if not bad or len(unread) >= MOST_DROPPED:
                raise
            unread.append(Unread(bad[0].line, bad[0].text, f"{bad[0].field}: {error.problem}"))
            left = [p for p in left if p.field != bad[0].field]


def doubtful(found: Audit) -> list[tuple[str, str]]:
    """(field, why) of the premises that a reader may want to correct: dropped ones, missing ones, those that verdicts
    stand on by default."""
    asked = {u.reason.partition(":")[0]: f"not usable as written on line {u.line}: {u.text[:60]}" for u in found.unread}
    asked |= {field: "the document does not give it" for field in found.missing}
    needed = {field for claim in found.claims for field in claim.assumes}
    asked |= {
        a.field: f"{a.value}, {a.source}"
        for a in found.assumptions
        if a.source.startswith("default") and a.field in needed and a.field not in asked
    }
    return [(field, why) for field, why in asked.items() if field in FIELDS]


def premises_yaml(found: Audit) -> str:
    """What was read and what was assumed, as a file that ``read_premises`` takes."""
    rows = [{"field": p.field, "value": _plain(p.value), "line": p.line, "text": p.text} for p in found.premises]
    assumed = [
        {"field": a.field, "value": _plain(a.value), "from": a.source} for a in found.assumptions if a.field in FIELDS
    ]
    head = "# Correct a value, add or take away a line, and give the file to --premises.\n"
    parts: dict[str, Any] = {"document": found.file, "premises": rows}
    text = head + yaml.safe_dump(parts, sort_keys=False, allow_unicode=True, width=110)
    if assumed:
        text += "# Assumed, since the document does not say; to change one, add it above.\n"
        lines = yaml.safe_dump(assumed, sort_keys=False, allow_unicode=True, width=110).splitlines()
        text += "".join(f"# {line}\n" for line in lines)
    return text


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)


def read_premises(path: str | Path) -> list[Premise]:
    """Premises of a file that ``premises_yaml`` wrote and a user corrected. Raises SpecError."""
    raw = read_mapping(path)
    unknown = [name for name in raw if name not in ("document", "premises")]
    if unknown:
        raise SpecError("unknown field; known are document, premises", file=str(path), field=str(unknown[0])[:60])
    entries = raw.get("premises")
    if not isinstance(entries, list):
        raise SpecError(
            "is missing; expected a list such as [{field: cluster.gpus, value: 64}]", file=str(path), field="premises"
        )
    return [premise_of(entry, f"premises.{i}", str(path)) for i, entry in enumerate(entries)]


def premise_of(entry: Any, where: str, file: str) -> Premise:
    """The premise that ``entry`` writes, at the field ``where`` of ``file``. Raises SpecError."""
    if not isinstance(entry, dict) or not {"field", "value"} <= set(entry) <= {"field", "value", "line", "text"}:
        raise SpecError(
            f"got {str(entry)[:60]!r}; expected a mapping with field, value and, if wanted, line and text",
            file=file,
            field=where,
        )
    name, value, line = entry["field"], entry["value"], entry.get("line", 1)
    if name not in FIELDS:
        near = did_you_mean(str(name), FIELDS)
        raise SpecError(
            f"got {str(name)[:60]!r}; {near}expected one of {', '.join(FIELDS)}", file=file, field=f"{where}.field"
        )
    if not isinstance(value, bool | int | float | str):
        raise SpecError(f"got {str(value)[:60]!r}; expected a plain value", file=file, field=f"{where}.value")
    if type(line) is not int or line < 1:
        raise SpecError(f"got {str(line)[:60]!r}; expected a line number", file=file, field=f"{where}.line")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    least = 0 if name in ("model.vocab_size", "strategy.redundant") else 1
    if name in WHOLE and (type(value) is not int or value < least):
        raise SpecError(
            f"got {str(value)[:60]!r}; expected a whole number from {least}", file=file, field=f"{where}.value"
        )
    return Premise(name, value, line, str(entry.get("text", f"{name}: {value}"))[:400])
