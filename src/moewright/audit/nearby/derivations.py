"""Figures that follow from those told just before them: multiples, parts, sums, bytes of so many parameters. A figure
that nothing nearby explains, and that a usual slip does, is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import (
    Entry,
    Ledger,
    digits,
    is_amount,
    is_part,
    meet,
    ranges,
    slip,
    span_between,
    times,
)
from moewright.audit.text.clauses import ends_range
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP_RATE, NAMES, PER_SECOND
from moewright.units import format_quantity

#: figures that may be what another follows from
MOST_NEAR: Final = 8
#: significant digits below which much agrees by chance
LEAST_DIGITS: Final = 3
#: a figure of another plan, or a wish
_APART: Final = re.compile(
    r"\bvs\b|versus|instead|compar|would|could|\bif\b|target|limit|budget|at (?:most|least)|up to|measured|observed|"
    r"bench|baseline|falls? to|drops? to|statt|würde|wenn|höchstens|mindestens|gemessen|对比|相比|如果|目标|实测|上限",
    re.IGNORECASE,
)
_ACTIVE: Final = re.compile(r"\bactiv|\baktiv|激活", re.IGNORECASE)
_SUM: Final = re.compile(
    r"\btotal\b|\bsum\b|together|altogether|in all\b|comes? to|adds? up|zusammen|insgesamt|Summe|合计|总共|总计",
    re.IGNORECASE,
)


def judge_derivations(ledger: Ledger, known_at: Callable[[Entry], bool]) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on every figure that nothing nearby explains but a usual slip does; ``known_at``: whether a figure is
    what the planner derives."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading" or _APART.search(s.text):
            continue
        for e in entries:
            n = e.number
            if (
                not is_amount(n)
                or e.figure.role != "lone"
                or n.approx
                or ends_range(s.value, n)
                or digits(n) < LEAST_DIGITS
            ):
                continue
            if n.dim in (BYTE_RATE, FLOP_RATE) or n.either or e.number.at < 0:
                continue
            if n.dim == COUNT and _ACTIVE.search(f"{e.figure.words} {s.key}"):
                continue  # what a token passes is no multiple of what there is
            near = _near(e, entries, ledger)
            if not near or ledger.stands_as_result(n, e.index) or _explained(e, entries, near, ledger) or known_at(e):
                continue
            claim = _astray(e, entries, near, ledger)
            if claim is not None:
                yield e, claim


def _near(e: Entry, entries: list[Entry], ledger: Ledger) -> list[Entry]:
    """Amounts that ``e`` may follow from, the nearest first."""
    same = [x for x in reversed(entries) if x.number.at < e.number.at]
    row = [x for x in ledger.row(e) if x.statement is not e.statement]
    found = [x for x in (*same, *row, *ledger.before(e.index, 3)) if is_amount(x.number) or x.number.dim == PER_SECOND]
    return [x for x in found if x.number.dim not in (BYTE_RATE, FLOP_RATE) and not x.number.either][:MOST_NEAR]


def _explained(e: Entry, entries: list[Entry], near: list[Entry], ledger: Ledger) -> bool:
    """Whether the figure is a multiple, a part, a sum or a difference of figures nearby, by the counts of its own
    statement, its row and its titles."""
    said, n = ranges(e.number), e.number
    here = [*entries, *ledger.row(e), *ledger.titles(e)]
    counts = [x.number.value for x in here if x.number.dim == COUNT and not is_amount(x.number) and x.number.value > 0]
    factors = dict.fromkeys((1.0, 2.0, *counts, *(1 - c for c in counts if c < 1)))
    alike = [ranges(x.number) for x in near if x.number.dim == n.dim]
    for mine in alike:
        if is_part(said, mine, factors):
            return True
    for count in (2, 3, 4):
        for some in combinations(alike[:6], count):
            for k in range(min(map(len, some))):
                low, high = sum(x[k][0] for x in some), sum(x[k][1] for x in some)
                gap = sorted((abs(some[0][k][0] - some[1][k][1]), abs(some[0][k][1] - some[1][k][0])))
                if meet(said, ((low, high),)) or (count == 2 and meet(said, ((gap[0], gap[1]),))):
                    return True
    return False


def _astray(e: Entry, entries: list[Entry], near: list[Entry], ledger: Ledger) -> Claim | None:
    """The verdict on a figure that follows from the nearest one but for a slip, or is no sum of those beside it."""
    n, s = e.number, e.statement
    unit = NAMES.get(n.dim, "")
    x = near[0]
    close = x.index >= e.index - 1 or (s.kind == "cell" and x.statement.group == s.group)
    if x.number.dim != n.dim or not close or digits(x.number) < LEAST_DIGITS:
        return None
    about = [*entries, *(ledger.entries[e.index - 1] if e.index else [])]
    own = [y for y in about if y.number.dim == COUNT and y.number.whole and 1 < y.number.value < 1e5]
    own = [y for y in own if y.index != e.index or y.figure.role != "operand"]
    if s.kind == "cell" and x.line != e.line:
        own = []  # of another row, whose figure the counts of this one say nothing of
    for count in (1.0, *(y.number.value for y in own)):
        for whole in dict.fromkeys((x.number.value * count, x.number.value / count)):
            room = n.slack + x.number.slack + 1e-3
            found = slip(n.value / whole, room, ((count, f"{count:g}"),) if count > 1 else ())
            binary = found.startswith("1024") and "iB" in n.text
            if not (found.startswith("1000") or binary) or room > 0.02:
                continue
            told = (
                x.number.text if count == 1 else f"{x.number.text} {'×' if whole > x.number.value else '/'} {count:g}"
            )
            why = f"{told} is {format_quantity(whole, unit)}: {found}"
            return e.claim("derivation", Verdict.WRONG, why, whole)
    return _no_sum(e, entries) or _of_each(e, entries, ledger)


#: what says of a figure that it is of one
_EACH_BEHIND: Final = re.compile(
    r"^\s*(?:each|apiece|a piece|per \w+|je(?:weils)?\b|pro \w+|parameters?\b)", re.IGNORECASE
)
_EACH_BEFORE: Final = re.compile(
    r"(?:\b(?:an?|one|single|each|every|ein(?:e[mnr]?)?|jede[mnrs]?)\b[^.;\d]{0,40}|(?:单个|每个?|一个)[^。;\d]{0,16})$",
    re.IGNORECASE,
)


def _of_each(e: Entry, entries: list[Entry], ledger: Ledger) -> Claim | None:
    """The verdict on what so many things make together, where what one of them has is told just before."""
    n, s = e.number, e.statement
    before = [x for x in entries if x.number.at < n.at]
    counts = [x for x in before if x.number.whole and x.number.dim == COUNT and 1 < x.number.value < 1e5]
    if not counts or not _SUM.search(s.value[counts[-1].number.at : n.at]) or s.kind == "cell":
        return None
    for x in (*reversed(before), *ledger.before(e.index, 3)):
        if x.number.dim != n.dim or not is_amount(x.number) or digits(x.number) < LEAST_DIGITS:
            continue
        if not _EACH_BEHIND.match(x.behind) and not _EACH_BEFORE.search(x.statement.value[: x.number.at]):
            continue
        count = counts[-1].number
        whole = x.number.value * count.value
        both = abs(n.value / whole / 2 - 1) <= n.slack + x.number.slack or _of_several(e, x, count.value, ledger)
        astray = slip(n.value / whole, n.slack + x.number.slack + 1e-3).startswith(("1000 ", "1024 "))
        if not (0.4 < n.value / whole < 2.5 or astray) or both or (x.index == e.index and x.number.at > count.at):
            return None
        why = f"{count.text.strip()} × {x.number.text} is {format_quantity(whole, NAMES.get(n.dim, ''))}"
        return e.claim("derivation", Verdict.WRONG, why, whole)
    return None


def _of_several(e: Entry, x: Entry, count: float, ledger: Ledger) -> bool:
    """Whether ``e`` is ``count`` times what ``x`` and another figure just before are together."""
    others = [y for y in ledger.before(e.index, 4) if y.number.dim == x.number.dim and y is not x]
    said = ranges(e.number)
    return any(
        meet(said, ((count * (a[0] + b[0]), count * (a[1] + b[1])),))
        for y in others
        for a in ranges(x.number)
        for b in ranges(y.number)
    )


def _no_sum(e: Entry, entries: list[Entry]) -> Claim | None:
    """The verdict on the total of a sentence that is not the sum of what the sentence tells before it."""
    n, s = e.number, e.statement
    parts = [
        x
        for x in entries
        if x.number.at < e.number.at and x.number.dim == n.dim and is_amount(x.number) and not x.figure.remark
    ]
    parts = [x for x in parts if x.figure.role != "operand"]
    if len(parts) < 2 or s.kind == "cell":
        return None
    between = span_between(s, parts[-1].number, n)
    if not _SUM.search(between) or re.search(r"\d|[;.]|\b(?:beide[nr]?|both|two|zwei)\b", between):
        return None
    whole = sum(x.number.value for x in parts[-2:])
    every = sum(x.number.value for x in parts)
    if not any(0.5 < n.value / y < 2 for y in (whole, every)):
        return None
    told = " + ".join(x.number.text for x in (parts if len(parts) == 2 else parts[-2:]))
    unit = NAMES.get(n.dim, "")
    why = f"{told} is {format_quantity(whole, unit)}"
    return e.claim("sum", Verdict.WRONG, why, whole)


_HELD: Final = re.compile(
    r"context|cache|\bKV\b|conversation|session|request|sequence|Kontext|Sitzung|Sequenz|Anfrage|上下文|缓存|会话|请求",
    re.I,
)
_TOKENS: Final = re.compile(
    r"(?<![\d.,])(\d[\d,]{2,}|\d+(?:\.\d+)?\s?(?P<many>[kKM]|million|Mio|Tsd|万))"
    r"(?:[ -]tokens?\b| Token\b|\s?个?\s?token)",
    re.IGNORECASE,
)
_MANY: Final = {"k": 1e3, "m": 1e6, "million": 1e6, "mio": 1e6, "tsd": 1e3, "万": 1e4}
_TOKEN: Final = re.compile(
    r"(?:per|each|every|a|one|je|pro|/)\s?token|每(?:个)?\s?token|token (?:needs|takes|costs)", re.IGNORECASE
)


def _count(m: re.Match[str]) -> float:
    """The number of tokens that a match tells."""
    digits_ = re.match(r"[\d.,]+", m[1])
    return float(digits_[0].replace(",", "")) * _MANY.get((m["many"] or "").lower(), 1.0) if digits_ else 0.0


def judge_token_bytes(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the bytes of so many tokens, by what the document says a token takes: by a thousand too large or
    small, where no such figure leads to them."""
    ones = [
        x for x in ledger.alike(BYTES) if _TOKEN.search(f"{x.statement.key} {x.statement.value[: x.number.at + 60]}")
    ]
    ones = [x for x in ones if 64 <= x.number.value < 1e8 and x.number.slack < 0.02]
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading" or not _HELD.search(f"{s.text} {' '.join(s.path[-1:])}") or _APART.search(s.text):
            continue
        tokens = [_count(m) for m in _TOKENS.finditer(s.text)]
        if not all(tokens):
            continue
        for e in entries:
            n = e.number
            if n.dim != BYTES or e.figure.role != "lone" or n.approx or digits(n) < LEAST_DIGITS or len(tokens) != 1:
                continue
            least = (tokens[0], tokens[0])
            ways = [times(ranges(x.number), (least,)) for x in ones if x.index != index]
            if not ways or any(meet(ranges(n), way) for way in ways) or ledger.stands_as_result(n, e.index):
                continue
            for x in ones:
                whole = x.number.value * tokens[0]
                found = slip(n.value / whole, n.slack + x.number.slack + 1e-3)
                if x.index != index and found.startswith("1000"):
                    why = f"{tokens[0]:,.0f} tokens at {x.number.text} (line {x.line}) take "
                    why += f"{format_quantity(whole, 'bytes')}: {found}"
                    yield e, e.claim("memory", Verdict.WRONG, why, whole)
                    break
