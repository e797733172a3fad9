"""What ``moewright validate`` gives: a scoreboard as plain values, and the rows with their predictions."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from moewright.serving.validation.predictions import Prediction, fitted, predict
from moewright.serving.validation.row_steps import TAGS
from moewright.serving.validation.rows import Row, Skipped
from moewright.serving.validation.score import covered, errors, ranking

ADDED = (
    "predicted_ttft_ms",
    "predicted_tpot_ms",
    "predicted_ttft_ms_low",
    "predicted_ttft_ms_high",
    "predicted_tpot_ms_low",
    "predicted_tpot_ms_high",
    "predicted_layout",
    "predicted_from",
)


def scoreboard(
    rows: Sequence[Row], unread: Sequence[Skipped], folder: Path | None, tell: Callable[[float], None]
) -> tuple[dict[str, Any], list[Prediction]]:
    """``rows``, ``predicted``, ``skipped`` (reason → count), errors of ``tpot`` and ``ttft``, the layouts' ``ranking``,
    what the ``kernels`` are priced with, and what the constants were ``fitted`` on."""
    found, unpriced = predict(rows, folder, tell)
    skipped = [*unread, *unpriced]
    board: dict[str, Any] = {
        "rows": len(rows) + len(unread),
        "predicted": len(found),
        "skipped": dict(Counter(_reason(s) for s in skipped).most_common()),
        "skipped_lines": [{"line": s.line, "reason": s.reason} for s in sorted(skipped, key=lambda s: s.line)],
        "tpot": {**errors(found, "tpot"), "covered": covered(found, "tpot")} if found else None,
        "ttft": {**errors(found, "ttft"), "covered": covered(found, "ttft")} if found else None,
        "ranking": asdict(ranking(found)),
        "kernels": _origin(found) if folder else "the roofline (without measured tables)",
        "fitted": fitted(folder is not None).source,
    }
    return board, found


def _origin(found: Sequence[Prediction]) -> str:
    """Where the decode steps' seconds come from, in the mean over the rows."""
    shares = {tag: sum(p.tags[tag] for p in found) / max(len(found), 1) for tag in TAGS}
    return "; ".join(f"{share:.0%} {tag}" for tag, share in shares.items())


def _reason(s: Skipped) -> str:
    """A reason without what differs from row to row."""
    return re.sub(r"\s+", " ", s.reason)


def with_predictions(rows: Sequence[Row], found: Sequence[Prediction], columns: Sequence[str]) -> str:
    """CSV text: the rows that could be read, as they were, and the predictions in milliseconds (empty where none)."""
    by_line = {p.row.line: p for p in found}
    out = io.StringIO()
    writer = csv.DictWriter(out, [*columns, *ADDED], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        p = by_line.get(row.line)
        values = () if p is None else (p.ttft, p.tpot, *p.ttft_range, *p.tpot_range)
        added = {name: f"{v * 1e3:.6g}" for name, v in zip(ADDED, values, strict=False)}
        origin = ", ".join(f"{tag} {share:.0%}" for tag, share in p.tags.items() if share) if p else ""
        writer.writerow({**row.raw, **added, "predicted_layout": p.layout if p else "", "predicted_from": origin})
    return out.getvalue()
