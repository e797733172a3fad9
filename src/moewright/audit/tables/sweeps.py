"""Tables whose rows are points of a sweep, named by a bare number: a column that goes up with it, or down with it, or
is what others than one of so many have, and breaks that in one row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from moewright.audit.tables.grids import Cell, Grid, Relation, digits_of, half_of, is_power_of_two, name_of, verdict_of
from moewright.audit.text.numbers import COUNT, SECONDS

_POINT: Final = re.compile(r"([\d,.]+)\s?([kKM]?)")
_FACTORS: Final = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6}
#: how many rows must show a relation, where there are three rows, and where there are more
FEWEST: Final = 2
USUAL: Final = 3
#: rounding of either end of a factor that rows have in common
CLOSE: Final = 0.012
#: a factor that one row is off by, of two others, is whole within this
WHOLE: Final = 0.01

#: what a column is of the number ``x`` and a constant ``k``
_KINDS: Final[tuple[tuple[str, Callable[[float, float], float]], ...]] = (
    ("{column} is {k:.4g} × the number of the row", lambda x, k: k * x),
    ("{column} × the number of the row is {k:.4g}", lambda x, k: k / x),
)


def is_sweep(grid: Grid, rows: Sequence[int]) -> bool:
    """Whether the names of all rows are bare numbers, each another."""
    names = [_name(grid.cells[i]) for i in rows]
    return len(set(names)) == len(names) and all(map(_POINT.fullmatch, names))


def sweep_relations(grid: Grid) -> Iterator[Relation]:
    """What the columns of a sweep are by the numbers that its rows are named by."""
    rows = [i for i, cells in enumerate(grid.cells) if cells]
    if grid.across or len(rows) < USUAL:
        return
    points = {i: _point(grid.cells[i]) for i in rows}
    if len(set(points.values())) < max(USUAL, len(points)) or 0.0 in points.values():
        return
    for title in grid.titles:
        have = [i for i in rows if title in grid.cells[i]]
        if len(have) < USUAL or any(grid.cells[i][title].number.dim == SECONDS for i in have):
            continue
        found = _complement(grid, title, have, points)
        found = found or next((r for kind in _KINDS if (r := _by_factor(grid, title, have, points, *kind))), None)
        if found is not None:
            yield found


def _by_factor(
    grid: Grid, title: str, rows: list[int], points: dict[int, float], told: str, of: Callable[[float, float], float]
) -> Relation | None:
    """The relation by one constant that all rows but one have in common; None where there is none."""
    numbers = {i: grid.cells[i][title].number for i in rows}
    if any(n.percent for n in numbers.values()) or len({n.value for n in numbers.values()}) < FEWEST:
        return None
    exact = {i: numbers[i].value / of(points[i], 1.0) for i in rows}
    room = {i: exact[i] * max(half_of(numbers[i], True) / numbers[i].value, 1e-9) for i in rows}
    best: list[int] = []
    for mark in rows:
        fitting = [i for i in rows if abs(exact[i] - exact[mark]) <= room[i] + room[mark]]
        best = max(best, fitting, key=len)
    needed = FEWEST if len(rows) == USUAL else USUAL
    odd = [i for i in rows if i not in best]
    if len(best) < needed or len(odd) != 1 or len({numbers[i].value for i in best}) < FEWEST:
        return None
    if any(room[i] > CLOSE * exact[i] for i in best) or min(digits_of(numbers[i]) for i in best) < FEWEST:
        counts = all(numbers[i].whole and numbers[i].dim == COUNT for i in rows)
        if not counts or len(best) < USUAL:
            return None
    sizes = all(n.dim == COUNT and is_power_of_two(n.value) for n in numbers.values())
    if len(best) < USUAL and sizes:
        return None  # two powers of two are easily so many times each other
    k = sum(exact[i] for i in best) / len(best)
    astray = exact[odd[0]] / k
    if not _slipped(max(astray, 1 / astray), room[odd[0]] / exact[odd[0]]):
        return None

    def bounds(row: dict[str, Cell]) -> tuple[float, float]:
        x = _point(row)
        return of(x, k) * (1 - 2e-3), of(x, k) * (1 + 2e-3)

    words = told.format(column=name_of(title), k=k)
    return Relation(words, title, (), bounds, frozenset(best), odd[0], titled=True)


def _slipped(astray: float, room: float) -> bool:
    """Whether a row is off by a whole number of times, within rounding."""
    return astray > 1.4 and abs(astray / round(astray) - 1) <= WHOLE + room


def _name(row: dict[str, Cell]) -> str:
    return next(iter(row.values())).statement.row.strip()


def _point(row: dict[str, Cell]) -> float:
    """The number that a row is named by, 0 where that is none."""
    m = _POINT.fullmatch(_name(row))
    try:
        return float(m[1].replace(",", "")) * _FACTORS[m[2]] if m is not None else 0.0
    except ValueError:
        return 0.0


def _complement(grid: Grid, title: str, rows: list[int], points: dict[int, float]) -> Relation | None:
    """The share that others than one of so many have: 1 - 1/EP."""
    numbers = {i: grid.cells[i][title].number for i in rows}
    if not all(n.percent for n in numbers.values()):
        return None

    def bounds(row: dict[str, Cell]) -> tuple[float, float]:
        share = 1 - 1 / _point(row)
        return share, share

    holds = [i for i in rows if points[i] > 1 and verdict_of(numbers[i], *bounds(grid.cells[i])) != "odd"]
    odd = [i for i in rows if i not in holds]
    if len(holds) < FEWEST or len(odd) != 1 or len({numbers[i].value for i in holds}) < FEWEST:
        return None
    told = f"{name_of(title)} is 1 - 1 / the number of the row"
    return Relation(told, title, (), bounds, frozenset(holds), odd[0], titled=True)
