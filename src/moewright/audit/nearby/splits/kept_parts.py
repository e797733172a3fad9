"""Parts that a GPU keeps of what is divided, with the whole beside them: under TP 4 it keeps 8 of the 32 query heads; a
row of a table with the whole, the size that it is divided by and what a GPU has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import COUNT

_KEPT: Final = re.compile(
    r"(?<![\d.,])(?P<part>\d{1,4}) (?:of|out of|von|der|sur) (?:the |its |den |les )?(?P<all>\d{1,5}) "
    r"(?P<what>(?:query|Q|KV|K/V|key[-/ ]value|attention|routed)[ -]?(?:heads?|experts)|heads|experts|Köpfen?|"
    r"Experten)\b",
    re.IGNORECASE,
)
_SIZE: Final = re.compile(r"\b(?P<name>E?TP|EP|PP)\s?[=-]?\s?(?P<n>\d{1,4})\b(?!\s*[×x*])")
_OF_GPU: Final = re.compile(
    r"\b(?:each|every|per|an?|one|jede\w*|je|pro|chaque|par) (?:GPU|card|device|rank|chip|Karte|carte)\b|每(?:张)?卡",
    re.IGNORECASE,
)
#: titles of the columns of what is divided, of the sizes and of what a GPU has
_WHOLE: Final = re.compile(r"^\W*(?:all|total|model|whole|overall|gesamt|全部|总(?:数|计)?|模型)\W*$", re.IGNORECASE)
_PER_GPU: Final = re.compile(
    r"(?:per|each|/|je|pro)\s?(?:GPU|chip|accelerator|card|rank|device|Karte)\b|每(?:张)?卡|单卡", re.IGNORECASE
)


def judge_kept_parts(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the heads or experts that a GPU is said to keep of so many, beside the size of their division."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        found = list(_KEPT.finditer(s.value)) if entries and s.kind != "heading" else []
        if not found or not _OF_GPU.search(s.text) or standing_of(s):
            continue
        for m in found:
            heads = not re.search(r"expert", m["what"], re.IGNORECASE)
            sizes = {int(x["n"]) for x in _SIZE.finditer(s.text) if (x["name"] == "EP") != heads}
            e = next((x for x in entries if x.number.at == m.start("part")), None)
            if e is None or len(sizes) != 1:
                continue
            n, every = sizes.pop(), int(m["all"])
            right = max(1, every // n)
            if every % n and every > n:
                continue
            verdict = Verdict.HOLDS if int(m["part"]) == right else Verdict.WRONG
            yield e, e.claim("split", verdict, f"{every} over {n} are {right}", float(right))


def judge_divided_rows(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on what a GPU has in a row that gives the whole, and the one size that it is divided by."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind != "cell" or not _PER_GPU.search(s.column) or len(entries) != 1:
            continue
        e = entries[0]
        if e.number.dim != COUNT or not e.number.whole or e.figure.formula or not e.number.value:
            continue
        row = ledger.beside(index, 12, 11)
        whole = [x for i in row if _WHOLE.match(ledger.statements[i].column) for x in ledger.entries[i]]
        texts = [ledger.statements[i].value for i in row]
        sizes = [int(m["n"]) for t in texts for m in _SIZE.finditer(t)]
        if len(whole) != 1 or len(sizes) != 1 or whole[0].number.dim != COUNT or not whole[0].number.whole:
            continue
        every, n = whole[0].number.value, sizes[0]
        if every % n:
            continue
        right = every / n
        verdict = Verdict.HOLDS if e.number.value == right else Verdict.WRONG
        yield e, e.claim("split", verdict, f"{every:g} over {n} are {right:g}", right)
