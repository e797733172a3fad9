"""A figure as a reader copies it from a document: ``70,6 Mrd.``, ``−78 %``, ``1.35x``, ``32 sequences``, ``3,80 €``."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from moewright.audit.text.document import normal
from moewright.audit.text.numbers import BYTES, SECONDS, Number, number_at

_MONEY: Final = re.compile(r"^(?:[€$¥£]|US\$|USD|EUR|CNY|RMB)\s*")
_SIGN: Final = re.compile(r"^[+-](?=\s*[\d.])\s*")
#: decimals behind a comma: any number of them but three, or three behind a 0
_DECIMAL: Final = re.compile(r"(?<![\d.,])(?:0,\d{3}|\d+,(?:\d{1,2}|\d{4,}))(?![\d,])")
_THREE: Final = re.compile(r"(?<![\d.,])\d{1,3},\d{3}(?![\d,])")
_GROUPS: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?:,\d+)?(?!\d)")
#: thousands with spaces between
SPACED: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)")
#: what may stand behind a number and its unit: things that are counted, currencies, per what
_REST: Final = re.compile(r"[^\d=<>~+*()]{0,60}")
_PER_BYTE: Final = re.compile(r"\s*/\s*(?:bytes?|B)\b")
_LATEX_FRACTION: Final = re.compile(r"\$?\\[dt]?frac\{(\d{1,4})\}\{(\d{1,4})\}\$?")
#: powers that are read: 9,999 to this one is a number
_MOST_POWER: Final = 70
#: 10^6, 2^{20}, 10**9
_POWER: Final = re.compile(r"\$?(\d{1,4})\s?(?:\^|\*\*)\s?\{?(\d{1,2})\}?\$?")
#: the name of a parallel size before it, and of a device, or a remark, behind
_NAMED: Final = re.compile(r"^(?:E?[TD]P|[EPC]P)\s?=?\s?(?=\d)")
_DEVICE: Final = re.compile(r"(?<=\d)\s?(?:[×x]\s?)?[A-Z]{1,3}\d{2,3}[A-Za-z]?s?$|(?<=\S)\s?\([^()]*\)$")
#: a factor: ×1.3
_TIMES: Final = re.compile(r"^[×x]\s?(?=\d)")
_FRACTION: Final = re.compile(r"(\d{1,4})\s?/\s?(\d{1,4})")
_TEN: Final = (
    ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    ("ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"),
    ("un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix"),
    tuple("一二三四五六七八九十"),
)
#: numbers in words
WORDS: Final = {word: float(i) for words in _TEN for i, word in enumerate(words, 1)} | {
    **{"两": 2.0, "eleven": 11.0, "twelve": 12.0, "sixteen": 16.0, "twice": 2.0, "double": 2.0, "doppelt": 2.0},
    **{"half": 0.5, "hälfte": 0.5, "一半": 0.5, "quarter": 0.25, "three quarters": 0.75, "drei viertel": 0.75},
}


def typed_value(text: str, line: str = "", comma: bool = False) -> Number | None:
    """The number that ``text`` is, in the style of the ``line`` that it stands on; ``comma``: the document has commas
    before decimals, and points that part thousands. None where it is no number."""
    word = WORDS.get(text.strip().lower())
    if word is not None:
        return Number(text.strip(), word, word, 0.0, whole=word == int(word))
    if part := _FRACTION.fullmatch(text.strip()) or _LATEX_FRACTION.fullmatch(text.strip()):
        share = int(part[1]) / int(part[2]) if int(part[2]) else 0.0
        return Number(part[0], share, share, 0.0) if share else None
    if part := _POWER.fullmatch(text.strip()):
        if int(part[2]) > _MOST_POWER:
            return None
        raised = float(int(part[1]) ** int(part[2]))
        return Number(part[0], raised, raised, 0.0, whole=True)
    first, _, rest = text.strip().partition(" ")
    if rest and (many := WORDS.get(first.lower())) is not None:  # two bytes
        text = f"{many:g} {rest}"
    said = _NAMED.sub("", _DEVICE.sub("", normal(text).strip()))  # DP 64; 512 H100; 15 stages (11 GPUs)
    said = _MONEY.sub("", _TIMES.sub("", said))
    sign = -1.0 if _SIGN.match(said) and said[0] == "-" else 1.0
    said = SPACED.sub(lambda m: re.sub(r"\s", "", m[0]), _SIGN.sub("", said))
    said = _with_points(said, line, comma)
    number = number_at(said, 0) if said else None
    if number is None:
        return None
    rest = said[len(number.text) :]
    if number.dim.flops and (m := _PER_BYTE.match(rest)):  # FLOP for a byte: what a roofline bends at
        number, rest = replace(number, dim=number.dim.times(BYTES, -1)), rest[m.end() :]
    while number.dim == SECONDS and (more := number_at(rest.strip(), 0)) is not None and more.dim == SECONDS:
        rest = rest.strip()[len(more.text) :]  # 1 h 20 min
        number = replace(number, value=number.value + more.value, binary=number.binary + more.binary, half=more.half)
    if not _REST.fullmatch(rest):
        return None
    if sign > 0:
        return number
    return replace(number, value=-number.value, binary=-number.binary)


def _with_points(text: str, line: str, comma: bool) -> str:
    """``text`` with a point before its decimals and nothing between its thousands."""

    def plain(m: re.Match[str]) -> str:
        groups = m[0].partition(",")[0].count(".")
        grouped = groups > 1 or "," in m[0] or (comma and m[0] in line)
        return m[0].replace(".", "") if grouped else m[0]

    text = _GROUPS.sub(plain, text)
    if comma:
        text = _THREE.sub(lambda m: m[0].replace(",", ".") if m[0] in line else m[0], text)
    return _DECIMAL.sub(lambda m: m[0].replace(",", "."), text)
