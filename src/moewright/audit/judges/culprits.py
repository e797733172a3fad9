"""Which of the figures of a relation that fails is the wrong one: that whose mending leaves the fewest others at odds.
A total which its parts do not make, but whose share of a card is right, is right itself; one of the parts is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from moewright.audit.audit_record import FAILING, Claim, Key, Verdict
from moewright.audit.judges.figures import unit_of
from moewright.audit.text.document import Document
from moewright.audit.text.numbers import BYTES, COUNT, DIGITS, Number, digits_of, tokens_of
from moewright.errors import InfeasibleError, SpecError
from moewright.units import format_quantity

#: relations of a figure to others of the document, and those that add
_RELATIONS: Final = ("sum", "difference", "multiple", "time", "share", "memory.gradients")
_SUMS: Final = ("sum", "difference")
#: statements of a document, relations that fail and mendings that are tried, at most
MOST_STATEMENTS: Final = 600
MOST_RELATIONS: Final = 8
MOST_MENDINGS: Final = 24
#: lines from a figure to one that it is related to, at most
FAR: Final = 30
#: how near a figure that a reason names is to one of the document, and a factor to a slip
SAME: Final = 1e-3
CLOSE: Final = 0.02
#: by what a figure is mended at most, and at least
ASTRAY: Final = 1.1e6
FEWEST: Final = 0.004
_PREFIXES: Final = (100.0, 1e3, 1e6, 1024.0)
#: a whole number above this is no number of layers or ranks that a figure may be off by
MOST_SLIP: Final = 64
_LINE: Final = re.compile(r"\(line (\d+)\)")

Judge = Callable[[Document], Sequence[Claim]]


@dataclass(frozen=True, slots=True)
class _Mending:
    """Number ``number`` of statement ``index``, which should be ``right`` (SI)."""

    index: int
    number: Number
    line: int
    right: float

    @property
    def spot(self) -> tuple[int, float]:
        return self.line, self.number.value


@dataclass(frozen=True, slots=True)
class _Tried:
    """What a mending leaves: failing verdicts that are gone, those that are new, and the figures that hold."""

    mending: _Mending
    gone: frozenset[Key]
    new: int
    holding: frozenset[tuple[int, float | None]]

    @property
    def worth(self) -> int:
        return len(self.gone) - self.new


def blamed(document: Document, claims: tuple[Claim, ...], judge: Judge) -> tuple[Claim, ...]:
    """``claims`` with the failing verdicts on relations moved to the figure that they fail by. ``judge``: the claims of
    a document, without this step."""
    relations = [c for c in claims if _is_relation(c)]
    if not relations or len(relations) > MOST_RELATIONS or len(document.statements) > MOST_STATEMENTS:
        return claims
    figures = list(_figures(document))
    failing = {(c.line, c.claimed): c for c in claims if c.verdict in FAILING and c.computed is not None}
    options: dict[Key, list[_Mending]] = {}
    for c in relations:
        own = _own(c, figures)
        others = list(_terms(c, figures, failing))
        if own and others:
            options[_spot(c)] = [*own, *others]
    every = list(dict.fromkeys(chain.from_iterable(options.values())))[:MOST_MENDINGS]
    if not every:
        return claims
    before = judge(document)
    failed = {_spot(c) for c in before if c.verdict in FAILING}
    tried: dict[_Mending, _Tried] = {}
    for m in every:
        try:
            after = judge(_mended(document, m))
        except (SpecError, InfeasibleError):
            continue  # no case has the figure
        left = {_spot(c) for c in after if c.verdict in FAILING}
        holding = frozenset((c.line, c.claimed) for c in after if c.verdict is Verdict.HOLDS)
        tried[m] = _Tried(m, frozenset(failed - left), len(left - failed), holding)
    return _moved(claims, options, tried)


def _moved(
    claims: tuple[Claim, ...], options: dict[Key, list[_Mending]], tried: dict[_Mending, _Tried]
) -> tuple[Claim, ...]:
    """``claims``, each relation's verdict on the figure whose mending is worth the most."""
    chosen: dict[_Mending, Claim] = {}
    cleared: dict[Key, _Mending] = {}
    by_spot = {_spot(c): c for c in claims if c.verdict in FAILING}
    for spot, mendings in options.items():
        accused = spot[0], spot[1]
        own = [tried[m] for m in mendings if m in tried and m.spot == accused]
        others = [tried[m] for m in mendings if m in tried and m.spot != accused]
        least = max((t.worth for t in own), default=None)
        better = [t for t in others if least is not None and accused in t.holding and t.worth > max(least, 0)]
        if not better:
            continue
        best = max(better, key=lambda t: t.worth)
        chosen.setdefault(best.mending, by_spot[spot])
        for key in best.gone:
            follows = best.mending in options.get(key, ()) or key[0] == accused[0]
            if follows and (key[0], key[1]) != best.mending.spot:
                cleared.setdefault(key, best.mending)
    out: list[Claim] = []
    told = {(c.line, c.claimed) for c in by_spot.values()}
    for c in claims:
        m = cleared.get(_spot(c)) if c.verdict in FAILING else None
        if m is None:
            out.append(c)
            continue
        why = f"it agrees once line {m.line} has {format_quantity(m.right, unit_of(m.number))}: {c.why}"
        out.append(replace(c, verdict=Verdict.NOT_CHECKED, why=why))
    blame = {m: c for m, c in chosen.items() if m.spot not in told}
    judged = {m.spot for m in blame}
    out = [c for c in out if not (c.verdict is Verdict.NOT_CHECKED and (c.line, c.claimed) in judged)]
    return tuple(sorted((*out, *(_accused(m, c) for m, c in blame.items())), key=lambda c: c.line))


def _accused(m: _Mending, c: Claim) -> Claim:
    """The verdict on a figure by which a relation fails."""
    right = format_quantity(m.right, unit_of(m.number))
    why = f"with {right} line {c.line} and what follows from it agree: {c.why}"
    text = m.number.text.strip()
    return Claim(m.line, text, c.quantity, Verdict.WRONG, why, m.number.value, m.right, unit=unit_of(m.number))


def _is_relation(c: Claim) -> bool:
    told = c.claimed is not None and c.computed is not None and c.claimed > 0 and c.computed > 0
    return c.verdict in FAILING and c.quantity in _RELATIONS and told


def _spot(c: Claim) -> Key:
    """The figure and the quantity of a claim, whatever its text is."""
    return c.line, c.claimed, c.quantity, c.unit


Figure = tuple[int, Number, int]


def _figures(document: Document) -> Iterator[Figure]:
    """(Statement, number, line) of the figures of a document."""
    for index, s in enumerate(document.statements):
        if s.kind != "heading":
            for t in tokens_of(s.value):
                if t.number is not None and t.number.value > 0:
                    yield index, t.number, s.line_of(t.number.at)


def _own(c: Claim, figures: list[Figure]) -> list[_Mending]:
    """The mending of the figure that a claim is on; of each that it may be, where a line has it twice."""
    assert c.claimed is not None
    assert c.computed is not None
    same = [f for f in figures if f[2] == c.line and abs(f[1].value / c.claimed - 1) < SAME * SAME]
    return [_Mending(index, n, line, c.computed) for index, n, line in same]


def _terms(c: Claim, figures: list[Figure], failing: dict[tuple[int, float | None], Claim]) -> Iterator[_Mending]:
    """Mendings of the other figures of a relation, which its reason names, that make it hold."""
    assert c.claimed is not None
    assert c.computed is not None
    lines = {int(x) for x in _LINE.findall(c.why)}
    here = next((f[0] for f in figures if f[2] == c.line), 0)
    for t in tokens_of(_LINE.sub(" ", c.why)):
        n = t.number
        if n is None or n.percent or n.value <= 0 or abs(n.value / c.claimed - 1) < SAME:
            continue
        if n.dim == COUNT and n.value < 1e6:
            continue
        alike = (f for f in figures if f[1].dim == n.dim and abs(f[1].value / n.value - 1) < SAME)
        same = [f for f in alike if abs(f[2] - c.line) <= FAR]
        same = [f for f in same if f[2] in lines] or [f for f in same if f[2] <= c.line] or same
        if not same:
            continue
        index, x, line = max(same, key=lambda f: f[2])
        own = failing.get((line, x.value))
        for right in [own.computed] if own is not None and own.computed else _solved(c, x, index < here):
            if right > 0 and abs(right / x.value - 1) > FEWEST and 1 / ASTRAY < right / x.value < ASTRAY:
                yield _Mending(index, x, line, right)


def _solved(c: Claim, x: Number, part: bool) -> Iterator[float]:
    """What a term of a relation should be for it to hold: a ``part`` of a sum, and what is multiplied, by a slip of the
    pen alone; a whole, and what a share is told of, whatever that is."""
    assert c.claimed is not None
    assert c.computed is not None
    ratio = c.claimed / c.computed
    rights = [x.value + c.claimed - c.computed] if c.quantity in _SUMS else [x.value * ratio, x.value / ratio]
    free = c.quantity == "share" or (c.quantity in _SUMS and not part)
    for right in rights:
        slipped = _snapped(right, x)
        if slipped or free:
            yield slipped or right


def _snapped(right: float, n: Number) -> float:
    """Exactly the slip of ``n`` that ``right`` nearly is, as a term of a rough sum is known roughly; 0.0 for none."""
    if right <= 0:
        return 0.0
    ratio = right / n.value
    whole = round(max(ratio, 1 / ratio))
    k = next((x for x in _PREFIXES if abs(max(ratio, 1 / ratio) / x - 1) < CLOSE), 0.0)
    k = k or (float(whole) if 2 <= whole <= MOST_SLIP and abs(max(ratio, 1 / ratio) / whole - 1) < CLOSE else 0.0)
    return (n.value * k if ratio > 1 else n.value / k) if k else 0.0


def _mended(document: Document, m: _Mending) -> Document:
    """``document`` with the right figure in its place."""
    s = document.statements[m.index]
    text = DIGITS.sub(lambda _: _written(m), m.number.text, count=1)
    end = m.number.at + len(m.number.text)
    value = s.value[: m.number.at] + text + s.value[end:]
    new = replace(s, value=value, text=s.text[: len(s.text) - len(s.value)] + value)
    statements = (*document.statements[: m.index], new, *document.statements[m.index + 1 :])
    return replace(document, statements=statements)


def _written(m: _Mending) -> str:
    """The digits of what a figure should be, with as many decimals as it has, or as are needed to tell it."""
    digits, scale = digits_of(m.number)
    value = m.right / (scale or 1.0)
    places = len(digits.partition(".")[2])
    if value < 100 and (m.number.dim == BYTES or places):
        places = max(places, 2 if value >= 10 else 3)
    return f"{value:.{places}f}"
