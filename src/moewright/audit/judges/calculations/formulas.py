"""Formulas in symbols, as LaTeX writes them: with the values that the document gives its symbols, each must come to the
number behind it: ``L (p_a + k p_e) + 2 V d = 8.242 × 10^9``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.figures import unit_of
from moewright.audit.nearby.ledger import Range, meet, over, ranges, times
from moewright.audit.text.document import with_points
from moewright.audit.text.numbers import Number, tokens_of
from moewright.units import format_quantity

#: letters of a document whose formulas are read, and of one formula
MOST_TEXT: Final = 1_000_000
MOST_FORMULA: Final = 1200
#: symbols and numbers of one expression, and formulas within one another
MOST_TERMS: Final = 60
MOST_DEPTH: Final = 6
#: of a power
MOST_EXPONENT: Final = 8
#: values that a symbol may have, as it is written and as it follows from others, and how far that is followed
MOST_VALUES: Final = 4
PASSES: Final = 3
#: what rounding inside a formula leaves, beside that of its numbers
ROOM: Final = 2e-3

_MATH: Final = re.compile(
    rf"\$\$(?P<a>[^$]{{1,{MOST_FORMULA}}})\$\$|(?<![\\$])\$(?P<b>[^$\n]{{1,{MOST_FORMULA}}})\$|"
    rf"\\\[(?P<c>[^$]{{1,{MOST_FORMULA}}}?)\\\]|\\\((?P<d>[^$\n]{{1,{MOST_FORMULA}}}?)\\\)"
)
_PLAIN: Final = (
    (re.compile(r"\\(?:text|mathrm|operatorname|mathit|textrm|mathsf)\s*\{([^{}]*)\}"), r"⟨\1⟩"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\(?:left|right|big|Big|bigl|bigr|,|!|:|;|displaystyle)(?![A-Za-z])"), " "),
    (re.compile(r"\\(?:qquad|quad|\\)"), " ; "),
    (re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])|\*"), " × "),
    (re.compile(r"\\div(?![A-Za-z])|÷"), " / "),
    (re.compile(r"\\(?:approx|simeq)(?![A-Za-z])"), "≈"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"\\([A-Za-z]+)"), r"\1"),
    (re.compile(r"[&~]"), " "),
)
_FRACTION: Final = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_NUMBER: Final = r"\d[\d,]*(?:\.\d+)?(?:\s*×\s*10\s*\^\s*\{?-?\d{1,2}\}?)?"
_TOKEN: Final = re.compile(
    rf"\s*(?:(?P<number>{_NUMBER})\s*(?P<unit>⟨\s*[^⟩(]{{1,12}}⟩|%)?|(?P<symbol>⟨[A-Za-z]{{1,8}}⟩|E?[TDPEC]P|[A-Za-zα-ωΑ-Ω])"
    r"(?P<sub>_(?:\{[^{}]{1,16}\}|\w))?|(?P<sign>[-+×/^(){}]))"
)
_TEN: Final = re.compile(r"\s*×\s*10\s*\^\s*\{?(-?\d{1,2})\}?")
_LONE: Final = re.compile(
    rf"\s*[~≈]?\s*(?P<number>{_NUMBER})\s*(?P<unit>⟨[^⟩]{{1,24}}⟩|%)?[\s.,]*(?:⟨\s*\([^⟩]*⟩)?[\s.,]*"
)
#: what follows a formula as the unit of its number
_OUTSIDE: Final = re.compile(r"\s*(?P<unit>[KMGTPE]?i?B|[BMKT]|[mµμn]?s|[KMGTPE]?FLOPS?|%)(?![\w/])")

Values = Mapping[str, tuple[Range, ...]]


@dataclass(frozen=True, slots=True)
class _Formula:
    """``parts`` of ``a = b = c`` as text, with the place in the document where each begins; ``behind``: what follows
    the last."""

    parts: tuple[tuple[str, int], ...]
    behind: str


def judge_formulas(lines: Sequence[str]) -> list[Claim]:
    """A verdict on the number behind every formula of symbols that each have one value in the document."""
    text = with_points("\n".join(lines)[:MOST_TEXT].replace("{,}", ","))
    if "$" not in text and "\\[" not in text and "\\(" not in text:
        return []
    formulas = list(_formulas(text))
    given: dict[str, list[Number]] = {}
    made: dict[str, list[str]] = {}
    for f in formulas:
        name = _symbol(f.parts[0][0])
        numbers = [n for p, _ in f.parts[1:] if (n := _number(p, f.behind if p == f.parts[-1][0] else "")) is not None]
        if name and numbers:
            given.setdefault(name, []).append(numbers[-1])
            made.setdefault(name, []).extend(p for p, _ in f.parts[1:-1])
    told = {k: tuple(ranges(v[0])[:1]) for k, v in given.items() if all(_same(v[0], x) for x in v)}
    both: dict[str, tuple[Range, ...]] = dict(told)
    for _ in range(PASSES):  # what follows from a value that is wrong is judged as it should be, too
        known = both
        both = {k: (*v, *_derived(made[k], known, k))[:MOST_VALUES] for k, v in told.items()}
    found = []
    for f in formulas:
        found += list(_judged(f, text, both))
    return found


def _same(a: Number, b: Number) -> bool:
    return meet(ranges(a), ranges(b), ROOM)


def _formulas(text: str) -> Iterator[_Formula]:
    """The equalities of every piece of mathematics, made plain."""
    for m in _MATH.finditer(text):
        name = m.lastgroup or "a"
        plain = _made_plain(m[name])
        start, at = m.start(name), 0
        for piece in re.split(r"(;|,(?=\s|[A-Za-z]\w*\s*=)|\n\s*\n)", plain):
            parts = [p for p in re.split(r"[=≈]", piece)]
            if len(parts) > 1 and all(p.strip() for p in parts):
                places, place = [], at
                for p in parts:
                    places.append((p, start + len(m[name][: _newlines(m[name], plain[:place].count("\n"))])))
                    place += len(p) + 1
                last = plain[at + len(piece) :].strip() == ""
                yield _Formula(tuple(places), text[m.end() : m.end() + 12] if last else "")
            at += len(piece)


def _newlines(text: str, count: int) -> int:
    """The place in ``text`` behind its first ``count`` line ends."""
    at = 0
    for _ in range(count):
        at = text.find("\n", at) + 1
    return at


def _made_plain(text: str) -> str:
    for _ in range(MOST_DEPTH):
        text, changed = _FRACTION.subn(r"((\1)/(\2))", text)
        if not changed:
            break
    for pattern, plain in _PLAIN:
        text = pattern.sub(plain, text)
    return text


def _symbol(part: str) -> str:
    """The name of a part that is one symbol, an empty text for any other."""
    m = _TOKEN.fullmatch(part.strip())
    return _name(m) if m and m["symbol"] else ""


def _name(m: re.Match[str]) -> str:
    return m["symbol"].strip("⟨⟩") + re.sub(r"[{}_⟨⟩\s]", "", m["sub"] or "").join(("_" if m["sub"] else "", ""))


def _number(part: str, behind: str) -> Number | None:
    """The number that a part is, with its unit, None for one that is more than that."""
    m = _LONE.fullmatch(part)
    if m is None:
        return None
    unit = (m["unit"] or "").strip("⟨⟩ ")
    if not unit and (outside := _OUTSIDE.match(behind)):
        unit = outside["unit"]
    return _read(m["number"], unit)


def _read(number: str, unit: str) -> Number | None:
    text = _TEN.sub(r" × 10^\1", number)
    found = [t.number for t in tokens_of(f"{text} {unit}".strip()) if t.number is not None]
    return found[0] if len(found) == 1 else None


def _judged(f: _Formula, text: str, values: Values) -> Iterator[Claim]:
    """The verdict on the last number of a formula, by every part of it that has symbols."""
    part, at = f.parts[-1]
    n = _number(part, f.behind)
    if n is None or n.value <= 0:
        return
    got = [(p, r) for p, _ in f.parts[:-1] if not _symbol(p) and (r := _evaluated(p, values)) is not None]
    if not got:
        return
    line = text.count("\n", 0, at) + 1
    said = ranges(n)
    shown = " = ".join(" ".join(re.sub("[⟨⟩{}]", "", p).split()) for p, _ in f.parts)
    found = got[0][1]
    right = (found[0][0] + found[0][1]) / 2
    unit = unit_of(n)
    why = f"{format_quantity(right, unit)} by the values of its symbols"
    if any(meet(said, r, ROOM) for _, r in got):
        yield Claim(line, shown, "formula", Verdict.HOLDS, why, n.value, right, unit=unit)
        return
    ratio = n.value / right if right > 0 else 0.0
    scaled = any(abs(ratio * k - 1) < 0.01 for k in (1e3, 1e-3, 1e6, 1e-6, 1e9, 1e-9, 1e12, 1e-12))
    inside = _number(part, "")
    if right <= 0 or (scaled and (n.factor == 1 or inside is None or inside.value != n.value)):
        return  # units stand outside
    yield Claim(line, shown, "formula", Verdict.WRONG, f"{why}, not {n.text.strip()}", n.value, right, unit=unit)


def _derived(parts: Sequence[str], values: Values, symbol: str) -> tuple[Range, ...]:
    """What the formulas of ``symbol`` make it, without its own value."""
    found: list[Range] = []
    for p in parts:
        found += _evaluated(p, values, symbol) or ()
    return tuple(found)


def _evaluated(part: str, values: Values, unknown: str = "") -> tuple[Range, ...] | None:
    """What an expression with at least one symbol comes to, None where any of it, or the ``unknown``, is not known."""
    tokens: list[re.Match[str]] = []
    at = 0
    text = part.rstrip(" .,")
    while at < len(text):
        m = _TOKEN.match(text, at)
        if m is None or len(tokens) > MOST_TERMS:
            return None
        tokens.append(m)
        at = m.end()
    if not any(m["symbol"] for m in tokens):
        return None
    try:
        reader = _Reader(tokens, values, unknown)
        result = reader.sum()
        return result if reader.at == len(tokens) and result[0][0] > 0 else None
    except (_UnknownError, ZeroDivisionError, OverflowError, RecursionError):
        return None


class _UnknownError(Exception):
    """A symbol without a value, or a sign that is not read."""


class _Reader:
    """Reads an expression from its tokens; factors may stand side by side."""

    def __init__(self, tokens: Sequence[re.Match[str]], values: Values, unknown: str) -> None:
        self.tokens, self.values, self.unknown, self.at = tokens, values, unknown, 0

    def sign(self) -> str:
        """The sign at this place, an empty text where there is none."""
        return (self.tokens[self.at]["sign"] or "") if self.at < len(self.tokens) else ""

    def sum(self) -> tuple[Range, ...]:
        """Terms with + and - between them."""
        negative = self.sign() == "-"
        self.at += negative
        result = self.product()
        result = tuple((-b, -a) for a, b in result) if negative else result
        while self.sign() in ("+", "-"):
            plus = self.sign() == "+"
            self.at += 1
            term = self.product()
            term = term if plus else tuple((-b, -a) for a, b in term)
            result = tuple((a + x, b + y) for a, b in result for x, y in term)[:MOST_VALUES]
        return result

    def product(self) -> tuple[Range, ...]:
        """Factors with × or / between them, or nothing."""
        result = self.power()
        while self.at < len(self.tokens) and self.sign() not in ("+", "-", ")", "}"):
            sign = self.sign()
            self.at += sign in ("×", "/")
            factor = self.power()
            result = over(result, factor)[:MOST_VALUES] if sign == "/" else times(result, factor)[:MOST_VALUES]
            if not result:
                raise _UnknownError
        return result

    def power(self) -> tuple[Range, ...]:
        """A factor, or a power of one."""
        base = self.factor()
        if self.sign() != "^":
            return base
        self.at += 1
        exponent = self.factor()
        k = exponent[0][0]
        if k != exponent[0][1] or k != int(k) or not 0 <= k <= MOST_EXPONENT:
            raise _UnknownError
        return tuple((a ** int(k), b ** int(k)) for a, b in base if a >= 0)

    def factor(self) -> tuple[Range, ...]:
        """A number, a symbol or what stands in brackets."""
        if self.at >= len(self.tokens):
            raise _UnknownError
        m = self.tokens[self.at]
        self.at += 1
        if m["number"]:
            n = _read(m["number"], (m["unit"] or "").strip("⟨⟩ ") if _UNIT.fullmatch(m["unit"] or "") else "")
            if n is None:
                raise _UnknownError
            return ranges(n)[:1]
        if m["symbol"]:
            name = _name(m)
            found = self.values.get(name) if name != self.unknown else None
            if not found:
                raise _UnknownError
            return found
        if m["sign"] in ("(", "{"):
            result = self.sum()
            if self.sign() != (")" if m["sign"] == "(" else "}"):
                raise _UnknownError
            self.at += 1
            return result
        raise _UnknownError


#: the units that a number in a formula may have; other words name what it counts
_UNIT: Final = re.compile(
    r"%|⟨\s*(?:[KMGTPE]?i?B|bytes?|Byte|[mµμn]?s|[KMGTPE]?FLOPS?|[KMGTP]?FLOP/s|[KMGT]B/s|[MBK])\s*⟩"
)
