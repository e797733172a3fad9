"""Sums of money: 8 × 730 h × 1.80 € = 10,512 €; 105.60 €/h, in a month of 730 h 77,088 €."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.clauses import Figure
from moewright.audit.text.expressions import Operation, evaluate, fold, whole
from moewright.audit.text.numbers import COUNT, Number, tokens_of

_MONEY: Final = r"(?:€|\$|£|EUR|USD|Euro|dollars?|元|美元|k€)"
_PLAIN: Final = r"\d[\d,]*(?: \d{3})*(?:\.\d+)?"
#: one factor, with what it is of
_FACTOR: Final = rf"{_MONEY}?\s?{_PLAIN}\s?(?:{_MONEY}(?:\s?/\s?[\w-]+)?|[A-Za-z][\w-]*(?:/\w+)?)?"
_PRODUCT: Final = re.compile(
    rf"(?P<left>{_FACTOR}(?:\s?[×x*·/÷]\s?{_FACTOR})+)\s?[=≈]\s?(?P<before>{_MONEY}?)\s?(?P<right>{_PLAIN})(?P<kilo>k?)\s?(?P<after>{_MONEY}?)",
    re.IGNORECASE,
)
_OF_TIME: Final = re.compile(
    rf"(?P<rate>{_PLAIN})\s?{_MONEY}\s?/\s?(?:h|hour|Stunde|heure|hora|"
    rf"小时)\b[^.;\d×*·=]{{0,40}}\(?(?P<hours>\d{{1,4}}) ?(?:h|hours|Stunden|heures)\)?"
    rf"[^.;\d]{{0,24}}(?P<whole>{_PLAIN})\s?{_MONEY}",
    re.IGNORECASE,
)
#: what a factor is of, which its number is worked out without, and a space between thousands
_NAME: Final = re.compile(rf"{_MONEY}(?:\s?/\s?[\w-]+)?|(?!x\b)[A-Za-z][\w-]*(?:/\w+)?", re.IGNORECASE)
_SPACE: Final = re.compile(r"(?<=\d) (?=\d{3}(?!\d))")
#: what is left open for rounding, of a sum of so many digits
ROOM: Final = 6e-3
#: a sum of money is off by no more
ASTRAY: Final = 1100.0


def judge_costs(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a sum of money that is worked out beside it, or is that of so many hours at a rate."""
    for index, s in enumerate(ledger.statements):
        if s.kind == "heading" or not re.search(_MONEY, s.value) or standing_of(s):
            continue
        for m in _PRODUCT.finditer(s.value):
            if not (m["before"] or m["after"]) and not re.search(_MONEY, m["left"]):
                continue
            yield from _judged(index, ledger, m, "right", _value(m["left"]))
        for m in _OF_TIME.finditer(s.value):
            yield from _judged(index, ledger, m, "whole", _number(m["rate"]) * _number(m["hours"]))


def _judged(index: int, ledger: Ledger, m: re.Match[str], group: str, right: float) -> Iterator[tuple[Entry, Claim]]:
    text = m[group]
    kilo = 1e3 if group == "right" and m["kilo"] else 1.0
    said = _number(text) * kilo
    places = len(text.partition(".")[2])
    half = 0.5 * 10.0**-places * kilo
    if not right or not said or not 1 / ASTRAY < said / right < ASTRAY:
        return
    n = Number(text, said, said, half, COUNT, at=m.start(group))
    e = Entry(index, ledger.statements[index], Figure(n, "result", ""))
    holds = abs(said - right) <= half + ROOM * right
    why = f"{right:,.6g} by the numbers written"
    claim = e.claim("arithmetic", Verdict.HOLDS if holds else Verdict.WRONG, why, right)
    yield e, replace(claim, text=m[0].strip())


def _number(text: str) -> float:
    return float(re.sub(r"[, ]", "", text))


def _value(text: str) -> float:
    """What numbers with signs of multiplication and division between them make; 0.0 for what cannot be read."""
    node = whole(fold(tokens_of(_NAME.sub(" ", _SPACE.sub("", text)))))
    value = evaluate(node).low if isinstance(node, Operation) else 0.0
    return value if math.isfinite(value) else 0.0
