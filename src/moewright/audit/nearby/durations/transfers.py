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
            led = "→" in between and e.number.dim == SECONDS  # 75.1 GB → 9.4 ms at 8 TB/s
            if re.search(r";|[.,](?=\s)|[，。；、:]|\band\b|\bund\b" + ("" if led else "|→"), between):
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
        if len(times_) != 1 or len(rates) != 1 or _LEAST.search(times_[0].statement.value[: times_[0].number.at]):
            continue
        dim = _work(rates[0])
        amounts = [e for e in clause if e.number.dim == dim and e is not rates[0] and is_amount(e.number)]
        others = [e for e in clause if e not in (times_[0], rates[0], *amounts) and not e.figure.remark]
        if len(amounts) == 1 and amounts[0].figure.role != "operand" and len(others) <= 1:
            yield times_[0], rates[0], amounts[0]


#: words before a time that anything takes at least
_LEAST: Final = re.compile(
    r"\b(?:floor|latency|overhead|launch|setup|startup|Latenz)\s*(?:of |: ?|= ?|von )?[~≈]?\s*$", re.I
)


def _of_three(e: Entry, rate: Entry, amount: Entry, ledger: Ledger) -> Claim | None:
    """The verdict on a time that stands in one clause with the amount and the rate it is of."""
    moved, mine = times(ranges(e.number), ranges(rate.number)), ranges(amount.number)
    right = amount.number.value / rate.number.value
    if meet(moved, mine):
        why = f"{amount.number.text} at {rate.number.text}"
        return e.claim("time", Verdict.HOLDS, why, right)
    around = ledger.entries[e.index] if _is_plain(e, rate, amount) else ledger.around(e.index, 1)
    parts = [x.number.value for x in around if (x.number.whole and x.number.dim == COUNT) or x.number.percent]
    halves = (0.5,) if _HALF.search(" ".join((e.statement.text, *e.statement.path[-1:]))) else ()
    if is_part(moved, mine, (*parts, *(1 - p for p in parts if p < 1), *halves)):
        return None
    if not 0.2 < e.number.value / right < 5 and not slip(e.number.value / right, 0.02):
        return None
    why = f"{amount.number.text} at {rate.number.text} take {format_quantity(right, 'seconds')}"
    return e.claim("time", Verdict.WRONG, why, right)


#: nothing but a word between an amount and its rate, and between that and the time
_PLAIN_AT: Final = re.compile(
    r"\s*(?:at|over|/|÷|bei|über|with|mit|à|a|@|durch)\s*(?:the |einer |une |un )?", re.IGNORECASE
)
_PLAIN_IS: Final = re.compile(
    r"\s*(?:,\s*)?(?:is|are|=|≈|takes?|needs?|→|makes?|dauer[nt]+|braucht|sind|ist|prennent|prend|需|耗时)?\s*[~≈]?\s*",
    re.IGNORECASE,
)


def _is_plain(e: Entry, rate: Entry, amount: Entry) -> bool:
    """Whether a statement says no more than that the amount takes the time at the rate."""
    s, first = e.statement, amount.number.at
    if first < rate.number.at < e.number.at:
        at, takes = span_between(s, amount.number, rate.number), span_between(s, rate.number, e.number)
    elif first < e.number.at < rate.number.at:
        takes, at = span_between(s, amount.number, e.number), span_between(s, e.number, rate.number)
    else:
        return False
    return bool(_PLAIN_AT.fullmatch(at) and _PLAIN_IS.fullmatch(takes))


def _rate(entries: list[Entry], i: int) -> Entry | None:
    """The only rate of the statement, where it is the one that the time is worked out with."""
    e = entries[i]
    rates = [x for x in entries if _work(x) is not None]
    times_ = [x for x in entries if x.number.dim == SECONDS]
    if len(rates) != 1 or len(times_) != 1:
        near = [x for x in entries[max(0, i - 1) : i + 2] if _work(x) is not None]
        near = near[:1] if len(near) > 1 and near[0].number.at < e.number.at and _is_cut(near[1], e) else near
        if len(near) != 1:
            return None
        rates = near
    rate = rates[0]
    first, second = sorted((e, rate), key=lambda x: x.number.at)
    s = e.statement
    before = s.value[: rate.number.at]
    behind = span_between(s, first.number, second.number)
    between = _NAMES.sub(" ", _plain(behind))
    shown = rate is first and _SHOWN.fullmatch(between)
    taken = rate is first and _TAKES.fullmatch(behind)
    reached = rate is first and _REACHED.search(re.split(r"[;.](?!\d)", before)[-1])
    if not shown and not taken and not reached and not _AT.search(before):
        return None
    if re.search(r"[;|]|\d", between) or len(between) > 60:
        return None
    return rate if shown or taken or {w.lower() for w in words(between)} <= _LINK else None


def _is_cut(rate: Entry, e: Entry) -> bool:
    """Whether a rate behind a time is of another clause."""
    return bool(re.search(r"[;.,](?=\s)|，|；|。", span_between(e.statement, e.number, rate.number)))


def _plain(text: str) -> str:
    """``text`` without what stands in brackets."""
    return re.sub(r"\([^()]*\)", " ", text)


#: words behind a rate that lead to the time: from local NVMe:
_SHOWN: Final = re.compile(r"[^\d;.|:=→]{0,40}[:=→]\s*[~≈]?\s*")
#: nothing but a verb between a rate and the time that something takes at it
_TAKES: Final = re.compile(
    r"(?:[\s,，]|至少|需要?|用时|耗时|约|"
    r"(?:at least|mindestens|au moins|takes?|took|needs?|dauert|braucht|prend|prennent|tarda|that is|that's|"
    r"this|it|are|is|NIC|link|port|"
    r"fabric|of HBM|of (?:memory )?bandwidth|"
    r"das sind|lasts?|no less than|then|soit|il faut|also|hence|so|thus|folglich|rund|etwa|about|"
    r"(?:der|die|das|the|la|le|an?|one|this|that|each|every) [^\W\d]{3,12} "
    r"(?:dauert|takes|lasts|needs|prend|braucht))(?=[\s,，]|$))*[~≈]?\s*",
    re.I,
)
#: devices by their names, whose digits are no figures
_NAMES: Final = re.compile(r"\b(?:of (?:the|an?|each) )?[A-Z]{1,3}\d{2,4}s?\b")


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


_SUM: Final = re.compile(
    r"\b(?:total|in all|altogether|together|all in all|alles in allem|insgesamt|zusammen|au total)\b|共|合计|总",
    re.IGNORECASE,
)


def _is_sum(x: Entry) -> bool:
    """Whether an amount is said to be that of all that stands before it."""
    return bool(_SUM.search(re.split(r"\d", x.statement.value[: max(0, x.number.at)])[-1]))


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
    used = {n.value for n in rate.figure.formula}  # 16 × 312 × 0.45 TFLOPS
    shares = [x.number.value for x in ledger.around(e.index, 3) if x.number.percent and x.number.value not in used]
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
    bare = not any(ledger.entries[i] for i in range(x.index + 1, e.index)) and e.index - x.index <= 2
    last = x.index == e.index or (bare and x.statement.path == e.statement.path)
    beside_it = [y for y in near if y.index == x.index]
    only = len(beside_it) == 1 or (x is beside_it[0] and _is_sum(x))
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
