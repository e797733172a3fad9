"""Two figures of one thing, of which one is of so many times as much: of a layer and of all layers, of a GPU and of a
node. One rule for every axis; the words of both must be the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.extents.extent_words import EVERY, Subject, subject_of
from moewright.audit.nearby.ledger import Entry, Ledger, Range, digits, exactly, meet, misprint, ranges, slip, times
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.column_units import PLAIN
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, FLOP_RATE, NAMES, PER_SECOND, SECONDS, Number
from moewright.units import format_quantity

_EQUALS: Final = re.compile(r"[=≈]\s*$")
_MEASURED: Final = (BYTES, FLOP, FLOP_RATE, SECONDS, PER_SECOND, BYTE_RATE)
#: statements between two figures that may be of one thing
NEAR: Final = 40
#: figures of a document that are looked at
MOST: Final = 2000
#: what rounding may leave open of either figure
SLACK: Final = 0.03
#: so many times as much is told by the first digit
MANY: Final = 8
#: statements below a figure that may follow from it
BELOW: Final = 8
#: bare numbers below this are things, and no amounts
FEW: Final = 100
#: fields by which an axis has a number of things
_FIELDS: Final = {
    "layer": ("model.layers",),
    "gpu": ("cluster.gpus",),
    "node": ("cluster.gpus_per_node",),
    "expert": ("model.experts.count",),
}


@dataclass(frozen=True, slots=True)
class Told:
    """A figure with its subject."""

    entry: Entry
    subject: Subject


@dataclass(frozen=True, slots=True)
class Pair:
    """``many`` is of ``axis`` as much as ``one``, times the number that both say, 0 where neither does."""

    one: Told
    many: Told
    axis: tuple[str, str]
    count: int

    def ratio(self) -> float:
        """How many times ``one`` ``many`` is."""
        return self.many.entry.number.value / self.one.entry.number.value

    def agrees(self, count: int) -> bool:
        """Whether ``many`` is ``count`` times ``one``, within what rounding leaves."""
        a, b = self.one.entry.number, self.many.entry.number
        return meet(_ranges(b), times(_ranges(a), exactly(float(count))))


def _ranges(n: Number) -> tuple[Range, ...]:
    """What ``n`` may be; a whole number that is an amount may be rounded."""
    return ((n.value - n.half, n.value + n.half),) if n.whole and n.dim == COUNT else ranges(n)


def judge_extents(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on figures of a list or a table that name one thing in two extents: one is so many times the other, or
    by a usual slip not."""
    told = [x for entries in _amounts(ledger) for x in entries][:MOST]
    by_words: dict[object, list[Told]] = {}
    for x in told:
        key = (x.subject.words, x.entry.number.dim, x.entry.statement.path)
        by_words.setdefault(key, []).append(x)
    pairs = [p for alike in by_words.values() for a, b in combinations(alike, 2) if (p := _pair(a, b)) is not None]
    for p in pairs:
        counts = _counts(p, pairs, facts_at, ledger)
        if any(p.agrees(c) for c in counts):
            yield p.many.entry, _claim(p.many.entry, Verdict.HOLDS, p, next(c for c in counts if p.agrees(c)), "")
        elif counts and (found := _slip(p, counts[0], _is_sure(p, pairs))):
            accused = _accused(p, pairs, ledger)
            if accused is not None and not standing_of(accused.statement, ""):
                yield accused, _claim(accused, Verdict.WRONG, p, counts[0], found)


def _amounts(ledger: Ledger) -> Iterator[list[Told]]:
    """The main figure of each cell and of each item with a key, that is an amount of something named."""
    for entries, s in zip(ledger.entries, ledger.statements, strict=True):
        if s.kind not in ("cell", "item") or not s.key:
            continue
        figures = [e for e in entries if not e.figure.remark and e.number.at >= 0]
        results = [e for e in figures if e.figure.role == "result" or _EQUALS.search(s.value[: e.number.at])]
        main = results[-1:] or (figures if len(figures) == 1 and figures[0].figure.role == "lone" else [])
        subject = subject_of(_title(s))
        yield [Told(e, subject) for e in main if subject.extents and subject.words and _is_amount(e)]


def _title(s: Statement) -> str:
    if s.kind != "cell":
        return s.key
    return s.row if PLAIN.fullmatch(s.column.strip()) else f"{s.row} | {s.column}"


def _is_amount(e: Entry) -> bool:
    n = e.number
    return not (n.percent or n.approx) and (n.dim in _MEASURED or (n.dim == COUNT and n.value >= FEW))


def _pair(a: Told, b: Told) -> Pair | None:
    """``a`` and ``b`` as a pair that differs in one axis; None where they do not."""
    x, y = a.subject.extents, b.subject.extents
    apart = [k for k in (*x, *(k for k in y if k not in x)) if x.get(k) != y.get(k)]
    near = abs(a.entry.index - b.entry.index) <= NEAR
    if not near or (a.entry.line == b.entry.line and a.entry.statement.kind != "cell"):
        return None
    if sorted(apart) == ["gpu", "node"] and {x.get("gpu"), y.get("gpu")} == {1, None}:
        one, many = (a, b) if x.get("gpu") == 1 else (b, a)
        return Pair(one, many, ("gpu", "node"), 0)
    if len(apart) != 1:
        return None
    axis = apart[0]
    if axis == "layer":
        x, y = {"layer": EVERY, **x}, {"layer": EVERY, **y}
    if axis not in x or axis not in y:
        return None
    if 1 not in (x[axis], y[axis]) or x[axis] == y[axis]:
        return None
    one, many = (a, b) if x[axis] == 1 else (b, a)
    return Pair(one, many, (axis, axis), max(x[axis], y[axis]) if EVERY not in (x[axis], y[axis]) else 0)


def _counts(p: Pair, pairs: Sequence[Pair], facts_at: FactsAt, ledger: Ledger) -> list[int]:
    """The numbers that ``many`` may have of ``one``, the likeliest first: what it says, what its siblings have, what
    the document gives."""
    if p.count:
        return [p.count]
    alike = [q for q in pairs if q is not p and q.axis == p.axis and q.many.entry.statement.group == _group(p)]
    learned = {c for q in alike if (c := round(q.ratio())) > 1 and q.agrees(c)}
    if len(learned) == 1 and (len(alike) > 1 or learned <= set(ledger.counts)):
        return [*learned]
    facts = facts_at(p.many.entry.index, _FIELDS.get(p.axis[1], ())) if p.axis[1] in _FIELDS else None
    if facts is None:
        return []
    model, cluster = facts.case.model, facts.case.cluster
    moe = model.moe
    found: dict[str, Callable[[], list[int]]] = {
        "layer": lambda: [len(model.layers), len(model.moe_layers()), len(model.layers) - len(model.moe_layers())],
        "gpu": lambda: [cluster.gpus],
        "node": lambda: [cluster.gpus_per_node],
        "expert": lambda: [moe.experts] if moe is not None else [],
    }
    return [c for c in found[p.axis[1]]() if c > 1]


def _is_sure(p: Pair, pairs: Sequence[Pair]) -> bool:
    """Whether the number that ``many`` has of ``one`` is not that of one other row or column alone."""
    alike = [q for q in pairs if q is not p and q.axis == p.axis and q.many.entry.statement.group == _group(p)]
    return bool(p.count) or p.axis[0] == p.axis[1] or len(alike) > 1


def _group(p: Pair) -> int:
    return p.many.entry.statement.group


def _slip(p: Pair, count: int, sure: bool) -> str:
    """What makes ``many`` something else than ``count`` times ``one``, or an empty text; ``sure``: no other number of
    them may be meant."""
    a, b = p.one.entry.number, p.many.entry.number
    right = a.value * count
    room = a.slack + b.slack + 2e-3
    coarse = max(a.slack, b.slack) > SLACK
    told = slip(b.value / right, room, ((float(count), f"the {count}"),))
    if coarse:  # a figure of one digit, or two, is told from that of one thing alone
        same = abs(a.value - b.value) <= a.half + b.half
        return f"the {count} times too small" if count >= MANY and same else ""
    if not told and a.slack <= b.slack + 1e-3 and misprint(b, right):
        told = "two of its digits changed places"
    doubtful = told.startswith(("2 ", "4 ", "8 ")) and (p.axis[0] in ("token", "expert") or digits(b) < 2 or not sure)
    return "" if doubtful else told


def _accused(p: Pair, pairs: Sequence[Pair], ledger: Ledger) -> Entry | None:
    """Of the two figures of a pair that does not agree the one that nothing else bears out; None where both are."""

    def borne_out(x: Told) -> bool:
        n = x.entry.number
        others = [y for entries in ledger.entries for y in entries if y.index != x.entry.index]
        elsewhere = digits(n) > 2 and any(y.number.value == n.value and y.number.dim == n.dim for y in others)
        elsewhere = elsewhere or _leads_on(x.entry, p, ledger)
        more = (q for q in pairs if q is not p and (q.one is x or q.many is x))
        return bool(x.entry.figure.formula) or elsewhere or any(q.count and q.agrees(q.count) for q in more)

    one, many = borne_out(p.one), borne_out(p.many)
    return None if one and many else p.one.entry if many else p.many.entry


def _leads_on(e: Entry, p: Pair, ledger: Ledger) -> bool:
    """Whether a row just below, other than the pair's, is a whole number of times ``e`` that the document names."""
    mine = (p.one.entry.index, p.many.entry.index)
    for x in (x for entries in ledger.entries[e.index + 1 : e.index + BELOW] for x in entries):
        near = x.statement.group == e.statement.group and x.index not in mine and x.number.dim == e.number.dim
        ratio = x.number.value / e.number.value if near else 0.0
        room = x.number.slack + e.number.slack
        if ratio > MANY and room < 5e-3 and any(abs(ratio / c - 1) <= room for c in ledger.counts if c > MANY):
            return True
    return False


def _claim(e: Entry, verdict: Verdict, p: Pair, count: int, found: str) -> Claim:
    one, many = p.one.entry, p.many.entry
    unit = NAMES.get(e.number.dim, "")
    whole = one.number.value * count
    right = whole if e is many else many.number.value / count
    why = f"{one.number.text.strip()} (line {one.line}) × {count} is {format_quantity(whole, unit)}"
    if e is one:
        why = f"{many.number.text.strip()} (line {many.line}) / {count} is {format_quantity(right, unit)}"
    return e.claim("multiple", verdict, f"{why}: {found}" if found else why, right)
