"""The record of an audit: what ``audit --json`` prints."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from moewright.audit.reading.document_case import Assumption
from moewright.audit.reading.premises import Premise
from moewright.audit.spans import span_of
from moewright.audit.text.numbers import COUNT, NAMES
from moewright.errors import SpecError


class Verdict(StrEnum):
    HOLDS = "holds"
    WRONG = "wrong"
    IMPOSSIBLE = "impossible"
    UNSUPPORTED = "unsupported"
    CONTRADICTED = "contradicted"
    NOT_CHECKED = "not checked"


#: verdicts, the worst first
WORST_FIRST = (
    Verdict.IMPOSSIBLE,
    Verdict.WRONG,
    Verdict.CONTRADICTED,
    Verdict.UNSUPPORTED,
    Verdict.NOT_CHECKED,
    Verdict.HOLDS,
)
#: verdicts that fail an audit where nothing else is asked for
FAILING = (Verdict.WRONG, Verdict.IMPOSSIBLE, Verdict.UNSUPPORTED, Verdict.CONTRADICTED)


#: a figure: its line, value, text and, where it has one, its unit, without which 302 MB are 302 M parameters
Key = tuple[int, float | None, str, str]
_UNITS = frozenset(unit for dim, unit in NAMES.items() if dim != COUNT)


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim and its verdict. ``claimed`` and ``computed`` in SI, ``ratio`` the one over the other; ``assumes``:
    fields that the document did not give and the verdict needs; ``configuration``: the one of several that it is of."""

    line: int
    text: str
    quantity: str
    verdict: Verdict
    why: str
    claimed: float | None = None
    computed: float | None = None
    assumes: tuple[str, ...] = ()
    unit: str = ""
    configuration: str = ""

    @property
    def key(self) -> Key:
        """The figure that it is on."""
        return (self.line, self.claimed, self.text, self.unit if self.unit in _UNITS else "")

    @property
    def ratio(self) -> float | None:
        if self.claimed is None or not self.computed:
            return None
        return self.claimed / self.computed


@dataclass(frozen=True, slots=True)
class Unread:
    """A premise that no case has, and that nothing stands on therefore."""

    line: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One of several configurations of a document: its ``premises`` with those that it inherits, and why its figures
    are not judged, where they are not."""

    name: str
    line: int
    premises: tuple[Premise, ...]
    unpriced: str = ""


@dataclass(frozen=True, slots=True)
class Priced:
    """One strategy of the better plan: seconds of a pass, and the document's reading it is of (or best)."""

    reading: str
    name: str
    seconds: float
    tokens_per_second: float
    memory: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Better:
    """What the planner finds for the same premises; ``plan`` is the best as ``plan --json`` prints it."""

    strategies: tuple[Priced, ...]
    bound: float
    bound_reason: str
    plan: dict[str, Any] | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything found in a document; ``lines``: the document itself; ``reader``: who read its claims, empty where this
    program did."""

    file: str
    premises: tuple[Premise, ...]
    assumptions: tuple[Assumption, ...]
    missing: tuple[str, ...]
    claims: tuple[Claim, ...]
    better: Better | None
    note: str = ""
    unread: tuple[Unread, ...] = ()
    configurations: tuple[Variant, ...] = ()
    lines: tuple[str, ...] = ()
    reader: str = ""

    @property
    def summary(self) -> dict[str, int]:
        counts = Counter(str(c.verdict) for c in self.claims)
        return {str(v): counts[v] for v in Verdict if counts[v]}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        better = self.better
        return {
            "file": self.file,
            "reader": self.reader or "moewright",
            "premises": [
                {
                    "field": p.field,
                    "value": p.value,
                    "line": p.line,
                    "span": span_of(self.lines, p.line, p.value),
                    "read_from": p.read_from,
                    "text": p.text,
                }
                for p in self.premises
            ],
            "assumptions": [{"field": a.field, "value": a.value, "source": a.source} for a in self.assumptions],
            "missing": list(self.missing),
            "claims": [
                {
                    "line": c.line,
                    "span": span_of(self.lines, c.line, c.claimed),
                    "text": c.text,
                    "quantity": c.quantity,
                    "claimed": c.claimed,
                    "computed": c.computed,
                    "ratio": c.ratio,
                    "verdict": str(c.verdict),
                    "why": c.why,
                    "assumes": list(c.assumes),
                    "unit": c.unit,
                    "configuration": c.configuration,
                }
                for c in self.claims
            ],
            "summary": self.summary,
            "better": None
            if better is None
            else {
                "strategies": [{name: getattr(p, name) for name in Priced.__slots__} for p in better.strategies],
                "bound_seconds": better.bound,
                "bound_reason": better.bound_reason,
                "note": better.note,
                "plan": better.plan,
            },
            "note": self.note,
            "configurations": [
                {
                    "name": v.name,
                    "line": v.line,
                    "premises": {p.field: p.value for p in v.premises},
                    "unpriced": v.unpriced,
                }
                for v in self.configurations
            ],
            "unread": [{"line": u.line, "text": u.text, "reason": u.reason} for u in self.unread],
        }


def verdicts_of(text: str | None) -> tuple[Verdict, ...]:
    """The verdicts that ``--fail-on`` names; those that fail by default where it is None. Raises SpecError."""
    if text is None:
        return FAILING
    found = []
    for part in text.split(","):
        name = part.strip().lower().replace("_", " ").replace("-", " ")
        if name not in list(Verdict):
            known = ", ".join(str(v).replace(" ", "-") for v in Verdict)
            raise SpecError(
                f"got {part.strip()[:40]!r}; expected some of {known}, with commas between", field="--fail-on"
            )
        found.append(Verdict(name))
    return tuple(found)


def fails(audit: Audit, verdicts: tuple[Verdict, ...]) -> bool:
    """Whether any claim has one of ``verdicts``."""
    return any(c.verdict in verdicts for c in audit.claims)
