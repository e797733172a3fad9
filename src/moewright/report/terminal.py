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
PIPE_WIDTH = 100
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
                shown, left = fitting(block, out.width)
                out.print(_table(shown, out.width))
                if left:
                    names = "; ".join(left)
                    out.print(Text(f"Left out at {out.width} columns: {names}.", style="dim"), overflow="fold")


def fitting(table: Table, width: int) -> tuple[Table, list[str]]:
    """``table`` with the columns that fit in ``width`` beside a readable first column, and the headers of those that
    were left out, in the order of ``table.drop``: a number is never cut, a table never split."""
    columns = list(zip(table.headers, *table.rows, strict=True)) if table.rows else []
    if not columns or not any(table.headers):
        return table, []
    natural = [max(map(len, column)) for column in columns]
    least = [n if i in table.numbers else min(n, LEAST) for i, n in enumerate(natural)]
    if all(i in table.numbers for i in range(1, len(columns))):
        least[0] = min(natural[0], max(MOST_WHOLE, width // 3))
    order = table.drop or tuple(i for i in reversed(table.numbers) if i)[: max(0, len(table.numbers) - 1)]
    kept = list(range(len(columns)))
    for i in order:
        if sum(least[k] + 3 for k in kept) - 3 <= width:
            break
        kept.remove(i)
    left = [table.headers[i] for i in order if i not in kept]
    if not left:
        return table, []
    rows = tuple(tuple(row[k] for k in kept) for row in table.rows)
    numbers = tuple(at for at, k in enumerate(kept) if k in table.numbers)
    return Table(tuple(table.headers[k] for k in kept), rows, numbers), left


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
