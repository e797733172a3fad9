"""Tokens a second of one user by the time of a step: at 38 ms a token, 26 a second."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, ranges, times
from moewright.audit.text.numbers import PER_SECOND, SECONDS

_USER: Final = re.compile(
    r"\s*(?:per|a|for (?:each|one|a)|each|/|je|pro|par|每(?:个)?)\s?"
    r"(?:users?|streams?|sessions?|requests?|sequences?|conversations?|chats?|Nutzer\w*|Sitzung|Anfrage|Sequenz|"
    r"utilisateur|用户|会话|请求|序列|路)\b",
    re.IGNORECASE,
)
_STEP: Final = re.compile(
    r"\bTPOT\b|\bITL\b|\bsteps?\b|per (?:output )?token|a token|Schritt|je Token|pas\b|par jeton|每步|单步|步时|"
    r"每\s?token",
    re.IGNORECASE,
)
#: before a rate: what makes it a goal, or that of steps of several tokens
_NOT_OF_STEP: Final = re.compile(
    r"\bMTP\b|draft|accept|speculat|EAGLE|Medusa|target|at least|at most|SLO|floor|bar is|need|投机|目标|接受|"
    r"Ziel|mindestens",
    re.IGNORECASE,
)
_TOKENS: Final = re.compile(r"tok|jeton|个?\s?token", re.IGNORECASE)
#: rounding leaves no more of a rate of two digits
_ROOM: Final = 0.02
#: how many times such a rate may be off
_FAR: Final = 20.0


def judge_user_rates(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the tokens a second of one user behind the time of a step, where a step makes one token: one over
    that time, or over another that the document tells."""
    if any(_SEVERAL_TOKENS.search(s.text) for s in ledger.statements):
        return
    told = [x for x in ledger.alike(SECONDS) if x.figure.role != "operand"]
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind in ("heading", "cell") or not _STEP.search(s.text):
            continue
        seconds = [x for x in entries if x.number.dim == SECONDS and x.figure.role != "operand"]
        for e in entries:
            before = [t for t in seconds if t.number.at < e.number.at]
            rate = e.number.dim == PER_SECOND and _TOKENS.match(e.number.noun) and _USER.match(e.behind)
            if not rate or len(before) != 1 or e.figure.formula or _NOT_OF_STEP.search(_front(e)):
                continue
            t, right = before[0], 1 / before[0].number.value
            if any(meet(times(ranges(e.number), ranges(x.number)), exactly(1.0), _ROOM) for x in (t, *told)):
                yield e, e.claim("throughput", Verdict.HOLDS, f"one in {t.number.text.strip()}", right)
            elif 1 / _FAR < e.number.value / right < _FAR:
                why = f"one token in {t.number.text.strip()} is {right:.4g} a second"
                yield e, e.claim("throughput", Verdict.WRONG, why, right)


#: a step that makes more than a token
_SEVERAL_TOKENS: Final = re.compile(r"\bMTP\b|speculative|draft|EAGLE|投机|多 ?token 预测|spekulativ", re.IGNORECASE)


def _front(e: Entry) -> str:
    """The words of the rate's own clause before it."""
    return re.split(r"[,;]|\.(?=\s)", e.statement.value[: max(0, e.number.at)])[-1]
