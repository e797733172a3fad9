"""Times that a GPU's memory takes for the bytes right before them, by the rate that the document gives elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.durations.moved_amounts import moved
from moewright.audit.nearby.ledger import Entry, Ledger, is_amount, span_between
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import BYTE_RATE, BYTES, SECONDS

#: between bytes and the time that memory takes for them
_DELIVERS: Final = re.compile(
    r"[^.;\d]{0,24}\b(?:HBM|memory|Speicher|VRAM)\b[^.;\d]{0,10}(?:delivers?|reads?|supplies|streams?|provides?|liefert|liest)"
    r"[^.;\d]{0,16}(?:in|within)\s*[~≈]?\s*|\s*(?:each|apiece|je|per (?:GPU|chip|accelerator|"
    r"card))?,? (?:or|i\.e\.,?|that is|"
    r"that takes) [~≈]?",
    re.IGNORECASE,
)
_READS: Final = re.compile(r"\bread|HBM|memory|stream|读|lies|lecture|Speicher|batch|step", re.IGNORECASE)
#: a rate of a GPU's memory is no less than this, in bytes/s
SLOWEST: Final = 2.5e11


def judge_memory_reads(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the time right behind the bytes that a GPU reads, by the one rate of memory that the document
    gives."""
    rates = [x for x in ledger.alike(BYTE_RATE) if x.number.value >= SLOWEST and x.figure.role != "result"]
    values = {x.number.value for x in rates if not re.search(r"NVLink|NVSwitch|xGMI|PCIe", x.statement.text[:400])}
    every = {x.number.value for x in rates}
    rate = max(rates, key=lambda x: x.number.value, default=None)
    for entries in ledger.entries:
        s = entries[0].statement if entries else None
        if s is None or s.kind == "heading" or rate is None or not (values or len(every) == 1):
            continue
        dims = {x.number.dim for x in entries}
        if not {BYTES, SECONDS} <= dims or BYTE_RATE in dims or standing_of(s):
            continue
        for a, e in pairwise(entries):
            if a.number.dim != BYTES or e.number.dim != SECONDS or not is_amount(a.number) or a.number.at < 0:
                continue
            between = span_between(s, a.number, e.number)
            if e.figure.formula or e.number.approx or not _DELIVERS.fullmatch(between):
                continue
            plain = re.search(r"HBM|memory|Speicher|VRAM", between, re.IGNORECASE)
            if not plain and (len(every) != 1 or not _READS.search(s.text)):
                continue
            exact, right, why = moved(e, a, rate, 5e-3, f" (line {rate.line})")
            if exact or 0.1 < e.number.value / right < 11:
                yield e, e.claim("time", Verdict.HOLDS if exact else Verdict.WRONG, why, right)
