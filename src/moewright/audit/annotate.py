"""A copy of the document with each verdict beside its claim."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from moewright.audit.audit_record import Audit, Claim, Verdict
from moewright.audit.text.document import read_text

_MARKS: Final = {Verdict.HOLDS: "✓", Verdict.NOT_CHECKED: "?"}


def annotated(path: str | Path, audit: Audit) -> str:
    """The text of the document at ``path``; behind each line with claims, a comment with their verdicts: in Markdown
    a quote of its own would break lists and tables, so it is put at the end of the line (in a table's last cell, in
    code as it stands)."""
    lines = read_text(path).splitlines()
    yaml = Path(path).suffix.lower() in (".yaml", ".yml")
    by_line: dict[int, list[Claim]] = {}
    for c in audit.claims:
        by_line.setdefault(c.line, []).append(c)
    out = []
    for number, line in enumerate(lines, 1):
        notes = "; ".join(dict.fromkeys(_note(c) for c in by_line.get(number, ())))
        if not notes:
            out.append(line)
        elif yaml:
            out.append(f"{line}  # {notes}")
        elif line.rstrip().endswith("|"):
            cell = notes.replace("|", "/")
            out.append(f"{line.rstrip()[:-1].rstrip()} **[{cell}]** |")
        else:
            out.append(f"{line.rstrip()} **[{notes}]**")
    return "\n".join(out) + "\n"


def _note(c: Claim) -> str:
    mark = _MARKS.get(c.verdict, "✗")
    return f"{mark} {c.quantity} {c.verdict}" + ("" if c.verdict is Verdict.HOLDS else f": {c.why}")
