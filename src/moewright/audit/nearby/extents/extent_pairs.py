"""Two figures of one thing, of which one is of so many times as much: of a layer and of all layers, of a GPU and of a
node. One rule for every axis; the words of both must be the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
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

    def number(self) -> int:
        """How many times ``one`` ``many`` is, 0 where that is no whole number above 1."""
        c = round(self.many.entry.number.value / self.one.entry.number.value)
        return c if c > 1 and self.agrees(c) else 0

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
    pairs = list(_pairs(ledger))
    numbers: dict[object, Counter[int]] = {}
    for p in pairs:
        numbers.setdefault(_kind(p), Counter())[p.number()] += 1
    borne_out = {id(x) for p in pairs if p.count and p.agrees(p.count) for x in (p.one, p.many)}
    places: dict[object, set[int]] = {}
    for x in (x for entries in ledger.entries for x in entries):
        places.setdefault((x.number.value, x.number.dim), set()).add(x.index)
    for p in pairs:
        alike = numbers[_kind(p)]
        several = alike.total() > 2
        counts = _counts(p, alike, facts_at, ledger)
        agreed = next((c for c in counts if p.agrees(c)), None)
        if agreed is not None:
            yield p.many.entry, _claim(p.many.entry, Verdict.HOLDS, p, agreed, "")
        elif counts and (found := _slip(p, counts[0], bool(p.count) or p.axis[0] == p.axis[1] or several)):
            one, many = (id(x) in borne_out or _is_used(x.entry, p, places, ledger) for x in (p.one, p.many))
            accused = p.one.entry if many else p.many.entry
            if not (one and many) and not standing_of(accused.statement):
                yield accused, _claim(accused, Verdict.WRONG, p, counts[0], found)


def _pairs(ledger: Ledger) -> Iterator[Pair]:
    """Figures of one thing, near one another, that differ in one axis."""
    by_words: dict[object, list[Told]] = {}
    for x in [x for entries in _amounts(ledger) for x in entries][:MOST]:
        key = (x.subject.words, x.entry.number.dim, x.entry.statement.path)
        by_words.setdefault(key, []).append(x)
    for alike in by_words.values():
        for i, a in enumerate(alike):
            for b in islice(alike, i + 1, None):
                if b.entry.index - a.entry.index > NEAR:
                    break
                if (p := _pair(a, b)) is not None:
                    yield p


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
    if a.entry.line == b.entry.line and a.entry.statement.kind != "cell":
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


def _kind(p: Pair) -> tuple[tuple[str, str], int]:
    """What the siblings of a pair have in common with it."""
    return p.axis, p.many.entry.statement.group


def _counts(p: Pair, alike: Counter[int], facts_at: FactsAt, ledger: Ledger) -> list[int]:
    """The numbers that ``many`` may have of ``one``, the likeliest first: what it says, what its siblings have, what
    the document gives; ``alike``: the numbers of the pairs of its kind, with its own."""
    if p.count:
        return [p.count]
    own = p.number()
    learned = [c for c, n in alike.most_common(3) if c and n > (c == own)] if len(alike) <= 3 else []
    if len(learned) == 1 and (alike.total() > 2 or learned[0] in ledger.counts):
        return learned
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


def _is_used(e: Entry, p: Pair, places: Mapping[object, set[int]], ledger: Ledger) -> bool:
    """Whether a formula, another statement with the same figure, or a row that follows from it bears ``e`` out."""
    n = e.number
    elsewhere = digits(n) > 2 and bool(places[n.value, n.dim] - {e.index})
    return bool(e.figure.formula) or elsewhere or _leads_on(e, p, ledger)


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
