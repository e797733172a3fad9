"""Counts as people write them: ``8k`` is 8000, ``128Ki`` 131072."""

from __future__ import annotations

import re
from typing import Final

from moewright.errors import SpecError

_FACTORS: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "Ki": 2**10, "Mi": 2**20}
_COUNT: Final = re.compile(r"\s*(\d[\d_]{0,15}(?:\.\d{1,9})?)\s*(Ki|Mi|k|K|M|)\s*")
MOST: Final = 1 << 28


def count_of(text: str) -> int | None:
    """The whole number that ``text`` stands for, or None where it is none."""
    match = _COUNT.fullmatch(text)
    if match is None:
        return None
    value = float(match[1].replace("_", "")) * _FACTORS[match[2]]
    return int(value) if value == int(value) else None


def whole_count(text: str, field: str, least: int = 1, most: int = MOST) -> int:
    """The same between ``least`` and ``most``. Raises SpecError."""
    value = count_of(text)
    if value is None or not least <= value <= most:
        raise SpecError(
            f"got {text[:40]!r}; expected a whole number from {least} to {most}, such as 4000, 8k or 128Ki", field=field
        )
    return value
