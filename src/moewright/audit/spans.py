"""Where in its line a figure stands."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice, takewhile
from typing import Any, Final

from moewright.audit.text.numbers import tokens_of

#: how near a figure is to one of its line
SAME: Final = 1e-9


def span_of(lines: Sequence[str], line: int, value: Any) -> list[int] | None:
    """First and last character (from 0; the last excluded) of the number ``value``, in SI, or of the word ``value`` in
    line ``line`` (from 1); None where it does not stand there as it is read."""
    if not 0 < line <= len(lines):
        return None
    text = lines[line - 1]
    if isinstance(value, str):
        at = text.lower().find(value.lower())
        return [at, at + len(value)] if at >= 0 else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    places, room = _places(text), SAME * abs(value)
    first = bisect_left(places, (value - room, 0, 0))
    near = takewhile(lambda p: p[0] <= value + room, islice(places, first, None))
    at, end = min((p[1:] for p in near), default=(-1, -1))
    return [at, end] if at >= 0 else None


@lru_cache(64)
def _places(text: str) -> tuple[tuple[float, int, int], ...]:
    """The numbers of a line, going up, each with its first and last character."""
    tokens = [(t, t.number) for t in tokens_of(text) if t.number is not None]
    return tuple(sorted({(x, t.at, t.at + len(t.text)) for t, n in tokens for x in (n.value, n.binary)}))
