"""Quoted lines against what they quote: a number that the quotation has otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.text.document import normal
from moewright.audit.text.numbers import tokens_of

_QUOTED: Final = re.compile(r"^\s*>\s?(?P<text>.*)$")
_NUMBER: Final = re.compile(r"\d[\d,]*(?:\.\d+)?")
_WORD: Final = re.compile(r"[^\W\d_]+")
#: words that a quotation must have beside its numbers, and lines of quotations that are looked up
FEWEST: Final = 3
MOST: Final = 500
MOST_NUMBERS: Final = 12


def judge_quotations(lines: Sequence[str]) -> list[Claim]:
    """A verdict on every number of a quoted line that stands in the document with the same words around it, and with
    another number in one place."""
    quoted = [(i, m["text"]) for i, x in enumerate(lines, 1) if (m := _QUOTED.match(x)) and _NUMBER.search(m["text"])]
    if not quoted or len(quoted) > MOST:
        return []
    marked = {i for i, _ in quoted}
    #: a word of each quoted line, without which a line has nothing that is quoted
    longest = {max(_WORD.findall(text), key=len, default="") for _, text in quoted} - {""}
    near = ((i, x) for i, x in enumerate(lines, 1) if i not in marked and any(w in x for w in longest))
    others = [(i, " ".join(normal(x).split())) for i, x in near]
    whole = "\n".join(text for _, text in others)
    found = []
    for line, raw in quoted:
        text = " ".join(normal(raw).split()).rstrip(" .")
        numbers = list(_NUMBER.finditer(text))
        if len(_WORD.findall(text)) < FEWEST or text in whole:
            continue
        for m in numbers[:MOST_NUMBERS]:
            if max(text[: m.start()], text[m.end() :], key=len) not in whole:
                continue  # the rest of it is quoted from nowhere
            before, behind = re.escape(text[: m.start()]), re.escape(text[m.end() :])
            match = re.search(rf"{before}({_NUMBER.pattern}){behind}", whole)
            if match is not None:
                at = others[whole.count("\n", 0, match.start())][0]
                n = next((t.number for t in tokens_of(text[m.start() :]) if t.number is not None), None)
                why = f"it quotes line {at}, which has {match[1]}"
                value = n.value if n is not None else None
                found.append(Claim(line, text, "quotation", Verdict.CONTRADICTED, why, value, None))
                break
    return found
