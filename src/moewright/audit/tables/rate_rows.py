"""Rows of a table that are the times of the row above them, at a rate that their own name tells."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.durations.moved_amounts import moved
from moewright.audit.nearby.ledger import Entry, Ledger, in_text, is_amount
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import BYTE_RATE, BYTES, FLOP, FLOP_RATE, SECONDS

#: rows above that may have the amounts
BACK: Final = 3
#: cells before one that are looked at
MOST_CELLS: Final = 60


def judge_rate_rows(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the times of a row whose name tells one rate: the amounts of a row above at that rate, where that
    holds in a column and fails in one."""
    rows: dict[tuple[int, int], list[Entry]] = {}
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "cell" and _rate(s) is not None:
            lone = [e for e in entries if e.number.dim == SECONDS and not e.figure.remark]
            if len(lone) == 1 and not lone[0].figure.formula:
                rows.setdefault((s.group, s.line), []).append(lone[0])
    for row in rows.values():
        rate = _rate(row[0].statement)
        if len(row) < 2 or rate is None:
            continue
        above = [_above(e, ledger, rate) for e in row]
        for back in range(min(map(len, above))):
            judged = [(e, *moved(e, x[back], rate)) for e, x in zip(row, above, strict=True)]
            odd = [(e, right, why) for e, exact, right, why in judged if not exact]
            if len(odd) > 1 or len(odd) == len(row):
                continue
            for e, exact, right, why in judged:
                yield e, e.claim("time", Verdict.HOLDS if exact else Verdict.WRONG, why, right)
            break


def _rate(s: Statement) -> Entry | None:
    """The one number of a row's name, where that is a rate."""
    told = in_text(s.row)
    n = told[0].number if len(told) == 1 else None
    is_rate = n is not None and (n.dim in (BYTE_RATE, FLOP_RATE) or (n.dim == FLOP and n.either))
    return told[0] if is_rate else None


def _above(e: Entry, ledger: Ledger, rate: Entry) -> list[Entry]:
    """The amounts in the rows above, in the column of ``e``, that its rate may be of; the nearest first."""
    dim = BYTES if rate.number.dim == BYTE_RATE else FLOP
    found: list[Entry] = []
    for _, cell in groupby(ledger.before(e.index, BACK, MOST_CELLS), key=lambda x: x.index):
        mine = [x for x in cell if x.number.dim == dim and is_amount(x.number) and not x.figure.remark]
        results = [x for x in mine if x.figure.role == "result"] or [x for x in mine if x.figure.role == "lone"]
        if len(results) == 1:
            found.append(results[0])
    return found
