"""Claims of a typed reading: each held against the document that it was read from, its expression, and the planner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from moewright.audit.audit_record import FAILING, Claim, Verdict
from moewright.audit.judges.admissible import admitted_by_name
from moewright.audit.judges.figures import Context, judge_figure, label, unit_of
from moewright.audit.judges.sums import Part
from moewright.audit.quantities.own_sizes import NOMINAL
from moewright.audit.reading.meaning import Meaning
from moewright.audit.text.clauses import Figure
from moewright.audit.text.document import Statement
from moewright.audit.typed.claim_expressions import Expressions, FactsOf
from moewright.audit.typed.relations import Outcome
from moewright.audit.typed.source_lines import SourceLines, mantissa, source_lines
from moewright.audit.typed.typed_reading import TypedClaim


def judge_typed(
    claims: Sequence[TypedClaim],
    lines: Sequence[str],
    facts_of: FactsOf,
    file: str,
    admit: bool = True,
    let: Mapping[str, str] | None = None,
) -> Iterator[Claim]:
    """A verdict on each of ``claims``. ``lines``: the document, or none where there is none to hold them against;
    ``facts_of``: the facts of a configuration by its name; ``admit``: leave what stands on guesses, conventions and
    estimates of time unjudged; ``let``: expressions by names. Raises SpecError for a name that nothing has."""
    expressions = Expressions(claims, let or {}, source_lines(tuple(lines)), facts_of, file)
    outcomes = expressions.outcomes()
    judge = _Judge(expressions.source, facts_of, admit)
    for c in claims:
        yield replace(judge.verdict(c, outcomes.get(c.index)), configuration=c.configuration)


#: why a figure that others are held against is not judged itself
INPUT: Final = "an input, which other figures are held against"
BILLION: Final = 1e9
_NOTHING: Final = "the reading has neither a quantity nor an expression for it"


@dataclass(slots=True)
class _Judge:
    source: SourceLines
    facts_of: FactsOf
    admit: bool
    contexts: dict[str, Context] = field(default_factory=dict)

    def verdict(self, c: TypedClaim, o: Outcome | None) -> Claim:
        """The verdict on ``c`` by its expression (``o``) and by its quantity."""
        if self.source.text and (reason := self._absent(c)):
            return _claim(c, Verdict.NOT_CHECKED, reason)
        found = None if o is None else _claim(c, o.verdict, o.why, o.computed)
        if not c.quantity or (found is not None and found.verdict in FAILING):
            return found or _claim(c, Verdict.NOT_CHECKED, INPUT if c.id else _NOTHING)
        planned = self._planned(c)
        if found is None or planned.verdict in FAILING or found.verdict is Verdict.NOT_CHECKED:
            return planned
        told = "holds too" if planned.verdict is Verdict.HOLDS else f"is {planned.verdict}"
        return replace(found, why=f"{found.why}; {planned.quantity} {told}: {planned.why}")

    def _absent(self, c: TypedClaim) -> str:
        """Why a claim is not what the document has on its line, or an empty text."""
        value = mantissa(c.number)
        if self.source.has(value, c.line):
            return ""
        near = next((line for line in (c.line - 1, c.line + 1) if self.source.has(value, line)), 0)
        return f"{c.value!r} does not stand on line {c.line}" + (f"; line {near} has it" if near else "")

    def _planned(self, c: TypedClaim) -> Claim:
        """What the planner has for a claim."""
        if c.configuration not in self.contexts:
            self.contexts[c.configuration] = Context(self.facts_of(c.configuration))
        context = self.contexts[c.configuration]
        text = f"{c.quantity}: {c.value}" + (f" per {' and '.join(sorted(c.scope))}" if c.scope else "")
        statement = Statement(c.line, text, c.quantity, c.value, (), "item")
        figure, meaning = Figure(c.number, "lone", ""), Meaning(c.quantity, (c.scope,), c.scope)
        found = judge_figure(figure, statement, meaning, context)
        found = replace(found, why=found.why.replace("the document gives no", "the reading gives no"))
        found = replace(found, why=found.why.replace("; add it with --assume", ""))
        if self.admit and found.verdict is Verdict.WRONG and _is_nominal(c, found.computed):
            return _claim(c, Verdict.NOT_CHECKED, f"it may be the size that the model is named by: {found.why}")
        return admitted_by_name(found, Part(figure, statement, meaning), context) if self.admit else found


def _is_nominal(c: TypedClaim, right: float | None) -> bool:
    """Whether a model's parameters are told in whole billions that are near theirs: 30B of 31.58 billion."""
    n = c.number
    told = c.quantity == "count.parameters" and not c.scope and n.factor >= BILLION and "." not in n.text
    return told and right is not None and abs(n.value / right - 1) <= NOMINAL


def _claim(c: TypedClaim, verdict: Verdict, why: str, computed: float | None = None) -> Claim:
    written = c.value + (f" {c.relation} {c.expression}" if c.expression else "")
    what = label(c.quantity, c.scope) if c.quantity else "expression"
    return Claim(c.line, written, what, verdict, why, c.number.value, computed, unit=unit_of(c.number))
