"""Whole numbers of a table beside a cell that says how they are worked out: 64 experts / EP 16."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.text.numbers import COUNT

_TITLE: Final = re.compile(
    r"^(?:derivation|how|formula|calculation|computation|why|derived|Cálculo|Rechnung|Herleitung|Rechenweg|计算(?:过程)?|推导|公式|来源)",
    re.IGNORECASE,
)
_STEP: Final = re.compile(r"(?P<number>\d[\d,]*)\s*(?:[A-Za-z-]+\s*){0,2}(?P<sign>[/÷×x*·]|$)\s*(?:[A-Z]{1,4}\s*)?")
#: cells to either side that may be what is derived
NEAR: Final = 4
#: rows that must hold before one is called wrong
FEWEST: Final = 2


def judge_derivation_cells(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the one whole number of a row, beside the cell that derives it from whole numbers."""
    judged: dict[tuple[int, str, str], list[tuple[Entry, str, int]]] = {}
    for index, s in enumerate(ledger.statements):
        if s.kind != "cell" or not _TITLE.match(s.column):
            continue
        right = _worked_out(s.value)
        found = [e for i in ledger.beside(index, NEAR, NEAR) for e in ledger.entries[i]]
        if right is None or len(found) != 1:
            continue
        e = found[0]
        if e.number.dim == COUNT and e.number.whole and e.statement.value.strip("* ") == e.number.text:
            judged.setdefault((s.group, e.statement.column, s.column), []).append((e, s.value, right))
    for rows in judged.values():
        held = sum(int(e.number.value) == right for e, _, right in rows)
        for e, told, right in rows:
            if int(e.number.value) == right:
                yield e, e.claim("arithmetic", Verdict.HOLDS, told[:80], right)
            elif held >= FEWEST:
                yield e, e.claim("arithmetic", Verdict.WRONG, f"{told[:80]} is {right:,}", right)


def _worked_out(text: str) -> int | None:
    """The whole number that a product or quotient of whole numbers makes; None for what is none."""
    value, at, sign = 0, 0, ""
    text = text.strip()
    for m in _STEP.finditer(text):
        if m.start() != at or (sign == "" and value):
            return None
        number = int(m["number"].replace(",", ""))
        if not sign:
            value = number
        elif sign in "/÷":
            if not number or value % number:
                return None
            value //= number
        else:
            value *= number
        at, sign = m.end(), m["sign"]
    return value if value and at == len(text) and not sign and re.search(r"\d\D+\d", text) else None
