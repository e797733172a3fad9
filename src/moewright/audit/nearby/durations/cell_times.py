"""Times of a table's row beside the cell that tells the amount and the rate that they are of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.durations.moved_amounts import moved
from moewright.audit.nearby.ledger import Entry, Ledger, in_text, is_amount, span_between
from moewright.audit.text.numbers import BYTE_RATE, BYTES, FLOP, FLOP_RATE, SECONDS

#: between an amount and the rate it is moved at, where that ends a cell
_AT: Final = re.compile(
    r"\s*(?:\([^()]*\)\s*)?(?:(?:read|moved|sent|streamed|loaded|gelesen|读取) )?"
    r"(?:at|over|bei|über|@|/|÷|à|以|按)\s*(?:the |a )?",
    re.IGNORECASE,
)
#: nothing but words behind the rate
_END: Final = re.compile(r"[^\d=×x*/÷+]*$")


def judge_cell_times(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the one time of a row, beside a cell that ends with an amount and its rate."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind != "cell" or len(entries) != 1 or entries[0].number.dim != SECONDS or entries[0].figure.formula:
            continue
        e = entries[0]
        before = [i for i in ledger.beside(index, 3, 0) if i < index]
        pair = _pair(ledger.entries[before[-1]]) if before else _titled(s.row)
        if pair is None:
            continue
        exact, right, why = moved(e, *pair)
        yield e, e.claim("time", Verdict.HOLDS if exact else Verdict.WRONG, why, right)


def _titled(row: str) -> tuple[Entry, Entry] | None:
    """The amount and the rate that the name of a row ends with: read 27.9 GB at 4.8 TB/s."""
    return _pair(in_text(row))


def _pair(entries: list[Entry]) -> tuple[Entry, Entry] | None:
    """The amount and the rate that a cell ends with."""
    if len(entries) < 2:
        return None
    amount, rate = entries[-2], entries[-1]
    s = rate.statement
    flops = rate.number.dim == FLOP_RATE or (rate.number.dim == FLOP and rate.number.either)
    alike = (amount.number.dim == BYTES and rate.number.dim == BYTE_RATE) or (amount.number.dim == FLOP and flops)
    if not alike or not is_amount(amount.number) or not _END.match(rate.behind):
        return None
    return (amount, rate) if _AT.fullmatch(span_between(s, amount.number, rate.number)) else None
