"""The line of a calculation that makes lines below it come out other than they say, though its own figure is what it
works out: a factor is missing there, or is one too many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from moewright.audit.audit_record import Claim, Verdict

#: lines of code, each of which is evaluated twice for every name that is tried
MOST_LINES: Final = 600
#: names that are tried
MOST: Final = 40
#: by what a value is changed to see which lines follow from it
STEP: Final = 0.01
#: how near a factor must be to a whole number, or to a usual one
CLOSE: Final = 0.01
_SLIPS: Final = (2.0, 4.0, 8.0, 10.0, 1000.0, 1024.0)
#: bytes of an element, other than one
SIZES: Final = (0.5, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Made:
    """A name that line number ``line`` works out from other names, which it ``uses``, with the verdicts on what the
    line says of it; ``sized``: the bytes of an element stand in the line; ``doubt``: a figure that is so many bytes an
    element times the value."""

    line: int
    target: str
    uses: frozenset[str]
    claims: tuple[Claim, ...]
    sized: bool
    doubt: Claim | None


Evaluate = Callable[[Mapping[int, float]], tuple[list[Claim], list[Made]]]


def with_culprits(claims: list[Claim], made: Sequence[Made], evaluate: Evaluate) -> list[Claim]:
    """``claims`` on lines of code, where one line makes others wrong with the verdict on that line in their place."""
    claims = [*claims, *_undoubted(made)]
    failing = [c for c in claims if c.verdict is Verdict.WRONG]
    if not failing:
        return claims
    found: dict[frozenset[int], list[tuple[Claim, float]]] = {}
    for m in made[-MOST:]:
        held = [c for c in m.claims if c.verdict is Verdict.HOLDS]
        if held and (cure := _cure(m, failing, evaluate)) is not None:
            factor, lines = cure
            found.setdefault(lines, []).append((held[0], factor))
    blamed: dict[int, Claim] = {}
    for lines, ways in found.items():
        if len(ways) == 1 and not any(lines < other for other in found):
            claim, factor = ways[0]
            below = ", ".join(str(x) for x in sorted(lines))
            why = f"line {below} comes out as it says with {factor:.4g} times that"
            right = float(claim.computed or 0.0) * factor
            blamed[id(claim)] = replace(claim, verdict=Verdict.WRONG, why=why, computed=right)
    cured = {x for lines, ways in found.items() if len(ways) == 1 for x in lines}
    kept = [c for c in claims if not (c.verdict is Verdict.WRONG and c.line in cured)]
    return [blamed.get(id(c), c) for c in kept]


def _cure(m: Made, failing: Sequence[Claim], evaluate: Evaluate) -> tuple[float, frozenset[int]] | None:
    """By what the value of a name must be multiplied so that every failing line that uses it holds, and those lines;
    None where nothing does, or lines that hold would not."""
    more = {(c.line, c.claimed): c for c in evaluate({m.line: 1 + STEP})[0]}
    moved = [c for c in failing if c.line > m.line and _moves(c, more.get((c.line, c.claimed)))]
    if not moved:
        return None
    first = min(moved, key=lambda c: c.line)
    one, two = first.computed, more[first.line, first.claimed].computed
    if one is None or two is None or first.claimed is None:
        return None
    factor = 1 + STEP * (first.claimed - one) / (two - one)
    if factor <= 0 or abs(factor - 1) < CLOSE:
        return None
    after = evaluate({m.line: factor})[0]
    lines, old = frozenset(c.line for c in moved), {c.line for c in failing}
    wrong = {c.line for c in after if c.verdict is Verdict.WRONG}
    held = {c.line for c in after if c.verdict is Verdict.HOLDS}
    if wrong - old or wrong & lines or not lines <= held:
        return None
    alone = len(lines) == 1 and (_is_slip(first.claimed / one) or not _is_slip(factor))
    return None if alone else (factor, lines)


def _moves(c: Claim, other: Claim | None) -> bool:
    return other is not None and other.computed != c.computed


def _is_slip(factor: float) -> bool:
    k = max(factor, 1 / factor)
    return any(abs(k / s - 1) < CLOSE for s in _SLIPS) or (k > 2.5 and abs(k / round(k) - 1) < CLOSE)


def _undoubted(made: Sequence[Made]) -> list[Claim]:
    """The verdicts on bytes that are so many an element times a value, which a line below takes for bytes as it is."""
    last: dict[str, int] = {}
    for x in made:
        if not x.sized and any(c.verdict is Verdict.HOLDS and c.unit == "bytes" for c in x.claims):
            last |= dict.fromkeys(x.uses, x.line)
    return [m.doubt for m in made if m.doubt is not None and last.get(m.target, 0) > m.line]
