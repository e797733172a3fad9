"""Amounts that are a fraction, told in a word, of the amount before them: 61.1 GB, a quarter per GPU: 15.3 GB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, is_amount, meet, ranges, span_between, times
from moewright.audit.text.numbers import NAMES
from moewright.units import format_quantity

_WORDS: Final = {
    **dict.fromkeys(("half", "hälfte", "moitié", "一半"), 2),
    **dict.fromkeys(("third", "drittel", "tiers", "三分之一"), 3),
    **dict.fromkeys(("quarter", "viertel", "quart", "四分之一"), 4),
    **dict.fromkeys(("eighth", "achtel", "huitième", "八分之一"), 8),
    **dict.fromkeys(("sixteenth", "sechzehntel", "十六分之一"), 16),
}
_FRACTION: Final = re.compile(
    r"(?:\b(?:an?|one|the|ein|eine|die|le|la|un)[ -])?(?<!\btwo )(?<!\bthree )(?<!first )(?<!second )\b"
    r"(?P<word>half|third|quarter|eighth|sixteenth|Hälfte|Drittel|Viertel|Achtel|Sechzehntel|moitié|tiers|quart|huitième)\b|"
    r"(?P<zh>一半|三分之一|四分之一|八分之一|十六分之一)",
    re.IGNORECASE,
)
#: what makes the second no such part of the first
_OTHER: Final = re.compile(
    r"\b(?:more|less|plus|and a|other|rest|remaining|about|roughly|almost|nearly|over|under|than|if|would|"
    r"instead|of which|"
    r"of the \w+|per (?:second|token)|precision|duplex|rack|million|billion)\b|另|其余|约|若",
    re.IGNORECASE,
)
#: letters between the two
MOST: Final = 48
#: how many times the part may be off
SLIPS: Final = (2.0, 0.5, 4.0, 0.25, 8.0, 1 / 8, 1e3, 1e-3, 10.0, 0.1)


def judge_word_fractions(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on an amount behind another one and a word for the fraction of it."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        amounts = [e for e in entries if is_amount(e.number) and e.number.at >= 0 and e.figure.role != "operand"]
        for whole, e in pairwise(amounts):
            if whole.number.dim != e.number.dim or s.kind == "heading" or e.figure.formula or e.number.approx:
                continue
            between = span_between(s, whole.number, e.number)
            found = list(_FRACTION.finditer(between))
            if len(found) != 1 or len(between) > MOST or re.search(r"\d", between) or _OTHER.search(between):
                continue
            k = _WORDS[(found[0]["word"] or found[0]["zh"]).lower()]
            said, mine = ranges(e.number), ranges(whole.number)
            right = whole.number.value / k
            told = f"1/{k} of {whole.number.text.strip()} is {format_quantity(right, NAMES.get(e.number.dim, ''))}"
            if meet(said, times(mine, exactly(1 / k)), 5e-3):
                yield e, e.claim("share", Verdict.HOLDS, told, right)
            elif any(meet(said, times(mine, exactly(x / k)), 5e-3) for x in SLIPS):
                yield e, e.claim("share", Verdict.WRONG, told, right)
