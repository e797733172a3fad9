"""Whole numbers as people write them: 8192, 8k, 128Ki, 1.5M."""

from __future__ import annotations

import re
from typing import Final

from moewright.errors import SpecError
from moewright.units import BINARY, PREFIX

_COUNT: Final = re.compile(r"(\d[\d_]{0,18}(?:\.\d{1,9})?)\s*(k|K|M|G|T|Ki|Mi|Gi)?", re.ASCII)
#: no count of tokens, sequences or GPUs is above it
MOST: Final = 1 << 40


def read_count(text: str | int, field: str, file: str | None = None, least: int = 1, most: int = MOST) -> int:
    """``text`` as a whole number; k and M are powers of 1000, Ki and Mi of 1024. Raises SpecError."""
    match = _COUNT.fullmatch(str(text).strip()[:40])
    value = float("nan")
    if match is not None:
        value = float(match[1].replace("_", "")) * {**PREFIX, **BINARY}[match[2] or ""]
    if not (least <= value <= most) or value != int(value):
        wanted = f"a whole number from {least} to {most}, such as 8192, 8k (8000) or 128Ki (131072)"
        raise SpecError(f"got {str(text)[:40]!r}; expected {wanted}", file=file, field=field)
    return int(value)
