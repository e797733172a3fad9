"""Rows that are worked out from others by their labels, as in a spreadsheet: B7 = B3+B4+B5+B6."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.figures import unit_of
from moewright.audit.text.clauses import Clauses
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import COUNT, MOST_BILLIONS, Number, is_bare
from moewright.units import format_quantity

_LABELLED: Final = re.compile(r"^\s*\|\s*\**([A-Z]{1,2}\d{1,3}|[a-wyz]{1,2}\d{1,3})\**\s*\|")
_LABEL: Final = re.compile(r"(?<![A-Za-z.])(?:[A-Z]{1,2}|[a-wyz]{1,2})\d{1,3}(?![A-Za-z0-9.]|,\d)")
_SUM: Final = re.compile(r"(?:[\dA-Z.,+\-*/×÷·−–()\s]|(?<=\s)x(?=\s)){0,120}")
#: the rows from one to another: d2 + … + d6
_RUN: Final = re.compile(r"\b([A-Za-z]{1,2})(\d{1,3})\s*\+\s*(?:…|\.{2,3}|⋯)\s*\+\s*\1(\d{1,3})\b")
_SIGNS: Final = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})
#: formulas of a document that must hold before others are called wrong
FEWEST: Final = 1
#: how near to a power of 1000 a unit leaves a figure that was rounded
COARSE: Final = 0.05
#: rows of a document that are looked at
MOST_ROWS: Final = 2000
#: rows of a sum from one to another
MOST_RUN: Final = 40


@dataclass(slots=True)
class _Row:
    """A labelled row: its figure by column; ``stated``: what each is said to be, by column; ``formula``: what a cell of
    its own says."""

    values: dict[str, Number | None] = field(default_factory=dict)
    stated: dict[str, tuple[str, Statement]] = field(default_factory=dict)
    where: dict[str, Statement] = field(default_factory=dict)
    formula: str = ""


def judge_references(said: Iterable[tuple[Statement, Clauses]], lines: Sequence[str]) -> list[Claim]:
    """A verdict on every figure of a row that is told to be worked out from rows that it names by their labels."""
    rows = _rows(said, lines)
    claims = [c for row in rows.values() for c in _judged(row, rows)]
    held = sum(c.verdict is Verdict.HOLDS for c in claims)
    return claims if held >= FEWEST else [c for c in claims if c.verdict is Verdict.HOLDS]


def _is_formula(text: str) -> bool:
    """Whether ``text`` is worked out from rows by their labels, and nothing else."""
    return len(text) > 2 and bool(_LABEL.search(text)) and bool(_SUM.fullmatch(_LABEL.sub("", text)))


def _written_out(text: str) -> str:
    """``text`` with every row of a sum from one to another."""

    def every(m: re.Match[str]) -> str:
        first, last = int(m[2]), int(m[3])
        return " + ".join(f"{m[1]}{i}" for i in range(first, last + 1)) if 0 < last - first < MOST_RUN else m[0]

    return _RUN.sub(every, text)


def _rows(said: Iterable[tuple[Statement, Clauses]], lines: Sequence[str]) -> dict[str, _Row]:
    rows: dict[str, _Row] = {}
    twice: set[str] = set()
    at: dict[str, int] = {}
    for s, found in said:
        m = _LABELLED.match(lines[s.line - 1]) if s.kind == "cell" and 0 < s.line <= len(lines) else None
        if m is None or len(rows) > MOST_ROWS:
            continue
        label = m[1]
        if at.setdefault(label, s.line) != s.line:
            twice.add(label)
            continue
        row = rows.setdefault(label, _Row())
        value = _written_out(s.value)
        if _is_formula(value):
            row.formula = value  # in a cell of its own
            continue
        formula, _, result = value.rpartition("=")
        figures = [f.number for f in found.figures if not f.remark and f.number.at >= len(s.value) - len(result)]
        if not figures:
            continue
        row.where[s.column] = s
        row.values[s.column] = figures[0] if len(figures) == 1 and s.column not in row.values else None
        formula = formula.strip() or (s.row if _is_formula(s.row) else "")
        if _is_formula(formula):
            row.stated[s.column] = (formula, s)
    for row in rows.values():
        if row.formula and not row.stated and len(row.values) == 1:
            (column,) = row.values
            row.stated[column] = (row.formula, row.where[column])
    return {x: row for x, row in rows.items() if x not in twice}


def _judged(row: _Row, rows: dict[str, _Row]) -> Iterator[Claim]:
    for column, (formula, s) in row.stated.items():
        n = row.values.get(column)
        names = dict.fromkeys(_LABEL.findall(formula))
        operands = {x: _value(rows[x], column) for x in names if x in rows}
        known = {x: v for x, v in operands.items() if v is not None}
        every = n is not None and len(known) == len(names)
        units = (1.0, n.factor) if n is not None and every else ()
        found = [x for x in (_evaluated(formula, known, unit) for unit in units) if x is not None]
        if n is None or len(found) < 2:
            continue
        value, half = next((x for x in found if abs(x[0] - n.value) <= n.half + x[1]), found[-1])
        room = n.half + half
        unit = unit_of(n)
        told = " ".join(f"{x} = {v.text.strip()}" for x, v in known.items())
        if abs(value - n.value) <= room * (1 + 1e-9) + 1e-9 * abs(value):
            yield Claim(
                s.line, s.text, "arithmetic", Verdict.HOLDS, f"{formula} with {told}", n.value, value, unit=unit
            )
            continue
        powers = (-4, -3, -2, -1, 1, 2, 3, 4)
        if value and any(abs(n.value / value * 1000.0**k - 1) <= COARSE for k in powers):
            wrong = all(_is_measured(x) for x in (n, *known.values()))  # else its unit is written somewhere else
        else:
            wrong = bool(value) and abs(value - n.value) > 2 * room and abs(n.value / value - 1) > 2e-3
        if wrong:
            why = f"{formula} is {format_quantity(value, unit)} with {told}"
            yield Claim(s.line, s.text, "arithmetic", Verdict.WRONG, why, n.value, value, unit=unit)


def _is_measured(n: Number) -> bool:
    """Whether a figure has its own unit, or is a whole number of things."""
    return (n.dim != COUNT and not (is_bare(n) and n.value < MOST_BILLIONS)) or n.factor > 1 or n.percent or n.whole


def _value(row: _Row, column: str) -> Number | None:
    """The figure of a row in a column, or the one it has."""
    return (
        row.values[column]
        if column in row.values
        else (*row.values.values(), None)[0]
        if len(row.values) == 1
        else None
    )


def _evaluated(formula: str, values: dict[str, Number], unit: float) -> tuple[float, float] | None:
    """(value, half of what rounding leaves) of a formula; None where it is none. ``unit``: what a bare number is worth
    that is added to rows, or taken from them."""
    formula = re.sub(r"(?<=\d)\s?(?:B|bytes?|Bytes?)(?![\w])", "", formula)
    text = re.sub(r"(?<=\d),(?=\d{3})", "", re.sub(r"\sx\s", "*", formula).translate(_SIGNS))
    text = re.sub(r"(?<=[\d)])\s*(?=[A-Z(])", "*", text)  # 2A6A2: a sign that the text lost
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return _of_node(node, values, unit)


def _is_bare_term(node: ast.expr) -> bool:
    return not any(isinstance(x, ast.Name) for x in ast.walk(node))


def _of_node(node: ast.expr, values: dict[str, Number], unit: float) -> tuple[float, float] | None:
    match node:
        case ast.Constant(value=int() | float() as x) if abs(x) < 1e30:
            return float(x), 0.0
        case ast.Name(id=name) if name in values:
            n = values[name]
            return n.value, 0.0 if n.whole and n.factor == 1 else n.half
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _of_node(left, values, unit), _of_node(right, values, unit)
            if a is None or b is None:
                return None
            if isinstance(op, ast.Add | ast.Sub) and _is_bare_term(left) != _is_bare_term(right):
                first = _is_bare_term(left)
                a, b = (_times(a, unit), b) if first else (a, _times(b, unit))
            return _combined(op, a, b)
    return None


def _times(x: tuple[float, float], factor: float) -> tuple[float, float]:
    return x[0] * factor, x[1] * factor


def _combined(op: ast.operator, a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float] | None:
    match op:
        case ast.Add():
            return a[0] + b[0], a[1] + b[1]
        case ast.Sub():
            return a[0] - b[0], a[1] + b[1]
        case ast.Mult():
            return a[0] * b[0], abs(a[0]) * b[1] + abs(b[0]) * a[1]
        case ast.Div() if b[0]:
            value = a[0] / b[0]
            return value, abs(value) * (b[1] / abs(b[0])) + a[1] / abs(b[0])
    return None
