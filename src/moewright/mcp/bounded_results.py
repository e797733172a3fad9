"""What an assistant may ask for and how much it gets: paths under a root, results of a bounded size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from moewright.errors import SpecError

#: characters of JSON that a result has at most
MOST_RESULT: Final = 60_000
#: characters of a specification, a command, a file of claims
MOST_INPUT: Final = 1 << 20
#: entries that a list keeps where a result is too long, in turn
_KEPT: Final = (64, 32, 16, 8, 4, 2, 1)
#: fields of a specification that never name a file
_NAMES: Final = ("kind", "objective", "engine", "device", "precision", "name")


def inside(root: Path, name: str, field: str) -> Path:
    """``name`` below ``root``, links followed. Raises SpecError for anything else."""
    if "\0" in name or name.startswith("~"):
        raise SpecError(f"got {name[:80]!r}; expected a path below the server's root", field=field)
    try:
        path = (root / name).resolve()
    except (OSError, RuntimeError, ValueError):
        raise SpecError(f"got {name[:80]!r}, which is no path", field=field) from None
    if path != root and root not in path.parents:
        raise SpecError(f"got {name[:80]!r}, which is outside of the server's root", field=field)
    return path


def check_paths(value: Any, root: Path, field: str = "spec") -> None:
    """Raises SpecError where any text of ``value`` could name a file outside of ``root``."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in _NAMES or not isinstance(inner, str) or "/" in inner or inner.startswith(("~", ".")):
                check_paths(inner, root, f"{field}.{str(key)[:40]}")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            check_paths(inner, root, f"{field}.{i}")
    elif isinstance(value, str) and ("/" in value or "\\" in value or value.startswith(("~", "."))):
        inside(root, value, field)


def trimmed(value: Any, most: int = MOST_RESULT) -> Any:
    """``value`` with long lists shortened until its JSON has ``most`` characters; what was left out is told by
    ``left_out``, list by list. Raises SpecError where that does not help."""
    if _size(value) <= most:
        return value
    for kept in _KEPT:
        left: dict[str, int] = {}
        short = _cut(value, kept, "", left)
        if isinstance(short, dict):
            short = {**short, "left_out": left}
        if _size(short) <= most:
            return short
    raise SpecError(f"the result is longer than {most} characters; ask for less")


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, default=str))


def _cut(value: Any, kept: int, path: str, left: dict[str, int]) -> Any:
    if isinstance(value, dict):
        return {k: _cut(v, kept, f"{path}.{k}" if path else str(k), left) for k, v in value.items()}
    if isinstance(value, list | tuple):
        if len(value) > kept:
            left[path] = left.get(path, 0) + len(value) - kept
        return [_cut(v, kept, path, left) for v in value[:kept]]
    return value
