"""Tokens that there is room for: the bytes left to a cache over those of a token, which stand elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, meet, over, ranges, rounded, slip, span_between
from moewright.audit.text.numbers import BYTES, COUNT

_TOKENS: Final = re.compile(
    r"\s*(?:thousand |million |Mio\.? |Tsd\.? |万 ?|个 ?)?(?:KV |cached |cache )?(?:tokens?|jetons?)\b", re.IGNORECASE
)
#: a cache that has room, or what is left to it
_ROOM: Final = re.compile(
    r"\b(?:left|leav\w+|stays?|remain\w*|free|room|budget|pool|space|holds?|fits?|enough|KV|cache|bleib\w*|Platz|passen|fasst|"
    r"reste\w*|place)\b|剩余|可(?:容纳|存|放)|缓存",
    re.IGNORECASE,
)
#: bytes of a token in a cache
_PER_TOKEN: Final = re.compile(
    r"\b(?:per|a|each|every|je|pro|par|ein) (?:cached )?(?:token|jeton)\b|/\s?tok(?:en)?\b|"
    r"每(?:个)?\s?token|单\s?token|B/token",
    re.IGNORECASE,
)
_OF_LAYER: Final = re.compile(r"\b(?:per|and|a|one|each) layer\b|每层|Schicht|couche", re.IGNORECASE)
#: a token has so many bytes in a cache, and a cache so many
LEAST: Final = 64.0
MOST_OF_TOKEN: Final = 1e8
CACHE: Final = 1e8
#: numbers over which a token's bytes may be spread
SPREAD: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
FEW: Final = 1000
BETWEEN: Final = 60


def judge_token_room(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the tokens that the bytes right before them have room for."""
    sizes = [
        x
        for x in ledger.alike(BYTES)
        if LEAST <= x.number.value <= MOST_OF_TOKEN and _PER_TOKEN.search(_words(x)) and not _OF_LAYER.search(_words(x))
    ]
    if not sizes:
        return
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind in ("heading", "cell") or not _ROOM.search(s.text):
            continue
        for i, e in enumerate(entries):
            n = e.number
            if n.dim != COUNT or n.percent or n.value < FEW or e.figure.formula or not _TOKENS.match(e.behind):
                continue
            room = next((x for x in reversed(entries[:i]) if x.number.dim == BYTES and x.number.value >= CACHE), None)
            if room is None or len(span_between(s, room.number, n)) > BETWEEN or room.number.approx or n.approx:
                continue
            if re.search(r"\d", span_between(s, room.number, n)) or n.slack > 0.02 or room.number.slack > 0.02:
                continue
            if (claim := _judged(e, room, sizes, entries)) is not None:
                yield e, claim


def _words(x: Entry) -> str:
    s, n = x.statement, x.number
    return f"{s.key} {s.value[max(0, n.at - 40) : max(0, n.at)]} {x.behind[:24]}"


def _judged(e: Entry, room: Entry, sizes: list[Entry], entries: list[Entry]) -> Claim | None:
    each = over(ranges(room.number), rounded(e.number))
    others = [x for x in entries if x.number.dim == BYTES and x.number.value >= CACHE]
    for x in sizes:
        for k in SPREAD:
            told = tuple((a / k, b / k) for a, b in ranges(x.number))
            if any(meet(over(ranges(y.number), rounded(e.number)), told, 5e-3) for y in others):
                if meet(each, told, 5e-3):
                    right = room.number.value / x.number.value * k
                    why = f"{room.number.text.strip()} / {x.number.text.strip()}"
                    return e.claim("count.tokens", Verdict.HOLDS, why, right)
                return None
    values = {x.number.value for x in sizes}
    if len(values) > 1:
        return None
    right = room.number.value / sizes[0].number.value
    off = slip(e.number.value / right, e.number.slack + room.number.slack + 5e-3)
    if not off or off.startswith(("2 times too large", "4 times too large", "8 times too large")):
        return None  # of a GPU that has a part of each
    why = f"{room.number.text.strip()} / {sizes[0].number.text.strip()} (line {sizes[0].line}) is {right:,.0f}"
    return e.claim("count.tokens", Verdict.WRONG, why, right)
