"""Tables as grids of numbers, and what judges of their relations have in common."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from moewright.audit.text.clauses import Clauses
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import COUNT, Number, tokens_of

#: rows and columns of a table that are compared
MOST_LINES: Final = 60
MOST_ACROSS: Final = 16
#: agreement within more than this share is no support of a relation
CLOSE: Final = 0.02
#: what a figure that is told roughly may be off
LOOSE: Final = 0.05
#: a whole number below this is a count such as layers or ranks have, and agrees by chance
SMALL: Final = 1000
_TOTAL: Final = re.compile(
    r"\btotal\b|\bsum|\bsumme\b|\bsomme\b|\bsuma\b|gesamt|合计|总计|总和|\ball\b|overall|altogether", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Cell:
    """The main number of a cell, and the words around it that are no number."""

    statement: Statement
    number: Number
    words: str


@dataclass(frozen=True, slots=True)
class Grid:
    """A table, or its transpose: ``cells`` by row and title; ``totals``: the rows that are totals of others.
    ``across``: a transpose, whose rows are the columns that the reader sees."""

    titles: tuple[str, ...]
    cells: tuple[dict[str, Cell], ...]
    totals: frozenset[int]
    across: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """``told`` in words; ``result`` and ``others`` are titles. ``bounds(row)``: what the result is by the others, from
    least to most, SI; ``holds``: rows that it agrees with; ``odd``: the one that it fails in, if there is one;
    ``titled``: the titles alone say that it holds."""

    told: str
    result: str
    others: tuple[str, ...]
    bounds: Callable[[dict[str, Cell]], tuple[float, float]]
    holds: frozenset[int]
    odd: int | None
    sums: bool = False
    titled: bool = False


def cell_of(s: Statement, found: Clauses) -> Cell | None:
    """The main number of a cell: the last side of an equality, else the one number it has outside brackets."""
    figures = [f for f in found.figures if not f.remark]
    results = [f for f in figures if f.role == "result"]
    if results:
        n = results[-1].number
    elif figures and all(f.role == "lone" for f in figures):
        n = figures[0].number
    else:
        return None
    if not n.value or not math.isfinite(n.value) or (n.value < 0):
        return None
    behind = s.value[n.at + len(n.text) :]
    before = "" if results else s.value[: n.at]
    words = " ".join(t.text.lower() for t in tokens_of(re.sub(r"\([^()]*\)", " ", before + " " + behind)))
    return Cell(s, n, re.sub(r"[~≈]", "", words).strip())


def grids_of(cells: list[Cell]) -> Iterator[Grid]:
    """The table, and its transpose where its columns are alike."""
    rows: dict[int, dict[str, Cell]] = {}
    doubled: set[str] = set()
    for c in cells:
        row = rows.setdefault(c.statement.line, {})
        if c.statement.column in row:
            doubled.add(c.statement.column)
        row[c.statement.column] = c
    names = {line: next(iter(row.values())).statement.row for line, row in rows.items()}
    lines = list(rows)[:MOST_LINES]
    titles = tuple(t for t in dict.fromkeys(c.statement.column for c in cells) if t not in doubled)[:MOST_ACROSS]
    if len(lines) >= 2 and len(titles) >= 2:
        totals = frozenset(i for i, line in enumerate(lines) if _TOTAL.search(names[line]))
        straight = tuple({t: rows[x][t] for t in titles if t in rows[x]} for x in lines)
        yield Grid(titles, _usual_only(titles, straight, False), totals, False)
    if len(lines) < 3 or len(titles) < 2:
        return
    named = [f"{names[line]}\0{line}" for line in lines][:MOST_ACROSS]
    turned = tuple({n: rows[x][t] for n, x in zip(named, lines, strict=False) if t in rows[x]} for t in titles)
    totals = frozenset(i for i, t in enumerate(titles) if _TOTAL.search(t))
    yield Grid(tuple(named), _usual_only(named, turned, True), totals, True)


def _usual_only(titles: Sequence[str], cells: tuple[dict[str, Cell], ...], kinds: bool) -> tuple[dict[str, Cell], ...]:
    """``cells`` that have the words that most under their title have, and their kind too where ``kinds``: columns that
    are told in other units are no options."""

    def signs(c: Cell) -> tuple[str, object]:
        return c.words, kind_of(c.number) if kinds else None

    usual = {t: Counter(signs(row[t]) for row in cells if t in row).most_common(1) for t in titles}
    return tuple({t: c for t, c in row.items() if usual[t] and signs(c) == usual[t][0][0]} for row in cells)


def alike(grid: Grid, titles: Sequence[str]) -> list[int]:
    """Rows that have all of ``titles``."""
    return [i for i, row in enumerate(grid.cells) if all(t in row for t in titles)]


def kind_of(n: Number) -> tuple[object, bool]:
    return n.dim, n.percent


def name_of(title: str) -> str:
    return f"'{title.partition(chr(0))[0][:60]}'"


def half_of(n: Number, result: bool = False) -> float:
    """Half of what rounding leaves of ``n``; a count is exact, unless it may be a rounded result."""
    room = LOOSE * n.value if n.approx else 0.0
    exact = n.whole and n.dim == COUNT and not result
    return max(room, 0.0 if exact and n.value < SMALL else n.half)


def digits_of(n: Number) -> int:
    """Significant digits as written."""
    text = re.sub(r"[~≈≃约\s]", "", n.text)
    found = re.match(r"[\d,]*\.?\d*", text)
    digits = (found[0] if found else "").replace(",", "")
    if "." in digits:
        return len(digits.replace(".", "").lstrip("0"))
    return len(digits.lstrip("0")) if n.percent or n.dim != COUNT else len(digits.strip("0"))


def verdict_of(said: Number, low: float, high: float) -> str:
    """Whether ``said`` is between ``low`` and ``high`` within rounding (``seen`` where closely), or ``odd``."""
    halfway = (low + high) / 2
    for value in dict.fromkeys((said.value, said.binary)):
        half = half_of(said, True) * (value / said.value)
        room = half + (high - low) / 2
        if abs(value - halfway) <= room * (1 + 1e-6) + 1e-9 * abs(value):
            return "seen" if room <= CLOSE * abs(value) else "holds"
    room = half_of(said, True) + (high - low) / 2
    return "odd" if abs(said.value - halfway) > 2 * room and abs(said.value / halfway - 1) > 2e-3 else "holds"


def quotient(a: Number, b: Number, scale: float) -> tuple[float, float]:
    ha, hb = half_of(a), min(half_of(b), 0.5 * b.value)
    return (a.value - ha) / (b.value + hb) / scale, (a.value + ha) / (b.value - hb) / scale


def is_power_of_two(value: float) -> bool:
    """Whether ``value`` is a whole power of two."""
    return value.is_integer() and not int(value) & (int(value) - 1)
