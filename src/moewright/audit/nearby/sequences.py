"""Sequences that fit, by tokens and a context; what a change by a percentage leads to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, over, ranges, rounded, span_between, times
from moewright.audit.text.numbers import COUNT

_MANY: Final = re.compile(
    r"^\s*(?:\w+ |-)?(?:gleichzeitige\w* )?(?:sequences?|requests?|conversations?|sessions?|users?|prompts?|"
    r"Sequenzen|Anfragen|Sitzungen|Nutzer|条|路|个(?:请求|会话|序列))",
    re.IGNORECASE,
)
_CONTEXT: Final = re.compile(
    r"(?:average|mean|typical|full|mittlere\w*|context|Kontext|at our|of|平均|上下文)[^.;\d]{0,40}$", re.IGNORECASE
)
_TOKEN: Final = re.compile(r"^[ -]?(?:tokens?|Token)\b|^\s?个?\s?token", re.IGNORECASE)
_APART: Final = re.compile(
    r"\bwe (?:run|serve|use|set)\b|\bwir (?:fahren|nehmen)\b|"
    r"would|could|instead|\bneeds?\b|\btakes?\b|需要|占|braucht|ben(?:ö|oe)tigt|\bif\b|at most|limit|plan|cap\b|"
    r"batch|target|per second|/s|höchstens|würde|最多|上限|计划",
    re.IGNORECASE,
)


def judge_sequences(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the sequences of a mean length that a number of tokens told just before has room for: the one over
    the other, or by a usual slip of rounding not."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind in ("heading", "cell") or _APART.search(s.text):
            continue
        many = [e for e in entries if e.number.whole and e.number.dim == COUNT and _MANY.match(e.behind)]
        long = [e for e in entries if _TOKEN.match(e.behind) and 100 <= e.number.value < 2e6]
        long = [e for e in long if e.number.whole and _CONTEXT.search(s.value[: e.number.at])]
        if len(many) != 1 or len(long) != 1 or many[0] is long[0] or many[0].number.value < 4:
            continue
        tokens = [e for e in (*entries, *ledger.before(index, 2)) if _TOKEN.match(e.behind) and e is not long[0]]
        tokens = [e for e in tokens if e.number.value > 4 * long[0].number.value]
        stored = [x for x in ledger.alike(COUNT) if _TOKEN.match(x.behind)]
        if not tokens:
            continue
        n, context = many[0].number, exactly(long[0].number.value)
        fits = ((n.value - 0.5, n.value + 1.0),)  # rounded, or as many as fit
        if any(meet(times(fits, context), ranges(x.number), 5e-3) for x in (*tokens, *stored)):
            continue
        right = tokens[0].number.value / long[0].number.value
        if 0.2 < n.value / right < 5:
            why = f"{tokens[0].number.text.strip()} tokens over {long[0].number.text.strip()} are {right:.4g}"
            yield many[0], many[0].claim("count.sequences", Verdict.WRONG, why, right)


_MORE: Final = re.compile(
    r"\b(?:ris|grow|increas|gain|climb|steig|erh(?:ö|oe)h|wachs|zunehm)\w*|增加|提高|增长", re.IGNORECASE
)
_LESS: Final = re.compile(
    r"\b(?:fall|drop|shrink|reduc|decreas|cut|declin|sink|sinkt|verringer|reduzier)\w*|减少|降低|下降", re.IGNORECASE
)
#: what happens more than once
_AGAIN: Final = re.compile(r"\s*(?:each|per|every|an?|pro|je|jede[nrs]?)\b|\s*(?:每)", re.IGNORECASE)
_BY: Final = re.compile(r"\b(?:by|um)\s*(?:about |etwa |~)?$", re.IGNORECASE)
_FROM: Final = re.compile(r"\b(?:from|von)\s*$|从\s*$", re.IGNORECASE)
_TO: Final = re.compile(
    r"^\s*(?:tokens?/s|tok/s|GB|MB|ms)?\s*(?:to|auf)\s*$|^\s*(?:降|升|增)?(?:到|至)\s*$", re.IGNORECASE
)


def judge_changes(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on what a figure rises or falls to by a percentage: from 410k by 40 % to 574k."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        percents = [e for e in entries if e.number.percent and _BY.search(s.value[: e.number.at])]
        others = [e for e in entries if not e.number.percent]
        if len(percents) != 1 or len(others) < 2 or bool(_MORE.search(s.text)) == bool(_LESS.search(s.text)):
            continue
        p = percents[0].number
        if _AGAIN.match(s.value[p.at + len(p.text) :]):
            continue
        share = rounded(p)
        for a, b in pairwise(others):
            same = a.number.dim == b.number.dim or COUNT in (a.number.dim, b.number.dim)
            if not same or not _FROM.search(s.value[: a.number.at]):
                continue
            if not _TO.match(span_between(s, a.number, b.number)):
                continue
            up = bool(_MORE.search(s.text))
            factor = tuple((1 + x, 1 + y) if up else (1 - y, 1 - x) for x, y in share)
            got = times(ranges(a.number), factor)
            other = over(ranges(a.number), tuple((1 + x, 1 + y) for x, y in share)) if not up else got
            if a.number.value <= 0 or meet(ranges(b.number), got, 5e-3) or meet(ranges(b.number), other, 5e-3):
                continue
            right = a.number.value * (1 + p.value if up else 1 - p.value)
            why = f"{a.number.text.strip()} {'and' if up else 'less'} {p.text.strip()} of it is {right:.4g}"
            yield b, b.claim("share", Verdict.WRONG, why, right)


#: what a percentage is said to be more by, or above
_MORE_BY: Final = re.compile(
    r"^\s*(?:more|faster|higher|larger|greater|above|over|extra|mehr|schneller|höher|darüber|über|de plus|"
    r"plus (?:vite|rapide)|"
    r"更(?:多|快|高)|以上|多)\b",
    re.IGNORECASE,
)
_TIMES: Final = re.compile(r"^\s*(?:[x×]|times|mal\b|fois|倍|-?fach)", re.IGNORECASE)


def judge_more(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a percentage that something is said to be more by, which is the whole ratio of the sentence: 1.43
    times is 43 % more."""
    for entries in ledger.entries:
        percents = [e for e in entries if e.number.percent and _MORE_BY.match(e.behind)]
        ratios = [
            e
            for e in entries
            if e.number.dim == COUNT and not e.number.percent and not e.number.whole and 1.02 < e.number.value < 20
            if e.figure.role == "result" or _TIMES.match(e.behind)
        ]
        for p in percents:
            for r in ratios:
                room = 100 * r.number.half + 100 * p.number.half + 1e-9
                said, ratio = 100 * p.number.value, 100 * r.number.value
                if abs(said - ratio) <= room < 5 and said > 100:
                    why = f"{r.number.text.strip()} times is {ratio - 100:.4g} % more"
                    yield p, p.claim("share", Verdict.WRONG, why, r.number.value - 1)
                    break
