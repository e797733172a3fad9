"""Checked access to the fields of a mapping that someone else wrote: every fault is a SpecError."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from moewright.errors import SpecError

#: no width, count or length of a model reaches this; larger values are taken for damage
LARGEST: Final = 1 << 24


_Item = TypeVar("_Item")


class _Required:
    pass


REQUIRED: Final = _Required()


@dataclass(frozen=True, slots=True)
class Fields:
    """``raw`` as found in ``file``, below the field ``path``."""

    raw: Mapping[str, Any]
    file: str | None = None
    path: str = ""

    def error(self, name: str, message: str) -> SpecError:
        """A SpecError at the field ``name``."""
        return SpecError(message, file=self.file, field=f"{self.path}.{name}" if self.path else name)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.raw.get(name) is not None

    def first(self, *names: str) -> str:
        """The first of ``names`` (spellings of one field) that is there; the first name if none is."""
        return next((name for name in names if self.has(name)), names[0])

    def integer(self, name: str, default: int | _Required = REQUIRED, *, least: int = 1, most: int = LARGEST) -> int:
        """A whole number from ``least`` to ``most``; null counts as missing."""
        value = self.raw.get(name)
        if value is None:
            if isinstance(default, _Required):
                raise self.error(name, f"is missing; expected a whole number of {least} or more")
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(name, f"got {_shown(value)}; expected a whole number of {least} or more")
        if not least <= value <= most:
            raise self.error(name, f"got {_shown(value)}; expected a whole number from {least} to {most}")
        return value

    def optional(self, name: str, *, least: int = 1, most: int = LARGEST) -> int | None:
        """As ``integer``, or None where the field is missing or null."""
        return self.integer(name, least=least, most=most) if self.has(name) else None

    def flag(self, name: str, default: bool) -> bool:
        """True or false; null counts as missing."""
        value = self.raw.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(name, f"got {_shown(value)}; expected true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str | None:
        """A string, or ``default`` where the field is missing or null."""
        value = self.raw.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.error(name, f"got {_shown(value)}; expected a text")
        return value

    def texts(self, name: str) -> list[str] | None:
        """A list of strings, or None where the field is missing or null."""
        return self._list(name, str, "texts")

    def integers(self, name: str) -> list[int] | None:
        """A list of whole numbers, or None where the field is missing or null."""
        return self._list(name, int, "whole numbers")

    def section(self, name: str) -> Fields:
        """The mapping under ``name``."""
        value = self.raw.get(name)
        if not isinstance(value, Mapping):
            found = "is missing" if value is None else f"got {_shown(value)}"
            raise self.error(name, f"{found}; expected a mapping")
        return Fields(value, self.file, f"{self.path}.{name}" if self.path else name)

    def _list(self, name: str, kind: type[_Item], plural: str) -> list[_Item] | None:
        value = self.raw.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(type(item) is kind for item in value):
            raise self.error(name, f"got {_shown(value)}; expected a list of {plural}")
        return value


def _shown(value: object) -> str:
    """A value as a message shows it, cut short. (A whole number of thousands of digits has no text.)"""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "a value too large to show"
    return text if len(text) <= 60 else text[:57] + "..."
