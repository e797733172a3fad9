"""JSON files that someone else wrote, read within bounds."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, Final

from moewright.errors import SpecError

#: lists of quantized modules make configs of a few hundred KiB; none is known of 8 MiB
MOST_BYTES: Final = 8 << 20


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``. Raises SpecError for a file that is missing, no plain file (a device or a pipe
    would be read without end), larger than ``MOST_BYTES``, or no JSON object."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            what = "a folder" if file.is_dir() else "no plain file"
            raise SpecError(f"is {what}; expected a config.json", file=str(file))
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise SpecError("no such file", file=str(file)[:200]) from None
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise SpecError(f"cannot be read: {reason}", file=str(file)[:200]) from None
    if len(content) > MOST_BYTES:
        raise SpecError(f"is larger than {MOST_BYTES >> 20} MiB; no config.json is", file=str(file))
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as fault:
        raise SpecError(f"is not JSON: {' '.join(str(fault).split())[:200]}", file=str(file)) from None
    if not isinstance(value, dict):
        raise SpecError(f"holds a {type(value).__name__}; expected a JSON object", file=str(file))
    return value
