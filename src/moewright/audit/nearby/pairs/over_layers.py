"""Amounts of so many layers, by what the sentence before says of one: over the 58 MoE layers that makes 19.2 ms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, Range, exactly, is_amount, meet, ranges, sum_of, times
from moewright.audit.reading.cluster_sizes import IN_WORDS, in_words
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, NAMES, SECONDS
from moewright.units import format_quantity

_LAYERS: Final = re.compile(
    r"\b(?:over|across|through|for|in|with|times|über|auf|bei|sur)\s+(?:all |the |all the |these |its |our |"
    r"die |den |alle |"
    r"allen |les )?(?P<n>\d{1,3}) (?:MoE[- ]|sparse |decoder |expert )?(?:layers|Schichten|couches|blocks)\b|"
    r"(?P<zh>\d{1,3})\s*(?:个\s?)?(?:MoE\s?|全局|局部|专家|稠密)?层|"
    rf"(?:^|[.;:,] )(?P<words>{IN_WORDS}) (?:such |MoE |sparse |expert )?(?:layers|Schichten|couches)"
    r"(?= (?:(?:make|are|give|come|take|need|hold|sum|add|ergeben|sind|machen|and)\b|->|→|=>))",
    re.IGNORECASE,
)
#: other things that an amount is of as many times, behind the layers: seven layers and 48 micro-batches
_AND: Final = re.compile(
    rf"\s*(?:and|times|[×x]|und|,) (?P<n>{IN_WORDS}) (?:micro-?(?:batches|steps)|steps|passes|Mikrobatches)\b",
    re.IGNORECASE,
)
#: what leads from the layers to their amount
_MAKES: Final = re.compile(
    r"[^.;\d]{0,12}\b(?:that|this|it|they|these|which|we|das|dies|es)?\s*(?:makes?|is|are|adds? up to|comes? to|gives?|"
    r"amounts? to|sums? to|totals?|takes?|means|reach(?:es)?|get|have|ergibt|ergeben|sind|macht|beträgt|"
    r"kommen)\b[^.;\d]{0,16}|"
    r"[,，]?\s*(?:共|合计|总计|累计|总共|一共|即)\D{0,6}|[\s:,]*(?:[=→≈]|->|=>)\s*|[^.;\d]{0,10}: ",
    re.IGNORECASE,
)
_DIMS: Final = (BYTES, SECONDS, FLOP)
#: slips of the unit, and of both directions
_SLIPS: Final = (1e3, 1e-3, 1e6, 1e-6, 10.0, 0.1)
#: numbers of things are below this
MOST_THINGS: Final = 1e4
#: statements before that may give what a layer has
BACK: Final = 2


def judge_over_layers(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on an amount that is said to be of so many layers: that of one which stands just before, the sum of
    two, or twice it, times the layers."""
    for e, near, m in _amounts(ledger):
        led = _MAKES.fullmatch(_behind(e, m))
        if not led or e.figure.role == "operand" or e.number.approx:
            continue
        claim = _made(e, near, _number(m)) if m["words"] else _judged(e, near, _number(m), ledger)
        if claim is not None:
            yield e, claim


def _amounts(ledger: Ledger) -> Iterator[tuple[Entry, list[Entry], re.Match[str]]]:
    """(Amount, what may be of one layer, the layers) of every sentence that tells an amount behind a number of layers,
    and works it out nowhere."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _LAYERS.search(s.value) if entries and s.kind not in ("heading", "cell") else None
        if m is None or _number(m) < 2 or standing_of(s):
            continue
        e = next((x for x in entries if x.number.at >= m.end() and _is_told(x)), None)
        near = _near(ledger, index, e, m.start()) if e is not None and not e.figure.formula else []
        if e is not None and near:
            yield e, near, m


def _is_told(e: Entry) -> bool:
    return e.number.dim in _DIMS or (e.number.dim == COUNT and is_amount(e.number))


#: how many times what the layers make a figure may be that is meant to be that
_FAR: Final = 100.0
#: rounding leaves no more of two figures that are held together
_TELLING: Final = 0.02


def _made(e: Entry, near: list[Entry], layers: float) -> Claim | None:
    """The verdict on what so many layers are said to make, without a word between: what one has, right before it."""
    x, n = near[0], e.number
    if n.slack > _TELLING or x.number.slack > _TELLING or x.index < e.index - 1:
        return None
    bases = [ranges(y.number) for y in near] + [sum_of([a.number, b.number]) for a, b in combinations(near, 2)]
    ways = (times(b, exactly(layers * k)) for b in bases for k in (1.0, 2.0, 3.0, 4.0))
    right = x.number.value * layers
    why = f"{x.number.text.strip()} × {layers:g} is {format_quantity(right, NAMES.get(n.dim, ''))}"
    if meet(ranges(n), times(ranges(x.number), exactly(layers)), 4e-3):
        return e.claim("multiple", Verdict.HOLDS, why.partition(" is ")[0], right)
    if any(meet(ranges(n), way, 4e-3) for way in ways) or not 1 / _FAR < n.value / right < _FAR:
        return None
    return e.claim("multiple", Verdict.WRONG, why, right)


def _behind(e: Entry, m: re.Match[str]) -> str:
    """The text between the layers, with what else they are times, and the amount."""
    text = e.statement.value[m.end() : e.number.at]
    more = _AND.match(text)
    return text[more.end() :] if more else text


def _number(m: re.Match[str]) -> float:
    """How many layers there are, times what is told with them."""
    more = _AND.match(m.string[m.end() :])
    return float(in_words(m["n"] or m["zh"] or m["words"])) * (in_words(more["n"]) if more else 1)


#: two directions of which the second is told to be as long as the first
_BOTH: Final = re.compile(r"\b(?:both|together|the two|beide|zusammen|les deux)\b|两者|合计|一共", re.IGNORECASE)
_SAME: Final = re.compile(
    r"\b(?:costs?|takes?|is|needs?|moves?|lasts?) (?:exactly |just )?(?:the same|as (?:much|long|many)|equal\w*)\b|"
    r"\bthe same again\b|\b(?:ebenso|gleich) (?:viel|lange)\b|\bautant\b|相同|同样|一样",
    re.IGNORECASE,
)


def judge_both_ways(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on what both directions are said to take over so many layers, where it is what one of them takes."""
    for e, near, m in _amounts(ledger):
        s, layers = e.statement, _number(m)
        last = ledger.statements[e.index - 1] if e.index else s
        if not _SAME.search(f"{last.text if last.path == s.path else ''} {s.value}"):
            continue
        if not _BOTH.search(s.value[m.start() : e.number.at + 60]):
            continue
        if meet(ranges(e.number), times(ranges(near[0].number), exactly(layers)), 4e-3):
            right = 2 * near[0].number.value * layers
            why = f"{near[0].number.text.strip()} × {layers:g} layers, twice, are "
            why += format_quantity(right, NAMES[e.number.dim])
            yield e, e.claim("multiple", Verdict.WRONG, why, right)


def _near(ledger: Ledger, index: int, e: Entry, before: int) -> list[Entry]:
    """Amounts of the dimension of ``e`` that stand just before the layers, the nearest first."""
    found = [x for x in reversed(ledger.entries[index]) if x.number.at < before]
    for i in range(index - 1, max(-1, index - 1 - BACK), -1):
        if ledger.statements[i].path != ledger.statements[index].path or ledger.statements[i].kind == "heading":
            break
        found += reversed(ledger.entries[i])
    found = [x for x in found if x.number.dim != COUNT or is_amount(x.number)]
    return [x for x in found if x.number.dim == e.number.dim and x.figure.role != "operand"][:4]


def _judged(e: Entry, near: list[Entry], layers: float, ledger: Ledger) -> Claim | None:
    said = ranges(e.number)
    bases: list[tuple[Range, ...]] = [ranges(x.number) for x in near]
    bases += [sum_of([x.number for x in some]) for k in (2, 3) for some in combinations(near, k)]
    things = (x.number.value for x in ledger.around(e.index, BACK) if x.number.dim == COUNT)
    counts = [x for x in things if 1 < x < MOST_THINGS]
    factors = dict.fromkeys((layers, 2 * layers, 3 * layers, 1.0, *(layers * c for c in counts), *counts))
    if any(meet(said, times(b, exactly(f)), 4e-3) for b in bases for f in factors):
        return None
    if any(x.number.dim == BYTE_RATE for x in ledger.entries[e.index]):
        return None
    for told in (near[:1], near[:2]):
        base = sum_of([x.number for x in told])
        whole = times(base, exactly(layers))
        right = sum(x.number.value for x in told) * layers
        slips = any(meet(said, times(whole, exactly(k)), 4e-3) for k in _SLIPS)
        if slips or meet(said, base, 4e-3):
            names = " + ".join(x.number.text.strip() for x in reversed(told))
            why = f"{names} × {layers:g} layers are {format_quantity(right, NAMES[e.number.dim])}"
            return e.claim("multiple", Verdict.WRONG, why, right)
    return None
