"""Products of bare numbers whose unit another figure of the document has: 96 × 300 × 0.45 = 12.96 TFLOPS of GPUs with
300 TFLOPS each."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.expressions import Operation, fold, has_sign, whole
from moewright.audit.text.numbers import BYTE_RATE, COUNT, FLOP, FLOP_RATE, NAMES, tokens_of
from moewright.units import format_quantity

#: a bare number that may be told elsewhere with its unit, at least
LEAST: Final = 20.0
#: how near a product is to what is said but for the prefix
CLOSE: Final = 6e-3
_PREFIXES: Final = (1e3, 1e-3, 1e6, 1e-6)


def judge_bare_units(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a rate that is worked out from bare numbers, one of which the document tells with its unit, and no
    other: a prefix off."""
    units: dict[float, set[float]] = {}
    for dim in (FLOP_RATE, FLOP, BYTE_RATE):
        for x in ledger.alike(dim):
            if not x.figure.formula and x.number.factor > 1:
                units.setdefault(round(x.number.value / x.number.factor, 6), set()).add(x.number.factor)
    for entries in ledger.entries:
        for e in entries:
            n, formula = e.number, e.figure.formula
            rate = n.dim in (FLOP_RATE, BYTE_RATE) or (n.dim == FLOP and n.either)
            if not rate or len(formula) < 2 or n.approx or standing_of(e.statement):
                continue
            bare = all(x.dim == COUNT and x.factor in (1.0, 0.01) for x in formula)
            told = {f for x in formula if x.value >= LEAST for f in units.get(round(x.value, 6), ())}
            if not bare or len(told) != 1 or not _is_product(e):
                continue
            right = prod(x.value for x in formula) * told.pop()
            if any(abs(n.value / right / k - 1) < CLOSE for k in _PREFIXES):
                why = f"the unit is told elsewhere: {format_quantity(right, NAMES[n.dim])}"
                yield e, e.claim("arithmetic", Verdict.WRONG, why, right)


def _is_product(e: Entry) -> bool:
    """Whether the formula of a figure multiplies its numbers, all of them."""
    text = e.statement.value[: max(0, e.number.at)].rstrip().rstrip("=≈→ ")
    first = e.figure.formula[0]
    node = whole(fold(tokens_of(text[first.at :]))) if 0 <= first.at < len(text) else None
    return isinstance(node, Operation) and not any(has_sign(node, sign) for sign in "÷+−-^")
