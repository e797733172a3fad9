"""Checked access to the fields of a mapping that someone else wrote: every fault is a SpecError."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """``raw`` as found in ``file``, below the field ``path``. ``read`` notes every field that was looked at: by its
    path, whether the file has it and the value that counts."""

    raw: Mapping[str, Any]
    file: str | None = None
    path: str = ""
    read: dict[str, tuple[bool, Any]] = field(default_factory=dict, compare=False, repr=False)

    def error(self, name: str, message: str) -> SpecError:
        """A SpecError at the field ``name``."""
        return SpecError(message, file=self.file, field=self._at(name))

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _value(self, name: str, default: Any = None) -> Any:
        """The field's value, or ``default`` where it is missing or null; noted as read."""
        value = self.raw.get(name)
        self.read[self._at(name)] = (value is not None, default if value is None else value)
        return default if value is None else value

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.raw.get(name) is not None

    def first(self, *names: str) -> str:
        """The first of ``names`` (spellings of one field) that is there; the first name if none is."""
        return next((name for name in names if self.has(name)), names[0])

    def integer(self, name: str, default: int | _Required = REQUIRED, *, least: int = 1, most: int = LARGEST) -> int:
        """A whole number from ``least`` to ``most``; null counts as missing."""
        value = self._value(name, None if isinstance(default, _Required) else default)
        if value is None:
            raise self.error(name, f"is missing; expected a whole number of {least} or more")
        if not self.has(name):
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(name, f"got {_shown(value)}; expected a whole number of {least} or more")
        if not least <= value <= most:
            raise self.error(name, f"got {_shown(value)}; expected a whole number from {least} to {most}")
        return value

    def alike(self, name: str, default: int | _Required = REQUIRED, *, least: int = 1, most: int = LARGEST) -> int:
        """A whole number, or a list of equal ones (one for each layer)."""
        value = self.raw.get(name)
        if isinstance(value, list) and value and all(type(item) is int and item == value[0] for item in value):
            return Fields({name: value[0]}, self.file, self.path, self.read).integer(name, least=least, most=most)
        return self.integer(name, default, least=least, most=most)

    def number(self, name: str) -> float:
        """A number above 0."""
        value = self._value(name)
        good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LARGEST
        if not good:
            raise self.error(name, f"got {_shown(value)}; expected a number above 0")
        return float(value)

    def numbers_of(self, name: str) -> list[int]:
        """Whole numbers in a list, or in a text with commas."""
        value = self._value(name)
        items = value.split(",") if isinstance(value, str) else value
        try:
            return [int(item) for item in items if str(item).strip()][: 1 << 16]
        except (TypeError, ValueError):
            raise self.error(name, f"got {_shown(value)}; expected whole numbers") from None

    def mappings(self, name: str) -> list[Fields] | None:
        """A list of mappings, or None where the field is missing or null."""
        items = self._list(name, dict, "mappings")
        return (
            None
            if items is None
            else [Fields(item, self.file, f"{self._at(name)}.{i}", self.read) for i, item in enumerate(items)]
        )

    def optional(self, name: str, *, least: int = 1, most: int = LARGEST) -> int | None:
        """As ``integer``, or None where the field is missing or null."""
        return self.integer(name, least=least, most=most) if self.has(name) else None

    def flag(self, name: str, default: bool) -> bool:
        """True or false; null counts as missing."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self.error(name, f"got {_shown(value)}; expected true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str | None:
        """A string, or ``default`` where the field is missing or null."""
        value = self._value(name, default)
        if value is None:
            return None
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
        value = self._value(name)
        if not isinstance(value, Mapping):
            found = "is missing" if value is None else f"got {_shown(value)}"
            raise self.error(name, f"{found}; expected a mapping")
        return Fields(value, self.file, self._at(name), self.read)

    def _list(self, name: str, kind: type[_Item], plural: str) -> list[_Item] | None:
        value = self._value(name)
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
