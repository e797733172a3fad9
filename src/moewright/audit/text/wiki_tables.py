"""Tables as MediaWiki writes them → tables of Markdown, line for line."""

from __future__ import annotations

import re
from typing import Final

#: what a cell may begin with that is no text of it: style="text-align:right" |
_STYLE: Final = re.compile(r"^\s*(?:[\w-]+\s*=\s*(?:\"[^\"]*\"|[\w%#-]+)\s*)+\|(?!\|)")
_BOLD: Final = re.compile(r"'{2,5}")


def without_wiki_tables(text: str) -> str:
    """``text`` with its tables between ``{|`` and ``|}`` as Markdown, each row on the line of its first cell."""
    if "{|" not in text:
        return text
    out: list[str] = []
    table: list[str] | None = None
    for line in text.split("\n"):
        if table is None and line.lstrip().startswith("{|"):
            table = [line]
        elif table is None:
            out.append(line)
        else:
            table.append(line)
            if line.lstrip().startswith("|}"):
                out += _markdown(table)
                table = None
    return "\n".join(out + (table or []))


def _markdown(table: list[str]) -> list[str]:
    """The lines of a table, its titles on the line that opens it, and the rule below them on the next."""
    rows: list[tuple[int, list[str]]] = []
    titles: list[str] = []
    new = True
    for at, line in enumerate(table[1:-1], 1):
        plain = line.strip()
        if plain.startswith(("|-", "|+")) or not plain:
            new = True
        elif plain.startswith("!") and not rows:
            titles += _cells(plain, "!")
        elif plain.startswith(("|", "!")):
            cells = _cells(plain, plain[0])
            if new:
                rows.append((at, cells))
            else:
                rows[-1][1].extend(cells)
            new = False
        elif rows and rows[-1][1]:
            rows[-1][1][-1] += f" {plain}"
    width = max([len(titles), *(len(cells) for _, cells in rows)], default=0)
    out = [""] * len(table)
    if not width or len(table) < len(("{|", "row", "|}")):
        return out
    empty = "|" + "  |" * width
    out[0], out[1] = _row(titles or [""] * width, width), "|" + "---|" * width
    if rows and rows[0][0] == 1:  # without titles, its first row stands where they would
        out[0] = _row(rows[0][1], width)
        rows = rows[1:]
    last = max((at for at, _ in rows), default=1)
    out[2 : last + 1] = [empty] * (last - 1)
    for at, cells in rows:
        out[at] = _row(cells, width)
    return out


def _cells(line: str, mark: str) -> list[str]:
    parts = re.split(r"!!|\|\|" if mark == "!" else r"\|\|", line[1:])
    return [_BOLD.sub("", _STYLE.sub("", part)).strip() for part in parts]


def _row(cells: list[str], width: int) -> str:
    return f"| {' | '.join(c.replace('|', ' ') for c in [*cells, *[''] * (width - len(cells))])} |"
