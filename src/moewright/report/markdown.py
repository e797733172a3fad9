"""Sections as GitHub-flavoured Markdown."""

from __future__ import annotations

from moewright.report.blocks import Section, Table


def render(sections: list[Section]) -> str:
    """The sections as one document; the first is its title."""
    parts = []
    for number, section in enumerate(sections):
        parts.append(f"{'#' if not number else '##'} {_plain(section.title)}")
        for block in section.blocks:
            parts.append(_plain(block) if isinstance(block, str) else _table(block))
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    for sign in ("\\", "|", "<", ">", "*", "_", "`"):
        text = text.replace(sign, f"\\{sign}")
    return text


def _table(table: Table) -> str:
    rules = ["--:" if i in table.numbers else "---" for i in range(len(table.headers))]
    lines = [[_plain(h) for h in table.headers], rules, *([_plain(c) for c in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
