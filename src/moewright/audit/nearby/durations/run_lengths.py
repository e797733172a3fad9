"""How long a run takes, by its steps and the time of one: 286k steps of 2.3 s are 7.6 days."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, digits, meet, over, ranges, times
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import COUNT, NAMES, PER_SECOND, SECONDS
from moewright.units import format_quantity

_STEPS: Final = re.compile(
    r"\b(?:training |optimizer )?(?:steps?|iterations?|updates?)\b|Schritte?n?\b|étapes?\b|pas\b|步", re.I
)
_STEP: Final = re.compile(
    r"\b(?:per|each|a|one|every|the|an) (?:\w+ )?(?:step|iteration|update)\b|"
    r"\b(?:step|iteration|update)[ -]?(?:time|takes?|lasts?)\b|"
    r"\b(?:per|/) ?step\b|^\W*step\b|"
    r"je Schritt|Schrittzeit|Schrittdauer|pro Schritt|ein Schritt|每步|单步|一步|步时|par pas|par étape",
    re.IGNORECASE,
)
#: what makes a run longer than its steps, or is no run
_LONGER: Final = re.compile(
    r"\bgoodput|(?<!without )\brestarts?|availab|uptime|downtime|overhead|interrupt(?!ions)|checkpoint|"
    r"GPU[- ]?hours|reserve|buffer|margin|Puffer|marge|余量|"
    r"Verfügbarkeit|Ausfall|mit Unterbrech|可用率|重启",
    re.IGNORECASE,
)
_TOKENS: Final = re.compile(r"tokens?\b|Token\b|jetons?\b", re.IGNORECASE)
#: a run lasts so long at least
_LEAST: Final = 1800.0
_MOST_STEP: Final = 3600.0
#: how far off a run may be by what was rounded, and how far a slip leaves it
_ROOM: Final = 0.03
_FAR: Final = 60.0
#: statements before the run in which its steps stand
_NEAR: Final = 2
#: steps, and the tokens of a run, right behind their number; what names the time of a step
_STEPS_BEHIND: Final = re.compile(
    r"^\s*(?:optimi[sz]er |training )?(?:steps|Schritten?|iterations)\b|^\s?步", re.IGNORECASE
)
_STEP_NAMED: Final = re.compile(r"\b(?:step|iteration|Schritt)\b|步", re.IGNORECASE)
_TOKENS_BEHIND: Final = re.compile(r"^\s*(?:of )?(?:training )?tokens\b|^\s*Token\b", re.IGNORECASE)
#: an hour, in seconds: of less, other times than a step's may make it
_LONG: Final = 3600.0
#: how many times the time of a run may be off
_ASTRAY: Final = 120.0


def judge_run_lengths(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the days or hours of a run, beside its steps, or below them: so many times the time of a step, or
    the tokens over the tokens a second; wrong where no time and no rate of the document makes it."""
    times_told = [x for x in ledger.alike(SECONDS) if x.number.value < _MOST_STEP]
    step_times = [x for x in times_told if _STEP.search(_around(x))]
    rates = [x for x in ledger.alike(PER_SECOND) if x.number.value > 1]
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading" or _LONGER.search(s.text):
            continue
        runs = [e for e in entries if e.number.dim == SECONDS and e.number.value >= _LEAST and not e.figure.formula]
        steps = _steps_of(entries)
        steps = steps or [x for i in range(max(0, index - _NEAR), index) for x in _steps_of(ledger.entries[i])]
        if len(runs) != 1 or len({x.number.value for x in steps}) != 1 or not step_times:
            continue
        e, many = runs[0], steps[0]
        said = ranges(e.number)
        if any(meet(said, times(ranges(many.number), ranges(t.number)), _ROOM) for t in times_told):
            continue
        tokens = [x for x in ledger.alike(COUNT) if x.number.value > many.number.value]
        if any(meet(said, over(ranges(x.number), ranges(r.number)), _ROOM) for x in tokens for r in rates):
            continue
        t = min(step_times, key=lambda x: abs(x.index - index))
        right = many.number.value * t.number.value
        if 1 / _FAR < e.number.value / right < _FAR and not e.number.approx:
            told = f"{many.number.text.strip()} steps of {t.number.text.strip()} (line {t.line})"
            yield e, e.claim("time", Verdict.WRONG, f"{told} take {format_quantity(right, 's')}", right)


def _around(x: Entry) -> str:
    s = x.statement
    return f"{s.row} | {s.column} | {s.key} | {s.value[max(0, x.number.at - 40) : max(0, x.number.at)]} {x.behind[:24]}"


def _steps_of(entries: list[Entry]) -> list[Entry]:
    """Figures that number steps."""
    found = []
    for x in entries:
        n, s = x.number, x.statement
        named = _STEPS.match(x.behind.lstrip()) or (
            s.kind == "cell" and _STEPS.search(s.row) and not _STEP.search(s.row)
        )
        if n.dim == COUNT and not n.percent and n.value >= 100 and named and not _TOKENS.match(x.behind.lstrip()):
            found.append(x)
    return found


def judge_runs(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the time of so many steps, or of so many tokens, in the same sentence, by the time of a step, or the
    tokens a second, that the document tells."""
    steps = [
        x
        for x in ledger.alike(SECONDS)
        if x.number.value < _LONG and _STEP_NAMED.search(f"{x.figure.words} {x.statement.key}")
    ]
    speeds = [x for x in ledger.alike(PER_SECOND) if x.number.value > _LONG / 36]
    for entries in ledger.entries:
        s = entries[0].statement if entries else None
        if s is None or s.kind == "heading":
            continue
        runs = [e for e in entries if e.number.dim == SECONDS and e.number.value >= _LONG and not e.figure.formula]
        counts = [
            x
            for x in entries
            if x.number.dim == COUNT and _STEPS_BEHIND.match(_after(x)) and x.figure.role != "operand"
        ]
        tokens = [
            x for x in entries if x.number.dim == COUNT and _TOKENS_BEHIND.match(_after(x)) and x.number.value >= 1e9
        ]
        if len(runs) != 1 or len(counts) > 1 or not (counts or tokens) or runs[0].number.approx or standing_of(s):
            continue
        if _LONGER.search(s.text):
            continue
        e = runs[0]
        if digits(e.number) < 2:
            continue
        ways = [(x, y, times(ranges(x.number), ranges(y.number))) for x in counts for y in steps]
        ways += [(x, y, over(ranges(x.number), ranges(y.number))) for x in tokens for y in speeds]
        if not ways or any(meet(ranges(e.number), w) for _, _, w in ways):
            continue
        x, y, w = ways[0]
        right = (w[0][0] + w[0][1]) / 2
        if (
            len({round(v[0][0] / right, 2) for _, _, v in ways}) > 2
            or not 1 / _ASTRAY < e.number.value / right < _ASTRAY
        ):
            continue
        how = "at" if y.number.dim == SECONDS else "over"
        why = f"{x.number.text.strip()} {how} {y.number.text.strip()} (line {y.line}) take "
        yield e, e.claim("time", Verdict.WRONG, why + format_quantity(right, NAMES[SECONDS]), right)


def _after(x: Entry) -> str:
    """The text behind a figure, which may stand in the key of its statement."""
    at = x.number.at + len(x.statement.key) + 2
    return x.behind if x.number.at >= 0 else x.statement.key[at + len(x.number.text) :]
