"""Amounts that a percentage is added to or taken from: the percentage itself is no factor of what is left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, ranges, span_between, times
from moewright.audit.text.clauses import ends_range
from moewright.audit.text.numbers import COUNT, NAMES
from moewright.units import format_quantity

_MORE: Final = re.compile(
    r"\bslower|\blonger|\bstretch|langsamer|länger|慢|"
    r"\badd(?:s|ed|ing)?\b|\bmore\b|\bextra\b|\bgain|\bfaster|\bincreas|\bhigher|margin|overhead|restart|\bon top\b|"
    r"\bAufschlag|\bmehr\b|\bGewinn|\bschneller|\bZuschlag|\bhöher|增加|提升|多(?:接受)?|提高|加速|额外|上浮",
    re.IGNORECASE,
)
_LESS: Final = re.compile(
    r"\bcuts?\b|\bshrink|\blower|\bshorten|\btrim|senkt|kürz|"
    r"\bdiscount|\boff\b|\breserv|\bkeep|\bless\b|\bsav(?:e|ing)|\breduc|\bheadroom|\bcheaper|\bset aside|\bhold back|"
    r"\bRabatt|\bNachlass|\bReserv|\bweniger|\bgünstiger|\bAbschlag|预留|保留|折扣|优惠|减少|降低|节省",
    re.IGNORECASE,
)
#: what makes the figure behind it what is left, or what there is then
_LEADS_TO: Final = re.compile(
    r",?\s+to\s+(?:about )?$|\bleav(?:es|ing)\b|\bcosts?\b|\bbrings?\b|\bdown to\b|"
    r"\bup to\b|\bbecomes?\b|\bplan(?:s|ned)?\b|\breach|\busable|"
    r"\bcomes? to\b|\bgives?\b|\bkostet\b|\bbleib|\bergibt\b|\bauf\b|\bkommt|\berreich|"
    r"可到|达到|剩|可用|降到|降至|升到|为",
    re.IGNORECASE,
)
_IS_THEN: Final = re.compile(
    r"\s*(?:more|less|faster|slower|mehr|weniger|higher|lower)\s*[:=,]\s*(?:i\.e\.|that is|also|so)?\s*$"
)
#: what is told of the change itself
_CHANGE_ITSELF: Final = re.compile(
    r"\badditional|\bextra\b|\bdifference|\bsaving|\bsaved|\bby\b|\bum\b|zusätzlich|gespart|Ersparnis|额外|节省了|即节省",
    re.IGNORECASE,
)
#: letters between a percentage and what it leads to
MOST_BETWEEN: Final = 110
#: statements before a change in which what is changed stands
NEAR: Final = 3


def judge_changed_amounts(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on what an amount is said to be with a percentage more, or less, where it is no more than the
    percentage of it: 12 % off 415,000 leave 365,200, and not 49,800."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        for i, p in enumerate(entries):
            share = p.number.value
            if not p.number.percent or not 0 < share < 1 or abs(share - 0.5) < 0.02 or s.kind in ("heading", "cell"):
                continue
            if ends_range(s.value, p.number) or p.figure.role == "operand":
                continue
            for e in entries[i + 1 :]:
                between = span_between(s, p.number, e.number)
                leads = _LEADS_TO.search(between) or _IS_THEN.match(between)
                if e.number.percent or len(between) > MOST_BETWEEN or not leads:
                    continue
                clause = s.value[max(0, p.number.at - 60) : p.number.at] + between
                up, down = bool(_MORE.search(clause)), bool(_LESS.search(clause))
                if up == down or _CHANGE_ITSELF.search(between):
                    continue
                claim = _judged(p, e, ledger.around(index, NEAR), 1 + share if up else 1 - share)
                if claim is not None:
                    yield e, claim
                break


def _judged(p: Entry, e: Entry, near: list[Entry], factor: float) -> Claim | None:
    n, share = e.number, p.number.value
    alike = [x for x in near if x.number.dim == n.dim and not x.number.percent and x is not e and x.number.value > 0]
    alike = [x for x in alike if n.dim != COUNT or x.number.value >= 2]
    said = ranges(n)
    right = (factor, 1 / factor, 1 - share, 1 + share, 1 / (1 + share), 1 / (1 - share), 1.0)
    if any(meet(said, times(ranges(x.number), exactly(f))) for x in alike for f in right):
        return None
    for x in alike:
        if meet(said, times(ranges(x.number), exactly(share))) and n.slack < 0.06:
            value = x.number.value * factor
            how, unit = "more" if factor > 1 else "less", NAMES.get(n.dim, "")
            why = f"{x.number.text.strip()} and {p.number.text.strip()} {how} is {format_quantity(value, unit)}; "
            why += "that is no more than the percentage of it"
            return e.claim("share", Verdict.WRONG, why, value)
    return None


def judge_gains(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a product with the percentage that something is faster by, in place of the whole ratio: a gain of
    35 % makes 1.35 of what there was."""
    for entries in ledger.entries:
        percents = [x for x in entries if x.number.percent and 0 < x.number.value < 1]
        for e in entries:
            for p in percents:
                clause = e.statement.value[max(0, p.number.at - 60) : e.number.at]
                if e.number.percent or p.number.at >= e.number.at or not _MORE.search(clause) or _LESS.search(clause):
                    continue
                factors = [x for x in e.figure.formula if x.dim == COUNT and abs(x.value - p.number.value) < 1e-9]
                if len(factors) != 1 or len(e.figure.formula) != 2 or _CHANGE_ITSELF.search(e.statement.value):
                    continue
                right = e.number.value / p.number.value * (1 + p.number.value)
                why = f"{p.number.text.strip()} more is a factor of {1 + p.number.value:g}, not {factors[0].text}"
                yield e, e.claim("share", Verdict.WRONG, why, right)
