"""Times of an amount at a rate that stand in this order in one sentence: 40.2 GB; at 864 GB/s that takes 46.6 ms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.durations.moved_amounts import moved
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, is_amount, meet, over, ranges, times
from moewright.audit.reading.standing import LIMIT, standing_of
from moewright.audit.text.clauses import ends_range
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, SECONDS
from moewright.units import format_quantity

#: from an amount to the rate that it moves at
_AT: Final = re.compile(
    r"[^.\d]{0,40}?(?:\bat|\bover|\bthrough|\bwith|\bbei|\bmit|\büber|@|按|以|÷|/)\s*(?:the |a |an |its |der |den )?"
    r"(?:\w+ )?[~≈]?",
    re.IGNORECASE,
)
#: from the rate to the time
_TAKES: Final = re.compile(
    r"[^.;\d]{0,28}?(?:\b(?:takes?|needs?|costs?|lasts?|is|are|in|it's|that's|makes?|gives?|dauert|braucht|sind|ergibt|kostet)\b|"
    r"[=→,:]|需要?|耗时|要|用时)[^.;\d]{0,20}",
    re.IGNORECASE,
)
#: a limit that is what the amount takes at the rate
_LEAST: Final = re.compile(r"less than|at least|no faster|weniger als|mindestens|au moins|moins de|至少", re.IGNORECASE)
_OTHER: Final = re.compile(
    r"\b(?:plus|overlap\w*|overhead|latency|measured|gemessen|if|would|instead|target|TPOT|TTFT|step)\b|实测|目标|若",
    re.IGNORECASE,
)
#: how many times the time may be off
ASTRAY: Final = 3.0


def judge_read_times(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the time that stands right behind a rate, which stands right behind an amount."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading":
            continue
        for amount, rate, e in zip(entries, entries[1:], entries[2:], strict=False):
            if (amount.number.dim, rate.number.dim, e.number.dim) != (BYTES, BYTE_RATE, SECONDS):
                continue
            if e.figure.formula or not is_amount(amount.number) or "operand" in (amount.figure.role, e.figure.role):
                continue
            if e.number.approx or rate.number.approx or amount.number.approx or ends_range(s.value, e.number):
                continue
            first = s.value[amount.number.at + len(amount.number.text) : rate.number.at]
            then = s.value[rate.number.at + len(rate.number.text) : e.number.at]
            if not _AT.fullmatch(first) or not _TAKES.fullmatch(then) or _OTHER.search(first + then):
                continue
            if (standing := standing_of(s)) and not (standing == LIMIT and _LEAST.search(then)):
                continue
            exact, right, why = moved(e, amount, rate, 5e-3)
            if exact:
                yield e, e.claim("time", Verdict.HOLDS, why, right)
            elif 1 / ASTRAY < e.number.value / right < ASTRAY and not _explained(e, amount, rate, ledger):
                yield e, e.claim("time", Verdict.WRONG, why, right)


def _explained(e: Entry, amount: Entry, rate: Entry, ledger: Ledger) -> bool:
    """Whether a count or a share that stands near, or both directions, makes the time."""
    near = [x.number.value for x in ledger.around(e.index, 2) if x.number.dim == COUNT and x.number.value > 0]
    ways = over(ranges(amount.number), ranges(rate.number))
    factors = dict.fromkeys((2.0, 0.5, *near, *(1 / x for x in near), *(1 - x for x in near if x < 1)))
    return any(meet(ranges(e.number), times(ways, exactly(f)), 5e-3) for f in factors)


#: from an amount to the time that it takes
_NEEDS: Final = re.compile(
    r"[^.;\d]{0,40}?\b(?:which|that|and|so|,)?\s*(?:needs?|takes?|costs?|lasts?|keeps? \w+ busy for|dauert|"
    r"braucht|occupies|"
    r"in)\b[^.;\d]{0,16}|[^.;\d]{0,8}(?:需要?|耗时|用时)\D{0,6}|\s*(?:→|->|=>)\s*",
    re.IGNORECASE,
)
#: a figure of so few digits fits any rate
ROUGH: Final = 0.03
_THOUSANDS: Final = (1e3, 1e-3)


def judge_implied_rates(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a time right behind the amount that moves in it: at no rate that the document gives, but a thousand
    times faster or slower than at one."""
    rates = {x.number.value: x for x in ledger.alike(BYTE_RATE)}
    for index, entries in enumerate(ledger.entries if rates else ()):
        s = ledger.statements[index]
        if s.kind == "heading" or any(x.number.dim == BYTE_RATE for x in entries):
            continue
        for amount, e in pairwise(entries):
            if amount.number.dim != BYTES or e.number.dim != SECONDS or e.figure.formula or e.number.approx:
                continue
            if not is_amount(amount.number) or "operand" in (amount.figure.role, e.figure.role):
                continue
            between = s.value[amount.number.at + len(amount.number.text) : e.number.at]
            rough = e.number.slack > ROUGH or amount.number.slack > ROUGH
            if rough or not _NEEDS.fullmatch(between) or standing_of(s):
                continue
            implied = over(ranges(amount.number), ranges(e.number))
            near = {x.number.value for x in ledger.around(index, 1) if x.number.dim == COUNT and x.number.value > 0}
            factors = (1.0, 2.0, 0.5, *near)
            if any(
                meet(implied, times(ranges(r.number), exactly(f**k)), 5e-3)
                for r in rates.values()
                for f in factors
                for k in (1, -1)
            ):
                continue
            found = next(
                (
                    r
                    for r in rates.values()
                    for k in _THOUSANDS
                    if meet(implied, times(ranges(r.number), exactly(k)), 5e-3)
                ),
                None,
            )
            if found is not None:
                right = amount.number.value / found.number.value
                why = f"{amount.number.text.strip()} at {found.number.text.strip()} (line {found.line}) take "
                yield e, e.claim("time", Verdict.WRONG, why + format_quantity(right, "seconds"), right)
