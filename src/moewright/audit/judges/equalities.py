"""Equalities of a document: right, wrong by a factor, wrong in dimension, or unlike things added."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from moewright.audit.audit_record import Verdict
from moewright.audit.text.clauses import Equality, Split
from moewright.audit.text.expressions import Node, Operation, Value, evaluate, has_sign, numbers_in, with_numbers
from moewright.audit.text.numbers import (
    BYTE_RATE,
    BYTES,
    COUNT,
    FLOP,
    FLOP_RATE,
    MOST_BILLIONS,
    NAMES,
    PER_SECOND,
    SECONDS,
    Dim,
    Number,
    in_billions,
    in_powers_of_1024,
    is_bare,
    is_rate_of_bytes,
)
from moewright.units import format_quantity

#: what ≈ and ~ allow
LOOSE: Final = 0.02
#: half of the last place of a figure of one digit is much: no more than this is taken for rounding
COARSE: Final = 0.1
#: what parts that were rounded before may make of a result
FINE: Final = 5e-3
#: how many times a result may be off and still be in the unit of bare numbers that it is worked out from
IN_UNIT: Final = 20.0
_POWERS: Final = tuple(base**k for base in (1000.0, 1024.0) for k in (-4, -3, -2, -1, 1, 2, 3, 4))

#: bytes of an element
_ELEMENTS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)

DimOf = Callable[[Number], Dim | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on an equality; ``claimed`` its right side, ``computed`` its left (SI)."""

    verdict: Verdict
    why: str
    claimed: float
    computed: float
    unit: str


#: how far off bytes of so many parameters may be by rounding
ROUGH: Final = 0.02
_WEIGHTS: Final = re.compile(r"(?:weights|parameters?|params?|model)\b|参数|权重", re.IGNORECASE)


_IN_FORMAT: Final = re.compile(r"\W*\d[\d.]*\s?B\s+(?:BF16|FP16|FP8|FP4|INT8)\b")


#: billions of something that no unit makes bytes
_BARE_B: Final = re.compile(r"\d\s?B$")
NEARLY: Final = 0.01


def _in_elements(e: Equality, outcome: Outcome) -> bool:
    """Whether the left side has a number of parameters in billions, told with the letter B, and the right side their
    bytes."""
    told = any(n.text.rstrip().endswith("B") and _WEIGHTS.match(n.noun) for n in numbers_in(e.left))
    shared = isinstance(e.left, Number) and isinstance(e.right, Operation) and has_sign(e.right, "÷")
    if shared and outcome.computed:  # 2.86 GB (5.7B / EP 4)
        bare = any(_BARE_B.search(n.text) for n in numbers_in(e.right))
        ratio = outcome.computed / outcome.claimed
        return bare and any(abs(ratio / size - 1) < NEARLY for size in (0.5, 2.0, 4.0))
    if not outcome.computed or not (told or _IN_FORMAT.match(e.text)):
        return False
    return any(abs(outcome.claimed / outcome.computed / size - 1) < ROUGH for size in (0.5, 2.0, 4.0))


def _is_fraction(node: Node) -> bool:
    """Whether an expression is one whole number over a larger one, and nothing else."""
    if not isinstance(node, Operation) or node.sign != "÷":
        return False
    a, b = node.left, node.right
    return isinstance(a, Number) and isinstance(b, Number) and a.dim == b.dim == COUNT and a.value < b.value <= 1024


_ROUNDED: Final = re.compile(r"[lr]?(?:ceil|floor)|[⌈⌉⌊⌋]")
_ARROW: Final = re.compile(r"→|->|=>")


def _otherwise(e: Equality) -> tuple[Equality | None, ...]:
    """Other readings of ``e``: of its units, of its prefixes, and of what its last term leads to."""
    return (
        _in_one_unit(e),
        _in_unit_beside(e),
        _in_binary(e),
        _in_bytes(e),
        _in_billions(e),
        _in_billions(e, small=True),
        *_one_in_billions(e),
        _in_named_format(e),
        _of_last_term(e),
    )


def judge_equality(e: Equality, dim_of: DimOf, exact: Callable[[Number], bool]) -> Outcome | None:
    """Evaluate both sides of ``e`` within the rounding they show. None where they cannot be compared, as for a
    division by zero, or where a factor may be meant that is not written."""
    outcome = _evaluated(e, dim_of, exact)
    if outcome is None or outcome.verdict is not Verdict.WRONG:
        return outcome
    if _ROUNDED.search(e.text) or ("dimension" in outcome.why and " · " in e.text):
        return None  # 104/40 rounded up; 54.1 GB · 288 GB − 54.1 GB: two things
    counted = any(n.noun for n in numbers_in(e.left)) and all(n.dim == COUNT for n in numbers_in(e.left))
    if counted and _ARROW.search(e.text) and all(n.dim != COUNT for n in numbers_in(e.right)):
        return None  # 1/16 of the weights → 7 ms: what follows, and no equality
    if "dimension" in outcome.why and re.match(r"(?:a|per|je|pro|/) ?byte", list(numbers_in(e.right))[-1].noun, re.I):
        return None  # FLOPs a byte
    if _ARROW.search(e.text) and has_sign(e.left, "÷") and _leads_elsewhere(e):
        return None  # 1561 GB / 96 shards → 195 GB per GPU
    if "dimension" in outcome.why and _takes_time(e):
        return None  # 0.5 experts × 84 MB = 0.03 ms: at a rate that stands elsewhere
    if _is_reciprocal(e, outcome) or _fits_into(e, outcome):
        return None  # 18.5 GB / 273 GB/s = 15 tok/s; 75 GB / 10 GB a request = 7
    if "dimension" in outcome.why and isinstance(e.left, Number):
        return None  # 1.1 TFLOP; a peak of about 312 TFLOPS
    if _is_fraction(e.left) and isinstance(e.right, Number) and e.right.dim != COUNT:
        return None  # 1/2 | 3.6 MB: of the row above
    if _in_elements(e, outcome):
        return None  # 70B weights / 8 GPUs = 17.5 GB: at two bytes each
    last = next(numbers_in(e.right)) if isinstance(e.right, Number) else None
    if "dimension" in outcome.why and last is not None and last.dim == SECONDS and "≈" in e.text:
        return None  # so much work, which takes about 5 s
    for other in _otherwise(e):
        again = _evaluated(other, dim_of, exact) if other is not None else outcome  # 8.24 B: bytes or billions
        if again is None or again.verdict is not Verdict.WRONG:
            return again
        nearer = "dimension" in outcome.why or _distance(again) < _distance(outcome)
        if "dimension" not in again.why and nearer:
            outcome = again
    if _in_elements(e, outcome):
        return None
    for reading, told in ((_counts_in_binary(e), BINARY_COUNTS), (_rates_in_binary(e), BINARY_RATES)):
        again = _evaluated(reading, dim_of, exact) if reading is not None else None
        if again is not None and again.verdict is Verdict.HOLDS:
            return replace(again, why=f"{again.why}, with {told}")
    if (
        _is_name(e, outcome)
        or _is_grouped(e, dim_of, exact)
        or _reads_otherwise(e, outcome)
        or _beyond_slips(e, outcome)
    ):
        return None
    if isinstance(e.right, Operation):  # 46.7B / 32 ≈ 1.5B × 2 bytes = …: what it leads to goes on
        first = replace(e, right=next(numbers_in(e.right)))
        begun = _evaluated(first, dim_of, exact)
        if begun is not None and begun.verdict is Verdict.HOLDS:
            return None
    return None if "dimension" not in outcome.why and _implied(e, outcome) else outcome


def _is_reciprocal(e: Equality, outcome: Outcome) -> bool:
    """Whether the left side is a time and the right the rate of one in it, by the numbers written."""
    last = list(numbers_in(e.right))
    if "dimension" not in outcome.why or len(last) != 1 or last[0].dim != PER_SECOND:
        return False
    value = evaluate(e.left)
    if value.dims != {SECONDS} or not 0 < value.low <= value.high < math.inf:
        return False
    slack = last[0].slack + sum(n.slack for n in numbers_in(e.left)) + (ROUGH if last[0].approx or "≈" in e.text else 0)
    return abs(last[0].value * value.low - 1) <= slack


def _fits_into(e: Equality, outcome: Outcome) -> bool:
    """Whether the right side is the whole number of times that one amount fits into another of its kind."""
    parts, last = list(numbers_in(e.left)), list(numbers_in(e.right))
    if len(last) != 1 or not last[0].whole or last[0].dim != COUNT or not has_sign(e.left, "÷") or not outcome.computed:
        return False
    amounts = [n for n in parts if n.dim != COUNT]
    return len(amounts) > 1 and len({n.dim for n in amounts}) == 1 and math.floor(outcome.computed) == last[0].value


def _takes_time(e: Equality) -> bool:
    """Whether the left side is an amount of bytes or FLOPs, with no rate in it, and the right a time."""
    parts, last = list(numbers_in(e.left)), list(numbers_in(e.right))
    amount = any(n.dim in (BYTES, FLOP) for n in parts) and all(n.dim in (COUNT, BYTES, FLOP) for n in parts)
    return amount and len(last) == 1 and last[0].dim == SECONDS


#: what the bytes of a GPU are a part by
_SHARING: Final = re.compile(
    r"(?:GPUs?|cards?|ranks?|devices?|ways?|nodes?|stages?|Karten|replicas?|chips?)\b|卡|张", re.IGNORECASE
)


def _leads_elsewhere(e: Equality) -> bool:
    """Whether a quotient by a number of other things leads to what each GPU has."""
    parts, last = list(numbers_in(e.left)), next(numbers_in(e.right))
    divisor = parts[-1]
    things = divisor.dim == COUNT and bool(divisor.noun) and not _SHARING.match(divisor.noun)
    return things and bool(
        re.match(
            r"(?:per|each|a|/|je|pro) ?(?:GPU|chip|accelerator|"
            r"card|rank|device)",
            last.noun,
            re.IGNORECASE,
        )
    )


def _of_last_term(e: Equality) -> Equality | None:
    """``e`` of the last term of a sum alone, where the one before it is told as a thing of its own: 67.9 ms prefill +
    300 × 64.5 / 384 = 50.4 ms decode."""
    if not isinstance(e.left, Operation) or e.left.sign != "+" or not isinstance(e.left.right, Operation):
        return None
    before = list(numbers_in(e.left.left))
    return replace(e, left=e.left.right) if before[-1].noun and before[-1].dim != COUNT else None


_POINTED: Final = re.compile(r"[~≈\s]*\d{1,3}\.\d{3}(?!\d)")


def _reads_otherwise(e: Equality, o: Outcome) -> bool:
    """Whether a point may part thousands (192.512 bytes), the unit may be left out of bare numbers, or an arrow may
    lead from a share to a number of things, which it does not equal."""
    parts = list(numbers_in(e.left))
    numbers = [*parts, *numbers_in(e.right)]
    last = numbers[-1]
    if not o.computed or not o.claimed:
        return False
    ratio = o.claimed / o.computed

    def is_times(factors: Iterable[float]) -> bool:
        """Whether what is written is one of ``factors`` times what is worked out."""
        return any(abs(ratio / x - 1) <= last.slack + 5e-3 for x in factors)

    thousands = (1000.0**k * x for k in (-3, -2, -1, 1, 2, 3) for x in (1.0, 1.024, 1 / 1.024))
    pointed = any(_POINTED.match(n.text) and n.factor == 1 and n.dim in (COUNT, BYTES) for n in numbers)
    if pointed and is_times(thousands):
        return True
    bare_result = last.dim == COUNT and last.factor == 1 and not last.percent
    if bare_result and is_times(1 / n.factor for n in parts if n.dim == COUNT and n.factor >= 1e6):
        return True  # the result is in the unit of what it is worked out from
    if bare_result and not last.whole and is_times((1e-3, 1e-6, 1e-9, 1e-12)):
        return True  # the result is in a unit that its column has
    decimal = any(n.dim == BYTES and n.factor in (1e3, 1e6) for n in parts) and "iB" not in last.text
    powers = any(n.dim == COUNT and n.whole and n.value >= 1024 and n.value % 1024 == 0 for n in parts)
    if decimal and powers and len(parts) > 1 and abs(ratio * 1.024 - 1) <= MIXED:
        return True  # 4096 × 320 KB = 1.28 GB: K of 1024 and of 1000
    counted = [n for n in parts if n.dim == COUNT]
    if counted and all(n.factor == 1 for n in counted) and is_times((1e9,)):
        return True  # 99.3 × 2 bytes = 198.6 GB: of billions
    bits = re.compile(r"(?:bits?|bit/s|bits/s|bps|[KMGT]b/s)$")
    if any(bits.search(n.text) for n in numbers) and is_times((1 / 8, 8.0)):
        return True  # GB/s × 8 = Gbit/s
    bare = all(n.dim == COUNT and n.factor == 1 and not n.percent for n in numbers)
    if not bare or not _ARROW.search(e.text):
        return False
    if has_sign(e.left, "÷"):
        return 0 < o.computed < 1 <= o.claimed
    slips = {2.0**k for k in range(1, 11)} | {10.0**k for k in range(1, 7)}
    near = 2 / 3 < ratio < 3 / 2
    return not near and not any(is_times((x, 1 / x)) for x in slips)  # 12*128 -> 7168: the shape of a matrix


def _is_name(e: Equality, o: Outcome) -> bool:
    """Whether the lone whole number on the left rather ends the name of what the right side is: the share at batch 30 =
    1 - (120/128)^30."""
    alone = isinstance(e.left, Number) and e.left.whole and not e.left.noun and isinstance(e.right, Operation)
    return alone and "dimension" not in o.why and _distance(o) > NEAR


def _is_grouped(e: Equality, dim_of: DimOf, exact: Callable[[Number], bool]) -> bool:
    """Whether words group the left side otherwise than its signs do: 2 forward + 2 backward a layer × 16 layers; or the
    result is that of its last term alone: 23 GB of weights + 64 × 0.5 GB = 32 GB of cache."""
    left = e.left
    if not isinstance(left, Operation) or left.sign != "+" or not isinstance(left.right, Operation):
        return False
    if not any(n.noun for n in numbers_in(left)) or left.right.sign not in ("×", "+"):
        return False
    others = [replace(e, left=left.right)]
    first: Node = left.right
    signs: list[Node] = []
    while isinstance(first, Operation) and first.sign == "×":
        signs.append(first.right)
        first = first.left
    grouped: Node = Operation("+", left.left, first)
    for factor in reversed(signs):
        grouped = Operation("×", grouped, factor)
    others.append(replace(e, left=grouped))
    judged = (_evaluated(x, dim_of, exact) for x in others)
    return any(o is not None and o.verdict is Verdict.HOLDS for o in judged)


#: how far off a slip makes a result: a prefix or two
MOST_SLIP: Final = 1100.0


#: seconds, minutes, hours and days of one another
_CLOCK: Final = (24.0, 60.0, 1440.0, 3600.0, 86400.0)
#: how near to one of them a ratio must be
ASTRAY: Final = 0.01


def _beyond_slips(e: Equality, o: Outcome) -> bool:
    """Whether ``e`` is so far off that it was rather misread: by more than a prefix, and not by two prefixes of units
    that both sides have."""
    if not o.computed or not o.claimed or "dimension" in o.why:
        return False
    ratio = _distance(o)
    last = next(numbers_in(e.right))
    bare = all(n.factor == 1 and n.dim == COUNT for n in numbers_in(e.left))
    if min(ratio, _distance(replace(o, claimed=o.claimed / last.factor)) if bare else ratio) <= MOST_SLIP:
        return False
    if last.dim == SECONDS and any(abs(ratio / unit - 1) <= ASTRAY for unit in _CLOCK):
        return False  # minutes for hours
    units = all(any(n.factor != 1 for n in numbers_in(side)) for side in (e.left, e.right))
    return not (units and any(abs(ratio / power - 1) <= 0.03 for power in (1e6, 1024.0**2)))


def _distance(o: Outcome) -> float:
    """How many times a result is off, either way."""
    ratio = abs(o.claimed / o.computed) if o.claimed and o.computed else math.inf
    return max(ratio, 1 / ratio)


def _in_binary(e: Equality) -> Equality | None:
    """``e`` with counts such as 128K in powers of 1024, where its bytes are in KiB, MiB or GiB; None where they are
    not."""
    if not any("iB" in n.text for n in (*numbers_in(e.left), *numbers_in(e.right))):
        return None

    def binary(n: Number) -> Number:
        power = {1e3: 1024.0, 1e6: 1024.0**2}.get(n.factor, 1.0) / n.factor if n.dim == COUNT else 1.0
        many = n.dim == COUNT and n.factor in (1e3, 1e6)
        return replace(n, value=n.value * power, binary=n.value * power, half=0.0, whole=True) if many else n

    other = replace(e, left=with_numbers(e.left, binary))
    return other if other.left != e.left else None


def _rates_in_binary(e: Equality) -> Equality | None:
    """``e`` with the rates of bytes that it divides by, and counts such as 200K, in powers of 1024: 200K × 512 B / 51.5
    GB/s = 1.896 ms; None where it has no such rate."""
    if not any(map(is_rate_of_bytes, numbers_in(e.left))):
        return None

    def binary(n: Number) -> Number:
        return in_powers_of_1024(n) if is_rate_of_bytes(n) or (n.dim == COUNT and n.factor == 1e3) else n

    return replace(e, left=with_numbers(e.left, binary))


#: significant digits by which powers of 1024 are told from those of 1000
TELLING: Final = 3
#: conventions: rates in GiB/s that are called GB/s, and parameters counted in powers of 1024, as bytes are
BINARY_RATES: Final = "GB/s as GiB/s, and K of counts as 1024"
BINARY_COUNTS: Final = "K, M and B of counts as powers of 1024"


def _counts_in_binary(e: Equality) -> Equality | None:
    """``e`` with the prefixes of all its counts as powers of 1024: 151936 × 1024 = 148.375 M; None where its result
    has too few digits to tell."""
    result = next(numbers_in(e.right))
    told = len(re.sub(r"\D", "", result.text).lstrip("0"))
    numbers = (*numbers_in(e.left), *numbers_in(e.right))
    if told < TELLING or result.approx or any(n.dim != COUNT or n.percent for n in numbers):
        return None

    def binary(n: Number) -> Number:
        more = {1e3: 1.024, 1e6: 1.024**2, 1e9: 1.024**3}.get(n.factor, 1.0)
        return replace(n, value=n.value * more, binary=n.value * more, half=n.half * more)

    other = replace(e, left=with_numbers(e.left, binary), right=with_numbers(e.right, binary))
    return other if (other.left, other.right) != (e.left, e.right) else None


_FORMAT_BYTES: Final = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0}


def _in_named_format(e: Equality) -> Equality | None:
    """``e`` with the bytes of an element, where bytes are worked out from elements whose format is named behind them:
    8192 × 3 fp32 = 98,304 B; None where none is."""
    last = list(numbers_in(e.left))[-1]
    size = _FORMAT_BYTES.get(last.noun.split()[0].lower()) if last.noun else None
    counted = all(n.dim == COUNT for n in numbers_in(e.left)) and next(numbers_in(e.right)).dim == BYTES
    if size is None or not counted:
        return None
    each = replace(last, text=f"{size:g} B", value=size, binary=size, half=0.5, dim=BYTES, factor=1.0, whole=False)
    return replace(e, left=Operation("×", e.left, each))


def _in_bytes(e: Equality) -> Equality | None:
    """``e`` with each B of so few that they are an element's as bytes: 125.1 B × 14 B; None where it has none."""

    def as_bytes(n: Number) -> Number:
        few = n.dim == COUNT and n.factor == 1e9 and n.text.endswith("B") and n.value <= WIDEST * 1e9
        if not few or n.value % 1e9:
            return n
        return replace(n, value=n.value / 1e9, binary=n.value / 1e9, half=0.5, dim=BYTES, factor=1.0)

    other = replace(e, left=with_numbers(e.left, as_bytes))
    return other if other.left != e.left else None


#: how near to 1.024 a ratio is that prefixes of two kinds make
MIXED: Final = 2e-3
#: bytes of the states of a parameter, at most
WIDEST: Final = 20


def _in_one_unit(e: Equality) -> Equality | None:
    """``e`` with bare terms of a sum in the unit of its result: 40 GB × 0.9 - 13.8 - 2 = 20.2 GB; None where it has
    none."""
    unit = next(numbers_in(e.right))
    if unit.dim == COUNT or not isinstance(e.left, Operation):
        return None

    def completed(node: Node) -> Node:
        if not isinstance(node, Operation) or node.sign not in "+-":
            return node
        left, right = completed(node.left), completed(node.right)
        dims = [evaluate(x).dims for x in (left, right)]
        one = replace(unit, text="", value=unit.factor, binary=unit.factor, half=0.0, approx=False)
        if dims[0] == {COUNT} != dims[1]:
            left = Operation("×", left, one)
        elif dims[1] == {COUNT} != dims[0]:
            right = Operation("×", right, one)
        return replace(node, left=left, right=right)

    other = replace(e, left=completed(e.left))
    return other if other.left != e.left else None


def _in_unit_beside(e: Equality) -> Equality | None:
    """``e`` with bare terms of its sums in the unit of the term beside them: (10.3 + 24.5 GB) / 1.6 TB/s; None where
    it has none."""

    def beside(bare: Number, told: Number) -> Number:
        if bare.dim != COUNT or bare.factor != 1 or bare.noun or told.dim == COUNT or not told.value:
            return bare
        unit, binary = told.factor, told.binary / told.value
        value = bare.value * unit
        return replace(bare, value=value, binary=value * binary, half=bare.half * unit, dim=told.dim, factor=unit)

    def completed(node: Node) -> Node:
        if not isinstance(node, Operation):
            return node
        left, right = completed(node.left), completed(node.right)
        if node.sign in "+-" and isinstance(left, Number) and isinstance(right, Number):
            left = beside(left, right)
        return replace(node, left=left, right=right)

    other = replace(e, left=completed(e.left))
    return other if other.left != e.left else None


def _one_in_billions(e: Equality) -> Iterator[Equality]:
    """``e`` with one of its bare B as 10⁹: 125.1 B × 14 B = 1.75 TB."""
    numbers = [n for n in numbers_in(e.left) if is_bare(n) and n.value < MOST_BILLIONS]
    for one in numbers if 1 < len(numbers) <= MOST_BARE else ():

        def billions(n: Number, chosen: Number = one) -> Number:
            return in_billions(n) if n is chosen else n

        yield replace(e, left=with_numbers(e.left, billions))


#: numbers with a bare B of which one is tried as billions
MOST_BARE: Final = 3


def _in_billions(e: Equality, small: bool = False) -> Equality | None:
    """``e`` with each bare B as 10⁹, also behind a number that an element may have bytes of if ``small``; None where
    it has none."""

    def billions(n: Number) -> Number:
        few = is_bare(n) and n.value < MOST_BILLIONS
        return in_billions(n) if few and (small or n.value not in _ELEMENTS) else n

    other = replace(e, left=with_numbers(e.left, billions), right=with_numbers(e.right, billions))
    return other if (other.left, other.right) != (e.left, e.right) else None


#: how far off a result may be that is a slip of the pen
NEAR: Final = 3.0
#: how far off no slip makes a result without a factor that is not written
FAR: Final = 1e4


def _implied(e: Equality, o: Outcome) -> bool:
    """Whether words beside the numbers may mean a factor that is not written: 64 experts × 40 layers → 70 B. What is
    off by a power of 10 or 1024, by a small number or by one of the factors is a slip."""
    numbers = list(numbers_in(e.left))
    if not o.computed or not o.claimed:
        return False
    result = list(numbers_in(e.right))[-1]
    bare = result.dim in (FLOP, FLOP_RATE) and all(n.dim == COUNT and n.factor == 1 for n in numbers)
    ratios = [abs(o.claimed / o.computed), *([abs(o.claimed / o.computed / result.factor)] if bare else [])]
    ratio = min((max(r, 1 / r) for r in ratios), default=1.0)
    if isinstance(e.left, Number) and isinstance(e.right, Number):  # told twice: in another unit, or each and all
        usual = (*_POWERS, *_CLOCK) if result.dim == SECONDS == e.left.dim else _POWERS
        return ratio > NEAR / 2 and not any(abs(ratio / x - 1) <= 0.03 for x in usual)
    if not (e.text.count("→") or any(n.noun for n in numbers) or ratio > FAR):
        return False
    room = max(result.slack, 0.03)
    whole = [
        *(float(x) for x in range(2, 17)),
        *(abs(n.value) for n in numbers if n.value),
        *(10.0**k for k in range(1, 7)),
    ]
    return ratio > NEAR and not any(abs(ratio / x - 1) <= room for x in (*whole, *_POWERS) if x > 1)


def _evaluated(e: Equality, dim_of: DimOf, exact: Callable[[Number], bool]) -> Outcome | None:
    """The verdict on ``e`` as it is written; None where its sides cannot be compared."""

    last = list(numbers_in(e.right))[-1]

    def spread(n: Number) -> float:
        coarse = COARSE if n.whole or n is not last else 1.0  # 0.02 B is what 0.0157 B are rounded to
        return 0.0 if exact(n) else min(n.half, coarse * abs(n.value))

    left, right = evaluate(e.left, False, spread, dim_of), evaluate(e.right, False, spread, dim_of)
    middle = evaluate(e.left).low
    claimed = evaluate(e.right).low
    if not all(map(math.isfinite, (left.low, right.low, middle, claimed))):
        return None
    unit = "share" if any(n.percent for n in numbers_in(e.right)) else _unit(left.dims, right.dims)
    middle *= _unit_meant(e, left, right, middle, claimed)
    wrong = _dimension(e, left, right, dim_of)
    if wrong and _of_a_second(left, right) and claimed and abs(middle / claimed - 1) <= LOOSE:
        return Outcome(
            Verdict.HOLDS, "by the numbers written, what is left of it being of a second", claimed, middle, unit
        )
    if wrong and any(n.dim == COUNT for n in numbers_in(e.left)) and claimed and abs(middle / claimed - 1) <= LOOSE:
        return None  # a unit is left out
    if wrong:
        return Outcome(Verdict.WRONG, wrong, claimed, middle, unit)
    for a in (False, True):
        for b in (False, True):
            if _agree(evaluate(e.left, a, spread, dim_of), evaluate(e.right, b, spread, dim_of), e, b):
                return Outcome(
                    Verdict.HOLDS, f"{format_quantity(middle, unit)} by the numbers written", claimed, middle, unit
                )
    return Outcome(Verdict.WRONG, _astray(e, middle, claimed, unit), claimed, middle, unit)


def _unit_meant(e: Equality, left: Value, right: Value, middle: float, claimed: float) -> float:
    """The unit that a left side of bare numbers, worth ``middle``, is in: that of its result, or one 1000 or 10⁶ times
    smaller, where that makes it nearly the result; 1 where there is none."""
    last = list(numbers_in(e.right))[-1]
    if left.dims != {COUNT} or right.dims == {COUNT} or not claimed or not middle:
        return 1.0
    for unit in (last.factor, last.factor / 1e3, last.factor / 1e6):
        if (unit >= 1 or unit == last.factor) and abs(middle * unit / claimed - 1) < 0.3:
            return unit
    bare = not _ARROW.search(e.text) and not any(n.noun for n in numbers_in(e.left))
    return last.factor if bare and 1 / IN_UNIT < middle * last.factor / claimed < IN_UNIT else 1.0


def _dimension(e: Equality, left: Value, right: Value, dim_of: DimOf) -> str:
    """What is wrong with the dimensions of ``e``, or an empty text."""
    for side, value in ((e.left, left), (e.right, right)):
        if not value.dims:
            return "it adds quantities of different dimensions: " + ", ".join(
                sorted({name(n.dim) for n in numbers_in(side) if n.dim != COUNT})
            )
    if left.dims & right.dims or left.dims == {COUNT}:
        return ""
    bare = right.dims == {COUNT} and not any(n.percent for n in numbers_in(e.right))
    if bare or (right.dims <= {PER_SECOND} and left.dims <= {COUNT}):
        return ""
    a, b = (" or ".join(sorted(name(d) for d in dims)) for dims in (left.dims, right.dims))
    terms = ", ".join(f"{n.text} ({_told(n, dim_of(n))})" for n in numbers_in(e.left) if n.dim != COUNT)
    share = " (a utilization is a rate over a rate)" if any(n.percent for n in numbers_in(e.right)) else ""
    return f"wrong in dimension: the left is in {a}, the right is {b}{share}; written are {terms}"


def _of_a_second(left: Value, right: Value) -> bool:
    """Whether bytes are told as bytes a second, as those of what comes in a second are."""
    return left.dims == {BYTES} and right.dims == {BYTE_RATE}


def name(dim: Dim) -> str:
    """A dimension in words."""
    if dim in NAMES:
        return NAMES[dim]
    parts = [f"{unit}^{power}" for unit, power in zip(("B", "s", "FLOP"), dim, strict=True) if power]
    return "·".join(parts)


def _told(n: Number, known: Dim | None) -> str:
    return "work or a rate" if n.either and known is None else name(known or n.dim)


def _unit(left: frozenset[Dim], right: frozenset[Dim]) -> str:
    """The unit in which both sides are printed."""
    for dims in (left & right, right - {COUNT}, left - {COUNT}):
        for dim in (FLOP, FLOP_RATE, *NAMES):
            if dim in dims:
                return NAMES[dim]
    return NAMES[COUNT]


def _agree(left: Value, right: Value, e: Equality, binary: bool) -> bool:
    """Whether the ranges of both sides meet, the right, ``binary`` where its prefixes are powers of 1024, in the left's
    unit where that is written bare."""
    last = list(numbers_in(e.right))[-1]
    scales = [1.0]
    decimal = any(not n.whole for n in numbers_in(e.left))
    if left.dims == {COUNT} and (right.dims != {COUNT} or last.factor >= (1e3 if decimal else 1e6)):
        scales.append((last.value / last.binary if binary and last.binary else 1.0) / last.factor)
        if e.loose or last.approx:  # 524 × 4096 / 1024 ≈ 2.1 GB, of KB
            scales += [1e3 / last.factor, 1024 / last.factor]
        if right.dims & {FLOP, FLOP_RATE}:  # 1024 × 989 × 0.38 = 385 PFLOPS, of TFLOPS
            scales += [1e-6, 1e-9, 1e-12]
    elif right.dims == {COUNT} and left.dims != {COUNT}:
        scales += _POWERS
    first = e.left if isinstance(e.left, Number) else None
    exact = first is not None and first.dim == BYTES and first.factor == 1 and first.value >= 1024
    if "iB" in last.text and not exact:  # GiB written for GB
        scales += [s * (1000 / 1024) ** round(math.log(last.factor, 1024)) for s in scales]
    return any(_meet(left, Value(right.low * s, right.high * s, right.dims), e) for s in scales)


#: what is needed whole
_THINGS: Final = re.compile(
    r"(?:nodes?|GPUs?|cards?|servers?|machines?|Knoten|Karten|Server)\b|个?(?:节点|卡|台|张|机)", re.I
)


def _meet(a: Value, b: Value, e: Equality) -> bool:
    slack = 1e-9 * max(abs(a.low), abs(b.low))
    numbers = list(numbers_in(e.right))
    if isinstance(e.right, Number) and e.right.whole and has_sign(e.left, "÷"):
        fit = e.right.value >= 10 and 0 <= a.low - e.right.value < 1
        needed = bool(_THINGS.match(e.right.noun)) and 0 <= e.right.value - a.low < 1
        slack += e.right.half if abs(e.right.value) >= 100 else 1.0 if fit or needed else 0.0
    if isinstance(e.right, Number) and not e.right.whole and e.right.half and a.high - e.right.value >= 0:
        slack += e.right.half  # cut off, and not rounded
    if isinstance(e.right, Number) and e.right.whole and e.right.value % 100 == 0 and e.right.value >= 1000:
        slack += 0.005 * abs(b.low)  # told in hundreds
    elif not (isinstance(e.right, Number) and e.right.whole and e.right.dim == COUNT):
        slack += FINE * abs(b.low)
    if e.loose or (isinstance(e.right, Number) and e.right.approx):
        last = numbers[-1]  # whose unit the left side may not have
        slack += max(LOOSE, last.half / abs(last.value) if last.value else 0.0) * abs(b.low)
    return a.low <= b.high + slack and b.low <= a.high + slack


def _astray(e: Equality, computed: float, claimed: float, unit: str) -> str:
    """Why an equality is wrong: the right value, and the factor if it is a known one."""
    right = format_quantity(computed, unit)
    if not computed:
        return f"the left side is {right}"
    ratio = claimed / computed
    last = list(numbers_in(e.right))[-1]
    for power in _POWERS:
        if power > 0 and abs(ratio / power - 1) <= last.slack + 0.03:
            step = f"{power:.4g}" if power >= 1 else f"1/{1 / power:.4g}"
            return f"the left side is {right}: wrong by a factor of {step}"
    return f"the left side is {right}; {claimed / computed:.4g} times that is written"


#: what a strategy divides, by whole numbers
_DIVIDED: Final = re.compile(
    r"head|expert|layer|column|hidden|width|intermediate|Köpf|Kopf|Schicht|Spalte|头|专家|层|列|维", re.IGNORECASE
)


#: letters behind a number that say what it is of
NOUN: Final = 16
_OF_ONE: Final = re.compile(r"\b(?:per|each|je|pro)\b|/|每", re.IGNORECASE)


#: what is divided by which size of a strategy
_DIVISORS: Final = (
    (re.compile(r"\bheads?\b|Köpfe|Kopf\b|têtes|头", re.IGNORECASE), "tp"),
    (re.compile(r"\blayers?\b|Schichten|couches|层", re.IGNORECASE), "pp"),
    (
        re.compile(
            r"\bexperts?\b(?!.{0,12}(?:FFN|width|intermediate|inner|hidden))|Experten|专家(?!.{0,4}维)", re.IGNORECASE
        ),
        "ep",
    ),
)


def _by_kind(s: Split, divisors: dict[str, int], words: str) -> dict[str, int]:
    """The sizes that what is split may be divided by: heads by tensor parallelism, layers by stages, experts by EP;
    by the words behind it, or else those of its key."""
    for text in (s.after.noun[:NOUN], s.before.noun[:NOUN], words.partition("|")[0]):
        kinds = [name for pattern, name in _DIVISORS if pattern.search(text)]
        if kinds:
            return {k: v for k, v in divisors.items() if k == kinds[0]} if len(kinds) == 1 else divisors
    return divisors


def judge_split(s: Split, divisors: dict[str, int], words: str) -> Outcome | None:
    """``16 heads → 8``: the first divided by a size of the strategy; None where nothing tells by which."""
    if s.before.dim != s.after.dim or not s.after.value or not s.before.value:
        return None
    if s.after.value > s.before.value and not _OF_ONE.search(s.after.noun):  # 16 → 64: no part of it
        return None
    unit = NAMES.get(s.before.dim, "")
    divisors = _by_kind(s, divisors, words)
    named = [k for k in divisors if k in words.lower().split("=")[0]] or list(divisors)
    for key in named:
        expected = s.before.value / divisors[key]
        if abs(expected - s.after.value) <= 1e-9 * expected + (0 if s.after.whole else s.after.half):
            return Outcome(Verdict.HOLDS, f"{s.before.text} / {key} {divisors[key]}", s.after.value, expected, unit)
    counted = s.before.whole and s.after.whole and s.before.dim == COUNT
    near = (words.partition("|")[0], s.text, s.before.noun[:NOUN], s.after.noun[:NOUN])
    if not named or not counted or not any(map(_DIVIDED.search, near)):
        return None
    key = named[0]
    expected = s.before.value / divisors[key]
    if s.after.approx and abs(s.after.value - expected) < 1:
        return None  # 61 layers → ~16
    why = f"{s.before.text} / {key} {divisors[key]} is {format_quantity(expected, unit)}"
    return Outcome(Verdict.WRONG, why, s.after.value, expected, unit)
