"""Amounts that are a fraction of the one before: 402.7 MB, 15/16 leave the rank: 377.5 MB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, is_amount, meet, ranges, span_between, sum_of, times
from moewright.audit.text.numbers import BYTE_RATE, BYTES, FLOP, NAMES
from moewright.units import format_quantity

_FRACTION: Final = re.compile(
    r"(?<![\d.,/])\(?(?P<part>\d{1,4})\)?\s?(?:/|of (?:the )?|von |sur )\s?\(?(?P<whole>\d{1,4})\)?(?![\d./]|,\d)"
)
#: a verb by which the fraction is of the amount before it
_GO: Final = re.compile(
    r"leav|go(?:es)?\b|cross|remote|other|of (?:it|which|that|them)|off-|travel|move|davon|zu anderen|verl(?:ä|a)|"
    r"跨|离开|其中|发往|partent|sortent|quittent",
    re.IGNORECASE,
)
_HALF: Final = re.compile(r"\bhalf\b|\beach\b|twice|both|Hälfte|jede|moitié|一半|两", re.IGNORECASE)
#: letters between the two amounts
MOST: Final = 70
#: how many times the part may be off
ASTRAY: Final = 3.0


def judge_fractions(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on an amount that stands behind another one and the fraction of it that leaves: their product, or what
    stays."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        amounts = [e for e in entries if is_amount(e.number) and e.number.at >= 0 and e.figure.role != "operand"]
        for whole, e in pairwise(amounts):
            same = whole.number.dim == e.number.dim and e.number.dim in (BYTES, FLOP, BYTE_RATE)
            between = span_between(s, whole.number, e.number) if same and s.kind != "heading" else ""
            told = list(_FRACTION.finditer(between))
            if len(told) != 1 or len(between) > MOST or not _GO.search(between) or e.figure.formula:
                continue
            a, b = int(told[0]["part"]), int(told[0]["whole"])
            rest = _FRACTION.sub("", between)
            if not 0 < a < b or _HALF.search(between) or re.search(r"\d", rest) or e.number.approx:
                continue
            said, mine = ranges(e.number), ranges(whole.number)
            share = a / b
            why = f"{a}/{b} of {whole.number.text.strip()}"
            right = whole.number.value * share
            together = [x.number for x in amounts if x.number.dim == e.number.dim and x.number.at <= whole.number.at]
            if meet(said, times(mine, exactly(share))) or meet(said, times(mine, exactly(1 - share))):
                yield e, e.claim("share", Verdict.HOLDS, why, right)
            elif len(together) > 1 and meet(said, times(sum_of(together), exactly(share))):
                continue  # of both together
            elif 1 / ASTRAY < e.number.value / right < ASTRAY:
                told_right = format_quantity(right, NAMES.get(e.number.dim, ""))
                yield e, e.claim("share", Verdict.WRONG, f"{why} is {told_right}", right)
