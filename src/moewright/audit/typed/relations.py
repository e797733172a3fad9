"""A figure beside an expression that it is said to equal, to approach, or to keep to."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from moewright.audit.audit_record import Verdict
from moewright.audit.judges.equalities import COARSE, FINE, name
from moewright.audit.judges.figures import unit_of
from moewright.audit.text.expressions import Node, Value, evaluate, has_sign, numbers_in, with_numbers
from moewright.audit.text.numbers import (
    BYTE_RATE,
    BYTES,
    COUNT,
    FLOP,
    FLOP_RATE,
    MOST_BILLIONS,
    SECONDS,
    Dim,
    Number,
    in_billions,
    in_powers_of_1024,
    is_bare,
    is_rate_of_bytes,
    plain_digits,
)
from moewright.units import format_quantity

#: what ~ allows
LOOSE: Final = 0.02
#: what rounding may leave of an operand, and of what comes of several
ROUNDED: Final = 0.015
WIDEST: Final = 0.03
#: what a rate of one digit is off the exact one that it stands for
NOMINAL: Final = 0.02
#: what a figure of one digit and zeros may be off
ONE_DIGIT: Final = 0.05
#: bytes of a number, at most
_ELEMENT: Final = 16
_POWERS: Final = tuple(base**k for base in (1000.0, 1024.0) for k in (-3, -2, -1, 1, 2, 3))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict with its reason, and what the expression gives (SI)."""

    verdict: Verdict
    why: str
    computed: float | None = None


def judge_relation(n: Number, relation: str, node: Node) -> Outcome:
    """Whether ``n`` stands in ``relation`` (=, ~, <=, >=, <, >) to ``node``, within the rounding that both show; K, M
    and G of bytes may be powers of 1000 or 1024, and a B alone may be of billions. Not checked where their dimensions
    differ; work may be counted in plain numbers (6 × parameters × tokens)."""
    found = _as_it_stands(n, relation, node)
    if found.verdict is Verdict.WRONG and (other := _rates_in_binary(node)) != node:
        powers = _as_it_stands(n, relation, other)
        if powers.verdict is Verdict.HOLDS:
            return replace(powers, why=f"{powers.why}, GB/s being GiB/s")
    counted = _counted(node, sizes=False)
    if found.verdict is Verdict.HOLDS or counted == node:
        return found
    again = _as_it_stands(n, relation, counted)  # 36.0 B * 2 bytes: of so many parameters
    open_ = found.verdict is Verdict.NOT_CHECKED
    return again if again.verdict is Verdict.HOLDS or (open_ and again.verdict is Verdict.WRONG) else found


def _as_it_stands(n: Number, relation: str, node: Node) -> Outcome:
    if n.dim == BYTES and evaluate(node).dims == {COUNT} and is_bare(n):
        bare = _as_it_stands(replace(n, dim=COUNT), relation, node)
        if bare.verdict is Verdict.HOLDS or n.value >= MOST_BILLIONS:
            return bare  # 196,608 B, of plain numbers
        n = in_billions(n)  # 9.5 B parameters
    elif n.dim == COUNT and BYTES in evaluate(node).dims and _counted(node) != node:
        counted = _as_it_stands(n, relation, _counted(node))  # 3 B tokens
        if counted.verdict is Verdict.HOLDS:
            return counted
    coarse = max((_spread(x) / abs(x.value) for x in numbers_in(node) if x.value), default=0.0)
    values = [_narrow(evaluate(node, binary, _spread), evaluate(node, binary), coarse) for binary in (False, True)]
    if not all(abs(x) < float("inf") for v in values for x in (v.low, v.high)):
        return Outcome(Verdict.NOT_CHECKED, "its expression divides by zero, or is beyond all bounds")
    if not values[0].dims:
        return Outcome(Verdict.NOT_CHECKED, "its expression adds quantities of different dimensions")
    written, unit = evaluate(node).low, unit_of(n)
    if values[0].dims == {COUNT} != {n.dim} and n.factor != 1 and relation in ("=", "~"):
        plain = replace(n, value=n.value / n.factor, binary=n.value / n.factor, half=n.half / n.factor, factor=1.0)
        if any(_meet(plain, plain.value, v, node, relation == "~") for v in values):
            return Outcome(Verdict.HOLDS, "by the numbers written, in its unit", written * n.factor)
    if not _comparable(n, values[0].dims):
        if n.dim == COUNT and not n.percent and any(_meet(n, n.value, v, node, relation == "~") for v in values):
            return Outcome(Verdict.HOLDS, "by the numbers written; its unit is left out", written)
        dims = " or ".join(sorted(name(d) for d in values[0].dims))
        why = f"its expression is {_in(dims)}, and it is {_in(name(n.dim))}: give both their units"
        return Outcome(Verdict.NOT_CHECKED, why)
    if relation in ("=", "~"):
        return _equal(n, node, values, relation == "~")
    room = FINE * max(abs(x) for v in values for x in (v.low, v.high)) + n.half
    if relation.startswith("<"):
        holds = min(n.value, n.binary) <= max(v.high for v in values) + room
    else:
        holds = max(n.value, n.binary) >= min(v.low for v in values) - room
    side = "" if holds else ", which it is above" if relation.startswith("<") else ", which it is below"
    why = f"its limit is {format_quantity(written, unit)}{side}"
    return Outcome(Verdict.HOLDS if holds else Verdict.WRONG, why, written)


def _equal(n: Number, node: Node, values: list[Value], loose: bool) -> Outcome:
    written, unit = evaluate(node).low, unit_of(n)
    for said, binary in _bases(n, node):
        if _meet(n, n.binary if said else n.value, values[binary], node, loose):
            computed = evaluate(node, binary).low * (n.value / n.binary if said and n.binary else 1.0)
            power = ", K, M and G of bytes being of 1024" if said or computed != written else ""
            return Outcome(Verdict.HOLDS, f"{format_quantity(computed, unit)} by its expression{power}", written)
    return Outcome(
        Verdict.WRONG, f"its expression gives {format_quantity(written, unit)}{_factor(n, written)}", written
    )


def _bases(n: Number, node: Node) -> tuple[tuple[bool, bool], ...]:
    """Whether the prefixes of a figure, and of its expression, are powers of 1024: both alike where both have some, and
    not where plain bytes are added to them."""
    operands = list(numbers_in(node))
    prefixed = any(x.binary != x.value for x in operands)
    if prefixed and has_sign(node, "+-") and any(x.dim == BYTES and x.factor == 1 and x.value >= 1e6 for x in operands):
        return ((False, False),)
    return ((False, False), (n.binary != n.value, prefixed))


def _rates_in_binary(node: Node) -> Node:
    """``node`` with its rates of bytes in powers of 1024."""
    return with_numbers(node, lambda n: in_powers_of_1024(n) if is_rate_of_bytes(n) else n)


def _counted(node: Node, sizes: bool = True) -> Node:
    """``node`` with each bare B as 10⁹; ``sizes``: also where so many may be the bytes of a number."""
    return with_numbers(node, lambda n: in_billions(n) if is_bare(n) and (sizes or not _is_size(n)) else n)


def _is_size(n: Number) -> bool:
    """Whether so many bytes are those of a number."""
    return n.value <= _ELEMENT and "." not in n.text


def _narrow(v: Value, exact: Value, coarse: float) -> Value:
    """``v``, no wider than is of use, or than its ``coarse``st number is: differences of rounded figures may be
    anything."""
    room = max(WIDEST, coarse) * abs(exact.low)
    return replace(v, low=max(v.low, exact.low - room), high=min(v.high, exact.low + room))


def _in(dim: str) -> str:
    return dim if dim.startswith("a plain") else f"in {dim}"


def _spread(n: Number) -> float:
    """Half of what rounding leaves of a number: nothing of a whole one, of a factor such as 2 bytes, or of digits with
    a point and a unit no more than ``ROUNDED``."""
    exact = n.whole or (n.factor == 1 and n.half >= 0.5) or (n.percent and n.half >= 0.005)
    few = plain_digits(n) < 2 and n.factor >= 1e3  # 0.05 B
    if n.dim == SECONDS and plain_digits(n) == 2:  # 1.1 s, 15 s
        return n.half
    if few and n.dim in (BYTE_RATE, FLOP_RATE) and "." not in n.text:
        return min(n.half, NOMINAL * abs(n.value))  # 6 TB/s is what a card has, 2 TB/s what 2.039 are called
    return 0.0 if exact else n.half if few else min(n.half, ROUNDED * abs(n.value))


def _comparable(n: Number, dims: frozenset[Dim]) -> bool:
    """Whether dimensions agree, but for operations that are counted as plain numbers."""
    mine = {n.dim} | ({n.dim.times(Dim(0, 1), -1), n.dim.times(Dim(0, 1))} if n.either else set())
    near = {d.times(FLOP, sign) for d in dims for sign in (-1, 1)} if _has_work(mine | dims) else set()
    return bool(mine & (dims | near))


def _has_work(dims: frozenset[Dim] | set[Dim]) -> bool:
    return any(d.flops for d in dims)


def _meet(n: Number, said: float, v: Value, node: Node, loose: bool) -> bool:
    """Whether a figure, rounded or cut off at its last place, is what an expression gives."""
    scale = abs(said / n.value) if n.value else 1.0
    half = n.half * scale
    operands = list(numbers_in(node))
    rounded = any(not x.whole and not x.percent for x in operands)
    if n.whole and n.dim == COUNT:
        half = _told_in(n) if loose or n.approx or abs(said) >= 1000 else 0.0
        half = max(half, 0.5) if loose or n.approx else half
        if has_sign(node, "÷") and abs(v.low - said) < 1:
            return True  # so many fit, or are needed
        if has_sign(node, "÷") and abs(said) >= 100:
            half = max(half, 0.5)
    room = half + (FINE * abs(said) if rounded else 1e-9 * abs(said))
    if plain_digits(n) == 1:  # 30 of 31.25
        room = max(room, min(_told_in(n) * scale, ONE_DIGIT * abs(said)))
    if loose or n.approx:
        room = max(room, LOOSE * abs(said), _told_in(n) * scale)
    cut = 2 * half if v.high >= said > 0 and half <= COARSE / 2 * abs(said) else 0.0
    return v.low - max(room, cut) <= said <= v.high + room


def _told_in(n: Number) -> float:
    """Half of what a figure is told in: tens, hundreds or thousands, where it has no more than three digits before."""
    digits = re.sub(r"\D.*", "", n.text.lstrip("~≈ ").replace(",", "")).lstrip("0")
    zeros = len(digits) - len(digits.rstrip("0"))
    round_ = zeros and len(digits) - zeros <= 3 and "." not in n.text
    return 0.5 * 10.0**zeros * n.factor if round_ else 0.0


def _factor(n: Number, right: float) -> str:
    """By how much a figure is off."""
    if not right or not n.value:
        return ""
    ratio = n.value / right
    for power in _POWERS:
        if abs(ratio / power - 1) <= n.slack + 0.03:
            step = f"{power:,.0f}" if power >= 1 else f"1/{1 / power:,.0f}"
            return f": off by a factor of {step}"
    return f"; {ratio:.4g} times that is written"
