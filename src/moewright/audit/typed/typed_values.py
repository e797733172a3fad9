"""A figure as a reader copies it from a document: ``70,6 Mrd.``, ``−78 %``, ``1.35x``, ``32 sequences``, ``3,80 €``."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from moewright.audit.text.document import normal
from moewright.audit.text.numbers import Number, number_at

_MONEY: Final = re.compile(r"^(?:[€$¥£]|US\$|USD|EUR|CNY|RMB)\s*")
_SIGN: Final = re.compile(r"^[+-](?=\s*[\d.])\s*")
#: decimals behind a comma: any number of them but three, or three behind a 0
_DECIMAL: Final = re.compile(r"(?<![\d.,])(?:0,\d{3}|\d+,(?:\d{1,2}|\d{4,}))(?![\d,])")
_GROUPS: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?:,\d+)?(?!\d)")
#: what may stand behind a number and its unit: things that are counted, currencies, per what
_REST: Final = re.compile(r"[^\d=<>~+*()]{0,60}")


def typed_value(text: str, line: str = "") -> Number | None:
    """The number that ``text`` is, in the style of the ``line`` that it stands on: points part thousands there where
    the line has it so, in a document of decimal commas. None where it is no number."""
    said = normal(text).strip()
    said = _MONEY.sub("", said)
    sign = -1.0 if _SIGN.match(said) and said[0] == "-" else 1.0
    said = _DECIMAL.sub(lambda m: m[0].replace(",", "."), with_points(_SIGN.sub("", said), line))
    number = number_at(said, 0) if said else None
    if number is None or not _REST.fullmatch(said[len(number.text) :]):
        return None
    if sign > 0:
        return number
    return replace(number, value=-number.value, binary=-number.binary)


def with_points(text: str, line: str) -> str:
    """``text`` without points that part thousands, where it stands in ``line`` as it is, beside a decimal comma or in
    three groups: 128.256 of a German document."""

    def plain(m: re.Match[str]) -> str:
        groups = m[0].partition(",")[0].count(".")
        grouped = groups > 1 or "," in m[0] or (m[0] in line and bool(re.search(r"\d,\d{1,2}(?!\d)", line)))
        return m[0].replace(".", "") if grouped else m[0]

    return _GROUPS.sub(plain, text)
