"""Tables of a spreadsheet in a block of code: lines of cells with commas, semicolons or tabs between them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import Final

#: a table has so many lines and columns at least
FEWEST_LINES: Final = 3
FEWEST_COLUMNS: Final = 2
#: letters of a line of a table
MOST_LINE: Final = 10_000
_NUMBER: Final = re.compile(r"[~≈-]?\d[\d.,]*(?:e[+-]?\d+)?\s?[%\w/]{0,8}", re.IGNORECASE)
_UNIT: Final = r"[KMGTP]i?B|[mµun]s|[KMGTPE]?FLOPS?|[KMGTPE]FLOP|tok/s|tokens/s|bytes"
#: the unit in a name with underscores: kv_cache_GB, dispatch_MB_per_layer
_UNIT_IN: Final = re.compile(rf"(?<=[ \w]) ({_UNIT})(/s)?(?= per\b| a\b|$)")
_SECOND: Final = re.compile(r"\b(tok|tokens|[KMGT]i?B|[KMGTPE]?FLOPS?) per (?:s|sec)\b")


def cells_of(lines: Sequence[str], language: str) -> list[list[str]] | None:
    """The cells of each line of a block of code in ``language``, the titles first; None where it is no table: lines of
    the same number of cells, the first of titles, below which each row has a name and, some of them, figures."""
    filled = [x for x in lines if x.strip()]
    if (len(filled) < FEWEST_LINES and language not in ("csv", "tsv")) or len(filled) < FEWEST_COLUMNS:
        return None
    if sum(map(len, lines)) > csv.field_size_limit() and ('"' in "".join(lines) or max(map(len, lines)) > MOST_LINE):
        return None  # a cell that may be longer than one can be
    for mark in (",", ";", "\t"):
        rows = [[c.strip() for c in row] for row in csv.reader(lines, delimiter=mark)] if _even(filled, mark) else []
        if len(rows) == len(lines) and _is_table([r for r in rows if any(r)]):
            return [[named(c) if not i or not at else c for i, c in enumerate(row)] for at, row in enumerate(rows)]
    return None


def named(name: str) -> str:
    """A name with underscores as words, its unit in brackets behind: ``kv cache (GB)``."""
    if " " in name or "_" not in name:
        return name
    words = _SECOND.sub(r"\1/s", name.replace("_", " "))
    unit = _UNIT_IN.search(words)
    return f"{words[: unit.start()]}{words[unit.end() :]} ({unit[1]}{unit[2] or ''})" if unit else words


def _even(lines: Sequence[str], mark: str) -> bool:
    least = FEWEST_COLUMNS - 1
    return lines[0].count(mark) >= least and all(x.count(mark) >= least and not x.startswith("#") for x in lines)


def _is_table(rows: list[list[str]]) -> bool:
    width = len(rows[0])
    if width < FEWEST_COLUMNS or any(len(row) != width for row in rows):
        return False
    if any(_NUMBER.fullmatch(c) for c in rows[0]) or any(not row[0] for row in rows[1:]):
        return False
    figures = [bool(_NUMBER.fullmatch(c)) for row in rows[1:] for c in row[1:] if c]
    return 2 * sum(figures) >= len(figures) > 0
