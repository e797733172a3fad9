"""Ratios and percentages right behind the numbers that they are of: = 7 / 103, i.e. 6.8 %; 99.4 B, of which 8.79 B are
active, a sparsity of 11.3."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, is_amount, meet, over, ranges, rounded
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import COUNT

_FRACTION: Final = re.compile(
    r"(?<![\d.,/×*+-])(?<![/×*+-] )(?P<a>\d[\d,]*(?:\.\d+)?)\s*/\s*(?P<b>\d[\d,]*(?:\.\d+)?)\s*"
    r"(?:,\s*)?(?:i\.e\.|that is|or|d\.h\.|das sind|also|soit|即|约)\s*(?:about |rund |~|≈)?\s*$",
    re.IGNORECASE,
)
_RATIO: Final = re.compile(
    r"\b(?:sparsity(?: ratio| factor)?|ratio|quotient|Verhältnis|Faktor|稀疏比|比值|比例)\b\s*(?:of|is|von|=|:|"
    r"为)?\s*[~≈]?\s*$",
    re.IGNORECASE,
)
#: between the two amounts that a ratio is of
_OF: Final = re.compile(r"[^.;\d]{0,60}", re.IGNORECASE)


def judge_told_fractions(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a percentage that stands behind the fraction that it is."""
    for entries in ledger.entries:
        for e in entries:
            s = e.statement
            m = _FRACTION.search(s.value[: e.number.at]) if e.number.percent and e.number.at > 0 else None
            if m is None or e.number.approx or standing_of(s):
                continue
            a, b = (float(m[x].replace(",", "")) for x in ("a", "b"))
            if not b:
                continue
            right = a / b
            why = f"{m['a']} / {m['b']} is {right:.2%}"
            exact = meet(rounded(e.number), ((right, right),))
            yield e, e.claim("share", Verdict.HOLDS if exact else Verdict.WRONG, why, right)


_MORE: Final = re.compile(
    r"^\s*(?:x|×|times|-?fach|fois|倍)\s*(?:more|as (?:much|many|large)|larger|bigger|less|smaller|mehr|größer|"
    r"plus)?\s*(?:[.,;)]|$)",
    re.IGNORECASE,
)
_SLIPS: Final = (2.0, 4.0, 8.0, 10.0)


def judge_times_more(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on how many times more an amount is than the one before: 4.00 MB, i.e. 57 times more, behind 70 kB."""
    for index, entries in enumerate(ledger.entries):
        for i, e in enumerate(entries):
            n, s = e.number, e.statement
            if n.dim != COUNT or n.percent or is_amount(n) or n.at < 0 or n.value <= 1 or not i or n.whole:
                continue
            if not _MORE.match(e.behind) or e.figure.formula or standing_of(s):
                continue
            last = next((x for x in reversed(entries[:i]) if is_amount(x.number) and x.figure.role != "operand"), None)
            near = [x for x in (*reversed(entries[:i]), *ledger.before(index, 3)) if last is not None and x is not last]
            near = [x for x in near if last is not None and x.number.dim == last.number.dim and is_amount(x.number)]
            if last is None or not near:
                continue
            got = [
                (x, y)
                for x in near
                for y in (over(ranges(last.number), ranges(x.number)), over(ranges(x.number), ranges(last.number)))
            ]
            if any(meet(ranges(n), y) for _, y in got):
                continue
            x = near[0]
            ratio = max(last.number.value / x.number.value, x.number.value / last.number.value)
            if any(abs(n.value / ratio * k - 1) < 0.01 or abs(n.value / ratio / k - 1) < 0.01 for k in _SLIPS):
                why = f"{last.number.text.strip()} and {x.number.text.strip()} (line {x.line}) are {ratio:.3g} to 1"
                yield e, e.claim("ratio", Verdict.WRONG, why, ratio)


def judge_told_ratios(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a ratio that is called one, behind the only two amounts of one dimension in its sentence."""
    for entries in ledger.entries:
        for e in entries:
            s, n = e.statement, e.number
            if n.dim != COUNT or n.percent or is_amount(n) or n.at < 0 or n.value <= 1 or e.figure.formula:
                continue
            if not _RATIO.search(s.value[: n.at]) or standing_of(s):
                continue
            before = [x for x in entries if x.number.at < n.at and is_amount(x.number)]
            if len(before) < 2 or len({x.number.dim for x in before[-2:]}) != 1:
                continue
            a, b = sorted(before[-2:], key=lambda x: -x.number.value)
            got = over(ranges(a.number), ranges(b.number))
            if any(meet(ranges(n), over(ranges(x.number), ranges(y.number))) for x, y in pairwise(before)):
                continue
            if not meet(ranges(n), got) and got[0][0] > 1:
                right = a.number.value / b.number.value
                why = f"{a.number.text.strip()} is {right:.3g} times {b.number.text.strip()}"
                yield e, e.claim("ratio", Verdict.WRONG, why, right)
