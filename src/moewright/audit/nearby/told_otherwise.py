"""Verdicts that the sentence itself, or one before it, has the reason against: 7/8 of it, two forward and two
backward, 2 epochs; a total of weights, gradients and optimizer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from math import prod
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.places import Said
from moewright.audit.judges.scope_doubts import OF_STATES, STATES

#: how near a figure is to so many times what it was held against
CLOSE: Final = 5e-3
_FRACTION: Final = re.compile(r"(?<![\d.,/])(\d{1,4})\s?/\s?(\d{1,4})(?![\d/]|[.,]\d)")
_TIMES: Final = re.compile(r"(\d{1,3})\s*(?:(?:epochs?|epochen|époques|passes)\b|轮|遍)", re.IGNORECASE)
_WORDS: Final = {
    **{"two": 2, "three": 3, "four": 4, "both": 2, "twice": 2, "zwei": 2, "drei": 3, "vier": 4, "beide": 2},
    **{"zweimal": 2, "deux": 2, "trois": 3, "quatre": 4, "两": 2, "三": 3, "四": 4},
}
_WORD: Final = re.compile(rf"\b(?:{'|'.join(w for w in _WORDS if w.isascii())})\b|[两三四](?=[次个])", re.IGNORECASE)
#: words of a sentence that are put together
MOST_WORDS: Final = 4
_TOTAL: Final = re.compile(
    r"\b(?:total|sum|in all|altogether|together|insgesamt|zusammen|gesamt|au total|en tout)\b|合计|总计|总共|一共|共",
    re.IGNORECASE,
)
#: statements before a total that may say what it is of
BACK: Final = 4


def without_reasons(claims: Sequence[Claim], said: Sequence[Said]) -> list[Claim]:
    """``claims``, of which those are not checked that are wrong by a factor which their own sentence tells, or that are
    totals behind sentences of the states of training."""
    wrong = {c.line for c in claims if c.verdict is Verdict.WRONG}
    by_line: dict[int, list[int]] = {}
    for i, x in enumerate(said if wrong else ()):
        for line in wrong.intersection(range(x.statement.line, x.statement.line + len(x.statement.breaks) + 1)):
            by_line.setdefault(line, []).append(i)
    return [_judged(c, said, by_line.get(c.line, ())) if c.verdict is Verdict.WRONG else c for c in claims]


def _judged(c: Claim, said: Sequence[Said], places: Iterable[int]) -> Claim:
    i = next((i for i in places if c.text in said[i].statement.text or said[i].statement.text in c.text), None)
    if i is None or not isinstance(c.claimed, float) or not c.computed:
        return c
    s = said[i].statement
    factor = "" if c.quantity in ("arithmetic", "split") else _factor(c.claimed / c.computed, s.text)
    if factor:
        return replace(
            c, verdict=Verdict.NOT_CHECKED, why=f"it is {factor} times that, which its sentence tells: {c.why}"
        )
    if c.quantity.startswith(OF_STATES) and _TOTAL.search(c.text):
        before = [x.statement for x in said[max(0, i - BACK) : i] if x.statement.path == s.path]
        told = next((b for b in reversed(before) if STATES.search(b.text)), None)
        if told is not None:
            why = f"it may be of the states of training that line {told.line} tells: {c.why}"
            return replace(c, verdict=Verdict.NOT_CHECKED, why=why)
    return c


def _factor(ratio: float, text: str) -> str:
    """The factor of a sentence that ``ratio`` is; empty where it tells none."""
    return next((told for told, value in _factors(text).items() if abs(ratio / value - 1) <= CLOSE), "")


def _factors(text: str) -> dict[str, float]:
    """Fractions and numbers of times that a sentence has, and the products and sums of its numbers in words: one word
    alone is of what else there is as often as of the figure."""
    found = {f"{a}/{b}": int(a) / int(b) for a, b in _FRACTION.findall(text) if 0 < int(a) < int(b)}
    found |= {n: float(n) for n in _TIMES.findall(text) if int(n) > 1}
    words = [_WORDS[m[0].lower()] for m in _WORD.finditer(text)][:MOST_WORDS]
    for k in range(2, len(words) + 1):
        for some in combinations(words, k):
            found |= {str(n): float(n) for n in (prod(some), sum(some))}
    return found
