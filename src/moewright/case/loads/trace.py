"""Trace files of requests: .csv with a header, or .jsonl, with arrival (seconds), input and output (tokens)."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moewright.case.bounded_file import decoded, read_bounded
from moewright.case.serving import Trace
from moewright.errors import SpecError

MOST_BYTES = 1 << 26
MOST_TOKENS = 1 << 28
COLUMNS = ("arrival", "input", "output")


def read_trace(path: Path, name: str, file: str) -> Trace:
    """The requests of ``path``, by arrival, counted from the first. Raises SpecError naming the line."""

    def fail(message: str) -> SpecError:
        return SpecError(f"{name[:120]}: {message}", file=file, field="workload.trace")

    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise fail(f"ends in {path.suffix or 'nothing'!r}; expected .csv or .jsonl")
    try:
        text = decoded(read_bounded(path, MOST_BYTES, "a trace of requests", "trace"), path)
    except SpecError as error:
        raise fail(error.problem) from None
    rows: list[tuple[float, int, int]] = []
    try:
        for line, row in _csv(text) if path.suffix.lower() == ".csv" else _jsonl(text):
            rows.append(_row(line, row))
    except ValueError as error:
        raise fail(str(error)) from None
    if not rows:
        raise fail("holds no request")
    rows.sort(key=lambda r: r[0])
    first = rows[0][0]
    arrivals, inputs, outputs = zip(*((t - first, i, o) for t, i, o in rows), strict=True)
    return Trace(arrivals, inputs, outputs, name)


def _csv(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        names = list(reader.fieldnames or [])
    except csv.Error as error:
        raise ValueError(f"line 1: {error}") from None
    twice = [c for c in COLUMNS if names.count(c) > 1]
    if twice:
        raise ValueError(f"line 1 has column {twice[0]} twice; expected each of {', '.join(COLUMNS)} once")
    missing = [c for c in COLUMNS if c not in names]
    if missing:
        raise ValueError(f"line 1 has no column {missing[0]}; required are {', '.join(COLUMNS)}")
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None


def _jsonl(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError(f"line {number} is not JSON") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no object with {', '.join(COLUMNS)}")
        yield number, row


def _row(line: int, row: dict[str, Any]) -> tuple[float, int, int]:
    found = []
    for name in COLUMNS:
        value = row.get(name)
        if value is None or value == "":
            raise ValueError(f"line {line} has no {name}; required are {', '.join(COLUMNS)}")
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        least = 0 if name == "arrival" else 1
        whole = name == "arrival" or number == number // 1
        if not math.isfinite(number) or number < least or number > MOST_TOKENS or not whole:
            what = "seconds of 0 or more" if name == "arrival" else "a whole number of 1 or more"
            shown = repr(value)[:60]
            raise ValueError(f"line {line}: {name} is {shown}; expected {what}")
        found.append(number)
    return found[0], int(found[1]), int(found[2])
