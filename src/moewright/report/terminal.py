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
_STATUS = {"pass": "green", "warn": "yellow", "fail": "bold red"}


def console(stream: IO[str] | None = None) -> Console:
    """A console of the stream's own width; without colour for a pipe and under NO_COLOR."""
    out = stream or sys.stdout
    width = None if out.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
    return Console(file=out, width=width, highlight=False, soft_wrap=False)


def show(sections: list[Section], stream: IO[str] | None = None) -> None:
    """Print ``sections``."""
    out = console(stream)
    for number, section in enumerate(sections):
        if number:
            out.print()
        out.print(Text(section.title, style="bold cyan" if number else "bold"))
        for block in section.blocks:
            if isinstance(block, str):
                out.print(Text(block), overflow="fold")
            else:
                out.print(_table(block, out.width))


def _table(table: Table, width: int) -> RichTable:
    headed = any(table.headers)
    found = RichTable(box=box.SIMPLE_HEAD if headed else None, show_header=headed, pad_edge=False, padding=(0, 1))
    if headed:
        found.box = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n")
        found.show_edge = False
    for i, header in enumerate(table.headers):
        justify: Literal["left", "right"] = "right" if i in table.numbers else "left"
        last = i == len(table.headers) - 1
        # names and numbers stay whole where there is room; the last column takes what is left, and wraps
        keep = not last and width >= 100
        found.add_column(header, justify=justify, overflow="fold", no_wrap=keep, style=None if headed or i else "dim")
    for row in table.rows:
        cells = [Text(cell, style=_STATUS.get(cell, "") if table.headers[0] == "status" else "") for cell in row]
        found.add_row(*cells)
    return found
