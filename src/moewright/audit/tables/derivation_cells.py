"""Whole numbers of a table beside a cell that says how they are worked out: 64 experts / EP 16."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, is_amount, meet, ranges, slip
from moewright.audit.quantities.own_sizes import PASSES
from moewright.audit.text.expressions import Node, Operation, evaluate, fold, numbers_in, whole
from moewright.audit.text.numbers import COUNT, FLOP, NAMES, tokens_of
from moewright.units import format_quantity

#: begins the title of a column that tells how another is worked out
DERIVED: Final = (
    "derivation|how|formula|calculation|computation|why|derived|Cálculo|Rechnung|Herleitung|Rechenweg|计算|推导|公式"
)
_TITLE: Final = re.compile(rf"^(?:{DERIVED}|来源)", re.IGNORECASE)
_STEP: Final = re.compile(r"(?P<number>\d[\d,]*)\s*(?:[A-Za-z-]+\s*){0,2}(?P<sign>[/÷×x*·]|$)\s*(?:[A-Z]{1,4}\s*)?")
#: cells to either side that may be what is derived
NEAR: Final = 4
#: rows that must hold before one is called wrong
FEWEST: Final = 2


def judge_derivation_cells(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the one whole number of a row, beside the cell that derives it from whole numbers."""
    judged: dict[tuple[int, str, str], list[tuple[Entry, str, int]]] = {}
    for index, s in enumerate(ledger.statements):
        if s.kind != "cell" or not _TITLE.match(s.column):
            continue
        right = _worked_out(s.value)
        found = [e for i in ledger.beside(index, NEAR, NEAR) for e in ledger.entries[i]]
        if right is None or len(found) != 1:
            continue
        e = found[0]
        if e.number.dim == COUNT and e.number.whole and e.statement.value.strip("* ") == e.number.text:
            judged.setdefault((s.group, e.statement.column, s.column), []).append((e, s.value, right))
    for rows in judged.values():
        held = sum(int(e.number.value) == right for e, _, right in rows)
        for e, told, right in rows:
            if int(e.number.value) == right:
                yield e, e.claim("arithmetic", Verdict.HOLDS, told[:80], right)
            elif held >= FEWEST:
                yield e, e.claim("arithmetic", Verdict.WRONG, f"{told[:80]} is {right:,}", right)


#: the end of a row's name that may be what its amount is worked out by
_TAIL: Final = re.compile(
    r"(?:[,:]\s|\()(?P<tail>(?:[^,:()]|,(?=\d{3}))*\d(?:[^,:()]|,(?=\d{3}))*[×x*·/÷](?:[^,:()]|,(?=\d{3}))*\d[^()]*?)\)?$"
)
#: how many times a product may be off, other than by the unit
FAR: Final = 10.0


def judge_named_products(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the one amount of a row whose name ends with the product that it is worked out by: payload,
    96 x 2560 x 2 B; a product of plain numbers only where another of the column holds."""
    plain: dict[tuple[int, str], list[tuple[Entry, Claim]]] = {}
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _TAIL.search(s.row) if s.kind == "cell" and len(entries) == 1 else None
        node = whole(fold(tokens_of(m["tail"]))) if m is not None else None
        if node is None or not isinstance(node, Operation) or not is_amount(entries[0].number):
            continue
        e, product = entries[0], evaluate(node)
        bare = product.dims == {COUNT} and e.number.dim != COUNT and not (e.number.dim == FLOP and _is_work(node))
        alike = bare or e.number.dim in product.dims or (e.number.dim == FLOP and product.dims == {COUNT})
        if not alike or not 0 < product.low < float("inf") or e.number.approx:
            continue
        loose = sum(n.slack for n in numbers_in(node) if not n.whole)
        if bare and meet(ranges(e.number), exactly(product.low * e.number.factor), 0.01 + loose):
            continue  # 192 × 0.92, in the unit of its column
        told = m["tail"].strip() if m is not None else ""
        why = f"{told[:80]} is {format_quantity(product.low, NAMES[e.number.dim])}"
        verdict = None
        if meet(ranges(e.number), ((product.low * (1 - loose), product.high * (1 + loose)),)):
            verdict = Verdict.HOLDS
        elif 1 / FAR < e.number.value / product.low < FAR or slip(e.number.value / product.low, 0.01 + loose):
            verdict = Verdict.WRONG
        if verdict is not None and bare:
            plain.setdefault((s.group, s.column), []).append((e, e.claim("arithmetic", verdict, why, product.low)))
        elif verdict is not None:
            yield e, e.claim("arithmetic", verdict, why, product.low)
    for claims in plain.values():
        if any(c.verdict is Verdict.HOLDS for _, c in claims):
            yield from claims


def _is_work(node: Node) -> bool:
    """Whether a product has two or six FLOPs for each of millions of parameters."""
    values = [n.value for n in numbers_in(node)]
    return bool(set(values) & set(PASSES)) and max(values) >= PARAMETERS


#: a model has no fewer parameters
PARAMETERS: Final = 1e6


def _worked_out(text: str) -> int | None:
    """The whole number that a product or quotient of whole numbers makes; None for what is none."""
    value, at, sign = 0, 0, ""
    text = text.strip()
    for m in _STEP.finditer(text):
        if m.start() != at or (sign == "" and value):
            return None
        number = int(m["number"].replace(",", ""))
        if not sign:
            value = number
        elif sign in "/÷":
            if not number or value % number:
                return None
            value //= number
        else:
            value *= number
        at, sign = m.end(), m["sign"]
    return value if value and at == len(text) and not sign and re.search(r"\d\D+\d", text) else None
