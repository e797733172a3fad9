"""So many things of so much each, and what they make together: 92 all-reduces of 180 µs each, 16.56 ms in all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, ranges, slip, span_between, times
from moewright.audit.text.numbers import BYTES, COUNT, NAMES, SECONDS
from moewright.units import format_quantity

#: what is done several times
_CALLS: Final = re.compile(
    r"\s*(?:次|个|[^\W\d]+[ -])?\s*(?:all-?reduces?|all-?to-?alls?|all-?gathers?|reduce-?scatters?|"
    r"of (?:them|these|those)|calls|hops|launches|kernels|exchanges|collectives|transfers|steps|passes|rounds|"
    r"dispatches|Aufrufe|Schritte)\b|\s*次",
    re.IGNORECASE,
)
_EACH: Final = re.compile(
    r"\b(?:each|apiece|per (?:call|step|hop|launch)|of|at|à|zu|je|jeweils|a)\b|每次|每个|各", re.IGNORECASE
)
#: what is of all of them
_TOGETHER: Final = re.compile(
    r"[^.;\d+]{0,24}(?:[=≈→]|\b(?:is|are|takes?|in (?:all|total)|altogether|together|total\w*|make|come to|"
    r"sum to|or|i\.e\.|zusammen|"
    r"insgesamt|macht|sind)\b|共|合计|总计)[^.;\d+]{0,16}",
    re.IGNORECASE,
)
_THEN: Final = re.compile(
    r"\s*(?:each|apiece|je|jeweils)?\s*[,:(]?\s*(?:so|thus|hence|also)?\s*[~≈]?\s*", re.IGNORECASE
)
_IN_ALL: Final = re.compile(
    r"\s*(?:in (?:all|total)|altogether|together|per step|a step|zusammen|insgesamt|je Schritt)\b", re.IGNORECASE
)
#: letters between the number and what each takes
MOST: Final = 40


def judge_repeated(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on what so many calls take together, behind what each takes: their product, or by a slip not."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind in ("heading", "cell"):
            continue
        for many, one, e in zip(entries, entries[1:], entries[2:], strict=False):
            if many.number.dim != COUNT or not many.number.whole or one.number.dim != e.number.dim:
                continue
            if one.number.dim not in (SECONDS, BYTES) or e.figure.formula or e.figure.role == "operand":
                continue
            first, second = span_between(s, many.number, one.number), span_between(s, one.number, e.number)
            if len(first) > MOST or not _CALLS.match(many.behind) or not _EACH.search(first):
                continue
            if not (_TOGETHER.fullmatch(second) or (_THEN.fullmatch(second) and _IN_ALL.match(e.behind))):
                continue
            right = many.number.value * one.number.value
            told = times(ranges(one.number), exactly(many.number.value))
            why = f"{many.number.text.strip()} × {one.number.text.strip()}"
            if meet(ranges(e.number), told):
                yield e, e.claim("multiple", Verdict.HOLDS, why, right)
            elif slip(e.number.value / right, e.number.slack + one.number.slack + 2e-3):
                why += f" is {format_quantity(right, NAMES.get(e.number.dim, ''))}"
                yield e, e.claim("multiple", Verdict.WRONG, why, right)
