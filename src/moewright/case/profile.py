"""A device profile, as ``moewright measure`` writes it: measured seconds of operations on one machine.

    moewright_profile: 1
    name: two-cores-8-ranks          machine, date, torch, device, threads: for the reader
    ranks: 8                         that ran at once; a spec may use as many, or fewer
    precision: fp32
    memory: 2.0e+9                   bytes a rank
    measured:
      - {operation: gemm, key: [512, 256], points: [[1, 2.0e-5], [64, 9.0e-5]]}     # size, seconds

``docs/measure.md`` says what keys and sizes are.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

from moewright.case.cluster import Device
from moewright.case.file.files import read_mapping
from moewright.case.file.records import shown
from moewright.case.series import Profile, Series
from moewright.errors import SpecError

#: operation → what its key holds
KEYS: Final[dict[str, tuple[str, ...]]] = {
    "gemm": ("columns", "depth"),
    "experts": ("hidden", "width"),
    "attention_prefill": ("head_dim",),
    "attention_decode": ("head_dim",),
    "router": ("hidden", "experts"),
    "norms": (),
    "memory": (),
    "launch": (),
    **{name: ("ranks",) for name in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send")},
}
FIELDS: Final = (
    *("moewright_profile", "name", "machine", "date", "torch", "device"),
    *("threads", "ranks", "precision", "memory", "measured"),
)


def read_profile(path: Path, file: str) -> Device:
    """The device that the profile at ``path`` describes, its measured points in ``measured``. Raises SpecError, of
    ``file``'s field cluster.profile where there is no such profile."""
    try:
        raw = read_mapping(path)
    except SpecError as error:
        raise SpecError(f"{path.name}: {error.problem}", file=file, field="cluster.profile") from None
    return _device(raw, str(path))


def _device(raw: dict[str, Any], file: str) -> Device:
    if raw.get("moewright_profile") != 1:
        raise SpecError(
            f"got {str(raw.get('moewright_profile'))[:40]}; expected 1, a profile of `moewright measure`",
            file=file,
            field="moewright_profile",
        )
    for name in raw:
        if name not in FIELDS:
            raise SpecError(f"unknown field; known are {', '.join(FIELDS)}", file=file, field=str(name)[:60])
    series: dict[str, list[Series]] = {}
    rows = raw.get("measured")
    if not isinstance(rows, list) or not rows:
        raise SpecError(
            f"got {shown(rows)}; expected a list of {{operation, key, points}}", file=file, field="measured"
        )
    for i, row in enumerate(rows):
        name, found = _series(row, file, f"measured[{i}]")
        series.setdefault(name, []).append(found)
    for name in ("gemm", "memory"):
        if name not in series:
            raise SpecError(f"got only {', '.join(series)}; expected points of {name} too", file=file, field="measured")
    ranks, memory = _number(raw, "ranks", file), _number(raw, "memory", file)
    precision = str(raw.get("precision", "fp32"))
    if precision not in ("fp32", "bf16", "fp16"):
        raise SpecError(f"got {precision[:40]}; expected fp32, bf16 or fp16", file=file, field="precision")
    peak = max(2.0 * math.prod(s.key) * size / t for s in series["gemm"] for size, t in s.points)
    wide = max(size / t for s in series["memory"] for size, t in s.points)
    launch = min((t for s in series.get("launch", ()) for _, t in s.points), default=0.0)
    profile = Profile(
        str(raw.get("name", "profile")), int(ranks), {name: tuple(found) for name, found in series.items()}
    )
    return Device(
        profile.name, {precision: peak}, memory, wide, launch=launch, source=f"measured: {file}", measured=profile
    )


def _series(row: Any, file: str, field: str) -> tuple[str, Series]:
    if not isinstance(row, dict) or row.get("operation") not in KEYS:
        got = str(row.get("operation") if isinstance(row, dict) else row)[:40]
        raise SpecError(f"got {got}; expected one of {', '.join(KEYS)}", file=file, field=f"{field}.operation")
    name = str(row["operation"])
    key, points = row.get("key", []), row.get("points")
    if not isinstance(key, list) or len(key) != len(KEYS[name]) or not all(_positive(k) for k in key):
        expected = ", ".join(KEYS[name]) or "nothing"
        raise SpecError(f"got {str(key)[:40]}; expected [{expected}]", file=file, field=f"{field}.key")
    if not isinstance(points, list) or not points:
        raise SpecError(
            f"got {shown(points)}; expected [size, seconds], one or more", file=file, field=f"{field}.points"
        )
    for i, p in enumerate(points):
        if not (isinstance(p, list) and len(p) == 2 and all(map(_positive, p))):
            raise SpecError(
                f"got {shown(p)}; expected [size, seconds], both above 0", file=file, field=f"{field}.points[{i}]"
            )
    # monotone: more work never takes less time
    best: list[tuple[float, float]] = []
    for size, seconds in sorted((float(s), float(t)) for s, t in points):
        best.append((size, max(seconds, best[-1][1] if best else 0.0)))
    return name, Series(tuple(float(k) for k in key), tuple(dict(best).items()))


def _positive(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return bool(number and math.isfinite(value) and value > 0)


def _number(raw: dict[str, Any], name: str, file: str) -> float:
    value = raw.get(name)
    if not _positive(value):
        raise SpecError(f"got {str(value)[:40]}; expected a number above 0", file=file, field=name)
    return float(value)  # type: ignore[arg-type]
