"""Bytes right behind the number of parameters that they are of, in the format that their own text, or the whole
document, names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import (
    LARGE,
    Entry,
    Ledger,
    exactly,
    is_amount,
    meet,
    of_bytes,
    ranges,
    span_between,
    sum_of,
    times,
)
from moewright.audit.nearby.sizes.element_sizes import ELEMENT_BYTES
from moewright.audit.reading.standing import standing_of
from moewright.audit.reading.wordings import FORMAT, formats_in
from moewright.audit.text.numbers import BYTES, COUNT
from moewright.units import format_quantity

#: between parameters and their bytes
_LINK: Final = re.compile(r"[^.;。\d]{0,40}|[^.;。\d]{0,24}(?:FP|BF|INT)\d{1,2}[^.;。\d]{0,24}", re.IGNORECASE)
#: what makes bytes those of something else than the parameters before them
_APART: Final = re.compile(
    r"optimi|gradient|\bAdam|moment|master|state|cache|\bKV\b|activ|aktiv|quanti|scale|per (?:GPU|chip|accelerator|"
    r"card|rank)|"
    r"each|shard|"
    r"(?:on|over|across|divided|split)\b|/|÷|GPU|Karte|"
    r"优化|梯度|缓存|激活|每|je\b|pro\b|par\b",
    re.IGNORECASE,
)
#: training states by their format: what they are called
_STATES: Final = re.compile(r"gradients?|grads?\b|Gradienten|梯度|copy|weights|Gewichte|权重", re.IGNORECASE)
_SHARDED: Final = re.compile(r"shard|ZeRO|over|across|divided|split|/|÷|each|geteilt|verteilt|切分|分片", re.IGNORECASE)
#: letters before bytes that may name them
MOST_FRONT: Final = 60
#: bytes of an element that a slip leaves
_SIZES: Final = (0.5, 1.0, 2.0, 4.0)
#: slips of the unit
_PREFIXES: Final = (1e3, 1e-3)
#: what scales and padding may make of the bytes
ROOM: Final = 8e-3


def judge_told_formats(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on bytes that stand right behind the number of parameters that they are of: at the bytes of the format
    that is named, or at those of another."""
    every = [f for s in ledger.statements for f in formats_in(s.text)]
    only = set(every) if len(set(every)) == 1 else set()
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading":
            continue
        for count, e in pairwise(entries):
            n = e.number
            if count.number.dim != COUNT or count.number.value < LARGE or n.dim != BYTES or not is_amount(n):
                continue
            between = span_between(s, count.number, n)
            led = "→" in between or "->" in between
            if (count.figure.role == "operand" and not led) or count.number.at < 0 or not _LINK.fullmatch(between):
                continue
            if _APART.search(FORMAT.sub(" ", between)) or _APART.match(e.behind.lstrip()):
                continue
            named = formats_in(between) or formats_in(s.value) or _of_line(ledger, index) or only
            claim = _judged(e, count, named) if len(named) == 1 else None
            if claim is not None:
                yield e, claim


def judge_state_formats(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on bytes of gradients or weights that are named with their format: those of the parameters told just
    before, at the bytes of another."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        amounts = [e for e in entries if e.number.dim == BYTES and e.figure.role != "operand" and e.number.at >= 0]
        if s.kind in ("heading", "cell") or not amounts or not FORMAT.search(s.text) or standing_of(s):
            continue
        for e in amounts:
            tail = re.match(r"\s*\(([^()]{0,40})\)", e.behind)
            told = tail[1] if tail else s.key if len(amounts) == 1 else ""
            front = re.split(r"[;,.](?!\d)|\band\b|\bund\b", s.value[: e.number.at])[-1]
            told = told or (front if len(front) < MOST_FRONT and not re.search(r"\d\s?[KMGT]?i?B\b", front) else "")
            if not _STATES.search(told) or len(formats_in(told)) != 1 or _SHARDED.search(f"{told} {s.key}"):
                continue
            near = (*reversed(entries), *_above(ledger, index))
            near = tuple(x for x in near if x.index < index or x.number.at < e.number.at)
            counts = [x for x in near if x.number.dim == COUNT and x.number.value >= LARGE]
            claim = _judged(e, counts[0], formats_in(told)) if counts else None
            if claim is None and counts:
                claim = _of_two(e, counts, formats_in(told))
            if claim is not None and claim.verdict is Verdict.WRONG and not e.figure.formula:
                yield e, claim


def _of_two(e: Entry, counts: list[Entry], named: set[str]) -> Claim | None:
    """The verdict on bytes of the two numbers of parameters that one statement before them works out."""
    last = [x for x in counts if x.index == counts[0].index and x.figure.role == "result"]
    size = ELEMENT_BYTES.get(next(iter(named)))
    if len(last) != 2 or size is None or e.number.half > ROOM * e.number.value:
        return None
    many = sum_of([x.number for x in last])
    if meet(ranges(e.number), times(many, exactly(size)), ROOM):
        return None
    if not any(meet(ranges(e.number), times(many, exactly(x)), 3e-3) for x in _SIZES if x != size):
        return None
    right = sum(x.number.value for x in last) * size
    told = " + ".join(x.number.text.strip() for x in reversed(last))
    why = f"{told} at {of_bytes(size)} take {format_quantity(right, 'bytes')}"
    return e.claim("memory", Verdict.WRONG, why, right)


def _above(ledger: Ledger, index: int) -> Iterator[Entry]:
    """The figures of the statements just above number ``index``, the last first."""
    for i in range(index - 1, max(-1, index - 5), -1):
        if ledger.statements[i].kind == "heading":
            return
        yield from reversed(ledger.entries[i])


def _of_line(ledger: Ledger, index: int) -> set[str]:
    """The formats that the sentences of the same line name."""
    line = ledger.statements[index].line
    near = ledger.statements[max(0, index - 4) : index + 5]
    return {f for s in near if s.line == line for f in formats_in(s.text)}


def _judged(e: Entry, count: Entry, named: set[str]) -> Claim | None:
    name = next(iter(named))
    size = ELEMENT_BYTES.get(name)
    if size is None or e.number.half > ROOM * e.number.value or count.number.half > ROOM * count.number.value:
        return None
    said, many = ranges(e.number), ranges(count.number)
    right = count.number.value * size
    why = f"{count.number.text.strip()} at {of_bytes(size)} each take {format_quantity(right, 'bytes')}"
    if meet(said, times(many, exactly(size)), ROOM):
        return e.claim("memory", Verdict.HOLDS, why, right)
    others = (*(x for x in _SIZES if x != size), *(size * x for x in _PREFIXES))
    if any(meet(said, times(many, exactly(x)), 3e-3) for x in others):
        return e.claim("memory", Verdict.WRONG, why, right)
    return None
