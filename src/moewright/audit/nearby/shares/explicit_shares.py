"""Percentages of which the text says of what they are: 58.7 GB of 96 GB (61.1 %), 30.8 GB, or 22 % of the card."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, Range, is_amount, meet, over, ranges, rounded, span_between
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import BYTES
from moewright.units import format_quantity

#: between a part and the whole that it is of, and between that and the percentage
_OF: Final = re.compile(r"\s*(?:out of|of|von|sur|de|/)\s*(?:the |its |den |les )?", re.IGNORECASE)
_THEN: Final = re.compile(
    r"(?:[\s(（,，=≈:;–]|i\.e\.|d\. ?h\.|or\b|that is\b|which is\b|das sind|also\b|soit\b|es decir|"
    r"gerade einmal|nur\b|knapp\b|rund\b|just\b|only\b|about\b|some\b|即|约|"
    r"占)*\s*[~≈]?\s*",
    re.IGNORECASE,
)
#: between a part and its percentage of a whole that is named behind
_TOLD: Final = re.compile(
    rf"(?:\s*(?:GB )?(?:(?:active )?(?:per|a|each) token|je Token|pro Token|par token|por token|"
    rf"(?:per|a|each|on each|on every) (?:GPU|card|chip|device|accelerator)|(?:je|pro) (?:GPU|Karte)))?{_THEN.pattern}",
    re.IGNORECASE,
)
_OF_WHOLE: Final = re.compile(
    r"\s*(?:of|von|der|des|sur|de|del?|out of)\s+(?:(?:the|its|all|den|les|los|a|total) )*[~≈]?\s*", re.IGNORECASE
)
_TAKES: Final = re.compile(r"[^\d;。]{0,12}占\s*(?:总|单卡)?(?:显存)?\s*")
_BRACKET: Final = re.compile(r"\s*[(（]\s*(?:单卡\s*)?")
_ITS: Final = re.compile(r"\s*(?:显存|内存)?的\s*[约~≈]?\s*")
#: between a part and its percentage of a card, and what follows that
_OR: Final = re.compile(
    r"\s*(?:in all|altogether|in total|together|(?:per|a|on each|on every) (?:GPU|card|chip|device)|je (?:GPU|Karte)|"
    r"zusammen|insgesamt|共|合计)?\s*(?:[,(（，]\s*)?(?:or|i\.e\.|that is|"
    r"which is|也就是|即|占|das sind|also|soit)?\s*[~≈]?\s*",
    re.IGNORECASE,
)
_CARD: Final = re.compile(
    r"\s*(?:of (?:the|a|its|each|every) (?:\w+ )?(?:card|GPU|HBM|VRAM|device|memory|capacity)\b"
    r"(?! (?:budget|bandwidth|in use))|"
    r"der Karte|des Speichers|de la carte)",
    re.IGNORECASE,
)
#: what a bracket says of the part
_ASIDE: Final = re.compile(r"\s*\([^()%]{0,60}\)")
#: what makes a percentage that of the rest
_REST: Final = re.compile(
    r"\bfree|\bleft\b|\bleav|remain|spare|headroom|room|frei|bleib|übrig|libre|reste|剩|余|空闲", re.IGNORECASE
)
#: of a card's memory, what an engine is given at least
USABLE: Final = 0.8


def judge_explicit_shares(ledger: Ledger, capacity: float | None) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a percentage of which the text names the part and the whole; ``capacity``: of a GPU, in bytes."""
    sizes = [x for x in ledger.alike(BYTES) if capacity and USABLE * capacity <= x.number.value <= capacity]
    for entries in ledger.entries:
        for i, p in enumerate(entries):
            s = p.statement
            if not p.number.percent or p.number.approx or i == 0 or s.kind == "heading" or standing_of(s):
                continue
            found = _told(entries, i, sizes, capacity)
            if found is None:
                continue
            part, wholes, told = found
            got = over(ranges(part.number), wholes)
            rest = tuple((1 - b, 1 - a) for a, b in got)
            right = 2 * part.number.value / sum(wholes[0])
            why = f"{part.number.text.strip()} of {told} is {right:.2%}"
            if meet(rounded(p.number), got) or (_REST.search(s.text) and meet(rounded(p.number), rest)):
                yield p, p.claim("share", Verdict.HOLDS, why, right)
            elif right <= 1:
                yield p, p.claim("share", Verdict.WRONG, why, right)


def _told(
    entries: list[Entry], i: int, sizes: list[Entry], capacity: float | None
) -> tuple[Entry, tuple[Range, ...], str] | None:
    """(the part, what the whole may be, the whole in words) of percentage number ``i`` of a statement; None where it is
    not told of what that is."""
    p, s, last = entries[i], entries[i].statement, entries[i - 1]
    if not is_amount(last.number):
        return None
    behind = entries[i + 1] if i + 1 < len(entries) else last
    of_whole = behind is not last and is_amount(behind.number) and behind.number.dim == last.number.dim
    if of_whole and last.number.at >= 0:
        close = _TOLD.fullmatch(span_between(s, last.number, p.number))
        if close and _OF_WHOLE.fullmatch(span_between(s, p.number, behind.number)):
            return last, ranges(behind.number), behind.number.text.strip()
    part = entries[i - 2] if i > 1 else last
    if part is not last and is_amount(part.number) and part.number.at >= 0 and part.number.dim == last.number.dim:
        first, second = span_between(s, part.number, last.number), span_between(s, last.number, p.number)
        of = _OF.fullmatch(first) and _THEN.fullmatch(second)
        its = (_TAKES.fullmatch(first) or _BRACKET.fullmatch(first)) and _ITS.fullmatch(second)
        is_summand = part.figure.role == "operand" and len(p.figure.formula) > 2  # others are in the percentage too
        if (of or its) and not is_summand:
            return part, ranges(last.number), last.number.text.strip()
    of_card = _CARD.match(p.behind) and last.number.dim == BYTES and last.number.at >= 0
    between = _ASIDE.sub("", span_between(s, last.number, p.number))
    if capacity and of_card and _OR.fullmatch(between):
        usable = [r for x in sizes for r in ranges(x.number)]
        told = sizes[0].number.text.strip() if sizes else format_quantity(capacity, "bytes")
        return last, (*usable, (capacity, capacity)), told
    return None


#: a title, or a statement, that makes a percentage that of a card's memory
_OF_MEMORY: Final = re.compile(
    r"\b(?:share|part|fraction|percent\w*|used|usage|utili[sz]\w*|Anteil|Auslastung|belegt)\b[^|:;\d]{0,24}"
    r"(?:of|von|an|der|des|at)\s*(?:the )?(?P<size>\d[\d.,]*\s?Gi?B)|"
    r"^\W*(?:that is |i\.e\.|=|≈|uses? |das sind |即|占)?\s*[~≈]?\d[\d.,]*\s?%\s*"
    r"(?:of (?:the|a|each|one) (?:card|GPU|HBM|VRAM|device)\b|der Karte|(?:的)?(?:单卡)?显存)",
    re.IGNORECASE,
)
_SUM: Final = re.compile(
    r"\btotal|\bsum\b|\ball\b|together|memory|weights \+|Summe|gesamt|zusammen|Speicher|合计|总", re.IGNORECASE
)


def judge_shares_above(ledger: Ledger, capacity: float | None) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a percentage of a card's memory that stands alone below the amount it is of, in a row or an item of
    its own; ``capacity``: of a GPU, in bytes."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        shares = [e for e in entries if e.number.percent and not e.number.approx]
        if len(shares) != 1 or s.kind not in ("cell", "item") or standing_of(s):
            continue
        p = shares[0]
        m = _OF_MEMORY.search(s.row if s.kind == "cell" else s.text)
        if m is None or p.figure.formula or any(e.number.dim == BYTES and e.number.at >= 0 for e in entries):
            continue
        named = next((x.number for x in ledger.titles(p) if m["size"] and x.number.dim == BYTES), None)
        wholes = ranges(named) if named is not None else ((capacity, capacity),) if capacity else ()
        above = [x for x in ledger.before(index, 4) if x.number.dim == BYTES and x.figure.role != "operand"]
        if not above or not wholes:
            continue
        got = [over(ranges(x.number), wholes) for x in above]
        part, right = above[0], above[0].number.value / wholes[0][0]
        why = f"{part.number.text.strip()} (line {part.line}) is {right:.1%}"
        if any(meet(rounded(p.number), x) for x in got):
            yield p, p.claim("share", Verdict.HOLDS, why, right)
        elif part.index >= index - ADJACENT and right <= 1 and _is_whole(part, p, right):
            yield p, p.claim("share", Verdict.WRONG, why, right)


#: statements between an amount and its share in the row, or the item, below
ADJACENT: Final = 2


def _is_whole(part: Entry, p: Entry, right: float) -> bool:
    """Whether the amount above is what a share is of: a sum, or the one that it is ten or a hundred times off."""
    s = part.statement
    summed = bool(_SUM.search(s.row if s.kind == "cell" else s.text)) or len(part.figure.formula) > 1
    return summed or any(meet(rounded(p.number), ((right * k, right * k),)) for k in (0.1, 10.0, 0.01, 100.0))
