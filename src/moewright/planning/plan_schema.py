"""The one schema of a plan's JSON: what ``plan --json`` wrote is taken back whole, and nothing that was edited into
something else. Whole numbers are whole numbers (not "1", 1.0 or true), and no field is unknown."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from moewright.case.file.records import shown
from moewright.case.strategy import Dispatch, Gate, Overlap, Strategy
from moewright.errors import SpecError

#: GPUs, and sequences of a batch, at most
MOST_GPUS: Final = 1 << 20
MOST_BATCH: Final = 1 << 32
_ATTENTION: Final = {"dp": 1, "cp": 1, "tp": 1, "repeated": 1, "dcp": 1}
_EXPERTS: Final = {"ep": 1, "tp": 1, "redundant": 0}


def whole(value: Any, file: str, field: str, least: int = 1, most: int = MOST_GPUS) -> int:
    """``value`` as a whole number from ``least`` to ``most``. Raises SpecError."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise SpecError(f"got {shown(value)}; expected a whole number from {least} to {most}", file=file, field=field)
    return value


def plan_strategy(value: Any, file: str, field: str) -> Strategy:
    """The strategy that ``Strategy.to_dict`` wrote. Raises SpecError."""
    sizes = _mapping(value, file, field)
    known = {"replicas", "pp", "micro_batches", "overlap", "attention", "experts"}
    _named(sizes, known, known, file, field)
    for name in ("replicas", "pp", "micro_batches"):
        whole(sizes[name], file, f"{field}.{name}")
    _one_of(sizes["overlap"], [str(x) for x in Overlap], file, f"{field}.overlap")
    for part, least, words in (
        ("attention", _ATTENTION, {}),
        ("experts", _EXPERTS, {"dispatch": [str(x) for x in Dispatch], "gate": [str(x) for x in Gate]}),
    ):
        inner = _mapping(sizes[part], file, f"{field}.{part}")
        _named(inner, {*least, *words}, {*least, *words} - {"dcp", "gate"}, file, f"{field}.{part}")
        for name, number in inner.items():
            if name in words:
                _one_of(number, words[name], file, f"{field}.{part}.{name}")
            else:
                whole(number, file, f"{field}.{part}.{name}", least[name])
    found = Strategy.from_dict(sizes)
    if found.gpus > MOST_GPUS:
        raise SpecError(f"takes {found.gpus} GPUs; expected {MOST_GPUS} at most", file=file, field=field)
    return found


def check_pass_plan(best: dict[str, Any], file: str) -> None:
    """Raises SpecError where ``best`` is not the record of a plan of forward, prefill or decode, field by field."""
    from pydantic import ValidationError

    plan_strategy(best.get("strategy"), file, "best.strategy")
    whole(best.get("batch"), file, "best.batch", most=MOST_BATCH)
    plain = {**best, "strategy": Strategy.from_dict(best["strategy"]).to_dict()}
    try:
        found = _adapter().validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["best", *(str(x) for x in first["loc"])])[:200]
        expected = first["msg"].replace("Input should be", "expected").replace("Field required", "is missing")
        got = "" if first["type"] == "missing" else f"got {shown(first['input'])}; "
        raise SpecError(f"{got}{expected}", file=file, field=field) from None
    strange = _unknown(best, found.to_dict(), "best")
    if strange:
        raise SpecError("is no field of a plan", file=file, field=strange[:200])


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    from moewright.planning.record import Plan

    return TypeAdapter(Plan)


def _unknown(given: Any, known: Any, path: str) -> str:
    """The path of the first field of ``given`` that ``known`` lacks, or nothing."""
    if isinstance(given, dict) and isinstance(known, dict):
        for name, value in given.items():
            below = f"{path}.{name}"
            if name not in known:
                return below
            if found := _unknown(value, known[name], below):
                return found
    elif isinstance(given, list) and isinstance(known, list | tuple):
        for i, (one, other) in enumerate(zip(given, known, strict=False)):
            if found := _unknown(one, other, f"{path}.{i}"):
                return found
    return ""


def origin_of(found: dict[str, Any], path: Path) -> Path:
    """Where the spec inside a plan's JSON was read from; beside ``path`` where that is no longer there. Raises
    SpecError."""
    given = found.get("spec_file")
    if given is None:
        return path
    if not isinstance(given, str) or not given or len(given) > 4000 or "\0" in given:
        raise SpecError(f"got {shown(given)}; expected the path of a file", file=str(path), field="spec_file")
    try:
        origin = Path(given)
        return origin if origin.parent.is_dir() else path.with_name(origin.name or path.name)
    except (OSError, ValueError):
        raise SpecError(f"got {shown(given)}; expected the path of a file", file=str(path), field="spec_file") from None


def _mapping(value: Any, file: str, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(f"got {shown(value)}; expected a mapping", file=file, field=field)
    return value


def _named(value: dict[str, Any], known: set[str], needed: set[str], file: str, field: str) -> None:
    for name in value:
        if name not in known:
            raise SpecError(
                f"is unknown; expected {', '.join(sorted(known))}", file=file, field=f"{field}.{str(name)[:40]}"
            )
    missing = sorted(needed - value.keys())
    if missing:
        raise SpecError("is missing", file=file, field=f"{field}.{missing[0]}")


def _one_of(value: Any, known: list[str], file: str, field: str) -> None:
    if not isinstance(value, str) or value not in known:
        raise SpecError(f"got {shown(value)}; expected {' or '.join(known)}", file=file, field=field)
