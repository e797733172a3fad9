"""What `moewright audit` catches: every number of the correct documents, changed in its value, its unit or its
exponent, one at a time; and false alarms on the correct documents themselves."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moewright.audit.audit_document import audit
from moewright.audit.audit_record import FAILING, Audit

DOCUMENTS = Path(__file__).parents[1] / "tests" / "audit" / "documents"
#: a number of its own (not a part of a name such as H100, FP8 or 8x7B) and the unit behind it
_NUMBER = re.compile(r"(?<![\w.,^-])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(?![\w.,]*[-x]?\d*[A-Za-z]{0,2}\d)")
_UNIT = re.compile(r"(\s?)([KMGTP]?)(iB|B/s|B\b|TFLOP|FLOP)|(\s?)(ms|us|μs|s)\b")
_LADDER = {"K": "M", "M": "G", "G": "T", "T": "G", "P": "T"}
_TIMES = {"ms": "us", "us": "ms", "μs": "ms", "s": "ms"}


@dataclass(frozen=True)
class Mutation:
    """``kind`` value, unit or exponent; ``text`` the whole document with one number changed in ``line``."""

    kind: str
    line: int
    before: str
    after: str
    text: str


def correct_documents() -> list[Path]:
    """The documents of which every claim holds, by construction."""
    return sorted(DOCUMENTS.glob("correct-*.md"))


def mutations(text: str, factors: tuple[float, ...] = (0.5, 1.25, 3.0)) -> Iterator[Mutation]:
    """Every number of ``text`` times each of ``factors`` (rounded to its digits), times ten, and in another unit."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if line.startswith("#") or re.fullmatch(r"[-=|\s:]*", line):
            continue
        for m in _NUMBER.finditer(line):
            if re.match(r"\d+\.\s", line) and m.start() == 0:  # the number of a list's item
                continue
            for kind, after in _changed(line, m, factors):
                changed = [*lines[:i], after, *lines[i + 1 :]]
                yield Mutation(kind, i + 1, line, after, "\n".join(changed) + "\n")


def _changed(line: str, m: re.Match[str], factors: tuple[float, ...]) -> Iterator[tuple[str, str]]:
    digits = len(m[2]) - 1 if m[2] else 0
    value = float(m[0].replace(",", ""))
    seen = {m[0]}
    for factor in factors:
        number = f"{value * factor:.{digits}f}"
        if number not in seen and float(number) > 0:
            seen.add(number)
            yield "value", line[: m.start()] + number + line[m.end() :]
    yield "exponent", line[: m.start()] + f"{value * 10:.{digits}f}" + line[m.end() :]
    unit = _UNIT.match(line, m.end())
    if unit and unit[2]:
        yield "unit", line[: unit.start(2)] + _LADDER[unit[2]] + line[unit.end(2) :]
    elif unit and unit[5]:
        yield "unit", line[: unit.start(5)] + _TIMES[unit[5]] + line[unit.end(5) :]


def judged(text: str) -> Audit:
    """The audit of a text."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "document.md"
        file.write_text(text, encoding="utf-8")
        return audit(file)


def caught(text: str) -> bool:
    """Whether any claim of ``text`` fails, or it is refused as no case at all."""
    from moewright.errors import MoewrightError

    try:
        return any(c.verdict in FAILING for c in judged(text).claims)
    except MoewrightError:
        return True


def run() -> list[dict[str, Any]]:
    """Rows by document and kind: changed, caught; and false alarms of the document as it is."""
    rows: list[dict[str, Any]] = []
    print(f"{'document':24} {'alarms':>7} {'where':9} {'kind':9} {'changed':>8} {'caught':>7} {'share':>7}")
    for path in correct_documents():
        text = path.read_text(encoding="utf-8")
        whole = judged(text)
        alarms = [c for c in whole.claims if c.verdict in FAILING]
        given = {p.line for p in whole.premises}
        claimed = {c.line for c in whole.claims}
        counts: dict[tuple[str, str], list[int]] = {}
        for m in mutations(text):
            where = "claim" if m.line in claimed else "premise" if m.line in given else "other"
            count = counts.setdefault((where, m.kind), [0, 0, 0])
            count[0] += 1
            count[1] += caught(m.text)
        for (where, kind), (changed, found, _) in sorted(counts.items()):
            row = {"document": path.name, "claims": len(whole.claims), "false_alarms": len(alarms), "where": where}
            row |= {"kind": kind, "changed": changed, "caught": found}
            rows.append(row)
            print(f"{path.name:24} {len(alarms):7} {where:9} {kind:9} {changed:8} {found:7} {found / changed:7.1%}")
    for where in ("claim", "premise", "other"):
        mine = [r for r in rows if r["where"] == where]
        changed, found = sum(r["changed"] for r in mine), sum(r["caught"] for r in mine)
        if changed:
            print(f"{'all':24} {'':7} {where:9} {'':9} {changed:8} {found:7} {found / changed:7.1%}")
    return rows
