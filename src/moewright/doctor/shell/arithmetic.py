"""The whole numbers of ``$(( ))``: C's operators, without side effects but assignment."""

from __future__ import annotations

import re
from collections.abc import Callable

_TOKEN = re.compile(
    r"\s*(0[xX][0-9a-fA-F]+|\d+|[A-Za-z_]\w*|\*\*|<<|>>|[-+*/%<>=!&|^]=|&&|\|\||\+\+|--|[-+*/%<>=!&|^~?:()])"
)
_LEVELS: tuple[tuple[str, ...], ...] = (
    ("||",),
    ("&&",),
    ("|",),
    ("^",),
    ("&",),
    ("==", "!="),
    ("<", ">", "<=", ">="),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "%"),
)
_MOST = 1 << 63


class UnknownError(Exception):
    """A name whose value is not known, or what is no expression; the argument tells which."""


class _Parser:
    def __init__(self, text: str, value: Callable[[str], str | None], assign: Callable[[str, str], None]) -> None:
        self.items: list[str] = []
        self.value, self.assign, self.at = value, assign, 0
        place, text = 0, text.replace("$", "").replace("{", "").replace("}", "").strip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if not match:
                raise UnknownError(text)
            self.items.append(match[1])
            place = match.end()
        self.items.append("")

    @property
    def next(self) -> str:
        return self.items[self.at]

    def take(self) -> str:
        self.at += 1
        return self.items[self.at - 1]

    def number(self, name: str) -> int:
        text = self.value(name)
        if text is None:
            raise UnknownError(name)
        try:
            return int(text, 0) if text.strip() else 0
        except ValueError:
            raise UnknownError(name) from None

    def whole(self) -> int:
        result = self.choice()
        if self.next:
            raise UnknownError(self.next)
        return result

    def choice(self) -> int:
        name = self.next
        following = self.items[self.at + 1] if self.at + 1 < len(self.items) else ""
        if re.fullmatch(r"[A-Za-z_]\w*", name) and following in ("=", "+=", "-=", "*=", "/=", "%=", "++", "--"):
            self.at += 2
            amount = 1 if following in ("++", "--") else self.choice()
            new = amount if following == "=" else _apply(following[0], self.number(name), amount)
            self.assign(name, str(new))
            return new
        first = self.level(0)
        if self.next != "?":
            return first
        self.take()
        yes = self.choice()
        if self.take() != ":":
            raise UnknownError("?")
        no = self.choice()
        return yes if first else no

    def level(self, depth: int) -> int:
        if depth == len(_LEVELS):
            return self.power()
        left = self.level(depth + 1)
        while self.next in _LEVELS[depth]:
            left = _apply(self.take(), left, self.level(depth + 1))
        return left

    def power(self) -> int:
        base = self.unary()
        if self.next != "**":
            return base
        self.take()
        exponent = self.power()
        if not 0 <= exponent < 64:
            raise UnknownError("**")
        return int(base**exponent)

    def unary(self) -> int:
        item = self.take()
        if item in ("+", "-", "!", "~"):
            inner = self.unary()
            return {"+": inner, "-": -inner, "!": int(not inner), "~": ~inner}[item]
        if item == "(":
            inner = self.choice()
            if self.take() != ")":
                raise UnknownError("(")
            return inner
        if item[:1].isdigit():
            return int(item, 0) if not re.fullmatch(r"0\d+", item) else int(item, 8)
        if re.fullmatch(r"[A-Za-z_]\w*", item):
            return self.number(item)
        raise UnknownError(item or "nothing")


def _apply(op: str, a: int, b: int) -> int:
    if op in ("/", "%") and b == 0:
        raise UnknownError("a division by 0")
    if op in ("<<", ">>") and not 0 <= b < 64:
        raise UnknownError(op)
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if op in ("/", "%") else 0
    results = {
        "/": quotient,
        "%": a - b * quotient,
        "+": a + b,
        "-": a - b,
        "*": a * b,
        "<<": a << b if op == "<<" else 0,
        ">>": a >> b if op == ">>" else 0,
        "<": int(a < b),
        ">": int(a > b),
        "<=": int(a <= b),
        ">=": int(a >= b),
        "==": int(a == b),
        "!=": int(a != b),
        "&": a & b,
        "|": a | b,
        "^": a ^ b,
        "&&": int(bool(a) and bool(b)),
        "||": int(bool(a) or bool(b)),
    }
    result = results[op]
    if abs(result) >= _MOST:
        raise UnknownError(op)
    return result


def evaluate(text: str, value: Callable[[str], str | None], assign: Callable[[str, str], None]) -> int:
    """The value of ``text``; names through ``value`` (None: not set), assignments through ``assign``. Raises
    UnknownError."""
    try:
        result = 0
        for part in text.split(",") if "(" not in text else [text]:
            result = _Parser(part, value, assign).whole() if part.strip() else 0
    except RecursionError:
        raise UnknownError(text[:40]) from None
    return result
