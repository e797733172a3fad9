"""The last item of a list that is what the items above it are together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, digits, is_amount, meet, ranges, sum_of
from moewright.audit.text.numbers import NAMES
from moewright.units import format_quantity

_TOGETHER: Final = re.compile(
    r"^\W*(?:so |thus |that is |also )?(?:together|altogether|sum|all of it|zusammen|合计|共计)"
    r"\s*[:：=]?\s*[~≈]?\s*$",
    re.IGNORECASE,
)
#: items above that may be its parts
MOST: Final = 6
#: the sum may be this many times less, or more
NEAR: Final = 2.0
_TELLING: Final = 3


def judge_item_totals(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on an item that says nothing but what those above it are together: the sum of one figure of each, of
    all of them or of some."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind != "item" or not entries or s.key:
            continue
        e = entries[0]
        if not _TOGETHER.match(s.value[: e.number.at]) or not is_amount(e.number) or digits(e.number) < _TELLING:
            continue
        above = _above(ledger, index, e)
        if len(above) < 2 or e.figure.formula:
            continue
        every = [x for item in above for x in item]
        groups = (some for size in range(2, MOST + 1) for some in combinations(every[:12], size))
        said = ranges(e.number)
        right = sum(item[-1].number.value for item in above)
        told = " + ".join(item[-1].number.text.strip() for item in above)
        if any(meet(said, sum_of([x.number for x in some]), 1e-3) for some in groups):
            continue
        if len(above) <= MOST and 1 / NEAR < e.number.value / right < NEAR:
            why = f"{told} is {format_quantity(right, NAMES.get(e.number.dim, ''))}"
            yield e, e.claim("sum", Verdict.WRONG, why, right)


def _above(ledger: Ledger, index: int, e: Entry) -> list[list[Entry]]:
    """The figures of the dimension of ``e`` in each item above it in its list, which all have one."""
    found: list[list[Entry]] = []
    for i in range(index - 1, max(-1, index - 1 - MOST), -1):
        s = ledger.statements[i]
        if s.kind != "item" or s.group != e.statement.group:
            break
        mine = [x for x in ledger.entries[i] if x.number.dim == e.number.dim and is_amount(x.number)]
        if not mine:
            break
        found.insert(0, mine)
    return found
