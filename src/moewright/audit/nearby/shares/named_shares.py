"""Percentages of an amount that is named, and not told again: ``19.3 GB, 18.9 % of the room``, ``25 % above the
mean``."""

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
)
from moewright.audit.text.clauses import ends_range
from moewright.audit.text.numbers import BYTE_RATE, COUNT, FLOP_RATE

#: what a percentage is of, behind it or, in Chinese, before it
_OF_NAMED: Final = re.compile(
    r"^\s*(?:of|von|vom|des|der)\s+(?:(?:the|its|this|that|our|each|every|a|an|dem|der|den|des|GPU's|whole|entire|total)\s+)*"
    r"(?P<name>[^\W\d][^\d,.;:()|%=→]{1,40})",
    re.IGNORECASE,
)
_OF_BEFORE: Final = re.compile(r"占(?P<name>[^\d,，。;；:：]{2,16}?)的?\s*(?:大?约)?\s*$")
#: where the name of an amount ends
_NAME_END: Final = re.compile(
    r"\s(?:and|so|which|that|is|are|at|with|for|in|on|per|after|before|und|so|ist|bei|mit|je|pro)\b|\s-\s"
)
#: words of a name that tell nothing of which amount it is
_PLAIN: Final = frozenset(
    ["the", "of", "available", "total", "whole", "gpu", "gpus", "per", "card", "its", "free", "usable", "all", "each"]
)
#: words by which a percentage is no share of what stands before it
_OTHER: Final = re.compile(
    r"faster|slower|\bmore\b|\bless\b|fewer|higher|lower|cheaper|\bsav|reduc|improv|increas|decreas|at most|at least|"
    r"up to|below|above|\bfree\b|\bleft\b|remain|prefix|hit|schneller|mehr|weniger|höchstens|übrig|"
    r"节省|减少|提升|以上|以下|剩",
    re.IGNORECASE,
)
#: words between an amount and its share, and those that begin something else
MOST_WORDS: Final = 6
_APART: Final = re.compile(r"\b(?:for|with|at|für|mit|bei)\b", re.IGNORECASE)
#: letters of a statement that an amount is named by
MOST_NAME: Final = 60
#: how many times a share may be off
ASTRAY: Final = 11.0
#: statements before a share in which its amount's siblings stand
NEAR: Final = 3


def judge_named_shares(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the percentage that an amount is said to be of another one, which the document names where it tells
    it: the share of that one, or of none."""
    for index, entries in enumerate(ledger.entries):
        for i, e in enumerate(entries):
            s = ledger.statements[index]
            if not e.number.percent or s.kind == "heading" or ends_range(s.value, e.number):
                continue
            part, name = _part(entries, i), _name(e)
            if part is None or not name:
                continue
            larger = [x for x in ledger.alike(part.number.dim) if x.number.value >= part.number.value and x is not part]
            wholes = [x for x in larger if x.index <= index and _is_named(x, name)]
            if not wholes:
                continue
            said = rounded(e.number)
            room = 0.05 if e.number.approx else 2e-3
            mine = ranges(part.number)
            if any(meet(said, _shares(mine, ranges(x.number)), room) for x in larger):
                why = f"{part.number.text.strip()} of {wholes[-1].number.text.strip()}"
                yield e, e.claim("share", Verdict.HOLDS, why, e.number.value)
                continue
            last = wholes[-1]
            right = part.number.value / last.number.value
            if 1 / ASTRAY < right / e.number.value < ASTRAY:
                why = f"{part.number.text.strip()} of {last.number.text.strip()} (line {last.line}) is {right:.1%}"
                yield e, e.claim("share", Verdict.WRONG, why, right)


def _shares(part: tuple[Range, ...], whole: tuple[Range, ...]) -> tuple[Range, ...]:
    """Quotients of what is read alike: of powers of 1000 by those of 1000, of 1024 by those of 1024."""
    pairs = zip(part, whole, strict=True) if len(part) == len(whole) else ((x, y) for x in part for y in whole)
    return tuple((x[0] / y[1], x[1] / y[0]) for x, y in pairs if y[0] > 0)


_AT_RATE: Final = re.compile(r"(?:\b(?:at|over|with|bei|über|mit|à)|@|按|以)\s*(?:about |~)?$", re.IGNORECASE)


def _part(entries: list[Entry], i: int) -> Entry | None:
    """The amount that a share is told of: the last one before it, in the same sentence."""
    e = entries[i]
    before = entries[i - 1] if i else None
    if before is None or not is_amount(before.number) or before.figure.role == "operand":
        return None
    if _AT_RATE.search(e.statement.value[: before.number.at]) and before.number.dim in (BYTE_RATE, FLOP_RATE):
        return None  # 2.3 ms at 32 GB/s (2.7 % of the step)
    between = span_between(e.statement, before.number, e.number)
    around = f"{between} {e.behind[:30]}"
    apart = _APART.search(between) or re.search(r"[.;。；|](?:\s|$)|\d|[+×*→]", between)
    if len(_words(between)) > MOST_WORDS or apart or _OTHER.search(around):
        return None
    return before


def _name(e: Entry) -> frozenset[str]:
    """The words, in lower case, of what a percentage is of; none where it is of a figure, or not named."""
    m = _OF_NAMED.match(e.behind) or _OF_BEFORE.search(e.statement.value[: e.number.at])
    if m is None:
        return frozenset()
    name = _NAME_END.split(m["name"])[0]
    return _words(name) - _PLAIN


def _words(text: str) -> frozenset[str]:
    """Words of Latin letters, and pairs of Chinese ones."""
    latin = {w.lower().rstrip("s") for w in re.findall(r"[A-Za-zÀ-ɏ]{2,}", text)}
    runs = re.findall(r"[\u4e00-\u9fff]+", text)
    return frozenset(latin | {run[k : k + 2] for run in runs for k in range(max(1, len(run) - 1))})


def _is_named(x: Entry, name: frozenset[str]) -> bool:
    """Whether the words that an amount is told with have all of ``name``."""
    s, n = x.statement, x.number
    label = f"{s.row} {s.column}" if s.kind == "cell" else f"{s.key} {s.value[max(0, n.at - MOST_NAME) : n.at]}"
    own = f"{label} {x.behind[:24]}"
    return x.figure.role != "operand" and name <= _words(own)


_ABOVE_MEAN: Final = re.compile(
    r"^\s*(?:more|higher|busier|larger)?\s*(?:above|over|than|mehr als|über|höher als)\s+"
    r"(?:the |its |an? |dem |der |das |den |im )?(?:mean|average|avg|Mittel\w*|Durchschnitt|Schnitt)",
    re.IGNORECASE,
)
_MEAN_BEFORE: Final = re.compile(r"比平均(?:值|水平|数)?(?:要|还)?(?:高|多)(?:出)?\s*(?:约)?\s*$")
_MEAN: Final = re.compile(r"\bmean\b|\baverage|\bavg\b|Mittel|Durchschnitt|\bSchnitt\b|平均", re.IGNORECASE)
#: what each of many has, if all have as much
_OF_EACH: Final = re.compile(
    r"\s*\S{0,10}\s?(?:per|je|pro) (?:GPU|chip|accelerator|card|rank|expert|Karte|Experte)\b|\s*/\s?GPU", re.IGNORECASE
)
#: letters around a number that call it a mean
MOST_AROUND: Final = 30


def judge_above_mean(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on how far the largest of several figures is said to be above their mean, which is told just before."""
    for index, entries in enumerate(ledger.entries):
        for i, e in enumerate(entries):
            s, n = e.statement, e.number
            above = _ABOVE_MEAN.match(e.behind) or _MEAN_BEFORE.search(s.value[: n.at])
            if not n.percent or not above or not i or entries[i - 1].number.percent:
                continue
            most = entries[i - 1]
            near = ledger.around(index, NEAR)
            alike = [x for x in near if x is not most and x.number.dim == most.number.dim and not x.number.percent]
            alike = [x for x in alike if x.number.dim != COUNT or x.number.value > 1]
            said = ((1 + n.value - n.half, 1 + n.value + n.half),)
            if any(meet(said, over(ranges(most.number), ranges(x.number))) for x in alike):
                continue
            means = [x for x in alike if _is_mean(x) and 1 < most.number.value / x.number.value < 4]
            if means:
                right = most.number.value / means[-1].number.value - 1
                why = f"{most.number.text.strip()} is {right:.1%} above {means[-1].number.text.strip()}"
                yield e, e.claim("share", Verdict.WRONG, why, right)


def _is_mean(x: Entry) -> bool:
    n, text = x.number, x.statement.value
    around = text[max(0, n.at - MOST_AROUND) : n.at + len(n.text) + MOST_AROUND]
    return bool(_MEAN.search(around) or _OF_EACH.match(x.behind)) and not meet(ranges(n), exactly(0.0))
