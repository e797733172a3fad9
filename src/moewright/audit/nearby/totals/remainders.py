"""What is left of an amount, and what another makes of it, in words: 72 GB, minus 26.5 weights, minus 4 → 41.5 GB;
another 11.3 B, which makes 353.7 B."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, digits, is_amount, meet, ranges, span_between, sum_of
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import COUNT, NAMES
from moewright.units import format_quantity

#: a term that is taken away
_MINUS: Final = re.compile(
    r"(?:[,;]\s*)?(?:\b(?:minus|less|abzüglich|weniger|moins|menos)\b|(?:减去?|扣除|扣去)[\u4e00-\u9fff]{0,8})\s*[~≈]?\s*$",
    re.IGNORECASE,
)
_ANY_MINUS: Final = re.compile(r"\b(?:minus|less|abzüglich|weniger|moins|menos)\b|减去|扣除", re.IGNORECASE)
#: between the last term and what is left
_LEAVES: Final = re.compile(
    r"[^\d;.]{0,40}(?:→|->|=|\b(?:leaves?|leaving|left|is|are|gives?|makes?|bleiben|ergibt|sind|reste(?:nt)?|quedan)\b|剩|余|得)"
    r"[^\d;.]{0,16}",
    re.IGNORECASE,
)
#: an amount that is added to those before it, and what leads to the whole
_ANOTHER: Final = re.compile(
    r"\b(?:another|a further|additional|weitere|noch einmal|encore|otros?)\s*[~≈]?\s*$|(?:再加|另加|另有)\s*$",
    re.IGNORECASE,
)
_MORE: Final = re.compile(r"another|further|additional|weitere|noch einmal|encore|otros?\b|再加|另", re.IGNORECASE)
_MAKES: Final = re.compile(
    r"[^\d;.]{0,30}\b(?:makes?|making|brings?|gives?|for a total of|total(?:s|ling)?|together|zusammen|insgesamt|macht|"
    r"ergibt|en tout|au total)\b[^\d;.]{0,30}|[^\d;。]{0,12}(?:共|合计|总计)[^\d;。]{0,8}",
    re.IGNORECASE,
)
#: a sentence that adds its first amount to what was told before it, and what leads to the whole there
_ADDS: Final = re.compile(
    r"^\W*(?:(?:hinzu|dazu) (?:kommen|kommt)|plus\b|add(?:ing)?\b|on top (?:of (?:that|this|it))?|in addition|"
    r"to (?:that|this|it) (?:we |you )?add|s['’]y ajoute\w*|再加|另加|加上|此外)",
    re.IGNORECASE,
)
_HENCE: Final = re.compile(
    r"[^\d;.]{0,20}\b(?:also|so|thus|hence|for|i\.e\.|that is|soit|donc)\b[^\d;.]{0,20}|"
    r"[^\d;。]{0,12}(?:即|故)[^\d;。]{0,8}",
    re.IGNORECASE,
)
#: statements before another amount in which those that it is added to may stand
BACK: Final = 4
MOST: Final = 8


def judge_remainders(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on what is left of an amount when others, each with a word for minus before it, are taken away; their
    unit may be told once."""
    for entries in ledger.entries:
        s = entries[0].statement if entries else None
        if s is None or s.kind == "heading":
            continue
        for i, first in enumerate(entries):
            if not is_amount(first.number) or first.number.dim == COUNT or first.number.at < 0:
                continue
            if i and _MINUS.search(s.value[: first.number.at][-16:]):
                continue  # taken away itself, from what stands before
            terms = _terms(entries, i)
            rest = entries[i + 1 + len(terms)] if len(terms) > 0 and i + 1 + len(terms) < len(entries) else None
            if rest is None or rest.number.dim != first.number.dim or rest.figure.formula or rest.number.approx:
                continue
            last = terms[-1]
            if not _LEAVES.fullmatch(span_between(s, last.number, rest.number)):
                continue
            unit = first.number.factor
            values = [t.number.value if t.number.dim == first.number.dim else t.number.value * unit for t in terms]
            right = first.number.value - sum(values)
            room = first.number.half + rest.number.half + sum(t.number.half for t in terms) * unit / max(1.0, unit)
            room += sum(v * t.number.slack for v, t in zip(values, terms, strict=True))
            told = " − ".join(x.number.text.strip() for x in (first, *terms))
            why = f"{told} is {format_quantity(right, NAMES.get(first.number.dim, ''))}"
            verdict = Verdict.HOLDS if abs(rest.number.value - right) <= room * (1 + 1e-9) else Verdict.WRONG
            if right > 0:
                yield rest, rest.claim("difference", verdict, why, right)


def _terms(entries: list[Entry], i: int) -> list[Entry]:
    """What is taken away from amount number ``i`` of a statement."""
    found: list[Entry] = []
    for x in entries[i + 1 :]:
        before = x.statement.value[: x.number.at]
        bare = x.number.dim == COUNT and x.number.factor == 1 and not x.number.percent
        since = found[-1] if found else entries[i]
        words = before[since.number.at + len(since.number.text) :]
        if (
            not _MINUS.search(before[-16:])
            or len(_ANY_MINUS.findall(words)) > 1
            or not (bare or x.number.dim == entries[i].number.dim)
        ):
            break
        found.append(x)
    if found:
        for x in entries[i + 1 + len(found) :]:  # minus 15.4 GB of weights and 5 GB
            words = x.statement.value[found[-1].number.at + len(found[-1].number.text) : x.number.at]
            if x.number.dim != entries[i].number.dim or not _AND.fullmatch(words):
                break
            found.append(x)
    return found


#: between two terms that are taken away with one word
_AND: Final = re.compile(r"[^\d;.。；，]{0,24}(?:\b(?:and|und|et)\b|和|与|、)[^\d;.。；，]{0,16}", re.IGNORECASE)


def judge_additions(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the whole that another amount makes of those that were told before it: their sum, or that of the
    last of them."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        adds = bool(_ADDS.match(s.text))
        if s.kind not in ("prose", "item") or not (adds or _MORE.search(s.value)) or standing_of(s):
            continue
        for more, e in pairwise(entries):
            n = e.number
            if (
                n.dim != more.number.dim
                or not is_amount(n)
                or not is_amount(more.number)
                or n.approx
                or more.number.at < 0
            ):
                continue
            between = span_between(s, more.number, e.number)
            first = adds and more is entries[0] and _HENCE.fullmatch(between)
            if not first and not (_ANOTHER.search(s.value[: more.number.at]) and _MAKES.fullmatch(between)):
                continue
            near = [x for x in reversed(ledger.around(index, BACK)) if x.number.dim == n.dim and is_amount(x.number)]
            near = [x for x in near if (x.index, x.number.at) < (more.index, more.number.at)][:MOST]
            if not near or digits(n) < 3:
                continue
            said = ranges(n)
            sums = (
                sum_of([more.number, *(x.number for x in some)]) for k in (1, 2, 3) for some in combinations(near, k)
            )
            if any(meet((a,), (b,)) for whole in sums for a, b in zip(said, whole, strict=False)):
                continue
            right = near[0].number.value + more.number.value
            if 0.5 < n.value / right < 2:
                why = f"{near[0].number.text.strip()} + {more.number.text.strip()} is "
                yield e, e.claim("sum", Verdict.WRONG, why + format_quantity(right, NAMES.get(n.dim, "")), right)


#: behind a figure, what makes it the sum of those before it
_IN_ALL: Final = re.compile(
    r"\s*(?:in all|altogether|in total|all told|zusammen|insgesamt|au total|en tout|en total)\b(?! (?:of|over|for|by))|"
    r"\s*(?:合计|总计)",
    re.IGNORECASE,
)


_ALL_OF: Final = re.compile(r"\ball\b|total|altogether|all told|zusammen|insgesamt|en tout|合计|总计", re.IGNORECASE)


def judge_totals_behind(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a figure that is called that of all, in a sentence that tells its parts: their sum, or of the last
    of them."""
    for entries in ledger.entries:
        s = entries[0].statement if entries else None
        if s is None or s.kind not in ("prose", "item") or not _ALL_OF.search(s.value) or standing_of(s):
            continue
        for i, e in enumerate(entries):
            n = e.number
            if not is_amount(n) or e.figure.formula or n.approx or n.at < 0 or not _IN_ALL.match(e.behind):
                continue
            parts = [
                x for x in entries[:i] if x.number.dim == n.dim and is_amount(x.number) and x.figure.role != "operand"
            ]
            parts = [x for x in parts if not x.figure.remark and x.number.at >= 0 and not x.number.approx]
            if (
                _OUT_OF.search(s.value[: n.at])
                or not 2 <= len(parts) <= MOST
                or digits(n) < 3
                or _EACH.search(s.value[: n.at])
            ):
                continue
            said = ranges(n)
            sums = [some for k in range(2, len(parts) + 1) for some in combinations(parts, k)]
            if any(meet(said, sum_of([x.number for x in some])) for some in sums):
                continue
            right = sum(x.number.value for x in parts)
            if any(meet(said, ranges(x.number)) for x in parts) or not 0.5 < n.value / right < 2:
                continue
            told = " + ".join(x.number.text.strip() for x in parts)
            why = f"{told} is {format_quantity(right, NAMES.get(n.dim, ''))}"
            yield e, e.claim("sum", Verdict.WRONG, why, right)


#: what makes a figure the whole that another is a part of
_OUT_OF: Final = re.compile(r"\b(?:of|from|von|der|des|sur|de|du)\s+(?:the |its )?[~≈]?$", re.IGNORECASE)
#: parts of which each counts more than once
_EACH: Final = re.compile(r"\b(?:each|per|apiece|je|pro|par|chaque)\b|/|每", re.IGNORECASE)
