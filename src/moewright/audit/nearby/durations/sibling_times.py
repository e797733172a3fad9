"""Times of a list that follow from its amounts at one rate, which the document tells elsewhere, but for one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, is_amount, is_part, meet, over, ranges, words
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, SECONDS
from moewright.units import format_quantity

#: rates of a document that are tried
MOST_RATES: Final = 16
#: steps of a list that are looked at
MOST_STEPS: Final = 400
#: how many times a time may be off
ASTRAY: Final = 6.0
#: how near two times must be to be one
CLOSE: Final = 0.03
#: words that name nothing that siblings have in common
_PLAIN: Final = frozenset(
    ["the", "a", "of", "in", "per", "at", "ms", "us", "gb", "mb", "and", "je", "das", "die", "der", "und", "bei", "all"]
)
_OTHER: Final = re.compile(r"overlap|hidden|latency|measured|launch|überlapp|gemessen|重叠|实测", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Step:
    """The one amount and the one time of a statement, and the words of it."""

    amount: Entry
    time: Entry
    words: frozenset[str]


def judge_sibling_times(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the time of an item that no rate of the document makes of its amount, where another item of the
    list, which shares a word with it, takes exactly what one of the rates makes."""
    rates = {e.number.value: e for e in ledger.alike(BYTE_RATE)}
    rates = dict(list(rates.items())[:MOST_RATES])
    lists: dict[object, list[Step]] = {}
    for index, s in enumerate(ledger.statements):
        step = _step(ledger, index)
        if step is not None and s.kind in ("item", "prose", "code") and not _OTHER.search(s.text):
            lists.setdefault((s.path, s.kind), []).append(step)
    for steps in lists.values() if rates else ():
        told = {id(x): next((r for r in rates.values() if _takes(x, r)), None) for x in steps[:MOST_STEPS]}
        for x in steps[:MOST_STEPS]:
            if told[id(x)] is not None or standing_of(x.time.statement):
                continue
            alike = [y for y in steps[:MOST_STEPS] if told[id(y)] is not None and x.words & y.words]
            known = {r.number.value: r for y in alike if (r := told[id(y)]) is not None}
            if len(known) != 1:
                continue
            rate = next(iter(known.values()))
            right = x.amount.number.value / rate.number.value
            ratio = x.time.number.value / right
            if 1 / ASTRAY < ratio < ASTRAY and abs(ratio - 1) > CLOSE and not _in_parts(x, rate, ledger):
                why = f"{x.amount.number.text.strip()} at {rate.number.text.strip()}, as in line {alike[0].time.line}, "
                why += f"take {format_quantity(right, 'seconds')}"
                yield x.time, x.time.claim("time", Verdict.WRONG, why, right)


def _step(ledger: Ledger, index: int) -> Step | None:
    entries = ledger.entries[index]
    amounts = [e for e in entries if e.number.dim == BYTES and e.figure.role != "operand" and is_amount(e.number)]
    seconds = [e for e in entries if e.number.dim == SECONDS and e.figure.role == "lone" and not e.number.approx]
    others = any(e.number.dim == BYTE_RATE for e in entries)
    if len(amounts) != 1 or len(seconds) != 1 or others or amounts[0].number.at > seconds[0].number.at:
        return None
    named = {w.lower() for w in words(ledger.statements[index].text)} - _PLAIN
    han = {c for w in named for c in w if "\u4e00" <= c <= "\u9fff"}
    return Step(amounts[0], seconds[0], frozenset(named | han))


def _takes(x: Step, rate: Entry) -> bool:
    """Whether a step takes what its amount does at a rate."""
    return meet(ranges(x.time.number), over(ranges(x.amount.number), ranges(rate.number)))


def _in_parts(x: Step, rate: Entry, ledger: Ledger) -> bool:
    """Whether the time is that of a part, or of so many times the amount, by the counts around it."""
    mine, said = over(ranges(x.amount.number), ranges(rate.number)), ranges(x.time.number)
    near = ledger.around(x.time.index, 2)
    factors = {e.number.value for e in near if (e.number.dim == COUNT and e.number.whole) or e.number.percent}
    factors |= {1 - f for f in factors if f < 1} | {2.0}
    return is_part(said, mine, factors)
