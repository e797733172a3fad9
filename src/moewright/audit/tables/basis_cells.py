"""Amounts of a table beside the cell that tells how they are worked out: 72 × 186 GB, at 600 GB/s, × 8,192."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.durations.moved_amounts import moved
from moewright.audit.nearby.ledger import (
    MOST_ACROSS,
    Entry,
    Ledger,
    Range,
    exactly,
    in_text,
    is_amount,
    meet,
    over,
    ranges,
    slip,
    times,
)
from moewright.audit.tables.derivation_cells import DERIVED
from moewright.audit.text.expressions import Operation, evaluate, fold, numbers_in, whole
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, FLOP_RATE, NAMES, PER_SECOND, SECONDS, tokens_of
from moewright.units import format_quantity

_TITLE: Final = re.compile(rf"^(?:{DERIVED}|basis|worked out|from\b|Formel|calcul|依据)", re.IGNORECASE)
#: words behind a formula that change nothing of it
_ASIDE: Final = re.compile(r"\s*(?:[,;]\s*[^\d,;]+|\([^()]*[^\W\d_]{3,}[^()]*\))\s*$")
_AT: Final = re.compile(r"^(?:at|over|bei|über|à|以|按)\s+(?:the |a )?(?=\d)", re.IGNORECASE)
#: what is done to the row above
_ON: Final = re.compile(r"^(?P<sign>[×x*·/÷])\s*(?P<n>\d[\d,]*(?:\.\d+)?)(?!\s?[×x*·/÷+\d-])\s*[^\d×x*·/÷+]*$")
#: cells of a row that are looked at, to either side
NEAR: Final = 4
#: rows of a document that must hold before another is called wrong
FEWEST: Final = 2
#: how many times an amount may be off, other than by a slip
FAR: Final = 10.0
_ROUGH: Final = 0.02


@dataclass(frozen=True, slots=True)
class _Basis:
    """What a cell must be, as ``bounds`` (SI), and by what: ``told``, in words."""

    told: str
    bounds: tuple[Range, ...]

    @property
    def middle(self) -> float:
        return (self.bounds[0][0] + self.bounds[0][1]) / 2


def judge_basis_cells(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the one amount of a row beside a cell, in a column that says so, which works it out: from numbers
    alone, or from the amount of the row above. Wrong only in a document of which several such rows hold."""
    rows: list[tuple[Entry, _Basis]] = []
    for index, s in enumerate(ledger.statements):
        if s.kind != "cell" or not _TITLE.match(s.column):
            continue
        cells = [i for i in ledger.beside(index, NEAR, NEAR) if ledger.entries[i]]
        found = [e for i in cells for e in ledger.entries[i] if not e.figure.remark]
        if len(found) != 1 or found[0].figure.formula or found[0].number.approx:
            continue
        basis = _basis(s.value, found[0], ledger)
        if basis is not None:
            rows.append((found[0], basis))
    right = [meet(ranges(e.number), b.bounds, 3e-3) for e, b in rows]
    for (e, b), holds in zip(rows, right, strict=True):
        ratio = e.number.value / b.middle
        near = 1 / FAR < ratio < FAR or slip(ratio, _ROUGH)
        if holds:
            yield e, e.claim("arithmetic", Verdict.HOLDS, b.told, b.middle)
        elif sum(right) >= FEWEST and near:
            why = f"{b.told} is {format_quantity(b.middle, NAMES.get(e.number.dim, ''))}"
            yield e, e.claim("arithmetic", Verdict.WRONG, why, b.middle)


def _basis(text: str, e: Entry, ledger: Ledger) -> _Basis | None:
    """What ``text`` makes of the amount ``e``; None where that is not known."""
    plain = text.strip()
    while (shorter := _ASIDE.sub("", plain)) != plain:
        plain = shorter
    if (m := _ON.match(plain)) is not None:
        return _on_above(m, e, ledger)
    if _AT.match(plain) and e.number.dim == SECONDS:
        return _at_rate(_AT.sub("", plain), e, ledger)
    node = whole(fold(tokens_of(plain)))
    if not isinstance(node, Operation):
        return None
    value = evaluate(node)
    if value.dims != {e.number.dim} or not 0 < value.low <= value.high < float("inf"):
        return None
    if e.number.dim == COUNT and not (is_amount(e.number) or e.number.value >= SMALL):
        return None
    if e.number.dim == PER_SECOND:
        return None
    loose = sum(n.slack for n in numbers_in(node) if not n.whole)
    return _Basis(plain[:80], ((value.low * (1 - loose), value.high * (1 + loose)),))


#: counts from here on are told apart
SMALL: Final = 100


def _above(e: Entry, ledger: Ledger) -> Entry | None:
    """The one amount of the cell above ``e`` in its column."""
    mine = [x for x in ledger.before(e.index, 1, MOST_ACROSS[0]) if not x.figure.remark]
    return mine[0] if len(mine) == 1 else None


def _on_above(m: re.Match[str], e: Entry, ledger: Ledger) -> _Basis | None:
    x, n = _above(e, ledger), float(m["n"].replace(",", ""))
    if x is None or x.number.dim != e.number.dim or n <= 1 or e.number.slack > _ROUGH or x.number.slack > _ROUGH:
        return None
    divides = m["sign"] in "/÷"
    made = (over if divides else times)(ranges(x.number), exactly(n))
    return _Basis(f"{x.number.text.strip()} {m['sign']} {m['n']}", made)


def _at_rate(text: str, e: Entry, ledger: Ledger) -> _Basis | None:
    told, x = in_text(text), _above(e, ledger)
    if len(told) != 1 or told[0].number.dim not in (BYTE_RATE, FLOP_RATE) or x is None:
        return None
    rate = told[0]
    if x.number.dim != (BYTES if rate.number.dim == BYTE_RATE else FLOP):
        return None
    _, _, why = moved(e, x, rate)
    return _Basis(why.partition(" take ")[0], over(ranges(x.number), ranges(rate.number)))
