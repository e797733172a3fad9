"""Sums whose terms have their names beside them: attention 6.17 GB + shared experts 2.64 GB = 8.81 GB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise, product
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, is_amount, span_between
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.clauses import ends_range
from moewright.audit.text.numbers import BYTE_RATE, COUNT, FLOP_RATE, NAMES
from moewright.units import format_quantity

#: between two terms: one sign of addition and names
_PLUS: Final = re.compile(
    r"[^+=;。×*·÷/−<>→]*?(?:\+|\bplus\b|\bzuzüglich\b|\bmás\b|加上?)[^+=;。×*·÷<>→]*?", re.IGNORECASE
)
#: between the last term and the sum
_MAKES: Final = re.compile(
    r"[^+;。×*·÷/−<>→]*?(?:=|≈|\b(?:gives?|makes?|is|are|comes? to|adds? up to|sums? to|totals?|together|"
    r"in total|in all|"
    r"sum|zusammen|ergibt|ergeben|macht|sind|insgesamt|Summe|soit|fait|au total|en total|suman?)\b|共计?|合计|总计)"
    r"[^+;。×*·÷−<>→\d]{0,24}",
    re.IGNORECASE,
)
#: what makes a term of the one that it stands beside
_EACH: Final = re.compile(
    r"\b(?:each|apiece|times|minus|less|without|average|mean|je|jeweils)\b|每[个层卡]", re.IGNORECASE
)
_TIMES: Final = re.compile(r"\d\s*[x×*·]\s*$")
#: terms of a sum, at least and at most
FEWEST: Final = 2
MOST: Final = 8


def judge_word_sums(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a sum of amounts of one dimension that stand in a row with a sign of addition, and their names,
    between them: each counts once, or as often as the number right before it says."""
    for entries in ledger.entries:
        s = entries[0].statement if entries else None
        if s is None or s.kind == "heading" or not re.search(r"\+|plus|zuzüglich|más|加", s.value, re.IGNORECASE):
            continue
        amounts = [e for e in entries if e.number.at >= 0 and is_amount(e.number)]
        for i, e in enumerate(amounts):
            terms = _terms(amounts, i)
            if len(terms) < FEWEST or _is_parsed(e, terms) or standing_of(s):
                continue
            claim = _judged(e, terms, entries)
            if claim is not None:
                yield e, claim


def _terms(amounts: list[Entry], i: int) -> list[Entry]:
    """The terms of amount number ``i``, none where it is no sum."""
    e, s = amounts[i], amounts[i].statement
    rate = e.number.dim in (BYTE_RATE, FLOP_RATE)
    if i < FEWEST or rate or e.number.either or not _MAKES.fullmatch(_between(amounts[i - 1], e)):
        return []
    found = [amounts[i - 1]]
    for x in reversed(amounts[: i - 1]):
        if not _PLUS.fullmatch(_between(x, found[0])):
            break
        found.insert(0, x)
    if any(_TIMES.search(_between(a, b)) for a, b in pairwise((*found, e))):
        return []  # 22 ms, plus 112 x 74 us = 8 ms
    before, row = s.value[: found[0].number.at], s.value[found[0].number.at : e.number.at]
    alike = all(_is_like(x, e) for x in (*found, e)) and " - " not in row
    clean = not re.search(r"[+×*·/÷−-]\s*(?:\w+\s)?$", before) and not _is_open(row)
    return found if alike and clean and len(found) <= MOST else []


def _is_like(x: Entry, e: Entry) -> bool:
    """Whether ``x`` is one figure of what ``e`` is of."""
    return x.number.dim == e.number.dim and not x.number.approx and not ends_range(x.statement.value, x.number)


def _between(first: Entry, second: Entry) -> str:
    """The text between two amounts, without what stands in brackets."""
    text = span_between(first.statement, first.number, second.number)
    return re.sub(r"\([^()]*\)", " ", text)


def _is_open(row: str) -> bool:
    """Whether a row of terms has one in words alone, or one that is not of the amount beside it."""
    terms = [t for t in re.split(r"[+=≈]", row) if t.strip()]
    return bool(_EACH.search(row)) or any(not re.search(r"\d", t) for t in terms)


def _is_parsed(e: Entry, terms: list[Entry]) -> bool:
    """Whether the figure is the result of arithmetic that is judged as it is written."""
    ats = {n.at for n in e.figure.formula}
    return all(x.number.at in ats for x in terms)


def _counts_before(x: Entry, entries: list[Entry]) -> list[float]:
    """How often a term may count: once, and by the number of things right before it (12 full layers 100.7 MB)."""
    found = [1.0]
    for y in entries:
        n = y.number
        between = x.statement.value[n.at + len(n.text) : x.number.at] if 0 <= n.at < x.number.at else "+"
        if n.dim == COUNT and n.whole and not n.percent and not re.search(r"[+=\d;]", between):
            found.append(n.value)
    return found


def _judged(e: Entry, terms: list[Entry], entries: list[Entry]) -> Claim | None:
    n = e.number
    told = " + ".join(x.number.text.strip() for x in terms)
    right = sum(x.number.value for x in terms)
    for often in product(*(_counts_before(x, entries)[:3] for x in terms)):
        for binary in (False, True):
            value = sum(x.number.of_powers(binary) * k for x, k in zip(terms, often, strict=True))
            room = sum(x.number.half * k for x, k in zip(terms, often, strict=True)) + n.half
            if abs(value - n.of_powers(binary)) <= (room + (0.05 * n.value if n.approx else 0.0)) * (1 + 1e-9):
                return e.claim("sum", Verdict.HOLDS, told, value)
    if not 0.1 < n.value / right < 10 and not any(abs(n.value / right * k - 1) < 0.02 for k in (1e3, 1e-3)):
        return None
    return e.claim("sum", Verdict.WRONG, f"{told} is {format_quantity(right, NAMES.get(n.dim, ''))}", right)
