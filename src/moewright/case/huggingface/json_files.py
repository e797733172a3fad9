"""JSON files that someone else wrote, read within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from moewright.case.bounded_file import json_of
from moewright.errors import SpecError

#: lists of quantized modules make configs of a few hundred KiB; none is known of 8 MiB
MOST_BYTES: Final = 8 << 20


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``. Raises SpecError for a file that is missing, no plain file (a device or a pipe
    would be read without end), larger than ``MOST_BYTES``, or no JSON object."""
    value = json_of(file, MOST_BYTES, "a config.json", "config.json")
    if not isinstance(value, dict):
        raise SpecError(f"holds a {type(value).__name__}; expected a JSON object", file=str(file))
    return value
