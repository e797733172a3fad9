"""Premises of a reading: values as people write them, lists inside of lists, and those that no case has."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from typing import Any, Final

from moewright.audit.audit_record import Unread
from moewright.audit.reading.corrections import premise_of
from moewright.audit.reading.premises import Premise
from moewright.case.catalogue.model_catalogue import find_model
from moewright.case.precision import FORMATS
from moewright.case.workload import Kind
from moewright.errors import SpecError

#: lists of premises inside of one
_DEPTH: Final = 4
_PERCENT: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+")
#: kinds of a pass that the audit prices; of a training step it judges expressions alone
_PASSES: Final = (Kind.FORWARD, Kind.PREFILL, Kind.DECODE)


def typed_premises(
    rows: Any, field: str, file: str, unread: MutableMapping[tuple[int, str], Unread]
) -> tuple[Premise, ...]:
    """The premises that ``rows`` write; a list inside is taken for its entries, so that an alias may stand for several.
    Those that no case has are put to ``unread``. Raises SpecError."""
    found = []
    for i, row in _flat(rows, field, file):
        p = _usual(replace(premise_of(row, f"{field}.{i}", file), keyed=True))
        reason = _unusable(p)
        if reason:
            unread[p.line, p.field] = Unread(p.line, f"{p.field}: {p.value}", reason)
        else:
            found.append(p)
    return tuple(found)


def _flat(rows: Any, field: str, file: str, depth: int = 0) -> Iterator[tuple[int, Any]]:
    if not isinstance(rows, list) or depth > _DEPTH:
        raise SpecError(
            f"got {str(rows)[:60]!r}; expected a list such as [{{field: cluster.gpus, value: 64, line: 3}}]",
            file=file,
            field=field,
        )
    for i, row in enumerate(rows):
        if isinstance(row, list):
            yield from _flat(row, f"{field}.{i}", file, depth + 1)
        else:
            yield i, row


def _usual(p: Premise) -> Premise:
    """``p`` with its value as a case has it: 45 % as 0.45, 128,000 as a number, FP8 as fp8, training as train."""
    value = p.value
    if not isinstance(value, str):
        return p
    percent, small = _PERCENT.fullmatch(value), value.strip().lower()
    if percent:
        value = float(percent[1]) / 100
    elif _GROUPED.fullmatch(value):
        value = int(value.replace(",", ""))
    elif p.field == "model.precision" and small in FORMATS:
        value = small
    elif p.field == "workload.kind":
        value = {"training": "train", "decoding": "decode", "inference": "forward"}.get(small, small)
    return replace(p, value=value)


def _unusable(p: Premise) -> str:
    """Why nothing can stand on a premise, or an empty text."""
    if p.field == "model.name" and (not isinstance(p.value, str) or find_model(p.value) is None):
        return "the catalogue has no such model; give its sizes: model.layers, model.hidden_size and so on"
    if p.field == "workload.kind" and p.value not in [str(kind) for kind in _PASSES]:
        told = "a training step is judged by expressions alone" if p.value == "train" else "it is no kind of pass"
        return f"{told}; kinds are {', '.join(str(kind) for kind in _PASSES)}"
    return ""
