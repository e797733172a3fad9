"""Results of a benchmark, kept with their date."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any


def keep(name: str, rows: list[dict[str, Any]], beside: bool = False) -> None:
    """Write ``rows`` to ``results/NAME-DATE.json``. ``beside``: next to the rows of other cases that are there."""
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    file = Path(__file__).parent / "results" / f"{name}-{day}.json"
    if beside and file.exists():
        new = {row["case"] for row in rows}
        rows = [row for row in json.loads(file.read_text())["rows"] if row["case"] not in new] + rows
    file.write_text(json.dumps({"date": day, "rows": rows}, indent=1) + "\n")
