"""Rows of a table that tell the same of a node as others tell of a GPU: so many times as much, in every column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, is_amount
from moewright.audit.text.numbers import NAMES
from moewright.units import format_quantity

_NODE: Final = re.compile(
    r"\b(?:per|each|je|pro|a)\s(?:node|server|machine|box|Knoten|Server)\b|/\s?node|每(?:个)?(?:节点|台|机)",
    re.IGNORECASE,
)
_GPU: Final = re.compile(
    r"\b(?:per|each|je|pro|a)\s(?:GPU|card|device|chip|Karte)\b|/\s?GPU|每(?:张)?(?:卡|GPU)|单卡", re.IGNORECASE
)
#: GPUs that a node has at most
MOST_GPUS: Final = 128
#: how near to a whole number a ratio is, beside what rounding leaves
CLOSE: Final = 1e-3


def judge_per_node(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on what a node is said to have, where it is not a whole number of times what a GPU has, as it is in
    another column of the table."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind != "cell" or not _NODE.search(s.row) or len(entries) != 1 or not is_amount(entries[0].number):
            continue
        ratios = {x.statement.column: (x, one) for x, one in _pairs(index, ledger)}
        mine = ratios.get(s.column)
        if mine is None or _times(*mine):
            continue
        times = next((k for column, pair in ratios.items() if column != s.column and (k := _times(*pair))), 0)
        if times:
            e, one = mine
            right = one.number.value * times
            why = f"{times} times {one.number.text.strip()} is {format_quantity(right, NAMES.get(e.number.dim, ''))}"
            yield e, e.claim("multiple", Verdict.WRONG, why, right)


def _times(e: Entry, one: Entry) -> int:
    """The whole number of times that ``e`` is ``one``, 0 where it is none."""
    ratio = e.number.value / one.number.value
    k = round(ratio)
    return k if 1 < k <= MOST_GPUS and abs(ratio / k - 1) <= e.number.slack + one.number.slack + CLOSE else 0


def _pairs(index: int, ledger: Ledger) -> Iterator[tuple[Entry, Entry]]:
    """The amounts of a row, each with that of the row that tells the same of a GPU, in its column."""
    s = ledger.statements[index]
    name = _NODE.sub("", s.row).strip().lower()
    near = range(max(0, index - 60), min(len(ledger.statements), index + 20))
    cells = [i for i in near if ledger.statements[i].kind == "cell" and ledger.statements[i].group == s.group]
    row = [i for i in cells if ledger.statements[i].row == s.row]
    alike = {
        ledger.statements[i].column: ledger.entries[i][0]
        for i in cells
        if len(ledger.entries[i]) == 1
        and _GPU.search(ledger.statements[i].row)
        and _GPU.sub("", ledger.statements[i].row).strip().lower() == name
    }
    for i in row:
        one = alike.get(ledger.statements[i].column)
        if len(ledger.entries[i]) == 1 and one is not None and one.number.dim == ledger.entries[i][0].number.dim:
            yield ledger.entries[i][0], one
