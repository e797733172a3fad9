"""What `moewright audit` finds by its grammar in documents that others wrote: errors planted in them, and false alarms
on the documents as they are. python -m benchmarks written"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moewright.audit.audit_document import audit_document
from moewright.audit.audit_record import FAILING
from moewright.audit.text.document import parse

FOLDER = Path(__file__).parent / "data" / "written"


@dataclass(frozen=True)
class Planted:
    """An error: its ``line``, its ``kind``, and the line as it stands with it."""

    line: int
    kind: int
    text: str


def errors_of(document: Path) -> list[Planted]:
    """The errors that are planted in a document."""
    rows = document.with_suffix(".errors.tsv").read_text(encoding="utf-8").splitlines()
    return [Planted(int(line), int(kind), text) for line, kind, text in (row.split("\t", 2) for row in rows)]


def with_errors(document: Path) -> str:
    """The text of a document with its errors."""
    lines = document.read_text(encoding="utf-8").splitlines()
    for e in errors_of(document):
        lines[e.line - 1] = e.text
    return "\n".join(lines) + "\n"


def scored(document: Path) -> tuple[int, int, list[tuple[int, bool]]]:
    """(claims, false alarms, the kind of each error with whether it is found) of a document. An error is found by a
    failing verdict on its line that the right document does not get there."""
    right = _failing(document.read_text(encoding="utf-8"))
    wrong = _failing(with_errors(document))
    claims, false = right.total(), sum(n for (_, _, fails), n in right.items() if fails)
    found = [
        (e.kind, any(k[0] == e.line and k[2] and n > right[k] for k, n in wrong.items())) for e in errors_of(document)
    ]
    return claims, false, found


def _failing(text: str) -> Counter[tuple[int, str, bool]]:
    """How many claims each line has, by quantity, and by whether they fail."""
    claims = audit_document(parse(text, "document"), {}, None).claims
    return Counter((c.line, f"{c.quantity} {c.verdict}", c.verdict in FAILING) for c in claims)


def run() -> list[dict[str, Any]]:
    """Score every set, print a table, and return its rows."""
    rows = []
    print("| set | claims | false | of planted errors caught |\n|---|--:|--:|--:|")
    with ProcessPoolExecutor() as pool:
        for folder in sorted(FOLDER.iterdir()):
            documents = sorted(folder.glob("*.md")) if folder.is_dir() else []
            if not documents:
                continue
            found = list(pool.map(scored, documents))
            kinds = [x for _, _, each in found for x in each]
            row = {
                "set": folder.name,
                "claims": sum(x[0] for x in found),
                "false": sum(x[1] for x in found),
                "planted": len(kinds),
                "caught": sum(hit for _, hit in kinds),
            }
            rows.append(row)
            print(f"| {row['set']} | {row['claims']} | {row['false']} | {row['caught']} of {row['planted']} |")
    return rows
