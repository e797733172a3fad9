"""Sections of a spec file → records, every fault one SpecError with file, field and value."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from moewright.case.file.records import Record, shown
from moewright.case.spelling import did_you_mean
from moewright.errors import SpecError

_Record = TypeVar("_Record", bound=Record)


def section(record: type[_Record], value: Any, file: str | None, path: str) -> _Record:
    """``value``, found in ``file`` under the field ``path``, as ``record``. Raises SpecError."""
    if not isinstance(value, dict):
        fields = ", ".join(record.model_fields)
        raise SpecError(f"got {shown(value)}; expected a mapping with {fields}", file=file, field=path or None)
    try:
        return record.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    # an unknown field explains a missing one, not the other way round
    faults.sort(key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    where = ".".join(part for part in (path, *(str(x) for x in fault["loc"])) if part)
    raise SpecError(_message(record, dict(fault)), file=file, field=where)


def unknown_field(name: str, known: list[str]) -> str:
    """The message for a field that a section does not have."""
    return f"unknown field; {did_you_mean(name, known)}known are {', '.join(known)}"


def _message(record: type[Record], fault: dict[str, Any]) -> str:
    loc, kind = fault["loc"], fault["type"]
    if kind == "extra_forbidden":
        return unknown_field(str(loc[-1]), list(_record_at(record, loc[:-1]).model_fields))
    if kind == "missing":
        inner = _record_at(record, loc[:-1])
        required = [name for name, field in inner.model_fields.items() if field.is_required()]
        return f"is missing; required are {', '.join(required)}"
    if kind == "value_error":
        return str(fault["ctx"]["error"])
    if kind in ("model_type", "dict_type"):
        return f"got {shown(fault['input'])}; expected a mapping"
    return f"got {shown(fault['input'])}; {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _record_at(record: type[Record], loc: tuple[Any, ...]) -> type[Record]:
    for name in loc:
        field = record.model_fields.get(str(name))
        if field is None:
            break
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, Record):
                record = candidate
    return record
