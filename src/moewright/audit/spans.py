"""Where in its line a figure stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moewright.audit.text.numbers import tokens_of


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
    for token in tokens_of(text):
        n = token.number
        if n is not None and any(abs(x - value) <= 1e-9 * abs(value) for x in (n.value, n.binary)):
            return [token.at, token.at + len(token.text)]
    return None
