"""Tokens → expressions, and their values: intervals of the rounding that the text shows, with dimensions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from moewright.audit.text.numbers import COUNT, Dim, Number, Token, number_at

#: nesting and length that an expression of a document does not exceed
MOST_TOKENS: Final = 80
#: the power that one may be raised to
MOST_POWER: Final = 256


@dataclass(frozen=True, slots=True)
class Operation:
    """``left sign right``; signs are + - × ÷, ^ before a whole number, max and min, and ceil, floor and round of
    ``left`` (``right`` is the same)."""

    sign: str
    left: Node
    right: Node


Node = Number | Operation
#: of two values
EXTREMES: Final = {"max": max, "min": min}
#: what is nearer to a whole number than this share of it is one
_LEAST: Final = 1e-12
#: to whole numbers
ROUNDINGS: Final = {"ceil": math.ceil, "floor": math.floor, "round": lambda x: math.floor(x + 0.5)}


#: which way the ends are moved so that arithmetic of floats does not: 12 that comes as 12 and a little is 12, not 13
_ASIDE: Final = {"ceil": (-1, -1), "floor": (1, 1), "round": (-1, 1)}


@dataclass(frozen=True, slots=True)
class Part(Token):
    """A token that stands for an expression: a function with its arguments."""

    node: Node | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression may be, from ``low`` to ``high`` (SI), and the dimensions it may have: several where
    FLOPS is written, none where a sum mixes them."""

    low: float
    high: float
    dims: frozenset[Dim]


def numbers_in(node: Node) -> Iterator[Number]:
    """The numbers of an expression, left to right, without powers."""
    if isinstance(node, Number):
        yield node
    else:
        yield from numbers_in(node.left)
        if node.sign != "^" and node.sign not in ROUNDINGS:
            yield from numbers_in(node.right)


def with_numbers(node: Node, change: Callable[[Number], Number]) -> Node:
    """``node`` with each of its numbers changed."""
    if isinstance(node, Number):
        return change(node)
    right = node.right if node.sign == "^" or node.sign in ROUNDINGS else with_numbers(node.right, change)
    return replace(node, left=with_numbers(node.left, change), right=right)


def has_sign(node: Node, signs: str) -> bool:
    """Whether any operation of ``node`` is one of ``signs``."""
    return isinstance(node, Operation) and (
        node.sign in signs or has_sign(node.left, signs) or has_sign(node.right, signs)
    )


def fold(tokens: list[Token]) -> list[Token]:
    """Words behind a number become its noun (with units such as expert/layer); numbers keep the rest; ``4-8 GB`` is a
    range and no difference."""
    tokens = _without_names(tokens)
    tokens = [replace(t, kind="stop") if _is_range(tokens, i) else t for i, t in enumerate(tokens)]
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        i += 1
        if token.kind != "number" or token.number is None:
            out.append(token)
            continue
        words = [token.number.noun] if token.number.noun else []
        while i < len(tokens):
            ahead = tokens[i + 1].kind if i + 1 < len(tokens) else ""
            if tokens[i].kind == "word":
                words.append(tokens[i].text)
            elif tokens[i].text == "/" and ahead == "word":
                words.append("/")
            elif tokens[i].kind == "open" and (end := _words_only(tokens, i)):
                words += [t.text for t in tokens[i + 1 : end]]
                i = end
            else:
                break
            i += 1
        out.append(replace(token, number=replace(token.number, noun=" ".join(words).replace(" / ", "/"))))
    return out


#: names of parallel sizes, which stand before a factor
_SIZE: Final = re.compile(r"(?:expert[- ]?)?(?:E?[TD]P|[EPCS]P|MP|VPP|replicas?)(?P<value>\d{1,5})?", re.IGNORECASE)


def _without_names(tokens: list[Token]) -> list[Token]:
    """``tokens`` without the names of sizes in a product: TP 4 × PP=8 × DP16 is 4 × 8 × 16."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        named = _SIZE.fullmatch(tokens[i].text) if tokens[i].kind == "word" else None
        sign = 1 if named and i + 1 < len(tokens) and tokens[i + 1].kind == "eq" else 0
        at = i if named and named["value"] else i + 1 + sign
        number = tokens[at].kind == "number" if named and not named["value"] and at < len(tokens) else bool(named)
        behind = tokens[at + 1] if at + 1 < len(tokens) else None
        listed = bool(out) and out[-1].kind == "op"
        if listed and (len(out) < 2 or out[-2].kind not in ("number", "close")):  # PP·TP = 2·4
            number = False
        product = listed or (behind is not None and behind.kind == "op" and behind.text == "×")
        if named and number and product and (named["value"] or at < len(tokens)):
            token = tokens[at]
            if named["value"]:
                value = number_at(named["value"], 0)
                token = replace(token, kind="number", number=value and replace(value, at=token.at, text=token.text))
            out.append(token)
            i = at + 1
            continue
        out.append(tokens[i])
        i += 1
    return out


def _is_range(tokens: list[Token], at: int) -> bool:
    """A hyphen with no space around it, between a bare number and one with a unit."""
    if tokens[at].text != "-" or not 0 < at < len(tokens) - 1:
        return False
    first, second = tokens[at - 1].number, tokens[at + 1].number
    close = first is not None and second is not None and first.at + len(first.text) == tokens[at].at == second.at - 1
    if first is not None and second is not None and second.percent:
        return close  # 40-70 %
    return close and first is not None and second is not None and first.dim == COUNT and second.dim != COUNT


def _words_only(tokens: list[Token], at: int) -> int:
    """Position of the bracket that closes a group of nothing but words, else 0."""
    for i in range(at + 1, min(at + 8, len(tokens))):
        if tokens[i].kind == "close":
            return i if i > at + 1 else 0
        if tokens[i].kind != "word":
            return 0
    return 0


def whole(tokens: list[Token], most: int = MOST_TOKENS) -> Node | None:
    """The expression that ``tokens`` are, all of them and no more than ``most``, or None."""
    node, end = prefix(tokens, most)
    return node if end == len(tokens) else None


def prefix(tokens: list[Token], most: int = MOST_TOKENS) -> tuple[Node | None, int]:
    """The longest expression that ``tokens`` begin with, and where it ends."""
    return _sum(tokens[:most], 0)


def suffix(tokens: list[Token]) -> Node | None:
    """The longest expression that ``tokens`` end with."""
    for start in range(max(0, len(tokens) - MOST_TOKENS), len(tokens)):
        before = tokens[start - 1] if start else None
        # a number before it belongs to it, unless there are words between
        apart = before is None or (before.kind not in ("op", "number") or bool(before.number and before.number.noun))
        apart = apart and not _named_term(tokens, start)
        if tokens[start].kind in ("number", "open") and apart:
            node = whole(tokens[start:])
            if node is not None:
                return node
    return None


def _named_term(tokens: list[Token], at: int) -> bool:
    """Whether the number at ``at`` is a term with its name before it: reduce 12.3 + gather 98."""
    start = at
    while start and tokens[start - 1].kind == "word":
        start -= 1
    return 0 < start < at and tokens[start - 1].kind == "op"


def _sum(tokens: list[Token], at: int) -> tuple[Node | None, int]:
    return _series(tokens, at, "+-", _product)


def _product(tokens: list[Token], at: int) -> tuple[Node | None, int]:
    return _series(tokens, at, "×÷/", _power)


def _power(tokens: list[Token], at: int) -> tuple[Node | None, int]:
    """An atom, or one raised to a whole power: nobody's document has such a sign, a reading may."""
    node, end = _atom(tokens, at)
    raised = tokens[end + 1].number if node is not None and end + 1 < len(tokens) else None
    if node is None or raised is None or tokens[end].kind != "op" or tokens[end].text != "^":
        return node, end
    if not raised.whole or raised.dim != COUNT or not 0 < raised.value <= MOST_POWER:
        return None, at
    return Operation("^", node, raised), end + 2


Parser = Callable[[list[Token], int], tuple[Node | None, int]]


def _series(tokens: list[Token], at: int, signs: str, part: Parser) -> tuple[Node | None, int]:
    node, end = part(tokens, at)
    while node is not None and end < len(tokens) and tokens[end].kind == "op" and tokens[end].text in signs:
        right, after = part(tokens, end + 1)
        if right is None:
            break
        node, end = Operation(tokens[end].text.replace("/", "÷"), node, right), after
    return node, end


def _atom(tokens: list[Token], at: int) -> tuple[Node | None, int]:
    if at >= len(tokens):
        return None, at
    token = tokens[at]
    if token.kind == "number":
        return token.number, at + 1
    if isinstance(token, Part):
        return token.node, at + 1
    if token.kind != "open":
        return None, at
    node, end = _sum(tokens, at + 1)
    if node is None or end >= len(tokens) or tokens[end].kind != "close":
        return None, at
    end += 1
    unit = number_at(f"1 {tokens[end].text}", 0) if end < len(tokens) and tokens[end].kind == "word" else None
    if unit is not None and unit.factor != 1:  # (175.9 + 281.5) TFLOP
        node = Operation("×", node, replace(unit, half=0.0, at=tokens[end].at, text=tokens[end].text))
    while end < len(tokens) and tokens[end].kind == "word":
        end += 1
    return node, end


def evaluate(
    node: Node,
    binary: bool = False,
    spread: Callable[[Number], float] = lambda n: 0.0,
    dim_of: Callable[[Number], Dim | None] = lambda n: None,
) -> Value:
    """The value of ``node``. ``binary``: K, M, G of bytes are powers of 1024. ``spread``: half the range a number
    may lie in. ``dim_of``: the dimension a number is known to have (None: as written)."""
    if isinstance(node, Number):
        value, half = (node.binary if binary else node.value), spread(node)
        known = dim_of(node)
        may = {node.dim if known is None else known}
        if node.either and known is None:
            may.add(node.dim.times(Dim(0, 1), -1))
        return Value(value - half, value + half, frozenset(may))
    a = evaluate(node.left, binary, spread, dim_of)
    if node.sign == "^" and isinstance(node.right, Number):
        return _raised(a, int(node.right.value))
    if node.sign in ROUNDINGS:
        return _rounded(a, node.sign)
    b = evaluate(node.right, binary, spread, dim_of)
    if node.sign in EXTREMES:
        choose = EXTREMES[node.sign]
        return Value(choose(a.low, b.low), choose(a.high, b.high), a.dims & b.dims)
    if node.sign in "+-":
        plain = {COUNT} in (set(a.dims), set(b.dims)) and a.dims != b.dims
        both = (a.dims | b.dims) - {COUNT} if plain and _bare(node) else a.dims & b.dims
        if node.sign == "+":
            return Value(a.low + b.low, a.high + b.high, both)
        return Value(a.low - b.high, a.high - b.low, both)
    sign = 1 if node.sign == "×" else -1
    dims = {x.times(y, sign) for x in a.dims for y in b.dims}
    if sign < 0:
        if b.low <= 0 <= b.high:
            return Value(float("nan"), float("nan"), frozenset(dims))
        b = Value(1 / b.high, 1 / b.low, b.dims)
    ends = (a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high)
    return Value(min(ends), max(ends), frozenset(dims))


def _raised(a: Value, power: int) -> Value:
    """``a`` to a power; infinite where that is beyond all numbers."""
    try:
        ends = [a.low**power, a.high**power, *([0.0] if a.low < 0 < a.high else [])]
    except OverflowError:
        ends = [float("inf")]
    return Value(min(ends), max(ends), frozenset(Dim(*(power * x for x in d)) for d in a.dims))


def _rounded(a: Value, sign: str) -> Value:
    """``a`` to whole numbers, what all but is one to that one, a half up or down; what is not finite stays so."""
    if not (math.isfinite(a.low) and math.isfinite(a.high)):
        return a
    whole, (below, above) = ROUNDINGS[sign], _ASIDE[sign]
    low, high = a.low + below * _LEAST * abs(a.low), a.high + above * _LEAST * abs(a.high)
    return Value(float(whole(low)), float(whole(high)), a.dims)


def _bare(node: Operation) -> bool:
    """A sum in which one side is 0 may mix units."""
    return any(isinstance(side, Number) and side.value == 0 for side in (node.left, node.right))
