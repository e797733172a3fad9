"""Tokens a second by the sequences of a step and the time of the step, where one sentence has all three."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, ranges, span_between, times
from moewright.audit.text.numbers import COUNT, PER_SECOND, SECONDS

#: what joins a rate to what it follows from
_THUS: Final = re.compile(
    r"\bi\.\s?e\.|=|→|\bso\b|that is|which (?:is|gives|makes)|\bhence\b|\bthus\b|giv(?:es|ing)|mak(?:es|ing)|\bmeans\b|"
    r"d\.\s?h\.|\balso\b|ergibt|macht|das sind|soit|donc|es decir|即|也就是|相当于|得",
    re.IGNORECASE,
)
_STEP: Final = re.compile(
    r"\bTPOT\b|\bITL\b|\bstep|per token|per output token|Schritt|je Token|pas\b|par jeton|步|每\s?token", re.IGNORECASE
)
_SEQUENCES: Final = re.compile(
    r"\bbatch|concurren|sequences?|requests?|streams?|users?|slots?|Anfragen|Sequenzen|gleichzeitig|并发|批|路|请求|序列",
    re.IGNORECASE,
)
_OTHER: Final = re.compile(r"\bTTFT\b|prefill|draft|accept|speculat|MTP|预填充", re.IGNORECASE)
#: letters around a number that say what it is of
AROUND: Final = 28
#: how many times a rate may be off
ASTRAY: Final = 12.0


def judge_step_rates(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on tokens a second that a sentence draws from the sequences of a step and its time: their quotient, or
    that of other sequences that the document names."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        seconds = [e for e in entries if e.number.dim == SECONDS and e.figure.role != "operand"]
        rates = [e for e in entries if e.number.dim == PER_SECOND and e.figure.role == "lone" and not e.number.approx]
        if s.kind in ("heading", "cell") or len(seconds) != 1 or len(rates) != 1 or _OTHER.search(s.text):
            continue
        t, r = seconds[0], rates[0]
        if t.number.at > r.number.at or not re.match(r"tok|jeton|个?\s?token", r.number.noun, re.IGNORECASE):
            continue
        if not _THUS.search(span_between(s, t.number, r.number)) or not _STEP.search(s.text):
            continue
        many = [e for e in entries if e.number.whole and e.number.dim == COUNT and _of_sequences(e)]
        got = times(ranges(r.number), ranges(t.number))
        if len(many) != 1 or any(meet(got, exactly(float(c))) for c in ledger.counts):
            continue
        here = {e.number.value for e in entries if e.number.whole and e.number.dim == COUNT}
        if any(meet(got, exactly(many[0].number.value * c)) for c in here):
            continue  # on so many replicas
        middle = many[0].number.value / t.number.value
        if 1 / ASTRAY < r.number.value / middle < ASTRAY:
            why = f"{many[0].number.text.strip()} in {t.number.text.strip()} are {middle:.4g} a second"
            yield r, r.claim("throughput", Verdict.WRONG, why, middle)


def _of_sequences(e: Entry) -> bool:
    text, n = e.statement.value, e.number
    return bool(_SEQUENCES.search(text[max(0, n.at - AROUND // 2) : n.at]) or _SEQUENCES.search(e.behind[:AROUND]))
