"""Percentages that stand in brackets or behind a word for load: 112.7 (79.9% of 141); 39.1 ms (+12%); work of 4.6
PFLOPS, of 6.3 PFLOPS: utilization 73%."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise, permutations
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
)
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import COUNT

_NUMBER: Final = r"\d[\d,]*(?:\.\d+)?"
_UNIT: Final = r"(?:\s?[KMGT]i?B(?:/s)?|\s?[mµ]?s|\s?[TPE]?FLOPS?|\s?[KMB])?"
#: a figure and in brackets its share of another, both with a unit or neither
_OF: Final = re.compile(
    rf"(?P<part>{_NUMBER})(?P<unit>{_UNIT})\s*[(（][~≈]?(?P<share>\d+(?:\.\d+)?)\s?%\s?"
    rf"(?:of|von|der|des|de|sur)\s+(?:the |its |den )?(?P<whole>{_NUMBER})(?P<same>{_UNIT})\s*(?:[)）;,])",
    re.IGNORECASE,
)


def judge_plain_shares(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the percentage in brackets that says of which number the one before them is that share."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        for m in _OF.finditer(s.value) if entries and s.kind != "heading" else ():
            span = range(m.start("share") - 1, m.end("share"))
            p = next((e for e in entries if e.number.percent and e.number.at in span), None)
            if p is None or m["unit"].strip() != m["same"].strip():
                continue
            part, whole = (float(m[x].replace(",", "")) for x in ("part", "whole"))
            if not 0 < part <= whole or p.figure.formula:
                continue
            last = 0.5 * 10.0 ** -len(m["part"].partition(".")[2])
            got = (((part - last) / whole, (part + last) / whole),)
            why = f"{m['part']} of {m['whole']} is {part / whole:.1%}"
            verdict = Verdict.HOLDS if meet(rounded(p.number), got) else Verdict.WRONG
            yield p, p.claim("share", verdict, why, part / whole)


#: a change in brackets right behind what there is then
_SIGNED: Final = re.compile(r"[^\d.;]{0,24}[(（]\s*(?P<sign>[+\u2212\u2013-])\s*$")
#: statements before a change in which what is changed stands
NEAR: Final = 14


def judge_signed_changes(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a change in brackets that is the share of what there is then, and not of what there was before."""
    for index, entries in enumerate(ledger.entries):
        for x, p in pairwise(entries):
            s = p.statement
            if not p.number.percent or not is_amount(x.number) or x.number.dim == COUNT or x.number.at < 0:
                continue
            m = _SIGNED.fullmatch(span_between(s, x.number, p.number))
            if m is None or s.kind == "heading" or p.number.approx or x.number.approx:
                continue
            up = m["sign"] == "+"
            said, now = rounded(p.number), ranges(x.number)
            before = [
                y
                for y in ledger.alike(x.number.dim)
                if index - NEAR <= y.index <= index and y is not x and (y.number.value < x.number.value) is up
            ]
            if any(meet(said, _change(now, ranges(y.number), up), 1e-2) for y in before):
                continue
            for y in reversed(before):
                got = _change(ranges(y.number), now, not up)
                if meet(said, got, 1e-3):
                    right = abs(x.number.value / y.number.value - 1)
                    why = f"{x.number.text.strip()} is {right:.1%} {'more' if up else 'less'} than "
                    why += f"{y.number.text.strip()} (line {y.line}); of {x.number.text.strip()} it is that share"
                    yield p, p.claim("share", Verdict.WRONG, why, right)
                    break


def _change(now: tuple[Range, ...], before: tuple[Range, ...], up: bool) -> tuple[Range, ...]:
    """By what share ``now`` is more than ``before``, or less where not ``up``."""
    ratio = over(now, before)
    return tuple((a - 1, b - 1) if up else (1 - b, 1 - a) for a, b in ratio)


_LOAD: Final = re.compile(
    r"(?:\b(?:(?<!bandwidth )utili[sz]ation|load(?:ed)?|busy|occupied|occupancy|Auslastung|ausgelastet|charge|"
    r"taux d['’]utilisation)\b|"
    r"(?<!带宽)利用率|负载率?|占用率?)\s*(?:is|of|at|to|von|zu|bei|为|约|:|：|=)*\s*(?:only |about |etwa |nur )?[~≈]?$",
    re.IGNORECASE,
)
_AT: Final = re.compile(r"\s*(?:busy|loaded|utili[sz]ed|ausgelastet|utilization|occupied)\b", re.IGNORECASE)


def judge_loads(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a load in percent that stands behind the work and the rate, or the rate and the limit, that it is
    the ratio of."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        for i, p in enumerate(entries):
            if not p.number.percent or p.figure.formula or p.number.approx or p.number.at < 0 or standing_of(s):
                continue
            if s.kind == "heading" or not (_LOAD.search(s.value[: p.number.at]) or _AT.match(p.behind)):
                continue
            above = [x for x in ledger.before(index, 1) if s.kind != "cell" and x.line == s.line]
            before = [*reversed(above), *entries[:i]]
            found = [x for x in before if is_amount(x.number) and x.figure.role != "operand" and not x.number.approx]
            said = rounded(p.number)
            alike = [(a, b) for a, b in permutations(found, 2) if a.number.dim == b.number.dim]
            if any(meet(said, over(ranges(a.number), ranges(b.number)), 3e-3) for a, b in alike):
                continue
            pair = found[-2:]
            if len(pair) < 2 or pair[0].number.dim != pair[1].number.dim or pair[1].index != index:
                continue
            low, high = sorted(pair, key=lambda x: x.number.value)
            if low.number.value == high.number.value:
                continue
            right = low.number.value / high.number.value
            if meet(said, exactly(1 / right), 3e-3) or 0.5 < p.number.value / right < 2:
                why = f"{low.number.text.strip()} of {high.number.text.strip()} is {right:.1%}"
                yield p, p.claim("share", Verdict.WRONG, why, right)
