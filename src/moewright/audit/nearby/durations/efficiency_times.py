"""Times at a share of a rate: 16.7 ms at all of it, and with 60 % of that bandwidth 27.8 ms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import (
    Entry,
    Ledger,
    Range,
    exactly,
    is_amount,
    meet,
    over,
    ranges,
    rounded,
    span_between,
    times,
)
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import BYTE_RATE, BYTES, FLOP, SECONDS
from moewright.units import format_quantity

#: words by which a percentage is the share of a rate that is reached
_SHARE: Final = re.compile(
    r"bandwidth|Bandbreite|bande passante|ancho de banda|带宽|\bM[FB]U\b|efficien|effizien|rendement|utili[sz]|"
    r"\bpeak\b|"
    r"nominal|roofline|\breach|achiev|measur|\bkernels?\b|atteint|erreich|realist|sustain|really|practice|"
    r"利用率|效率|实际|达到|\bof the (?:bound|limit|rate|figure|spec|link)\b",
    re.IGNORECASE,
)
#: of a rate or a time that stands right before
_OF_IT: Final = re.compile(r"%\s*(?:of (?:that|it|this)\b|davon)", re.IGNORECASE)
#: from a share to all of the rate: 70 % of the peak of 4 TB/s
_OF_RATE: Final = re.compile(r"\s*(?:of|von|der|des|de|×|x|\*)\b[^(（=\d]{0,32}", re.IGNORECASE)
#: what else a percentage beside times may be
_OTHER: Final = re.compile(
    r"\bcuts?\b|reduc|\bsav|shorten|\bby\s*$|senkt|kürzt|降低|缩短|overlap|\bhid|headroom|of the (?:step|time|"
    r"budget|pass|total)|saving|saves|faster|slower|longer|shorter|"
    r"\bmore\b|\bless\b|bubble|\bshare\b|remain|of (?:its|the) (?:tokens|traffic|copies|bytes)|"
    r"隐藏|重叠|掩盖|气泡|预算|schneller|"
    r""
    r"länger|kürzer|target|SLA|SLO|goal|目标|cross|remote",
    re.IGNORECASE,
)
#: a time that is told before the share it is at
_IF: Final = re.compile(
    r"^[^\d.;。；]{0,20}\b(?:if|at|with|when|assuming|given|bei|wenn|mit|si|avec|à)\b[^\d.;。；]{0,40}$|^[^\d.;。；]{0,6}[(（][^\d]{0,24}$|"
    r"^[^\d.;。；]{0,12}(?:若|按|以)[^\d]{0,12}$",
    re.IGNORECASE,
)
#: shares of a rate that are reached
LOW: Final = 0.2
#: slips beside the share itself
_SLIPS: Final = (1e3, 1e-3, 2.0, 0.5)
#: statements in which the amount and the rate may stand
BACK: Final = 3


def judge_efficiency_times(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a time at so much of a rate: what all of it takes, over the share."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading" or standing_of(s):
            continue
        for b in entries:
            n = b.number
            told = (
                n.dim == SECONDS and n.at >= 0 and not n.approx and b.figure.role != "operand" and not b.figure.formula
            )
            worked = any(x.number.dim == FLOP for x in entries) and not any(x.number.dim == BYTES for x in entries)
            p = _share_of(b, entries, ledger) if told and not worked else None
            if p is None:
                continue
            claim = _judged(b, p, list(_bases(b, ledger)))
            if claim is not None:
                yield b, claim


def _judged(b: Entry, p: Entry, bases: list[tuple[str, tuple[Range, ...]]]) -> Claim | None:
    """The verdict on a time by those at all of the rate that may be meant."""
    said, share = ranges(b.number), rounded(p.number)
    for told, base in bases:
        right = over(base, share)
        if meet(said, right, 4e-3):
            why = f"{told} at {p.number.text.strip()} of the rate"
            return b.claim("time", Verdict.HOLDS, why, (right[0][0] + right[0][1]) / 2)
    for told, base in bases:
        right = over(base, share)
        slips = (*(times(right, exactly(k)) for k in _SLIPS), times(base, share), base)
        if any(meet(said, x, 3e-3) for x in slips):
            value = (right[0][0] + right[0][1]) / 2
            why = f"{told} at {p.number.text.strip()} of the rate is {format_quantity(value, 'seconds')}"
            return b.claim("time", Verdict.WRONG, why, value)
    return None


def _share_of(b: Entry, entries: list[Entry], ledger: Ledger) -> Entry | None:
    """The percentage of a rate that a time is said to be at: in the name of its row, before it with no time between, or
    right behind it."""
    s = b.statement
    if s.kind == "cell":
        named = [x for x in ledger.titles(b) if x.number.percent and LOW <= x.number.value < 1]
        fits = len(named) == 1 and _SHARE.search(s.row) and not _OTHER.search(s.row)
        return named[0] if fits and len(entries) == 1 else None
    i = entries.index(b)
    for x in reversed(entries[:i]):
        if x.number.dim == SECONDS or (x.number.at < 0):
            break
        if x.number.percent:
            start = max([y.number.at + len(y.number.text) for y in entries[:i] if y.number.at < x.number.at], default=0)
            words = s.value[start : b.number.at]
            j = entries.index(x)
            timed = j > 0 and entries[j - 1].number.dim in (BYTE_RATE, SECONDS) and _OF_IT.search(words)
            rates = [y for y in entries if y.number.dim == BYTE_RATE and x.number.at < y.number.at < b.number.at]
            if any(not _OF_RATE.fullmatch(span_between(s, x.number, y.number)) for y in rates):
                return None  # 70 % of the bandwidth (604.8 GB/s): the rate is that share already
            of_amount = (
                rates and j > 0 and entries[j - 1].number.dim == BYTES and entries[j - 1].figure.role != "operand"
            )
            reached = timed or of_amount or _SHARE.search(words)
            fits = LOW <= x.number.value < 1 and reached and not _OTHER.search(words)
            return x if fits else None
    after = entries[i + 1] if i + 1 < len(entries) else None
    later = i + 2 < len(entries) and entries[i + 2].number.dim == SECONDS
    if after is not None and after.number.percent and LOW <= after.number.value < 1 and not later:
        between, behind = span_between(s, b.number, after.number), re.split(r"[.;,。；，]", after.behind)[0]
        if _IF.match(between) and _SHARE.search(between + behind) and not _OTHER.search(between + behind):
            return after
    return None


def _bases(b: Entry, ledger: Ledger) -> Iterator[tuple[str, tuple[Range, ...]]]:
    """Times at all of a rate before a time: those that are told, and those of amounts at a rate."""
    s = b.statement
    near = [x for x in ledger.around(b.index, BACK) if x.statement.path == s.path and x.number.at >= 0]
    near = [x for x in near if (x.index, x.number.at) < (b.index, b.number.at)]
    if s.kind == "cell":
        near = [x for x in near if x.statement.kind == "cell" and x.statement.group == s.group]
    near = [x for x in near if is_amount(x.number) and not x.number.approx]
    for x in reversed(near):
        if (
            x.number.dim == SECONDS
            and x.figure.role != "operand"
            and x.index >= b.index - (2 if s.kind == "cell" else 1)
        ):
            yield x.number.text.strip(), ranges(x.number)
    rates = [x for x in near if x.number.dim == BYTE_RATE][-2:]
    for x in reversed([x for x in near if x.number.dim == BYTES and x.figure.role != "operand"]):
        for r in reversed(rates):
            yield f"{x.number.text.strip()} at {r.number.text.strip()}", over(ranges(x.number), ranges(r.number))
