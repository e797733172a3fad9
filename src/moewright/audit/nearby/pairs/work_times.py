"""Times of so much work at a rate of it, that stand together: 241 TFLOP at 1,248 TFLOPS take 193 ms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.durations.moved_amounts import moved
from moewright.audit.nearby.ledger import Entry, Ledger, meet, over, ranges, slip, times
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.clauses import ends_range
from moewright.audit.text.numbers import COUNT, FLOP, FLOP_RATE, SECONDS

#: a rate of work, also where its unit does not tell it from an amount
_RATE: Final = re.compile(r"FLOPS|FLOP/s|FLOPs/s|FLOPs? (?:per|a|each) second", re.ASCII)
#: what makes a time another one than that of the work
_OTHER: Final = re.compile(
    r"\b(?:link|network|NIC|NVLink|HBM|memory|wire|reads?|bandwidth|launch|start-?up|overlap\w*|bubble|target|budget|SLO|"
    r"measured|observed|plus|Speicher\w*|gemessen)\b|访存|带宽|网络|气泡|目标|实测",
    re.IGNORECASE,
)
#: a number that may be grouped by thousands: 1.248 TFLOPS
_GROUPED: Final = re.compile(r"(?<![\d.])\d{1,3}\.\d{3}(?!\d)")
#: the share of a peak, right before the rate in brackets that it makes
_AT_SHARE: Final = re.compile(r"\d\s?%[^.;\d]{0,24}[(（]\s*[=~≈]?\s*$")
#: letters between the rate and the time
MOST: Final = 90


def judge_work_times(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the time right behind a rate of work, of the work just before: the one over the other."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        times_ = [e for e in entries if e.number.dim == SECONDS and not e.figure.formula and e.figure.role == "lone"]
        if len(times_) != 1 or s.kind in ("heading", "cell"):
            continue
        e = times_[0]
        rates = [x for x in entries if _is_rate(x) and x.number.at < e.number.at and x.figure.role != "operand"]
        if len(rates) != 1 or standing_of(s) or ends_range(s.value, e.number):
            continue
        between = s.value[rates[0].number.at + len(rates[0].number.text) : e.number.at]
        if len(between) > MOST or _OTHER.search(between) or e.number.approx or re.search(r"\d", between):
            continue
        here = [x for x in entries if _is_work(x) and x.number.at < e.number.at]
        near = [x for x in here or _last(ledger, index) if x.figure.role != "operand"]
        if len(near) != 1:
            continue
        drawn = bool(_SO.fullmatch(between)) and bool(_STEP.search(between))
        yield from _judged(e, near[0], rates[0], ledger, drawn)


#: what draws the time of a step from a rate
_SO: Final = re.compile(
    r"\s*(?:[,;]\s*)?(?:so|hence|thus|therefore|which means|→|->|also|daher|因此|所以|故)[^.;\d]{2,40}", re.IGNORECASE
)
_STEP: Final = re.compile(r"\bsteps?\b|\biteration|Schritt|pas\b|每步|一步", re.IGNORECASE)
#: sentences before that may tell the work
BACK: Final = 3
#: how many times a time that is drawn from a rate may be off
_FAR: Final = 20.0


def _last(ledger: Ledger, index: int) -> list[Entry]:
    """The work that the last sentence which has any tells, under the same headings."""
    here = ledger.statements[index]
    for i in range(index - 1, max(-1, index - 1 - BACK), -1):
        found = [x for x in ledger.entries[i] if _is_work(x)]
        if ledger.statements[i].path != here.path or ledger.statements[i].kind != here.kind:
            break
        if found:
            return found
    return []


def _is_rate(x: Entry) -> bool:
    return x.number.dim == FLOP_RATE or (x.number.dim == FLOP and x.number.either and bool(_RATE.search(x.number.text)))


def _is_work(x: Entry) -> bool:
    return x.number.dim == FLOP and not _RATE.search(x.number.text)


def _judged(e: Entry, work: Entry, rate: Entry, ledger: Ledger, drawn: bool) -> Iterator[tuple[Entry, Claim]]:
    """``drawn``: the sentence draws the time of a step from the rate, and nothing else."""
    exact, right, why = moved(e, work, rate, 5e-3)
    if exact:
        yield e, e.claim("time", Verdict.HOLDS, why, right)
        return
    #: the share of the peak that is reached, and numbers of GPUs, that the statement names
    factors = [x.number.value for x in ledger.around(e.index, 1) if x.number.dim == COUNT and x.number.value > 0]
    ways = over(ranges(work.number), ranges(rate.number))
    exact_ones = (((f, f),) for f in factors)
    if any(meet(ranges(e.number), w, 5e-3) for f in exact_ones for w in (times(ways, f), over(ways, f))):
        formula = bool(rate.figure.formula) or (
            rate.figure.remark and bool(_AT_SHARE.search(e.statement.value[: rate.number.at]))
        )
        if not formula:  # what the rate is worked out with is not taken twice
            return
    found = slip(
        e.number.value / right,
        e.number.slack + work.number.slack + rate.number.slack + 5e-3,
        tuple((1 / f, f"{f:g} is forgotten") for f in factors if f < 1),
    )
    grouped = any(_GROUPED.search(x.number.text) for x in (e, work, rate))
    every = (x for x in ledger.alike(FLOP) if _is_work(x))
    others = any(meet(ranges(e.number), over(ranges(x.number), ranges(rate.number)), 5e-3) for x in every)
    if drawn and not found and not others and 1 / _FAR < e.number.value / right < _FAR:
        yield e, e.claim("time", Verdict.WRONG, why, right)
    if found and not (grouped and found.startswith("1000")):
        yield e, e.claim("time", Verdict.WRONG, f"{why}: {found}", right)
