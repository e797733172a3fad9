"""Seconds that bytes take at a rate of bytes, or FLOPs at a rate of FLOPs, against the amounts that are told nearby."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import (
    Entry,
    Ledger,
    is_amount,
    is_part,
    meet,
    plus,
    ranges,
    slip,
    span_between,
    times,
    words,
)
from moewright.audit.reading.word_lists import words_of
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, FLOP_RATE, SECONDS, Dim
from moewright.units import format_quantity

#: what stands before a rate at which something happens
_AT: Final = re.compile(
    r"(?:\b(?:at|over|with|bei|mit|by)|@|/|÷|以|按)\s*(?:about |some |the |roughly |~|≈)*$", re.IGNORECASE
)
_REACHED: Final = re.compile(
    r"\b(?:reach|deliver|achiev|sustain|absorb|get|give|erreich|liefer)\w*\b|达到|可达", re.IGNORECASE
)
#: what may stand between a time and the rate, or the reverse
_LINK: Final = words_of("time_and_rate")
#: amounts nearby that a time may be of
MOST_NEAR: Final = 8


#: arithmetic, which is judged as it is written
_SIGN: Final = re.compile(r"[()/÷×*+]")
#: how many times a time right behind a rate may be off, and still be of the amount before it
MOST_ASTRAY: Final = 30.0
#: a share that is reached, which a formula may have by its name alone
_UNKNOWN: Final = re.compile(
    r"[×x*·(]\s*(?:MFU|MBU|HFU|util\w*|eff\w*|η)\b|\b(?:MFU|MBU|HFU|η)\s*[×x*·)]", re.IGNORECASE
)


def judge_transfers(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on every time that stands beside a rate, where its product with the rate is, or by a usual slip is not,
    an amount of the document."""
    for entries in ledger.entries:
        text = entries[0].statement.text if entries else ""
        if _UNKNOWN.search(text) and not any(e.number.dim == COUNT and 0 < e.number.value < 1 for e in entries):
            continue
        three = list(_triples(entries))
        for e, rate, amount in three:
            claim = _of_three(e, rate, amount, ledger)
            if claim is not None:
                yield e, claim
        done = {id(e) for e, _, _ in three}
        for i, e in enumerate(entries):
            if id(e) in done:
                continue
            formula = {n.dim for n in e.figure.formula}
            whole = formula & {BYTE_RATE, FLOP_RATE} and formula & {BYTES, FLOP}  # its own arithmetic is judged
            if e.number.dim != SECONDS or e.figure.role == "operand" or whole:
                continue
            found = _rate(entries, i)
            if found is not None:
                claim = _judged(e, found, ledger)
                if claim is not None and claim.verdict is Verdict.WRONG and _by_another(e, found, entries, ledger):
                    continue
                if claim is not None:
                    yield e, claim


def _clauses(entries: list[Entry]) -> Iterator[list[Entry]]:
    """The figures of each clause of a statement."""
    clause: list[Entry] = []
    for e in entries:
        if clause:
            between = span_between(e.statement, clause[-1].number, e.number)
            if re.search(r";|[.,](?=\s)|[，。；、:]|\band\b|\bund\b|→", between):
                yield clause
                clause = []
        clause.append(e)
    if clause:
        yield clause


def _triples(entries: list[Entry]) -> Iterator[tuple[Entry, Entry, Entry]]:
    """(time, rate, amount) of the clauses that have one of each: 2.42 GB over a 50 GB/s NIC takes 48.4 ms."""
    for clause in _clauses(entries):
        times_ = [e for e in clause if e.number.dim == SECONDS and e.figure.role == "lone"]
        rates = [e for e in clause if _work(e) is not None]
        if len(times_) != 1 or len(rates) != 1:
            continue
        dim = _work(rates[0])
        amounts = [e for e in clause if e.number.dim == dim and e is not rates[0] and is_amount(e.number)]
        others = [e for e in clause if e not in (times_[0], rates[0], *amounts) and not e.figure.remark]
        if len(amounts) == 1 and amounts[0].figure.role != "operand" and len(others) <= 1:
            yield times_[0], rates[0], amounts[0]


def _of_three(e: Entry, rate: Entry, amount: Entry, ledger: Ledger) -> Claim | None:
    """The verdict on a time that stands in one clause with the amount and the rate it is of."""
    moved, mine = times(ranges(e.number), ranges(rate.number)), ranges(amount.number)
    right = amount.number.value / rate.number.value
    if meet(moved, mine):
        why = f"{amount.number.text} at {rate.number.text}"
        return e.claim("time", Verdict.HOLDS, why, right)
    around = ledger.around(e.index, 1)
    parts = [x.number.value for x in around if (x.number.whole and x.number.dim == COUNT) or x.number.percent]
    halves = (0.5,) if _HALF.search(" ".join((e.statement.text, *e.statement.path[-1:]))) else ()
    if is_part(moved, mine, (*parts, *(1 - p for p in parts if p < 1), *halves)):
        return None
    if not 0.2 < e.number.value / right < 5 and not slip(e.number.value / right, 0.02):
        return None
    why = f"{amount.number.text} at {rate.number.text} take {format_quantity(right, 'seconds')}"
    return e.claim("time", Verdict.WRONG, why, right)


def _rate(entries: list[Entry], i: int) -> Entry | None:
    """The only rate of the statement, where it is the one that the time is worked out with."""
    e = entries[i]
    rates = [x for x in entries if _work(x) is not None]
    times_ = [x for x in entries if x.number.dim == SECONDS]
    if len(rates) != 1 or len(times_) != 1:
        near = [x for x in entries[max(0, i - 1) : i + 2] if _work(x) is not None]
        if len(near) != 1:
            return None
        rates = near
    rate = rates[0]
    first, second = sorted((e, rate), key=lambda x: x.number.at)
    s = e.statement
    before = s.value[: rate.number.at]
    behind = span_between(s, first.number, second.number)
    between = _plain(behind)
    shown = rate is first and _SHOWN.fullmatch(between)
    taken = rate is first and _TAKES.fullmatch(behind)
    reached = rate is first and _REACHED.search(re.split(r"[;.](?!\d)", before)[-1])
    if not shown and not taken and not reached and not _AT.search(before):
        return None
    if re.search(r"[;|]|\d", between) or len(between) > 60:
        return None
    return rate if shown or taken or {w.lower() for w in words(between)} <= _LINK else None


def _plain(text: str) -> str:
    """``text`` without what stands in brackets."""
    return re.sub(r"\([^()]*\)", " ", text)


#: words behind a rate that lead to the time: from local NVMe:
_SHOWN: Final = re.compile(r"[^\d;.|:=→]{0,40}[:=→]\s*[~≈]?\s*")
#: nothing but a verb between a rate and the time that something takes at it
_TAKES: Final = re.compile(
    r"[\s,，]*(?:至少|at least|mindestens|au moins)?\s*"
    r"(?:需要?|用时|耗时|约|takes?|took|needs?|dauert|braucht|prend|tarda|that is|"
    r"are|is|das sind|soit|also|hence)\s*[~≈]?\s*",
    re.I,
)


def _by_another(e: Entry, rate: Entry, entries: list[Entry], ledger: Ledger) -> bool:
    """Whether another rate of the statement leads to the time: 45 GB/s of a link of 400 Gb/s."""
    others = (x for x in entries if x is not rate and _work(x) is not None)
    return any((c := _judged(e, x, ledger)) is not None and c.verdict is Verdict.HOLDS for x in others)


def _work(e: Entry) -> Dim | None:
    """The dimension of what a rate moves, None for what is no rate."""
    n = e.number
    if n.dim == BYTE_RATE:
        return BYTES
    return FLOP if n.dim == FLOP_RATE or (n.dim == FLOP and n.either) else None


_HALF: Final = re.compile(
    r"\bhal(?:f|ves|ved)\b|direction|duplex|both ways|Richtung|双向|单向|一半|Hälfte|\bhalb|moitié|mitad", re.IGNORECASE
)


def _judged(e: Entry, rate: Entry, ledger: Ledger) -> Claim | None:
    dim = _work(rate)
    assert dim is not None
    moved = times(ranges(e.number), ranges(rate.number))
    amounts = (
        [x for x in ledger.alike(dim) if x is not rate and not x.number.either] if dim == FLOP else ledger.alike(dim)
    )
    for x in amounts:
        if meet(moved, ranges(x.number)):
            why = f"{x.number.text} at {rate.number.text}"
            return e.claim("time", Verdict.HOLDS, why, None)
    around = ledger.around(e.index, 2)
    counts = [x.number.value for x in around if x.number.whole and x.number.dim == COUNT and x.number.value <= 4096]
    shares = [x.number.value for x in ledger.around(e.index, 3) if x.number.percent]
    shares += [0.5] if _HALF.search(e.statement.text) else []
    near = [
        x
        for x in chain(
            reversed([y for y in ledger.entries[e.index] if y.number.at < max(e.number.at, rate.number.at)]),
            ledger.before(e.index, 2),
        )
        if x.number.dim == dim and x is not rate and is_amount(x.number) and not (dim == FLOP and x.number.either)
    ][:MOST_NEAR]
    for x in near:
        mine = ranges(x.number)
        if is_part(
            moved, mine, chain(counts, shares, (1 - s for s in shares), (c * p for c in counts for p in shares))
        ):
            return None
    for i, a in enumerate(near):
        for b in near[i:]:
            if meet(moved, plus(ranges(a.number), ranges(b.number))):
                return None
    if not near:
        return None
    value = e.number.value * rate.number.value
    x = near[0]
    room = e.number.slack + rate.number.slack + x.number.slack + 0.01
    ratio = value / x.number.value
    last = x.index == e.index or (x.index == e.index - 1 and x.statement.path == e.statement.path)
    beside_it = [y for y in near if y.index == x.index]
    only = len(beside_it) == 1
    found = slip(ratio, room)
    behind = span_between(e.statement, rate.number, e.number) if rate.number.at < e.number.at else "-"
    joined = not behind.strip(" :=→") or bool(_TAKES.fullmatch(behind) or _SHOWN.fullmatch(_plain(behind)))
    sentence = x.number.at < rate.number.at and not _SIGN.search(span_between(e.statement, x.number, rate.number))
    told = joined and sentence and [y for y in beside_it if y.figure.role != "operand"] == [x]
    most = MOST_ASTRAY if told else 5.0
    beside = x.index == e.index and (only or told) and 1 / most < ratio < most
    wide = 10.0 if x.line >= e.line - 1 else 2.5
    if not found and not beside and not (last and only and 1 / wide < ratio < wide):
        return None
    right = x.number.value / rate.number.value
    why = f"{x.number.text} at {rate.number.text} take {format_quantity(right, 'seconds')}"
    why += f": {found}" if found else ""
    return e.claim("time", Verdict.WRONG, why, right)
