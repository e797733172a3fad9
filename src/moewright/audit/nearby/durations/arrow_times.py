"""Times of a list that stand behind their amount alone, at the rate that the item above tells: 11.0 MB → 220 µs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.durations.moved_amounts import moved
from moewright.audit.nearby.ledger import Entry, Ledger, is_amount, span_between
from moewright.audit.text.numbers import BYTE_RATE, BYTES, SECONDS

#: between an amount and its time
_ARROW: Final = re.compile(r"\s*(?:/ ?\w+|(?:per|a|je|pro) \w+)?\s*(?:→|->|=>|⇒)\s*[~≈]?\s*")


def judge_arrow_times(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a time that an arrow leads to from its amount, where the item above has the same, with its rate."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        pair = _pair(entries)
        if pair is None or not index or s.kind != "item" or any(x.number.dim == BYTE_RATE for x in entries):
            continue
        above = ledger.entries[index - 1]
        same = ledger.statements[index - 1].path == s.path and _pair(above) is not None
        rates = [x for x in above if x.number.dim == BYTE_RATE] if same else []
        if len(rates) != 1:
            continue
        (amount, e), rate = pair, rates[0]
        exact, right, why = moved(e, amount, rate, 5e-3)
        if exact or 0.05 < e.number.value / right < 20:
            yield e, e.claim("time", Verdict.HOLDS if exact else Verdict.WRONG, why, right)


def _pair(entries: list[Entry]) -> tuple[Entry, Entry] | None:
    """The amount and the time of a statement that has one time, behind an arrow."""
    times_ = [i for i, x in enumerate(entries) if x.number.dim == SECONDS]
    if len(times_) != 1 or not times_[0]:
        return None
    amount, e = entries[times_[0] - 1], entries[times_[0]]
    plain = amount.number.dim == BYTES and is_amount(amount.number) and not e.number.approx and amount.number.at >= 0
    return (amount, e) if plain and _ARROW.fullmatch(span_between(e.statement, amount.number, e.number)) else None
