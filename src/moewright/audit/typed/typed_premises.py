"""Premises of a reading: values as people write them, lists inside of lists, and those that no case has."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from math import prod
from typing import Any, Final

from moewright.audit.audit_record import Unread
from moewright.audit.reading.corrections import premise_of
from moewright.audit.reading.document_case import WHOLE
from moewright.audit.reading.premises import Premise
from moewright.audit.typed.source_lines import SourceLines, alike, has_digits, mantissa
from moewright.audit.typed.typed_values import typed_value
from moewright.case.catalogue.hardware_catalogue import find_device
from moewright.case.catalogue.model_catalogue import find_model
from moewright.case.precision import FORMATS
from moewright.case.workload import Kind
from moewright.errors import SpecError

#: lists of premises inside of one
_DEPTH: Final = 4
_PERCENT: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
#: a whole number that is put together: 200 * 6
_PRODUCT: Final = re.compile(r"\s*\d[\d,]*(?:\s*[*×x·]\s*\d[\d,]*){1,4}\s*")
_GATED: Final = ("swiglu", "geglu", "glu", "gated", "yes", "silu")
_PLAIN: Final = ("gelu", "relu", "mlp", "plain", "no")
#: fields of a cluster that are no figures
_NAMES: Final = ("cluster.name", "cluster.device.name")
_FORMATS: Final = {
    **{"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float8": "fp8", "e4m3": "fp8"},
}
#: kinds of a pass that the audit prices; of a training step it judges expressions alone
_PASSES: Final = (Kind.FORWARD, Kind.PREFILL, Kind.DECODE)


def typed_premises(
    rows: Any, field: str, file: str, unread: MutableMapping[tuple[int, str], Unread], source: SourceLines
) -> tuple[Premise, ...]:
    """The premises that ``rows`` write; a list inside is taken for its entries, so that an alias may stand for several.
    Those that no case has, and numbers that do not stand on their line of the document (``source``), are put to
    ``unread``. Raises SpecError."""
    found = []
    for i, row in _flat(rows, field, file):
        where = f"{field}.{i}"
        p = replace(premise_of(_usual(row, source), where, file), keyed=True)
        reason = _unusable(p) or (_absent(p, str(row["value"]), source) if source.text and "line" in row else "")
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


def _usual(row: Any, source: SourceLines) -> Any:
    """``row`` with its value as a case has it: 45 % as 0.45, 128,000 as a number, FP8 as fp8, training as train."""
    value = row.get("value") if isinstance(row, dict) else None
    if not isinstance(value, str):
        return row
    name, small, line = str(row.get("field")), value.strip().lower(), row.get("line")
    percent = _PERCENT.fullmatch(value)
    if percent:
        value = float(percent[1]) / 100
    elif name in WHOLE and (factors := _PRODUCT.fullmatch(value)):
        value = prod(int(x.replace(",", "")) for x in re.findall(r"\d[\d,]*", factors[0]))
    elif name in WHOLE:
        number = typed_value(value, source.line(line) if type(line) is int else "", source.commas)
        value = int(number.value) if number is not None and number.value == int(number.value) else value
    elif name.startswith("cluster.") and name not in _NAMES:
        number = typed_value(value, source.line(line) if type(line) is int else "", source.commas)
        value = number.value if number is not None else value
    elif name == "workload.causal":
        value = {"causal": True, "yes": True, "true": True, "no": False, "false": False, "full": False}.get(
            small, value
        )
    elif name == "model.precision":
        value = _FORMATS.get(small, small if small in FORMATS else value)
    elif name == "model.experts.gated":
        value = {**dict.fromkeys(_GATED, True), **dict.fromkeys(_PLAIN, False)}.get(small, value)
    elif name == "workload.kind":
        value = {"training": "train", "decoding": "decode", "inference": "forward"}.get(small, small)
    elif name == "model.name":
        plain = re.sub(r"\s+", "-", value.strip().replace("×", "x"))
        value = value if find_model(value) is not None or find_model(plain) is None else plain
    return {**row, "value": value}


def _absent(p: Premise, written: str, source: SourceLines) -> str:
    """Why a number is not what the document has on its line, or an empty text; a product of two that it has is."""
    number = typed_value(written)
    if p.value == 1:
        return ""  # one of them is told in words: no tensor parallelism
    if number is None or isinstance(p.value, bool) or not has_digits(number):
        return ""
    said = (mantissa(number), mantissa(number) * 100, number.value)
    scaled = (number.value / k for k in (1e3, 1e6, 1e9, 1e12, 1e15, 1024.0))
    here = source.here[p.line - 1] if p.line <= len(source.here) else frozenset[float]()
    products = {alike(a * b) for a in here for b in here if a > 1 < b}
    if any(source.has(x, p.line) or alike(x) in products for x in (*said, *scaled)):
        return ""
    return f"{written} does not stand on line {p.line}; leave the line out where it is put together"


def _unusable(p: Premise) -> str:
    """Why nothing can stand on a premise, or an empty text."""
    if p.field == "model.name" and (not isinstance(p.value, str) or find_model(p.value) is None):
        return "the catalogue has no such model; give its sizes: model.layers, model.hidden_size and so on"
    if p.field == "cluster.device.name" and (not isinstance(p.value, str) or find_device(p.value) is None):
        return "the catalogue has no such device; give cluster.device.flops, memory and memory_bandwidth"
    if p.field == "workload.kind" and p.value not in [str(kind) for kind in _PASSES]:
        told = "a training step is judged by expressions alone" if p.value == "train" else "it is no kind of pass"
        return f"{told}; kinds are {', '.join(str(kind) for kind in _PASSES)}"
    return ""
