"""Tokens a second by the sequences of a step and the time of the step, where one sentence has all three."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import LARGE, Entry, Ledger, among, exactly, meet, ranges, span_between, times
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
    told = (e for entries in ledger.entries for e in entries if e.number.dim == COUNT)
    told = (e for e in told if e.number.whole or (e.number.factor >= LARGE and not e.number.approx))
    many_told = dict.fromkeys(e.number.value for e in told if e.number.value >= FEWEST and _of_step(e))
    places, sequences = {c: i for i, c in enumerate(many_told)}, sorted(many_told)
    counts = sorted(map(float, ledger.counts))
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        seconds = [e for e in entries if e.number.dim == SECONDS and e.figure.role != "operand"]
        rates = [e for e in entries if e.number.dim == PER_SECOND and e.figure.role != "operand"]
        rates = [e for e in rates if not e.number.approx and len(e.figure.formula) < 2]
        if s.kind == "prose" and not seconds and len(rates) == 1 and (claim := _in_step(rates[0], ledger)) is not None:
            yield rates[0], claim
            continue
        if s.kind in ("heading", "cell") or len(rates) != 1 or _OTHER.search(s.text):
            continue
        r = rates[0]
        if (claim := _with_running(seconds, entries, r)) is not None:
            yield r, claim
            continue
        if len(seconds) != 1:
            continue
        t = seconds[0]
        if t.number.at > r.number.at or not re.match(r"tok|jeton|个?\s?token", r.number.noun, re.IGNORECASE):
            continue
        between = span_between(s, t.number, r.number)
        counted = next((e for e in entries if e.number.at < t.number.at and _made_in(e, t)), None)
        if counted is not None and _SO.fullmatch(between) and not _EACH.match(r.behind):
            yield r, _in_time(counted, t, r)
            continue
        if not _THUS.search(between) and not (_STEP.search(s.text) and between.strip() in (",", ";")):
            continue
        if (claim := _by_thousand(t, r, sequences, counts, places)) is not None:
            yield r, claim
            continue
        if not _STEP.search(s.text):
            continue
        many = [e for e in entries if e.number.whole and e.number.dim == COUNT and _of_sequences(e)]
        got = times(ranges(r.number), ranges(t.number))
        if len(many) != 1 or among(got, counts):
            continue
        if _EACH.match(many[0].behind) and not _EACH.match(r.behind):
            continue  # 96 sequences per replica, and the rate of all
        here = {e.number.value for e in entries if e.number.whole and e.number.dim == COUNT}
        if any(meet(got, exactly(many[0].number.value * c)) for c in here):
            continue  # on so many replicas
        middle = many[0].number.value / t.number.value
        if 1 / ASTRAY < r.number.value / middle < ASTRAY:
            why = f"{many[0].number.text.strip()} in {t.number.text.strip()} are {middle:.4g} a second"
            yield r, r.claim("throughput", Verdict.WRONG, why, middle)


#: 24 ms per output token with 64 running sequences per replica, so
_RUNNING: Final = re.compile(
    r"\s*(?:per|a|je|pro) (?:output |Ausgabe-?)?token\s?(?:with|at|for|bei|mit) (?P<n>\d[\d,]*) "
    r"(?:running |concurrent |active |live |laufenden |gleichzeitigen )?"
    r"(?:sequences|requests|users|sessions|streams|Sitzungen|Sequenzen|Anfragen)(?P<each> (?:per|je|pro|on each) \w+)?"
    r"\s*[,;:=→]?\s*(?:so |thus |hence |that is |i\.e\. |or |also )?",
    re.IGNORECASE,
)


def _with_running(seconds: list[Entry], entries: list[Entry], r: Entry) -> Claim | None:
    """The verdict on the rate of so many that run, behind the time that each token of theirs takes."""
    before = [t for t in seconds if t.number.at < r.number.at]
    m = _RUNNING.fullmatch(span_between(r.statement, before[-1].number, r.number)) if before else None
    each = _EACH.match(r.behind)
    if m is None or (each is None) != (m["each"] is None):
        return None
    start = before[-1].number.at + len(before[-1].number.text) + m.start("n")
    many = next((x for x in entries if x.number.at == start), None)
    return _in_time(many, before[-1], r) if many is not None else None


_IN_FLIGHT: Final = re.compile(
    r"^\s?(?:\w+ )?(?:sequences|requests|users|streams|conversations|sessions|Sequenzen|Sitzungen)\b"
    r"[^.;\d]{0,24}(?:in flight|running|active|at once|gleichzeitig)?",
    re.IGNORECASE,
)
_PER_STEP: Final = re.compile(
    r"\b(?:per|a|each|every|je|pro) (?:step|Schritt|token)\b|^\s*(?:steps?|TPOT|ITL)\b", re.IGNORECASE
)


def _in_step(r: Entry, ledger: Ledger) -> Claim | None:
    """The verdict on the rate of so many sequences, of which the sentence before has the time of a step."""
    entries = ledger.entries[r.index]
    before = ledger.entries[r.index - 1] if r.index else []
    times_ = [x for x in before if x.number.dim == SECONDS and x.figure.role != "operand"]
    many = [x for x in entries if x.number.whole and x.number.dim == COUNT and _IN_FLIGHT.match(x.behind)]
    if len(times_) != 1 or len(many) != 1 or many[0].number.at > r.number.at or _EACH.match(r.behind):
        return None
    if not _PER_STEP.search(f"{times_[0].behind[:24]} {times_[0].statement.key}"):
        return None
    if not re.match(r"tok|jeton|个?\s?token", r.number.noun, re.IGNORECASE):
        return None
    return _in_time(many[0], times_[0], r)


#: what may stand between the time and the rate that so many make in it
_SO: Final = re.compile(
    r"\s*[:=→,，：]?\s*(?:(?:so|that is|i\.e\.|hence|thus|makes?|gives?|are|sind|also|即)\s*)?"
    r"(?:(?:at most|no more than|höchstens|au plus|至多|最多|about|~|≈)\s*)?",
    re.IGNORECASE,
)
_EACH: Final = re.compile(r"[^.;,]*?(?:\b(?:per|each|a|je|pro|par)\b|/|每)", re.IGNORECASE)
_IN: Final = re.compile(
    r"\s?(?:\w+ )?(?:sequences?|requests?|users?|tokens?|streams?|seqs|Sequenzen|Anfragen|Token|séquences|requêtes)"
    r"\s+(?:in|en)\s*",
    re.IGNORECASE,
)


def _made_in(e: Entry, t: Entry) -> bool:
    """Whether a text says ``e`` sequences, or tokens, in the time ``t``."""
    whole = e.number.whole and e.number.dim == COUNT
    return whole and bool(_IN.fullmatch(span_between(e.statement, e.number, t.number)))


def _in_time(many: Entry, t: Entry, r: Entry) -> Claim:
    """The verdict on the rate that so many in a time are said to make."""
    right = many.number.value / t.number.value
    if meet(times(ranges(r.number), ranges(t.number)), exactly(many.number.value)):
        return r.claim("throughput", Verdict.HOLDS, f"{many.number.text.strip()} in {t.number.text.strip()}", right)
    why = f"{many.number.text.strip()} in {t.number.text.strip()} are {right:.4g} a second"
    return r.claim("throughput", Verdict.WRONG, why, right)


def _by_thousand(
    t: Entry, r: Entry, sequences: Sequence[float], counts: Sequence[float], places: Mapping[float, int]
) -> Claim | None:
    """The verdict on a rate that is ten, or a thousand, times more, or less, than any number of ``sequences`` of the
    document makes in a time, where none of its ``counts`` does; ``places``: the
    order that the document has them in."""
    got = times(ranges(r.number), ranges(t.number))
    if r.number.slack > ROUNDING or among(got, counts):
        return None
    scales = (times(got, exactly(k)) for k in (1e3, 1e-3, 1e2, 1e-2, 10.0, 0.1))
    c = min((c for scaled in scales for c in among(scaled, sequences)), key=places.__getitem__, default=None)
    if c is None:
        return None
    why = f"{c:,.0f} in {t.number.text.strip()} are {c / t.number.value:.4g} a second"
    return r.claim("throughput", Verdict.WRONG, why, c / t.number.value)


#: a rate is told from others where rounding leaves no more of it
ROUNDING: Final = 0.01
#: sequences of a step that a rate is told by
FEWEST: Final = 8


#: tokens of all sequences of a step
_TOKENS: Final = re.compile(r"\s(?:\w+ )?tokens?\b|\s?个? ?token", re.IGNORECASE)
#: a step has so many where the document calls them tokens, and no sequences
MANY_TOKENS: Final = 100_000


def _of_step(e: Entry) -> bool:
    """Whether a number is of the sequences of a step, or of all its tokens."""
    return _of_sequences(e) or (e.number.value >= MANY_TOKENS and bool(_TOKENS.match(e.behind)))


def _of_sequences(e: Entry) -> bool:
    text, n = e.statement.value, e.number
    return bool(_SEQUENCES.search(text[max(0, n.at - AROUND // 2) : n.at]) or _SEQUENCES.search(e.behind[:AROUND]))
