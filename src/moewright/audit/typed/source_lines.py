"""The numbers that a document has, line by line, to hold a reading of it against."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from moewright.audit.text.document import normal
from moewright.audit.text.numbers import Number
from moewright.audit.typed.typed_values import SPACED, WORDS

_DIGITS: Final = re.compile(r"\d[\d.,]*\d|\d")
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:\.\d{3})+")
_PERCENT: Final = re.compile(r"([\d.,]+)\s?\\?[%％]")
_POINT, _COMMA = (re.compile(rf"(?<![\d.,])\d+{sign}\d{{1,2}}(?![\d.,])") for sign in (r"\.", ","))
#: digits of a figure that is taken for a number
_MOST_DIGITS: Final = 40


@dataclass(frozen=True, slots=True)
class SourceLines:
    """A document: its ``text``, line by line; whether it has commas before decimals; and the numbers of each line, of
    all, and of those that are percentages, as ``alike`` has them."""

    text: tuple[str, ...]
    commas: bool
    here: tuple[frozenset[float], ...]
    every: frozenset[float]
    percents: frozenset[float]

    def line(self, number: int) -> str:
        """Line ``number`` (from 1), empty where there is none."""
        return self.text[number - 1] if 0 < number <= len(self.text) else ""

    def has(self, value: float, number: int) -> bool:
        """Whether line ``number`` has ``value``."""
        return 0 < number <= len(self.here) and alike(value) in self.here[number - 1]


@lru_cache(4)
def source_lines(lines: tuple[str, ...]) -> SourceLines:
    """The numbers of a document of these ``lines``."""
    here = tuple(_numbers_of(line) for line in lines)
    percents = frozenset(alike(x) for line in lines for m in _PERCENT.findall(line) for x in _variants(m))
    points, commas = (sum(len(pattern.findall(line)) for line in lines) for pattern in (_POINT, _COMMA))
    return SourceLines(lines, commas > points, here, frozenset[float]().union(*here), percents)


def alike(value: float) -> float:
    """``value`` to twelve digits, by which numbers are compared."""
    return float(f"{value:.12g}")


def mantissa(n: Number) -> float:
    """The digits of a number, without unit and power."""
    m = _DIGITS.search(n.text)
    return float(m[0].replace(",", "")) if m else abs(n.value)


def has_digits(n: Number) -> bool:
    """Whether a number is written in digits."""
    return bool(_DIGITS.search(n.text))


def _variants(text: str) -> Iterator[float]:
    """The numbers that digits with points and commas may be."""
    if len(text) > _MOST_DIGITS:
        return
    found = {text.replace(",", "")}
    if "," in text:
        found.add(text.replace(".", "").replace(",", "."))
    if _THOUSANDS.fullmatch(text):
        found.add(text.replace(".", ""))
    for variant in found:
        try:
            yield float(variant)
        except ValueError:
            continue


def _numbers_of(line: str) -> frozenset[float]:
    """The numbers that a line has, by their digits, with a comma or a point before the decimals, or in words."""
    plain = normal(line.replace("，", ", "))
    runs = [m[0] for m in _DIGITS.finditer(plain)]
    found = {x for run in runs for part in (run, *run.split(",")) for x in _variants(part)}  # a tuple: (8192,1536)
    found |= {float(re.sub(r"\s", "", m[0])) for m in SPACED.finditer(line) if len(m[0]) < _MOST_DIGITS}
    lowered = plain.lower()
    return frozenset(map(alike, found)) | {value for word, value in WORDS.items() if word in lowered}
