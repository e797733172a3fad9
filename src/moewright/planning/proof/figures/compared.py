"""A figure as the plan states it beside what a walk finds, and a check made of many of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from moewright.planning.record import Check, Status


@dataclass(frozen=True, slots=True)
class Compared:
    """``figure``: its path in the plan's JSON. ``allowed``: how far apart the two may be, as a share of the larger;
    ``above``: the stated figure may be larger by any amount up to that factor of the walked one instead."""

    figure: str
    stated: float
    walked: float
    allowed: float
    above: float | None = None

    @property
    def apart(self) -> float:
        """Distance as a share of the larger."""
        largest = max(abs(self.stated), abs(self.walked))
        return abs(self.stated - self.walked) / largest if largest else 0.0

    @property
    def strained(self) -> float:
        """How much of what is allowed the distance takes."""
        if self.above is not None and self.stated >= self.walked:
            return 0.0
        return self.apart / self.allowed if self.allowed else self.apart

    @property
    def holds(self) -> bool:
        if self.above is not None and self.stated >= self.walked:
            return self.above == inf or self.stated <= self.walked * self.above
        return self.apart <= self.allowed  # not so where either is no number

    def told(self) -> str:
        most = f"{self.allowed:.3g}"
        if self.above == inf:
            most = f"{most} below, anything above"
        elif self.above is not None:
            most = f"{most} below, {self.above:.3g} times above"
        return f"{self.figure} {self.stated:.6g}, walked {self.walked:.6g} ({self.apart:.2%} apart, allowed {most})"


def check_of(name: str, what: str, figures: Iterable[Compared]) -> Check | None:
    """One check of ``figures``; None where there are none. Its detail tells those that do not hold, or the furthest."""
    figures = list(figures)
    if not figures:
        return None
    wrong = [c for c in figures if not c.holds]
    shown = sorted(wrong, key=lambda c: -c.apart)[:3] if wrong else [max(figures, key=lambda c: c.strained)]
    told = "; ".join(c.told() for c in shown)
    verdict = f"{len(wrong)} of {len(figures)} disagree" if wrong else f"{len(figures)} agree; the furthest"
    return Check(name, Status.FAIL if wrong else Status.PASS, f"{what}: {verdict}: {told}")
