"""Relations between the columns, or the rows, of a table: what holds in all of them but one is wrong in that one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.figures import unit_of
from moewright.audit.tables.grids import (
    CLOSE,
    SMALL,
    Cell,
    Grid,
    Relation,
    alike,
    cell_of,
    digits_of,
    grids_of,
    half_of,
    is_power_of_two,
    kind_of,
    name_of,
    quotient,
    verdict_of,
)
from moewright.audit.tables.sweeps import is_sweep, sweep_relations
from moewright.audit.text.clauses import Clauses
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import BYTES, COUNT, SECONDS, Number, tokens_of
from moewright.units import format_quantity

#: cells of a document that are compared
MOST_CELLS: Final = 5000
#: parts of a sum
MOST_PARTS: Final = 8
#: a title of a column (or row) that is the sum of those before it
_SUM: Final = re.compile(r"\btotal\b|\bsum\b|\bsumme\b|合计|总计|总和", re.IGNORECASE)
_THOUSANDS: Final = (1.0, *(1000.0**k for k in (-4, -3, -2, -1, 1, 2, 3, 4)))
_POWERS: Final = (1.0, *(base**k for base in (1000.0, 1024.0) for k in (-4, -3, -2, -1, 1, 2, 3, 4)))
#: memory of cards (bytes) that a share may be of
_CARDS: Final = tuple(1e9 * x for x in (16, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 144, 180, 186, 192, 256, 288))
_SLIPS: Final = (10.0, 100.0, 1000.0, 1024.0)
#: letters of a column's name that others may speak of
MOST_LABEL: Final = 12
_QUALIFIED: Final = re.compile(r"[(,;+%]|\bwith(?:out)?\b|\bmit\b|\bohne\b")
#: a row that is of one of many
_OF_ONE: Final = re.compile(r"\b(?:of|per|in) (?:one|an?|each) (?:layer|expert|stage)\b|一层|每层", re.IGNORECASE)
_PART_SLIPS: Final = tuple(x for s in (2.0, *_SLIPS) for x in (s, 1 / s))


@dataclass(slots=True)
class _Tally:
    """Rows in which a relation is seen, holds without showing it, and fails."""

    seen: list[int] = field(default_factory=list)
    holds: list[int] = field(default_factory=list)
    odd: list[int] = field(default_factory=list)


def judge_columns(said: Iterable[tuple[Statement, Clauses]], claims: Sequence[Claim]) -> list[Claim]:
    """A verdict on every cell that alone breaks a relation of its table. ``claims``: what is judged already; a figure
    that it has a verdict of gets no other."""
    tables: dict[int, list[Cell]] = {}
    written: list[Number] = []
    for s, found in said:
        written += (f.number for f in found.figures)
        if s.kind == "cell" and (cell := cell_of(s, found)) is not None:
            tables.setdefault(s.group, []).append(cell)
    settled = {(c.line, c.claimed) for c in claims if c.verdict is not Verdict.NOT_CHECKED}
    out: dict[tuple[int, float | None], Claim] = {}
    compared = 0
    for cells in tables.values():
        compared += len(cells)
        if compared > MOST_CELLS:
            break
        for grid in grids_of(cells):
            for c in _of_grid(grid, written):
                if (c.line, c.claimed) not in settled:
                    out.setdefault((c.line, c.claimed), c)
    return list(out.values())


def _of_grid(grid: Grid, written: list[Number]) -> Iterator[Claim]:
    """The verdicts of a table: of each row in which relations fail, the one cell that they have in common."""
    relations = [*_products(grid), *_sums(grid), *_ratios(grid, written), *sweep_relations(grid)]
    broken: dict[int, list[Relation]] = {}
    for r in relations:
        if r.odd is None or _is_excepted(grid, r) or _has_more(grid, r):
            continue
        if r.titled or not _is_set_apart(grid, r):
            broken.setdefault(r.odd, []).append(r)
    for row, failing in broken.items():
        right = {t for r in relations if row in r.holds for t in (r.result, *r.others)}
        common = set.intersection(*({r.result, *r.others} for r in failing))
        suspects = [t for t in grid.titles if t in common and t not in right]
        for r in failing:
            if r.result in suspects:
                yield _claim(grid, r, row)
                break
        else:
            if len(suspects) == 1:
                yield _blamed(grid, failing[0], row, suspects[0])


def _is_excepted(grid: Grid, r: Relation) -> bool:
    """Whether one of the titles speaks of the odd row by its name: ``Step (C: two stages in turn)``."""
    assert r.odd is not None
    name = _named(grid, r.odd, r).strip()
    spoken_of = re.compile(rf"\b{re.escape(name)}\b\s*[:=]|\({re.escape(name)}\b")
    return 0 < len(name) <= MOST_LABEL and any(map(spoken_of.search, (r.result, *r.others)))


def _has_more(grid: Grid, r: Relation) -> bool:
    """Whether the odd row has a further amount that the result has in it, or is without: 0.82 GB, of which 0.2 do not
    grow."""
    assert r.odd is not None
    row = grid.cells[r.odd]
    result = row[r.result].number
    low, high = r.bounds(row)
    others = (c.number for t, c in row.items() if t != r.result and t not in r.others)
    return any(
        verdict_of(result, low + x * n.value, high + x * n.value) != "odd"
        for n in others
        if n.dim == result.dim and n.dim != COUNT and n.value < result.value
        for x in (1.0, -1.0)
    )


def _is_set_apart(grid: Grid, r: Relation) -> bool:
    """Whether the name of the odd row says how it differs, as those of the others do not: ``C (offload)``."""
    assert r.odd is not None
    return any(
        bool(words.search(_named(grid, r.odd, r))) and not any(words.search(_named(grid, i, r)) for i in r.holds)
        for words in (_QUALIFIED, _OF_ONE)
    )


#: a row that is so much of one thing per other thing, or a share
_RATIO: Final = re.compile(r"\bper\b|/|%|\bmean\b|average|share|\bje\b|\bpro\b|每|率", re.IGNORECASE)


def _row_name(grid: Grid, row: int, title: str) -> str:
    s = grid.cells[row][title].statement
    return s.column if grid.across else s.row


def _named(grid: Grid, row: int, r: Relation) -> str:
    return _row_name(grid, row, r.result)


def _claim(grid: Grid, r: Relation, row: int) -> Claim:
    """The verdict on the result of a relation, or on the one part of a sum that a usual slip explains."""
    factors = _PART_SLIPS[2:] if r.titled else _PART_SLIPS  # a total may count a part twice, or leave half of it out
    slips = [(t, k) for t in r.others for k in factors if r.sums and _is_right_with(grid.cells[row], r, t, k)]
    if len(slips) == 1:
        return _blamed(grid, r, row, slips[0][0])
    cell = grid.cells[row][r.result]
    low, high = r.bounds(grid.cells[row])
    value, n, s = (low + high) / 2, cell.number, cell.statement
    unit = unit_of(n)
    where = "columns" if grid.across else "rows"
    why = f"in the other {where} {r.told}; here that is {format_quantity(value, unit)}"
    return Claim(s.line, s.text, "table", Verdict.WRONG, why, n.value, value, unit=unit)


def _is_right_with(row: dict[str, Cell], r: Relation, title: str, k: float) -> bool:
    """Whether a sum is right with the part ``title`` ``k`` times as large."""
    part = row[title].number
    more = part.value * (k - 1)
    low, high = r.bounds(row)
    return verdict_of(row[r.result].number, low + more, high + more) == "seen"


def _blamed(grid: Grid, r: Relation, row: int, title: str) -> Claim:
    """The verdict on a cell that is not the result of the relation it breaks."""
    cell = grid.cells[row][title]
    low, high = r.bounds(grid.cells[row])
    n, s = cell.number, cell.statement
    where = "columns" if grid.across else "rows"
    result = grid.cells[row][r.result].number
    by = format_quantity((low + high) / 2, unit_of(result))
    why = f"in the other {where} {r.told}; here that is {by} with {n.text}, and {result.text} is written"
    return Claim(s.line, s.text, "table", Verdict.WRONG, why, n.value, None, unit=unit_of(n))


def _small(numbers: Iterable[Number]) -> bool:
    return all(n.whole and n.dim == COUNT and n.value < SMALL for n in numbers)


def _established(
    grid: Grid, rows: Sequence[int], tally: _Tally, needed: int, distinct: Callable[[dict[str, Cell]], object]
) -> bool:
    """Whether enough rows that differ show the relation, and one at most breaks it."""
    if len(tally.odd) > 1 or len(rows) < 3 - (needed < 2):
        return False
    return len({distinct(grid.cells[i]) for i in tally.seen}) >= needed


def _products(grid: Grid) -> Iterator[Relation]:
    """c = a × b of any three columns; the last of them is the result in words."""
    for three in combinations(grid.titles, 3):
        rows = [i for i in alike(grid, three) if i not in grid.totals]
        if len(rows) < 3:
            continue
        values = [[grid.cells[i][t].number.value for t in three] for i in rows]
        for at, product in enumerate(three):
            a, b = (t for t in three if t != product)
            x, y = (k for k in range(3) if k != at)
            if sum(_is_scale(v[at] / (v[x] * v[y])) for v in values) >= 2:
                yield from _product(grid, rows, product, a, b, three[2])


def _is_scale(ratio: float) -> bool:
    """Whether ``ratio`` is about a power of 1000 or of 1024."""
    power = math.log(ratio, 1000)
    return abs(power - round(power)) < 0.025  # 1024 is 1000 to the 1.0034


def _product(grid: Grid, rows: list[int], product: str, a: str, b: str, result: str) -> Iterator[Relation]:
    x, y, z = (grid.cells[rows[0]][t].number for t in (a, b, product))
    fits = x.dim.times(y.dim) == z.dim and not (x.percent or y.percent or z.percent)
    bare = any(n.dim == COUNT or n.either for n in (x, y, z))
    if not fits and not bare:
        return
    scales: tuple[float, ...] = _POWERS if any(n.dim == BYTES for n in (x, y, z)) else _THOUSANDS
    if fits and z.dim != COUNT:
        scales = (1.0,)
    ratios = [grid.cells[i][product].number.value / _times(grid.cells[i], a, b) for i in rows]
    for scale in scales:
        if sum(abs(r / scale - 1) < 0.08 for r in ratios) < 2:
            continue

        def bounds(row: dict[str, Cell], k: float = scale) -> tuple[float, float]:
            if result == product:
                return _span(row[a].number, row[b].number, k)
            other = a if result == b else b
            return quotient(row[product].number, row[other].number, k)

        tally = _Tally()
        for i in rows:
            row = grid.cells[i]
            numbers = [row[t].number for t in (a, b, product)]
            verdict = verdict_of(row[result].number, *bounds(row))
            trivial = any(n.value in (0.0, 1.0) for n in numbers) or all(
                n.whole and is_power_of_two(n.value) for n in numbers
            )
            trivial |= min(digits_of(numbers[2]), digits_of(row[result].number)) < 2
            trivial |= digits_of(numbers[0]) + digits_of(numbers[1]) < 3
            if verdict == "odd":
                tally.odd.append(i)
            else:
                tally.holds.append(i)
                if verdict == "seen" and not trivial:
                    tally.seen.append(i)
        small = all(_small(grid.cells[i][t].number for t in (a, b, product)) for i in rows)
        if not _established(
            grid, rows, tally, 3 if small else 2, lambda row: (row[a].number.value, row[b].number.value)
        ):
            continue
        if result == product:
            told = f"{name_of(product)} is {name_of(a)} × {name_of(b)}"
        else:
            told = f"{name_of(result)} is {name_of(product)} / {name_of(a if result == b else b)}"
        others = tuple(t for t in (a, b, product) if t != result)
        if any(_is_chance([grid.cells[i][t].number for i in tally.seen]) for t in others):
            continue
        odd = tally.odd[0] if tally.odd else None
        if odd is not None and (small or len(tally.seen) < 3):
            astray = grid.cells[odd][product].number.value / _times(grid.cells[odd], a, b) / scale
            if not 0.6 < astray < 1 / 0.6 and not any(abs(astray / x - 1) < 5e-3 for x in _PART_SLIPS):
                continue  # two that agree may do so by chance
            if _whole(astray, max(1e-3, grid.cells[odd][result].number.slack)):
                continue  # a factor that the table does not show, as of another format or degree
        yield Relation(told, result, others, bounds, frozenset(tally.holds), odd)


def _is_chance(numbers: Sequence[Number]) -> bool:
    """Whether ``numbers`` are one factor of one digit, which much is."""
    return len({n.value for n in numbers}) == 1 and digits_of(numbers[0]) < 2


def _times(row: dict[str, Cell], a: str, b: str) -> float:
    return row[a].number.value * row[b].number.value


def _span(a: Number, b: Number, scale: float) -> tuple[float, float]:
    ha, hb = half_of(a), half_of(b)
    return (a.value - ha) * (b.value - hb) * scale, (a.value + ha) * (b.value + hb) * scale


def _whole(ratio: float, room: float = 1e-3) -> bool:
    """Whether ``ratio`` or its inverse is a whole number that is no usual slip."""
    r = max(ratio, 1 / ratio) if ratio > 0 else 0.0
    return r >= 1.5 and abs(r - round(r)) <= room * r and not any(abs(r / s - 1) <= room for s in _SLIPS)


def _sums(grid: Grid) -> Iterator[Relation]:
    """c = a + b (+ d …), of columns that stand together before it."""
    rows = [row for i, row in enumerate(grid.cells) if i not in grid.totals]
    values = [[row[t].number.value if t in row else math.nan for row in rows] for t in grid.titles]
    binary = [[row[t].number.binary if t in row else math.nan for row in rows] for t in grid.titles]
    for start in range(len(grid.titles)):
        sums = values[start]
        for end in range(start + 1, min(len(grid.titles) - 1, start + MOST_PARTS)):
            sums = [x + y for x, y in zip(sums, values[end], strict=True)]
            for at in range(end + 1, len(grid.titles)):
                whole = zip(sums, values[at], binary[at], strict=True)
                if any(abs(x - y) < 0.05 * y or abs(x - z) < 0.05 * z for x, y, z in whole):  # before a closer look
                    yield from _sum(grid, grid.titles[start : end + 1], grid.titles[at], at == end + 1)


def _sum(grid: Grid, parts: tuple[str, ...], result: str, adjoining: bool) -> Iterator[Relation]:
    rows = [i for i in alike(grid, (result, *parts)) if i not in grid.totals]
    if len(rows) < 2:
        return
    first = grid.cells[rows[0]]
    if any(
        kind_of(row[t].number) != kind_of(first[result].number) for i in rows for row in (grid.cells[i],) for t in parts
    ):
        return
    titled = adjoining and bool(_SUM.search(result)) and not any(_SUM.search(t) for t in parts)

    def bounds(row: dict[str, Cell]) -> tuple[float, float]:
        numbers = [row[t].number for t in parts]
        middle, room = sum(n.value for n in numbers), sum(half_of(n) for n in numbers)
        return middle - room, middle + room

    tally = _Tally()
    for i in rows:
        row = grid.cells[i]
        n = row[result].number
        verdict = verdict_of(n, *bounds(row))
        room = half_of(n, True) + sum(half_of(row[t].number) for t in parts)
        telling = sum(row[t].number.value > 2 * room for t in parts) >= 2 and digits_of(n) >= 2
        if verdict == "odd":
            tally.odd.append(i)
        else:
            tally.holds.append(i)
            if verdict == "seen" and telling:
                tally.seen.append(i)
    small = all(_small(grid.cells[i][t].number for t in (result, *parts)) for i in rows)
    needed = 3 if small else 1 if titled else 2
    if not _established(grid, rows, tally, needed, lambda row: tuple(row[t].number.value for t in parts)):
        return
    odd = tally.odd[0] if tally.odd else None
    if odd is not None:
        row = grid.cells[odd]
        most = max(row[t].number.value for t in parts)
        n = row[result].number
        if _RATIO.search(_row_name(grid, odd, result)) and min(row[t].number.value for t in parts) <= n.value <= most:
            return  # a rate of all is a mean of those of its parts
        if n.dim == SECONDS and most * 0.99 <= n.value < sum(row[t].number.value for t in parts):
            return  # what overlaps takes less than its parts
    told = f"{name_of(result)} is {' + '.join(name_of(t) for t in parts)}"
    yield Relation(told, result, parts, bounds, frozenset(tally.holds), odd, True, titled)


def _ratios(grid: Grid, written: list[Number]) -> Iterator[Relation]:
    """c = k × a with one k: shares of one whole, or what is so much a piece."""
    for a in grid.titles:
        for result in grid.titles:
            if result != a:
                yield from _ratio(grid, a, result, written)


def _ratio(grid: Grid, a: str, result: str, written: list[Number]) -> Iterator[Relation]:
    rows = alike(grid, (a, result))
    percent = all(grid.cells[i][result].number.percent for i in rows)
    first, at = (grid.titles.index(t) for t in (a, result))
    if any(grid.cells[i][a].number.percent for i in rows) or (not percent and first > at):
        return
    if not percent:
        if all(grid.cells[i][a].number.dim == grid.cells[i][result].number.dim for i in rows):
            return  # options differ by any factor
        rows = [i for i in rows if i not in grid.totals]
    sized = percent and all(grid.cells[i][a].number.dim == BYTES for i in rows)
    told_whole = _whole_of(result) if percent else None
    swept = not percent and not grid.across and is_sweep(grid, rows)
    needed = (1 if told_whole else 2) if sized or (swept and len(rows) == 3) else 3
    if len(rows) < needed + 1:
        return
    ranges = {i: quotient(grid.cells[i][result].number, grid.cells[i][a].number, 1.0) for i in rows}
    fitting = _meeting(ranges, None if told_whole is None or not sized else 1 / told_whole)
    odd_rows = [i for i in rows if i not in fitting]
    if len(odd_rows) > 1:
        return
    close = [i for i in fitting if _is_close(ranges[i]) and digits_of(grid.cells[i][result].number) >= 2]
    if len({grid.cells[i][a].number.value for i in close}) < needed:
        return
    if len({grid.cells[i][result].number.value for i in close}) < needed:
        return
    low, high = max(ranges[i][0] for i in fitting), min(ranges[i][1] for i in fitting)
    k = 1 / told_whole if told_whole is not None and sized else (low + high) / 2
    odd = odd_rows[0] if odd_rows else None
    if odd is not None and not _is_astray(grid.cells[odd], a, result, k, ranges[odd], written, bool(told_whole), swept):
        return
    spread = (high - low) / 2 / k if not told_whole else 0.0

    def bounds(row: dict[str, Cell]) -> tuple[float, float]:
        n = row[a].number
        room = half_of(n) + spread * n.value
        return (n.value - room) * k, (n.value + room) * k

    if percent and sized:
        told = f"{name_of(result)} is {name_of(a)} / {format_quantity(1 / k, 'bytes')}"
    else:
        told = f"{name_of(result)} is {k:.4g} × {name_of(a)}"
    yield Relation(told, result, (a,), bounds, frozenset(fitting), odd, titled=told_whole is not None)


def _whole_of(title: str) -> float | None:
    """The bytes that a title says its shares are of: 80 GB."""
    sizes = [t.number.value for t in tokens_of(title) if t.number is not None and t.number.dim == BYTES]
    return sizes[0] if len(sizes) == 1 and sizes[0] >= 1e9 else None


def _is_close(span: tuple[float, float]) -> bool:
    return span[1] - span[0] <= 2 * CLOSE * 2 * abs(span[0] + span[1]) / 2


def _meeting(ranges: dict[int, tuple[float, float]], k: float | None) -> list[int]:
    """The rows whose ranges have one factor in common, as many as do: ``k`` where it is told."""
    best: list[int] = []
    marks = [k] if k is not None else [x for span in ranges.values() for x in span]
    for mark in marks:
        found = [i for i, (low, high) in ranges.items() if low * (1 - 1e-9) <= mark <= high * (1 + 1e-9)]
        if len(found) > len(best):
            best = found
    return best


def _is_astray(
    row: dict[str, Cell],
    a: str,
    result: str,
    k: float,
    span: tuple[float, float],
    written: list[Number],
    told: bool,
    swept: bool,
) -> bool:
    """Whether the odd row is clearly off, and by nothing that another whole or another piece would explain; ``swept``:
    the rows are points of one sweep, which differ in nothing but their number."""
    low, high = span
    middle = (low + high) / 2
    if abs(middle - k) <= (high - low) or abs(middle / k - 1) <= 5e-3:
        return False
    n = row[result].number
    room = max((high - low) / 2 / middle, 2e-3)
    if n.percent:
        if told:
            return True
        wholes = [x.value for x in written if x.dim == BYTES and "." not in x.text and x.value >= 1e9]
        scale = 1.0 if row[a].number.dim == BYTES else 1e-9
        sizes = [w * scale for w in (*wholes, *_CARDS)]
        if not any(abs(1 / k / w - 1) <= room for w in sizes):
            return True  # shares of something other than a card
        if len({w for w in wholes if w in _CARDS}) > 1:
            return False  # the columns may be of different cards
        return not any(abs(1 / middle / w - 1) <= room for w in sizes)
    if (_whole(middle / k, room) and not swept) or "(" in row[result].statement.row or "," in row[result].statement.row:
        return False
    pieces = [x.value / x.factor for x in written if x.value]
    return not any(
        abs(piece * scale / middle - 1) <= room or abs(piece * scale * middle - 1) <= room
        for piece in pieces
        for scale in _POWERS
    )
