"""Figures that are told again with two digits in each other's place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, misprint
from moewright.audit.text.numbers import COUNT, plain_digits

#: digits with which two figures of a document are each other's misprint rather by a slip than by chance
ENOUGH: Final = 4
#: with so many no words are needed
PLENTY: Final = 5
#: figures of a document that are compared
MOST: Final = 1500
_WORD: Final = re.compile(r"[^\W\d_]{2,}")


def judge_misprints(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a figure that stands once in the document, in running text, and is another one that a table or a
    calculation has, with two of its digits in each other's place."""
    figures = [
        e for entries in ledger.entries for e in entries if plain_digits(e.number) >= ENOUGH and not e.number.approx
    ][:MOST]
    often = Counter((e.number.value, e.number.factor) for e in figures)
    by_digits: dict[tuple[object, ...], list[Entry]] = {}
    for e in figures:
        by_digits.setdefault(_sorted(e), []).append(e)
    for alike in by_digits.values():
        for e in alike if len(alike) > 1 else ():
            again = e.statement.kind in ("prose", "item") and e.figure.role == "lone" and not e.figure.formula
            if not again or often[e.number.value, e.number.factor] > 1:
                continue
            meant = [x for x in alike if x.line != e.line and misprint(e.number, x.number.value) and _is_meant(e, x)]
            meant = [x for x in meant if x.figure.formula or x.statement.kind == "cell" or _again(x, often)]
            if len({x.number.value for x in meant}) == 1:
                why = f"line {meant[0].line} has {meant[0].number.text.strip()}: two digits changed places"
                yield e, e.claim("misprint", Verdict.CONTRADICTED, why, meant[0].number.value)


def judge_prefixes(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a figure that nothing beside it works out, and that a calculation of the document has by the same
    digits in a unit a thousand times larger or smaller."""
    every = (e for entries in ledger.entries for e in entries if e.number.dim != COUNT)
    figures = [e for e in every if plain_digits(e.number) >= ENOUGH][:MOST]
    by_digits: dict[tuple[str, object], list[Entry]] = {}
    for e in figures:
        by_digits.setdefault((re.sub(r"[^\d.]", "", e.number.text), e.number.dim), []).append(e)
    for alike in by_digits.values():
        often = Counter(e.number.value for e in alike)
        used = [x for x in alike if x.figure.role in ("operand", "result")] if len(often) == 2 else []
        for e in alike if used else ():
            if e.figure.role != "lone" or e.figure.formula or often[e.number.value] > 1:
                continue
            apart = next((x for x in used if x.index != e.index and x.number.value != e.number.value), None)
            ratio = apart.number.value / e.number.value if apart is not None else 1.0
            if apart is not None and any(abs(ratio / k - 1) < 1e-9 for k in (1e3, 1e-3, 1e6, 1e-6)):
                why = f"line {apart.line} reckons with {apart.number.text.strip()}"
                yield e, e.claim("misprint", Verdict.CONTRADICTED, why, apart.number.value)


def _again(e: Entry, often: Counter[tuple[float, float]]) -> bool:
    return often[e.number.value, e.number.factor] > 1


def _sorted(e: Entry) -> tuple[object, ...]:
    text = re.sub(r"[^\d.]", "", e.number.text)
    return (len(text), text.find("."), "".join(sorted(text)), e.number.factor)


def _is_meant(e: Entry, x: Entry) -> bool:
    """Whether ``x`` may be the figure that ``e`` tells again: of the same dimension, by as many digits as chance does
    not make, or by a word that both have."""
    if e.number.dim != x.number.dim and COUNT not in (e.number.dim, x.number.dim):
        return False
    return plain_digits(e.number) >= PLENTY or bool(_words(e) & _words(x))


def _words(e: Entry) -> set[str]:
    s = e.statement
    text = f"{s.row} {s.column}" if s.kind == "cell" else f"{s.key} {e.figure.words} {e.behind[:24]}"
    return {w.lower() for w in _WORD.findall(text)}
