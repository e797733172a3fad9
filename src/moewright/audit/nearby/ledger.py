"""The figures of a document in their order, for judges that hold one beside others."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import chain, islice, takewhile
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.figures import unit_of
from moewright.audit.text.clauses import Clauses, Figure
from moewright.audit.text.document import Statement
from moewright.audit.text.expressions import numbers_in
from moewright.audit.text.numbers import BYTES, COUNT, Dim, Number, digits_of, tokens_of

#: what an approximate figure may be off
ABOUT: Final = 0.05
#: half of the last place of a figure of one digit is much: no more than this share is taken for rounding
COARSE: Final = 0.1
#: a count that is a figure, of parameters or tokens, and no number of things
LARGE: Final = 1e6
#: digits by which two figures are told apart
TELLING: Final = 3
#: cells of a row that are looked at, before one and behind it
MOST_ACROSS: Final = (12, 11)
#: how near figures must be to be the same
CLOSE: Final = 1e-3
#: how far the values of two figures that may be the same are off
LOOSE: Final = 0.2
#: of the least that a figure may be, the least of another that may still be it: "about 1" may be 0.5 to 1.5
WIDEST: Final = 0.3
#: figures of one dimension that are looked at
MOST_FIGURES: Final = 400

Range = tuple[float, float]


def ranges(n: Number) -> tuple[Range, ...]:
    """What ``n`` may be as it is written: from and to, where K, M, G are powers of 1000 and, of bytes, of 1024."""
    found = []
    for value in dict.fromkeys((n.value, n.binary)):
        half = n.half * (value / n.value if n.value else 1.0)
        half = max(half, ABOUT * value) if n.approx else min(half, COARSE * value)
        if n.whole and n.dim == COUNT and not n.approx:
            half = 0.0
        found.append((value - half, value + half))
    return tuple(found)


def rounded(n: Number) -> tuple[Range, ...]:
    """What a percentage may be by its last place."""
    return ((n.value - n.half, n.value + n.half),)


def meet(a: Iterable[Range], b: Iterable[Range], slack: float = 2e-3) -> bool:
    """Whether any of the ranges ``a`` and ``b`` meet; ``slack``: of what they were worked out from."""
    other = list(b)
    return any(x[0] <= y[1] * (1 + slack) and y[0] <= x[1] * (1 + slack) for x in a for y in other)


def times(a: Iterable[Range], b: Iterable[Range]) -> tuple[Range, ...]:
    """Products of positive ranges."""
    other = list(b)
    return tuple((x[0] * y[0], x[1] * y[1]) for x in a for y in other)


def among(a: Iterable[Range], values: Sequence[float], slack: float = 2e-3) -> list[float]:
    """Those of ``values``, which go up, that the ranges ``a`` meet as they meet one that is exact."""
    found: list[float] = []
    for low, high in a:
        for value in islice(values, bisect_left(values, low * (1 - slack)), None):
            if value > high * (1 + slack):
                break
            if meet(((low, high),), exactly(value), slack):
                found.append(value)
    return found


def is_part(said: tuple[Range, ...], mine: tuple[Range, ...], factors: Iterable[float]) -> bool:
    """Whether ``said`` is any of ``factors`` times ``mine``, or ``mine`` over it."""
    return any(meet(said, times(mine, exactly(f))) or meet(said, over(mine, exactly(f))) for f in factors if f > 0)


def exactly(value: float) -> tuple[Range, ...]:
    """The range that is ``value`` alone."""
    return ((value, value),)


def plus(a: Iterable[Range], b: Iterable[Range]) -> tuple[Range, ...]:
    """Sums of ranges that are read alike: of 1000 with of 1000, of 1024 with of 1024."""
    return tuple((x[0] + y[0], x[1] + y[1]) for x, y in zip(a, b, strict=False))


def sum_of(numbers: Sequence[Number]) -> tuple[Range, ...]:
    """What the sum of one number or more may be."""
    return reduce(plus, map(ranges, numbers))


def over(a: Iterable[Range], b: Iterable[Range]) -> tuple[Range, ...]:
    """Quotients of positive ranges."""
    other = [y for y in b if y[0] > 0]
    return tuple((x[0] / y[1], x[1] / y[0]) for x in a for y in other)


#: factors that a slip of the pen leaves, and what they are called
_SLIPS: Final = (
    *((1000.0**k, f"1000{'' if k == 1 else f'^{k}'}") for k in (1, 2, 3)),
    *((1024.0**k, f"1024{'' if k == 1 else f'^{k}'}") for k in (1, 2, 3)),
    *((float(k), str(k)) for k in (10, 100, 2, 4, 8)),
)


def slip(ratio: float, room: float, more: Iterable[tuple[float, str]] = ()) -> str:
    """The usual slip that makes a figure ``ratio`` times what it should be, within ``room`` of it, or an empty text;
    ``more``: factors, with their names, that may have been forgotten."""
    if ratio <= 0:
        return ""
    for factor, name in chain(more, _SLIPS):
        for value, told in ((factor, f"{name} times too large"), (1 / factor, f"{name} times too small")):
            if factor > 1 and abs(ratio / value - 1) <= room:
                return told
    return ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A figure with the statement, of number ``index``, that it stands in."""

    index: int
    statement: Statement
    figure: Figure

    @property
    def number(self) -> Number:
        return self.figure.number

    @property
    def line(self) -> int:
        return self.statement.line_of(self.number.at)

    @property
    def behind(self) -> str:
        """The text of the statement behind the figure."""
        return self.statement.value[self.number.at + len(self.number.text) :]

    def claim(self, quantity: str, verdict: Verdict, why: str, right: float | None) -> Claim:
        """The verdict on this figure; ``right``: what it should be (SI), None where that is not known."""
        n = self.number
        return Claim(self.line, self.statement.text, quantity, verdict, why, n.value, right, unit=unit_of(n))


@dataclass(slots=True)
class Ledger:
    """Every figure of a document but those of nothing, which no other follows from: by statement, and by dimension.
    ``counts``: the whole numbers of things that it names."""

    statements: Sequence[Statement]
    entries: list[list[Entry]] = field(default_factory=list)
    by_dim: dict[Dim, list[Entry]] = field(default_factory=dict)
    counts: dict[int, None] = field(default_factory=dict)
    _spans: dict[Dim, list[tuple[float, float, int]]] = field(default_factory=dict)
    _results: dict[Dim, list[tuple[float, int, tuple[Range, ...]]]] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Iterable[tuple[Statement, Clauses]]) -> Ledger:
        """The ledger of the statements ``said``."""
        pairs = list(said)
        found = cls([s for s, _ in pairs])
        for index, (s, clauses) in enumerate(pairs):
            results = {e.right.at: tuple(numbers_in(e.left)) for e in clauses.equalities if isinstance(e.right, Number)}
            mine = [
                Entry(
                    index, s, replace(f, role="result", formula=results[f.number.at]) if f.number.at in results else f
                )
                for f in sorted(clauses.figures, key=lambda f: f.number.at)
            ]
            mine = [e for e in mine if e.number.value > 0 and all(n.value for n in e.figure.formula)]
            found.entries.append(mine)
            told = (t.number for t in tokens_of(s.key) if t.number is not None) if s.kind in ("prose", "item") else ()
            keyed = [Entry(index, s, Figure(replace(n, at=n.at - len(s.key) - 2), "lone", s.key)) for n in told]
            mine[:0] = [e for e in keyed if is_amount(e.number)]
            for e in mine:
                n = e.number
                if n.dim == COUNT and n.whole and 1 < n.value < LARGE:
                    found.counts[int(n.value)] = None
                elif not n.percent and (n.dim != COUNT or n.value >= LARGE) and n.value > 0:
                    found.by_dim.setdefault(n.dim, []).append(e)
        return found

    def before(self, index: int, back: int = 3, within: int = 40) -> Iterator[Entry]:
        """Figures of the ``back`` statements before number ``index`` under the same headings, the last first; in a
        table those of the same column. ``within``: less than so many statements back."""
        here = self.statements[index]
        seen = 0
        for i in range(index - 1, max(-1, index - within), -1):
            s = self.statements[i]
            if s.kind == "heading" or seen == back:
                return
            if here.kind == "cell" and (s.kind != "cell" or s.group != here.group or s.column != here.column):
                continue
            if s.kind == "cell" and here.kind != "cell":
                return
            seen += 1
            yield from reversed(self.entries[i])

    def around(self, index: int, back: int) -> list[Entry]:
        """The figures of statement number ``index`` and of the ``back`` before it, in their order."""
        return [x for entries in self.entries[max(0, index - back) : index + 1] for x in entries]

    def row(self, e: Entry) -> list[Entry]:
        """The figures of the other cells of the row that ``e`` stands in."""
        if e.statement.kind != "cell":
            return []
        return [x for i in reversed(self.beside(e.index, *MOST_ACROSS)) for x in self.entries[i]]

    def beside(self, index: int, before: int, behind: int) -> list[int]:
        """The other cells, so many ``before`` and ``behind`` it, of the row that cell number ``index`` stands in."""
        s = self.statements[index]
        near = range(max(0, index - before), min(len(self.statements), index + behind + 1))
        others = ((i, self.statements[i]) for i in near if i != index)
        return [i for i, x in others if (x.line, x.group) == (s.line, s.group)]

    def titles(self, e: Entry) -> list[Entry]:
        """The numbers in the titles of the row and the column that ``e`` stands in, or in its key."""
        text = f"{e.statement.row} | {e.statement.column}" if e.statement.kind == "cell" else e.statement.key
        return [
            Entry(e.index, e.statement, Figure(t.number, "lone", "")) for t in tokens_of(text) if t.number is not None
        ]

    def stands_elsewhere(self, n: Number, index: int) -> bool:
        """Whether a statement other than number ``index`` has a figure that may be ``n``."""
        if n.dim not in self._spans:
            self._spans[n.dim] = sorted((*r, x.index) for x in self.alike(n.dim) for r in ranges(x.number))
        spans = self._spans[n.dim]
        for low, high in ranges(n):
            at = bisect_left(spans, (low * WIDEST, 0.0, 0))
            for a, b, i in islice(spans, at, None):
                if a > high * (1 + CLOSE):
                    break
                if i != index and low <= b * (1 + CLOSE):
                    return True
        return False

    def stands_as_result(self, n: Number, index: int) -> bool:
        """Whether a statement other than number ``index`` has a figure that may be ``n``, as a result or by itself."""
        if n.dim not in self._results:
            found = [x for x in self.alike(n.dim) if x.figure.role != "operand"]
            self._results[n.dim] = sorted((x.number.value, x.index, ranges(x.number)) for x in found)
        results, mine = self._results[n.dim], ranges(n)
        at = bisect_right(results, (n.value * (1 - LOOSE),))
        near = takewhile(lambda x: x[0] < n.value * (1 + LOOSE), islice(results, at, None))
        return any(i != index and meet(mine, other, CLOSE) for _, i, other in near)

    def alike(self, dim: Dim) -> list[Entry]:
        """Figures of dimension ``dim``; of a count only those that are as large as figures are."""
        return self.by_dim.get(dim, [])[:MOST_FIGURES]


def in_text(text: str) -> list[Entry]:
    """The numbers of a text that is no statement of its own, such as the name of a row."""
    s = Statement(0, text, "", text, (), "prose")
    return [Entry(0, s, Figure(t.number, "lone", "")) for t in tokens_of(text) if t.number is not None]


def is_amount(n: Number) -> bool:
    """Whether ``n`` is a figure with a unit, or a large count, and no number of things, no share."""
    return (
        not n.percent
        and n.value > 0
        and (n.dim != COUNT or n.value >= LARGE)
        and not (n.dim == BYTES and n.factor == 1 and n.value <= 16)
    )


def of_bytes(size: float) -> str:
    """``size`` bytes, in words."""
    return f"{size:g} byte" if size == 1 else f"{size:g} bytes"


def digits(n: Number) -> int:
    """Significant digits as written."""
    found = re.search(r"[\d,]*\.?\d+", n.text)
    text = (found[0] if found else "").replace(",", "")
    return len(text.replace(".", "").lstrip("0")) if "." in text else len(text.strip("0"))


def misprint(n: Number, right: float) -> bool:
    """Whether ``n`` is what ``right`` is, rounded alike, with two of its digits in each other's place: neighbours, or,
    where there are more than three digits, any two."""
    text, scale = digits_of(n)
    if not text or not n.factor:
        return False
    places = len(text.partition(".")[2])
    meant = f"{right / scale:.{places}f}" if scale else ""
    if len(text.replace(".", "").lstrip("0")) < TELLING or len(meant) != len(text):
        return False
    apart = [i for i in range(len(text)) if text[i] != meant[i]]
    if len(apart) != 2:
        return False
    i, j = apart
    near = text[i + 1 : j] in ("", ".") or len(text.replace(".", "")) > TELLING
    return near and text[i] == meant[j] and text[j] == meant[i]


def span_between(s: Statement, first: Number, second: Number) -> str:
    """The text of ``s`` between two of its numbers."""
    return s.value[first.at + len(first.text) : second.at]


_WORD: Final = re.compile(r"[^\W\d_]+")


def words(text: str) -> list[str]:
    """The words of ``text``."""
    return _WORD.findall(text)
