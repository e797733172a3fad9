"""Times that the memory of a GPU takes for the bytes right before them, and times of so many steps, by rates and times
that the document gives elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.durations.moved_amounts import moved
from moewright.audit.nearby.durations.run_lengths import LONGER
from moewright.audit.nearby.ledger import Entry, Ledger, digits, is_amount, meet, over, ranges, span_between, times
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, NAMES, PER_SECOND, SECONDS
from moewright.units import format_quantity

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
#: a step, and the tokens of a run
_STEPS: Final = re.compile(r"^\s*(?:optimi[sz]er |training )?(?:steps|Schritten?|iterations)\b|^\s?步", re.IGNORECASE)
_STEP: Final = re.compile(r"\b(?:step|iteration|Schritt)\b|步", re.IGNORECASE)
_TOKENS: Final = re.compile(r"^\s*(?:of )?(?:training )?tokens\b|^\s*Token\b", re.IGNORECASE)
#: a day, in seconds: of less, other times than a step's may make it
LONG: Final = 3600.0
#: how many times the time of a run may be off
MOST_ASTRAY: Final = 120.0


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


def judge_runs(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the time of so many steps, or of so many tokens, in the same sentence, by the time of a step, or the
    tokens a second, that the document tells."""
    steps = [
        x
        for x in ledger.alike(SECONDS)
        if x.number.value < LONG and _STEP.search(f"{x.figure.words} {x.statement.key}")
    ]
    speeds = [x for x in ledger.alike(PER_SECOND) if x.number.value > LONG / 36]
    for entries in ledger.entries:
        s = entries[0].statement if entries else None
        if s is None or s.kind == "heading":
            continue
        runs = [e for e in entries if e.number.dim == SECONDS and e.number.value >= LONG and not e.figure.formula]
        counts = [
            x for x in entries if x.number.dim == COUNT and _STEPS.match(_after(x)) and x.figure.role != "operand"
        ]
        tokens = [x for x in entries if x.number.dim == COUNT and _TOKENS.match(_after(x)) and x.number.value >= 1e9]
        if len(runs) != 1 or len(counts) > 1 or not (counts or tokens) or runs[0].number.approx or standing_of(s):
            continue
        if LONGER.search(s.text):
            continue
        e = runs[0]
        if digits(e.number) < 2:
            continue
        ways = [(x, y, times(ranges(x.number), ranges(y.number))) for x in counts for y in steps]
        ways += [(x, y, over(ranges(x.number), ranges(y.number))) for x in tokens for y in speeds]
        if not ways or any(meet(ranges(e.number), w) for _, _, w in ways):
            continue
        x, y, w = ways[0]
        right = (w[0][0] + w[0][1]) / 2
        if (
            len({round(v[0][0] / right, 2) for _, _, v in ways}) > 2
            or not 1 / MOST_ASTRAY < e.number.value / right < MOST_ASTRAY
        ):
            continue
        how = "at" if y.number.dim == SECONDS else "over"
        why = f"{x.number.text.strip()} {how} {y.number.text.strip()} (line {y.line}) take "
        yield e, e.claim("time", Verdict.WRONG, why + format_quantity(right, NAMES[SECONDS]), right)


def _after(x: Entry) -> str:
    """The text behind a figure, which may stand in the key of its statement."""
    at = x.number.at + len(x.statement.key) + 2
    return x.behind if x.number.at >= 0 else x.statement.key[at + len(x.number.text) :]
