"""Text → tokens: numbers with their unit, dimension and precision, operators, words."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from moewright.units import BINARY, PREFIX, TIME


class Dim(NamedTuple):
    """Exponents of byte, second and FLOP; counts have none."""

    bytes: int = 0
    seconds: int = 0
    flops: int = 0

    def times(self, other: Dim, sign: int = 1) -> Dim:
        return Dim(*(a + sign * b for a, b in zip(self, other, strict=True)))


COUNT: Final = Dim()
BYTES: Final = Dim(1)
SECONDS: Final = Dim(0, 1)
FLOP: Final = Dim(0, 0, 1)
FLOP_RATE: Final = Dim(0, -1, 1)
BYTE_RATE: Final = Dim(1, -1)
PER_SECOND: Final = Dim(0, -1)
NAMES: Final = {
    COUNT: "a plain number",
    BYTES: "bytes",
    SECONDS: "seconds",
    FLOP: "FLOPs",
    FLOP_RATE: "FLOP/s",
    BYTE_RATE: "bytes/s",
    PER_SECOND: "per second",
}


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written. ``value`` in SI; ``binary`` where K, M, G before bytes are read as powers of 1024;
    ``half`` half a unit of its last place (SI). ``either``: FLOPS, which people write for work and for a rate."""

    text: str
    value: float
    binary: float
    half: float
    dim: Dim = COUNT
    either: bool = False
    approx: bool = False
    percent: bool = False
    whole: bool = False  # written without decimals, prefix or unit
    noun: str = ""  # the words behind it
    at: int = 0
    factor: float = 1.0  # of its unit

    @property
    def slack(self) -> float:
        """Half of the last place relative to the value."""
        return self.half / abs(self.value) if self.value else 0.0

    def of_powers(self, binary: bool) -> float:
        """The value where K, M, G before bytes are powers of 1024, if ``binary``, else of 1000."""
        return self.binary if binary else self.value


@dataclass(frozen=True, slots=True)
class Token:
    """``kind``: number, op, eq, arrow, open, close, word or stop."""

    kind: str
    text: str
    at: int
    number: Number | None = None


_COUNTS: Final = {
    "K": 1e3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "B": 1e9,
    "T": 1e12,
    "千": 1e3,
    "万": 1e4,
    "百万": 1e6,
    "千万": 1e7,
    "十亿": 1e9,
    "亿": 1e8,
    "thousand": 1e3,
    "thousands": 1e3,
    "billions": 1e9,
    "trillions": 1e12,
    "million": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
    "Tsd": 1e3,
    "Tausend": 1e3,
    "Mio": 1e6,
    "Millionen": 1e6,
    "Mrd": 1e9,
    "Milliarden": 1e9,
    "Billionen": 1e12,
    "Bio": 1e12,
    "millones": 1e6,
    "mil millones": 1e9,
    "millions": 1e6,
    "milliards": 1e9,
    "milliard": 1e9,
    "milliers": 1e3,
    "Milliarde": 1e9,
    "Md": 1e9,
    "Mds": 1e9,
}
_SECOND: Final = r"(?:/\s?s(?:ec(?:ond)?)?\b|\s?per second\b|ps\b|/秒|每秒)"
_UNIT: Final = re.compile(
    r"\s?(?:"
    rf"(?P<bits>[KMGT]?)(?:bit/s|bits/s|bps\b|(?<=[KMGT])b/s(?:ec)?\b)"
    r"|(?P<bit>bits?)\b(?![-/])"
    rf"|(?P<flops>[kKMGTPE]?|mega|giga|tera|peta)\s?(?P<flop>FLOPS?|FLOPs|[Ff]lop[sS]?|OPS)(?P<flopsec>{_SECOND})?(?![A-Za-z])"
    rf"|(?P<bytes>[KMGTPE]i?|k)?(?:B(?:ytes?)?|bytes?)(?P<bytesec>{_SECOND})?(?![A-Za-z]|(?<=B)\d)"
    r"|(?P<fr>[KMGTk]?)o(?:ctets?)?(?P<frsec>/s)?(?![\w'])"
    r"|(?P<gf>[GTPE])F(?P<gfsec>/s(?:ec)?)?(?![A-Za-z0-9])"
    rf"|(?P<zh>[KMGT])?字节"
    r"|(?P<time>(?:ns|us|µs|μs|ms)(?=/[^\W\d_]{2,})|ns|us|µs|μs|μS|uS|ms|mS|s|secs?|seconds?|minutes?|min|hours?|microseconds?|"
    r"milliseconds?|(?<=\s)h(?=[\s).,;]|$)|hrs?|days?|weeks?|Sekunden?|Minuten?|Stunden?|Tagen?|"
    r"secondes?|heures?|jours?|semaines?|horas?|días?)(?![A-Za-z]|(?<!ns|us|µs|μs|ms)/)"
    r"|(?P<zhtime>微秒|毫秒|纳秒|秒|分钟|小时|天)"
    r"|(?P<percent>%|percent\b)"
    r"|(?P<count>[KMBTk](?![A-Za-z0-9])|G(?=\s?[×x*·]\s?\d|\s(?:params?|param[eè]t\w+|Parameter)\b)|十亿|千万|百万|千(?![兆字克瓦])|万|亿|[Tt]housands?\b|[Mm]illion\b|[Bb]illions?\b|[Tt]rillions?\b|"
    r"Tsd\b|Tausend\b|Mio\b|Millionen\b|Mrd\b|Milliarden\b|Billionen\b|Bio\b|mil millones\b|millones\b|millions\b|"
    r"milliards?\b|milliers\b|Milliarde\b|Mds?\b)"
    r")"
)
_RATE: Final = re.compile(
    r"\s?(?:(?:output|generated|prompt|input|decode|encoder|decoder|training|total) )?"
    r"(?P<what>(?:(?:Eingabe|Ausgabe|Prompt)-?tokens?|tokens?|jetons?|tok|sequences?|seqs?|sentences?|samples?|requests?|req|"
    r"prompts?|queries|requêtes?|Anfragen|Sequenzen)\s?(?:/\s?(?P<per>ms|µs|μs|us|min(?:ute)?|h(?:our)?|s(?:ec(?:ond)?)?)\b|"
    r"(?:per|an?|each|every|pro|je) (?:second|Sekunde)\b|每秒)"
    r"|(?:个\s?)?(?:tokens?|序列|请求)\s?/\s?(?:秒|s(?![A-Za-z]))|[tqr]ps\b)",
    re.IGNORECASE,
)
#: how many of a span of time a second has
_PER: Final = {
    "ms": 1e3,
    "µs": 1e6,
    "μs": 1e6,
    "us": 1e6,
    "min": 1 / 60,
    "minute": 1 / 60,
    "h": 1 / 3600,
    "hour": 1 / 3600,
}
_NUMBER: Final = re.compile(
    r"(?P<approx>[~≈≃约]\s*)?(?P<digits>(?<!\d\.)(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)|(?<!\d)\.\d+)"
    r"(?P<power>[eE][+-]?\d{1,3}(?!\w|\.\d)|\s?[×x*·]\s?10\^-?\d{1,3}|\^-?\d{1,3})?",
)
_ABOUT: Final = (
    *("about", "roughly", "approximately", "around", "approx", "nearly"),
    *("etwa", "rund", "circa", "ca", "environ", "大约", "约", "近"),
)
_TIMES: Final = {
    **TIME,
    "μS": 1e-6,
    "uS": 1e-6,
    "mS": 1e-3,
    "微秒": 1e-6,
    "毫秒": 1e-3,
    "纳秒": 1e-9,
    "秒": 1.0,
    "分钟": 60.0,
    "小时": 3600.0,
    "天": 86400.0,
    **dict.fromkeys(("h", "hr", "hrs", "Stunde", "Stunden"), 3600.0),
    **dict.fromkeys(("Minute", "Minuten"), 60.0),
    **dict.fromkeys(("Sekunde", "Sekunden"), 1.0),
    **dict.fromkeys(("day", "days", "Tage", "Tagen"), 86400.0),
    **dict.fromkeys(("week", "weeks", "semaine", "semaines"), 604800.0),
    **dict.fromkeys(("seconde", "secondes"), 1.0),
    **dict.fromkeys(("heure", "heures", "hora", "horas"), 3600.0),
    **dict.fromkeys(("jour", "jours", "día", "días"), 86400.0),
}
_BIG: Final = {"mega": 1e6, "giga": 1e9, "tera": 1e12, "peta": 1e15}
#: a word, or a name such as Qwen2.5-7B
_WORD: Final = re.compile(r"[A-Za-z_À-ÖØ-öø-ɏα-ωΑ-Ω][\w']*(?:(?<=\d)\.\d\w*)?(?:-\w+)*(?:#\d+)?|[\u4e00-\u9fff]+")
_SIGNS: Final = {
    **dict.fromkeys("×*·∙+-÷/", "op"),
    **dict.fromkeys("=≈≃", "eq"),
    **dict.fromkeys("→⇒➜", "arrow"),
    **dict.fromkeys("([{", "open"),
    **dict.fromkeys(")]}", "close"),
}


#: the rest of a division, which a comparison follows
_MODULO: Final = re.compile(r"%\s*\w+\s*\)?\s*$")


def tokens_of(text: str) -> list[Token]:
    """The tokens of one statement, in order; words behind a number are its noun."""
    return list(_tokens(text))


#: signs that stand at a number and change nothing of it, as $ does, which is taken for one of LaTeX
_CURRENCIES: Final = "€£¥"


#: 80x0.10, and no name such as 8x1.8b
_ASCII_TIMES: Final = re.compile(r"(?<=\d)x(?=\d+\.\d)(?!\d+\.\d+ ?[bB])")


@lru_cache(4096)
def _tokens(text: str) -> tuple[Token, ...]:
    found: list[Token] = []
    text = _ASCII_TIMES.sub("×", text)
    at = 0
    while at < len(text):
        if text[at].isspace() or text[at] in _CURRENCIES:
            at += 1
            continue
        if (date := _DATE.match(text, at)) and not (at and text[at - 1].isalnum()):
            found.append(Token("stop", date[0], at))
            at = date.end()
            continue
        relation = text[at] in "≈≃" and bool(found) and found[-1].kind in ("number", "close", "word")
        power = at > 1 and text[at - 1] == "^" and text[at - 2].isalpha()  # of a symbol: a^3
        label = at > 0 and text[at - 1] == "#"  # stage #1
        number = None if relation or power or label or (found and _glued(text, at)) else number_at(text, at)
        word = _WORD.match(text, at)
        if number:
            if found and (found[-1].text.lower() in _ABOUT or found[-1].text.endswith("约")):
                number = replace(number, approx=True)
            found.append(Token("number", number.text, at, number))
            at += len(number.text)
        elif text.startswith(("->", "=>"), at):
            found.append(Token("arrow", "→", at))
            at += 2
        elif text.startswith(("~=", "=="), at):
            modulo = text[at] == "=" and _MODULO.search(text[:at])  # ret.lda % 16 == 0
            found.append(Token("stop" if modulo else "eq", "=", at))
            at += 2
        elif text[at] in "xX" and _between(found, text, at):
            found.append(Token("op", "×", at))
            at += 1
        elif word and word[0].lower() in _FUNCTIONS and text[word.end() : word.end() + 1] == "(":
            at = _closed(text, word.end())
            found.append(Token("stop", text[word.start() : at], word.start()))
        elif word:
            found.append(Token("word", word[0], at))
            at = word.end()
        else:
            sign = text[at]
            kind = _SIGNS.get(sign, "stop")
            if sign == "^" and found and found[-1].kind == "close" and text[at + 1 : at + 2].isdigit():
                kind = "op"  # (1 - 4/32)^30
            if sign == "-" and found and found[-1].kind == "number" and text[at + 1 : at + 2].isalpha():
                kind = "joiner"  # 16-layer
            if kind != "joiner":
                found.append(Token(kind, "×" if sign in "*·∙" else sign, at))
            at += 1
    return tuple(found)


#: functions whose value is not worked out
_FUNCTIONS: Final = frozenset(
    ("sqrt", "log", "log2", "ln", "exp", "ceil", "floor", "round", "min", "max", "mean", "avg")
)


def _closed(text: str, at: int) -> int:
    """The place behind the bracket that closes the one at ``at``."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if not depth:
            return i + 1
    return len(text)


#: a day: 08-17, 2026-08-17
_DATE: Final = re.compile(r"(?:20\d\d-)?0\d-\d{2}(?![\d.])|20\d\d-\d{2}-\d{2}(?![\d.])")


def _glued(text: str, at: int) -> bool:
    """A digit inside a word, as in FP8, is no number."""
    return at > 0 and (text[at - 1].isalpha() and text[at - 1].isascii()) and text[at].isdigit()


def _between(found: list[Token], text: str, at: int) -> bool:
    """An x that stands for ×: behind a number or a bracket, before a number or a bracket."""
    ahead = text[at + 1 :].lstrip()
    factor = ahead[:1].isdigit() or ahead[:1] == "("
    if not found or not (factor or re.match(r"(?:expert[- ]?)?(?:E?[TD]P|[EPCS]P)[ =]?\d", ahead)):
        return False
    if found[-1].kind in ("number", "close"):
        return True
    apart = text[at - 1 : at] == " " == text[at + 1 : at + 2]
    sized = re.fullmatch(r"(?:E?[TD]P|[EPC]P)\d+", found[-1].text) is not None  # TP2 x PP8
    return apart and found[-1].kind == "word" and (sized or any(t.kind == "number" for t in found[-4:]))


def number_at(text: str, at: int) -> Number | None:
    """The number that starts at ``at``, with its unit."""
    m = _NUMBER.match(text, at)
    if not m:
        return None
    digits = m["digits"].replace(",", "")
    decimals = len(digits.partition(".")[2])
    value, half, end = float(digits), 0.5 * 10.0**-decimals, m.end()
    power = m["power"]
    if (power and len(power) > 12) or not math.isfinite(value):
        return None
    if power and power.startswith("^"):
        exponent = int(power[1:])
        if abs(exponent) * max(1, len(digits)) > 300:
            return None
        value, half = value**exponent, 0.0
    elif power:
        exponent = int(re.sub(r"^(?:[eE]|.*\^)", "", power))
        if abs(exponent) + len(digits) > 300:
            return None
        value, half = value * 10.0**exponent, half * 10.0**exponent
    plain = Number(m[0], value, value, half, approx=bool(m["approx"]), whole=not decimals and not power, at=at)
    return _with_unit(plain, text, end)


def _with_unit(n: Number, text: str, end: int) -> Number:
    rate = _RATE.match(text, end)
    unit = None if rate else _UNIT.match(text, end)
    if unit and unit["bytes"] is None and unit[0].strip() == "B" and not _is_byte(unit[0], n, text, unit.end()):
        rate = _RATE.match(text, unit.end())
        end = unit.end()
        n = replace(_scaled(n, 1e9, 1e9, COUNT, text[n.at : end]), whole=False)
        unit = None
    if unit:
        n, end = _applied(n, unit, text), unit.end()
        rate = _RATE.match(text, end) if unit["count"] else None
    if rate:
        per = _PER.get((rate["per"] or "s").lower(), 1.0)
        n = replace(n, value=n.value * per, binary=n.binary * per, half=n.half * per, factor=n.factor * per)
        n = replace(n, text=text[n.at : rate.end()], dim=PER_SECOND, noun=rate["what"].lower(), whole=False)
    return n


#: bytes of the widest element
_WIDEST: Final = 16.0


def _is_byte(unit: str, n: Number, text: str, end: int) -> bool:
    """A bare B: bytes behind a space or a size of an element; else 10⁹, as in 671B parameters."""
    if re.match(r"\s?(?:per|a|je|pro|/)\s?param", text[end:], re.IGNORECASE):  # 14 B per parameter
        return True
    if re.match(r"\s?(?:total |active |activated )?(?:param|tokens?\b|参数)", text[end:], re.IGNORECASE):
        return False
    if n.value * 16 != int(n.value * 16) or (n.value != int(n.value) and n.value > _WIDEST):  # no fraction of a byte
        return False
    return unit[0].isspace() or n.value in (0.5, 1.0, 2.0, 4.0) or n.value >= 1e5


#: billions of anything that somebody writes with a bare B
MOST_BILLIONS: Final = 1e4


#: the digits of a number, as it is written
DIGITS: Final = re.compile(r"\d[\d,]*(?:\.\d+)?")


def digits_of(n: Number) -> tuple[str, float]:
    """The digits of a number as written, without commas, and what one of them is worth (SI); nothing where it has
    none."""
    found = DIGITS.search(n.text)
    text = found[0].replace(",", "") if found else ""
    return text, n.value / float(text) if text and float(text) else 0.0


def plain_digits(n: Number) -> int:
    """Digits as written, without zeros at either end."""
    return len(re.sub(r"\D", "", n.text).strip("0"))


def is_bare(n: Number) -> bool:
    """Whether ``n`` is in bytes by a B without a prefix, which may stand for billions."""
    return n.dim == BYTES and n.factor == 1 and n.text.endswith("B")


def in_billions(n: Number) -> Number:
    """``n``, written with a bare B, as a number of billions."""
    return _scaled(n, 1e9, 1e9, COUNT, n.text)


#: a rate of bytes, and of no bits
_BYTES_A_SECOND: Final = re.compile(r"[KMGT]B(?:/s|ps)", re.ASCII)


def is_rate_of_bytes(n: Number) -> bool:
    """Whether ``n`` is a rate that is written in bytes, not in bits."""
    return n.dim == BYTE_RATE and _BYTES_A_SECOND.search(n.text) is not None


def in_powers_of_1024(n: Number) -> Number:
    """``n`` with its prefix, K to T, as a power of 1024."""
    more = {1e3: 1.024, 1e6: 1.024**2, 1e9: 1.024**3, 1e12: 1.024**4}.get(n.factor, 1.0)
    return replace(n, value=n.value * more, binary=n.binary * more, half=n.half * more)


def _scaled(n: Number, value: float, binary: float, dim: Dim, text: str, either: bool = False) -> Number:
    return replace(
        n,
        text=text,
        value=n.value * value,
        binary=n.value * binary,
        half=n.half * value,
        dim=dim,
        factor=value,
        either=either,
    )


#: what is counted in powers of 1024 too: a context of 128K tokens
_TOKENS: Final = re.compile(r"[ -]?(?:tokens?|Token|context|ctx|上下文)", re.IGNORECASE)


def _applied(n: Number, u: re.Match[str], text: str) -> Number:
    """``n`` in the unit that ``u`` matched."""
    written = text[n.at : u.end()]
    n = replace(n, whole=False)
    if u["percent"]:
        return replace(_scaled(n, 0.01, 0.01, COUNT, written), percent=True)
    if u["time"] or u["zhtime"]:
        name = u["time"] or u["zhtime"]
        factor = _TIMES.get(name) or _TIMES[{"mic": "us", "mil": "ms", "min": "min", "hou": "h"}.get(name[:3], "s")]
        return _scaled(n, factor, factor, SECONDS, written)
    if u["count"]:
        factor = _COUNTS.get(u["count"]) or _COUNTS[u["count"].lower()]
        power = {1e3: 1024.0, 1e6: 1024.0**2}.get(factor, factor) if _TOKENS.match(text, u.end()) else factor
        return _scaled(n, factor, power, COUNT, written)
    if u["bits"] is not None:
        factor = PREFIX[u["bits"]] / 8
        return _scaled(n, factor, factor, BYTE_RATE, written)
    if u["fr"] is not None:
        return _scaled(n, PREFIX[u["fr"]], PREFIX[u["fr"]], BYTE_RATE if u["frsec"] else BYTES, written)
    if u["bit"]:
        return _scaled(n, 1 / 8, 1 / 8, BYTES, written)
    if u["gf"]:
        return _scaled(n, PREFIX[u["gf"]], PREFIX[u["gf"]], FLOP_RATE if u["gfsec"] else FLOP, written, not u["gfsec"])
    if u["flop"]:
        factor = PREFIX.get(u["flops"]) or _BIG[u["flops"]]
        plural = u["flop"][-1] in "sS"
        if u["flopsec"]:
            return _scaled(n, factor, factor, FLOP_RATE, written)
        return _scaled(n, factor, factor, FLOP, written, either=plural)
    prefix = u["bytes"] or u["zh"] or ""
    value = PREFIX.get(prefix) or BINARY[prefix]
    if u["bytesec"]:
        return _scaled(n, value, value, BYTE_RATE, written)
    return _scaled(n, value, BINARY.get(prefix.upper() + "i", value), BYTES, written)
