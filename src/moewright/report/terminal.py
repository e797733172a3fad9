"""Sections on a terminal, by Rich."""

from __future__ import annotations

import os
import sys
from typing import IO, Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from moewright.report.blocks import Section, Table

#: columns where a terminal tells none (a pipe)
PIPE_WIDTH = 120
#: a column no wider than this is not wrapped
MOST_WHOLE = 26
#: letters of a line that a wrapped column keeps
LEAST = 8
_RULE = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n")
_STATUS = {"pass": "green", "warn": "yellow", "fail": "bold red"}


def console(stream: IO[str] | None = None) -> Console:
    """A console of the stream's own width; without colour for a pipe and under NO_COLOR."""
    out = stream or sys.stdout
    width = None if out.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
    return Console(file=out, width=width, highlight=False, soft_wrap=False)


def show(sections: list[Section], stream: IO[str] | None = None) -> None:
    """Print ``sections``; lines in a pipe end without spaces."""
    out = console(stream)
    if out.is_terminal:
        _print(sections, out)
        return
    with out.capture() as captured:
        _print(sections, out)
    (stream or sys.stdout).write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _print(sections: list[Section], out: Console) -> None:
    for number, section in enumerate(sections):
        if number:
            out.print()
        out.print(Text(section.title, style="bold cyan" if number else "bold"))
        for block in section.blocks:
            if isinstance(block, str):
                out.print(Text(block), overflow="fold")
            else:
                for piece in _pieces(block, out.width):
                    out.print(_table(piece, out.width))


def _pieces(table: Table, width: int) -> list[Table]:
    """``table``, or where its numbers alone do not fit beside a readable first column, pieces of its columns, each
    with the first: a number is never cut."""
    columns = list(zip(table.headers, *table.rows, strict=True)) if table.rows else []
    natural = [max(map(len, column)) for column in columns]
    first = min(natural[0], max(MOST_WHOLE, width // 3)) if natural else 0
    numbers = [i for i in range(1, len(columns)) if i in table.numbers]
    if len(numbers) < len(columns) - 1 or first + sum(natural[i] + 3 for i in numbers) + 3 <= width:
        return [table]
    pieces: list[list[int]] = [[]]
    for i in numbers:
        if pieces[-1] and first + sum(natural[j] + 3 for j in (*pieces[-1], i)) + 3 > width:
            pieces.append([])
        pieces[-1].append(i)
    return [
        Table(
            tuple(table.headers[i] for i in (0, *picked)),
            tuple(tuple(row[i] for i in (0, *picked)) for row in table.rows),
            tuple(range(1, len(picked) + 1)),
        )
        for picked in pieces
    ]


def _table(table: Table, width: int) -> RichTable:
    headed = any(table.headers)
    found = RichTable(box=_RULE if headed else None, show_header=headed, show_edge=False, pad_edge=False)
    found.padding = (0, 1)
    columns = [[header, *(row[i] for row in table.rows)] for i, header in enumerate(table.headers)]
    natural = [max(map(len, column)) for column in columns]
    whole = _whole(natural, set(table.numbers), width)
    for i, header in enumerate(table.headers):
        justify: Literal["left", "right"] = "right" if i in table.numbers else "left"
        style = None if headed or i else "dim"
        found.add_column(header, justify=justify, overflow="fold", no_wrap=i in whole, style=style)
    for row in table.rows:
        status = _STATUS.get(row[0], "") if table.headers[0] == "status" else ""
        found.add_row(*(Text(cell, style=status if not i else "") for i, cell in enumerate(row)))
    return found


def _whole(natural: list[int], numbers: set[int], width: int) -> set[int]:
    """The columns that are not wrapped: all where they fit; else numbers, and short texts while there is room for
    ``LEAST`` letters of each of the others."""
    room = width - 3 * len(natural)
    if sum(natural) <= room:
        return set(range(len(natural)))
    whole = {i for i in numbers if natural[i] <= MOST_WHOLE}
    texts = sorted((i for i in range(len(natural)) if i not in whole), key=natural.__getitem__)
    room -= sum(natural[i] for i in whole)
    for at, i in enumerate(texts):
        rest = len(texts) - at - 1
        if natural[i] > min(MOST_WHOLE, width // 4) or natural[i] + rest * LEAST > room:
            break
        whole.add(i)
        room -= natural[i]
    return whole
