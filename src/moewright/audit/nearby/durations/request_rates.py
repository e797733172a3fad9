"""Tokens a second of so many requests a second: 24 requests/s of 6,000 prompt and 800 output tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, Range, exactly, meet, over, plus, ranges, times
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import COUNT, PER_SECOND
from moewright.units import format_quantity

_REQUESTS: Final = re.compile(
    r"^\s*(?:req(?:uest)?s?|prompts?|queries|conversations?|sessions?|calls?|Anfragen|requêtes|请求|条请求)\b|^\s*(?:个|条)?请求",
    re.IGNORECASE,
)
_TOKENS: Final = re.compile(
    r"^[-\s]*(?:\w+[- ])?(?:\w*tokens?|jetons?)\b|^\s*(?:\w+ )?(?:in|out)\b|^[^\d,;.]{0,14}tokens?", re.IGNORECASE
)
#: tokens of a request, at least, and the sentences in which they may stand
FEWEST: Final = 16
BACK: Final = 1
#: what a rate may be of instead
_PART: Final = re.compile(
    r"per (?:GPU|chip|accelerator|"
    r"card|node|replica|instance|user)|each|/\s?GPU|je |pro |每|单|if\b|peak|max",
    re.IGNORECASE,
)
#: slips
_FACTORS: Final = (2.0, 0.5, 3.0, 4.0, 0.25, 10.0, 0.1, 1e3, 1e-3, 4 / 3, 0.75, 1.5, 2 / 3, 60.0, 1 / 60)


def judge_request_rates(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a rate of tokens that stands behind one rate of requests and the tokens of each: their product, for
    the one kind of tokens or for all."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind in ("heading", "cell") or standing_of(s):
            continue
        near = [x for x in ledger.around(index, BACK) if x.statement.path == s.path and x.statement.kind == s.kind]
        requests = [x for x in near if x.number.dim == PER_SECOND and _REQUESTS.match(x.number.noun or x.behind)]
        if len({x.number.value for x in requests}) != 1:
            continue
        rate = requests[0]
        tokens = [x for x in near if _is_tokens(x) and (x.index, x.number.at) > (rate.index, -1)]
        for e in entries:
            n = e.number
            told = n.dim == PER_SECOND and "token" in f"{n.noun} {n.text} {e.behind[:12]}".lower()
            before = [t for t in tokens if (t.index, t.number.at) < (index, n.at)]
            if not told or e is rate or e.figure.formula or n.approx or not 1 <= len(before) <= 3:
                continue
            if (rate.index, rate.number.at) > (index, n.at) or _PART.search(
                re.split(r"[.;,](?!\d)", s.value[: n.at])[-1] + e.behind[:24]
            ):
                continue
            each = [ranges(t.number) for t in before]
            each += [plus(a, b) for i, a in enumerate(each) for b in each[i + 1 :]]
            said, mine = ranges(n), ranges(rate.number)
            held = next((t for t in each if meet(said, times(mine, t))), None)
            if held is not None:
                yield e, e.claim("throughput", Verdict.HOLDS, f"{rate.number.text.strip()} × tokens of each", None)
                continue
            right = _slipped(said, mine, each)
            if right is not None:
                why = f"{rate.number.text.strip()} of {right[0]:g} tokens are {format_quantity(right[1], 'per second')}"
                yield e, e.claim("throughput", Verdict.WRONG, why, right[1])


def _slipped(
    said: tuple[Range, ...], rate: tuple[Range, ...], each: list[tuple[Range, ...]]
) -> tuple[float, float] | None:
    """(Tokens of a request, their rate) of which the one said is a slip."""
    for t in each:
        got = over(said, times(rate, t))
        if any(meet(got, exactly(k), 3e-3) for k in _FACTORS):
            return t[0][0], t[0][0] * (rate[0][0] + rate[0][1]) / 2
    return None


def _is_tokens(e: Entry) -> bool:
    """Whether a number is of the tokens of one request."""
    n = e.number
    plain = n.dim == COUNT and not n.percent and n.value >= FEWEST and e.figure.role == "lone" and n.at >= 0
    return plain and bool(_TOKENS.match(n.noun or e.behind) or _TOKENS.match(e.behind))
