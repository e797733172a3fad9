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


def errors_of(document: Path) -> list[list[Planted]]:
    """The errors that are planted in a document: those of each of its versions."""
    versions = sorted(document.parent.glob(f"{document.stem}.errors*.tsv"))
    rows = [v.read_text(encoding="utf-8").splitlines() for v in versions]
    fields = [[row.split("\t", 2) for row in each] for each in rows]
    return [[Planted(int(line), int(kind), text) for line, kind, text in each] for each in fields]


def with_errors(document: Path, errors: list[Planted]) -> str:
    """The text of a document with ``errors``."""
    lines = document.read_text(encoding="utf-8").splitlines()
    for e in errors:
        lines[e.line - 1] = e.text
    return "\n".join(lines) + "\n"


def scored(document: Path) -> tuple[int, int, list[tuple[int, bool]]]:
    """(claims, false alarms, the kind of each error with whether it is found) of a document. An error is found by a
    failing verdict on its line that the right document does not get there."""
    right = _failing(document.read_text(encoding="utf-8"))
    claims, false = right.total(), sum(n for (_, _, fails), n in right.items() if fails)
    found = []
    for errors in errors_of(document):
        wrong = _failing(with_errors(document, errors))
        found += [(e.kind, any(k[0] == e.line and k[2] and n > right[k] for k, n in wrong.items())) for e in errors]
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
