"""What a whole document bears out: where next to nothing that was read agrees with it, it may be misread; what is off
by the same factor again and again is a convention."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from moewright.audit.audit_record import Claim, Verdict

#: figures of a document with which it is long enough to tell whether it was understood
MANY: Final = 20
#: figures, other than by arithmetic as it is written, that must hold in such a document
AGREEING: Final = 2
#: results of calculations that are off by one factor, which is no slip then
AGAIN: Final = 3
#: of the calculations that hold, so many as must be off alike
SHARE: Final = 0.2
#: how near two factors are that are one
ALIKE: Final = 4e-3
#: what is judged by what is written alone, or by words
_AS_WRITTEN: Final = ("arithmetic", "mixed sum", "misprint", "words", "code", "premise share")
_BESIDE: Final = (
    *_AS_WRITTEN,
    *("multiple", "table", "time", "derivation", "throughput"),
    *("sum", "difference", "share", "ratio", "split", "formula", "quotation"),
)
_FAILING: Final = (Verdict.WRONG, Verdict.CONTRADICTED, Verdict.IMPOSSIBLE, Verdict.UNSUPPORTED)


def supported(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """``claims``, without the failing verdicts that the document as a whole speaks against."""
    holding = {c.claimed for c in claims if c.verdict is Verdict.HOLDS and not c.quantity.startswith(_AS_WRITTEN)}
    understood = len(claims) < MANY or len(holding) >= AGREEING
    out = list(claims) if understood else [_unless_written(c) for c in claims]
    held = sum(c.quantity == "arithmetic" and c.verdict is Verdict.HOLDS for c in out)
    factors = sorted(c.ratio for c in out if c.quantity == "arithmetic" and c.verdict is Verdict.WRONG and c.ratio)
    return tuple(_unless_usual(c, factors, max(AGAIN, held * SHARE)) for c in out)


def _unless_written(c: Claim) -> Claim:
    rough = c.quantity == "sum" and "~" in c.why
    if c.verdict not in _FAILING or (c.quantity.startswith(_BESIDE) and "." not in c.quantity and not rough):
        return c
    why = f"too little else in the document agrees with what was read of it to be sure: {c.why}"
    return replace(c, verdict=Verdict.NOT_CHECKED, why=why)


def _unless_usual(c: Claim, factors: Sequence[float], enough: float) -> Claim:
    """``c`` without its verdict, where its result is off by a factor that others are off by too, of ``factors`` in
    their order; ``enough``: how many of them are no slips."""
    if c.quantity != "arithmetic" or c.verdict is not Verdict.WRONG or not c.ratio:
        return c
    low, high = sorted((c.ratio / (1 + ALIKE), c.ratio / (1 - ALIKE)))
    same = bisect_right(factors, high) - bisect_left(factors, low)
    if same < enough:
        return c
    why = f"{same} calculations are off by the same factor, which is rather a convention: {c.why}"
    return replace(c, verdict=Verdict.NOT_CHECKED, why=why)
