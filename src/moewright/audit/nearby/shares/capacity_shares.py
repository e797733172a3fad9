"""Percentages of a GPU's memory that the sum, or the total, told before them is said to be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, is_amount, meet, misprint, over, ranges, rounded
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import BYTES

_SUM: Final = re.compile(
    r"^\W*(?:the |die |das )?(?:sum|total|that|this|it|Summe|合计|总计|即)?\s*(?:is|are|makes?|comes? to|=|"
    r"fills?|takes?|uses?|"
    r"occupies|ist|sind|占|为|belegt)\s*(?:about |only |just |rund |约)?$",
    re.IGNORECASE,
)
_OF_CARD: Final = re.compile(
    r"^\s*(?:of (?:the|a|its|each|every) (?:\w+ )?(?:HBM|VRAM|card|GPU|chip|device|memory|capacity)\b"
    r"(?! (?:budget|bandwidth|in use))|der Karte|des (?:GPU-?)?Speichers|的?显存)",
    re.IGNORECASE,
)
_SLIPS: Final = (10.0, 0.1, 100.0, 0.01, 2.0, 0.5)
#: statements before that may tell the amount
BACK: Final = 14


def judge_capacity_shares(ledger: Ledger, capacity: float | None) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a percentage of a GPU's memory, of ``capacity`` bytes, whose sentence tells no amount: the share
    that an amount of the document is; by a slip that of the last one, or with two digits in each other's place."""
    if capacity is None:
        return
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind not in ("prose", "item") or not entries or standing_of(s):
            continue
        e = entries[0]
        front = s.value[: max(0, e.number.at)]
        if not e.number.percent or e.number.approx or not _SUM.match(front) or not _OF_CARD.match(e.behind):
            continue
        said = rounded(e.number)
        if any(meet(said, over(ranges(x.number), exactly(capacity))) for x in ledger.alike(BYTES)):
            continue
        near = [x for x in reversed(ledger.around(index, BACK)) if x.number.dim == BYTES and is_amount(x.number)]
        near = [x for x in near if x.index < index and x.statement.path == s.path and x.figure.role != "operand"]
        if not near:
            continue
        x, right = near[0], near[0].number.value / capacity
        slipped = any(meet(said, over(ranges(x.number), exactly(capacity / k))) for k in _SLIPS)
        if slipped or misprint(e.number, right):
            why = f"{x.number.text.strip()} (line {x.line}) is {right:.2%} of the memory of a GPU"
            yield e, e.claim("share", Verdict.WRONG, why, right)
