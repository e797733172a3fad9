"""Claims of a typed reading: each held against the document that it was read from, its expression, and the planner."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from moewright.audit.audit_record import FAILING, Claim, Verdict
from moewright.audit.judges.admissible import admitted_by_name
from moewright.audit.judges.equalities import FINE, judge_equality, name
from moewright.audit.judges.figures import Context, judge_figure, label, unit_of
from moewright.audit.judges.sums import Part
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.meaning import Meaning
from moewright.audit.reading.restated import known_sizes
from moewright.audit.reading.typed_reading import REFERENCE, TypedClaim, node_of
from moewright.audit.text.clauses import Equality, Figure
from moewright.audit.text.document import Statement, normal
from moewright.audit.text.expressions import Node, evaluate, numbers_in
from moewright.audit.text.numbers import Number
from moewright.errors import SpecError
from moewright.units import format_quantity

#: numbers that need no source: of seconds, days and prefixes, and small ones such as bytes of an element
_KNOWN: Final = frozenset((24.0, 30.0, 60.0, 100.0, 365.0, 1000.0, 1024.0, 3600.0, 86400.0))
_SMALL: Final = 16
_DIGITS: Final = re.compile(r"\d[\d.,]*\d|\d")
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:\.\d{3})+")
_TEN: Final = (
    ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
    ["ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"],
    list("一二三四五六七八九十"),
)
_IN_WORDS: Final = {
    **{word: float(i) for words in _TEN for i, word in enumerate(words, 1)},
    **{"两": 2.0, "eleven": 11.0, "twelve": 12.0, "sixteen": 16.0, "half": 0.5, "twice": 2.0, "double": 2.0},
}

FactsOf = Callable[[str], Facts]


def judge_typed(
    claims: Sequence[TypedClaim], lines: Sequence[str], facts_of: FactsOf, file: str, admit: bool = True
) -> Iterator[Claim]:
    """A verdict on each of ``claims``. ``lines``: the document, or none where there is none to hold them against;
    ``facts_of``: the facts of a configuration by its name; ``admit``: leave what stands on guesses, conventions and
    estimates of time unjudged. Raises SpecError for a name that nothing has."""
    here = [_numbers_of(line) for line in lines]
    every = frozenset().union(*here)
    named = {c.id: c for c in claims if c.id}
    contexts: dict[str, Context] = {}
    for c in claims:
        if lines and (reason := _absent(c, here)):
            yield _claim(c, Verdict.NOT_CHECKED, reason)
        elif not c.expression and not c.quantity:
            yield _claim(c, Verdict.NOT_CHECKED, "the reading has neither a quantity nor an expression for it")
        else:
            found = _by_expression(c, named, every if lines else None, facts_of, file) if c.expression else None
            if c.quantity and (found is None or found.verdict not in FAILING):
                if c.configuration not in contexts:
                    contexts[c.configuration] = Context(facts_of(c.configuration))
                planned = _by_quantity(c, contexts[c.configuration], admit)
                better = found is None or planned.verdict is not Verdict.NOT_CHECKED
                found = planned if better else found
            assert found is not None
            yield replace(found, configuration=c.configuration)


def _claim(c: TypedClaim, verdict: Verdict, why: str, computed: float | None = None) -> Claim:
    written = c.value + (f" {c.relation} {c.expression}" if c.expression else "")
    what = label(c.quantity, c.scope) if c.quantity else "expression"
    return Claim(c.line, written, what, verdict, why, c.number.value, computed, unit=unit_of(c.number))


def _by_quantity(c: TypedClaim, context: Context, admit: bool) -> Claim:
    """What the planner has for a claim."""
    text = f"{c.quantity}: {c.value}" + (f" per {' and '.join(sorted(c.scope))}" if c.scope else "")
    statement = Statement(c.line, text, c.quantity, c.value, (), "item")
    figure, meaning = Figure(c.number, "lone", ""), Meaning(c.quantity, (c.scope,), c.scope)
    found = judge_figure(figure, statement, meaning, context)
    if not admit:
        return found
    return admitted_by_name(found, Part(figure, statement, meaning), context)


def _by_expression(
    c: TypedClaim, named: dict[str, TypedClaim], every: frozenset[float] | None, facts_of: FactsOf, file: str
) -> Claim:
    """The verdict on a claim's relation to its expression, whose numbers must stand in the document (``every``)."""
    strange = [] if every is None else [n.text for n in _own_numbers(c) if not _stands(n, every)]
    if strange:
        return _claim(c, Verdict.NOT_CHECKED, f"{strange[0]} of its expression stands nowhere in the document")
    written = REFERENCE.sub(lambda m: _referred(m[1].strip(), c, named, facts_of, file), c.expression)
    node = node_of(written)
    if node is None:
        return _claim(c, Verdict.NOT_CHECKED, f"its expression is read as {written[:80]!r}, which is none")
    if c.relation in ("=", "~"):
        return _equal(c, node)
    return _limited(c, node)


def _equal(c: TypedClaim, node: Node) -> Claim:
    e = Equality(node, c.number, f"{c.expression} = {c.value}", c.relation == "~")
    outcome = judge_equality(e, lambda n: None, lambda n: n.whole)
    if outcome is None:
        return _claim(c, Verdict.NOT_CHECKED, "how its units belong together may be read in several ways")
    if outcome.verdict is Verdict.WRONG and "dimension" in outcome.why:
        return _claim(c, Verdict.NOT_CHECKED, f"its expression does not fit it: {outcome.why}")
    why = outcome.why.replace("the left side is", "the expression gives")
    if why.endswith("by the numbers written"):
        why = f"{format_quantity(outcome.computed, outcome.unit)} by its expression"
    return replace(_claim(c, outcome.verdict, why, outcome.computed), unit=outcome.unit or unit_of(c.number))


def _limited(c: TypedClaim, node: Node) -> Claim:
    """The verdict on a limit, with what rounding leaves open."""
    limit = [evaluate(node, binary, lambda n: 0.0 if n.whole else n.half) for binary in (False, True)]
    if c.number.dim not in limit[0].dims:
        dims = " or ".join(sorted(name(d) for d in limit[0].dims)) or "several dimensions"
        return _claim(c, Verdict.NOT_CHECKED, f"its limit is in {dims}, it is in {name(c.number.dim)}")
    room = FINE * max(abs(v) for x in limit for v in (x.low, x.high))
    low = min(x.low for x in limit) - room - c.number.half
    high = max(x.high for x in limit) + room + c.number.half
    said, written = (c.number.value, c.number.binary), evaluate(node).low
    holds = min(said) <= high if c.relation.startswith("<") else max(said) >= low
    told = format_quantity(written, unit_of(c.number))
    over = "" if holds else " and no more" if c.relation.startswith("<") else " and no less"
    verdict = Verdict.HOLDS if holds else Verdict.WRONG
    return _claim(c, verdict, f"its limit is {told}{over}", written)


def _referred(wanted: str, c: TypedClaim, named: dict[str, TypedClaim], facts_of: FactsOf, file: str) -> str:
    """What ``{wanted}`` of an expression stands for. Raises SpecError."""
    other = named.get(wanted)
    if other is not None and other is not c:
        return f"({other.value})"
    sizes: dict[str, object] = {}
    if "." in wanted:
        setting = facts_of(c.configuration).setting
        given = {f: p.value for f, p in setting.given.items()} | {f: a.value for f, a in setting.assumed.items()}
        sizes = {**given, **(known_sizes(setting) if "model.name" in setting.given else {})}
    value = sizes.get(wanted)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"({value:.12g})"
    if isinstance(value, str) and node_of(value) is not None:
        return f"({value})"
    known = ", ".join([*(x for x in named if x != c.id), *sizes][:12]) or "none yet"
    raise SpecError(
        f"{wanted[:60]!r} is neither the id of another claim nor a premise with a number; known are {known}",
        file=file,
        field=f"claims.{c.index}.expression",
    )


def _own_numbers(c: TypedClaim) -> Iterator[Number]:
    """The numbers that an expression writes itself."""
    node = node_of(REFERENCE.sub("2", c.expression))
    return numbers_in(node) if node is not None else iter(())


def _mantissa(n: Number) -> float:
    """The digits of a number, without unit and power."""
    m = _DIGITS.search(n.text)
    return float(m[0].replace(",", "")) if m else n.value


def _stands(n: Number, every: frozenset[float]) -> bool:
    value = _mantissa(n)
    if (value <= _SMALL and (value == int(value) or value == 0.5)) or value in _KNOWN:
        return True
    return any(_in(x, every) for x in (value, value * 100, value / 100, n.value))


def _in(value: float, every: frozenset[float]) -> bool:
    return value in every or any(abs(x - value) <= 1e-9 * abs(value) for x in every)


def _numbers_of(line: str) -> frozenset[float]:
    """The numbers that a line has, by their digits, with a comma or a point before the decimals."""
    plain = normal(line)
    found: set[float] = set()
    for m in _DIGITS.finditer(plain):
        text = m[0]
        if len(text) > 40:
            continue
        variants = {text.replace(",", "")}
        if "," in text:
            variants.add(text.replace(".", "").replace(",", "."))
        if _THOUSANDS.fullmatch(text):
            variants.add(text.replace(".", ""))
        for variant in variants:
            try:
                found.add(float(variant))
            except ValueError:
                continue
    lowered = plain.lower()
    found |= {value for word, value in _IN_WORDS.items() if word in lowered}
    return frozenset(found)


def _absent(c: TypedClaim, here: Sequence[frozenset[float]]) -> str:
    """Why a claim is not what the document has on its line, or an empty text."""
    value = _mantissa(c.number)
    if c.line <= len(here) and _in(value, here[c.line - 1]):
        return ""
    near = next((i + 1 for i in (c.line - 2, c.line) if 0 <= i < len(here) and _in(value, here[i])), 0)
    return f"{c.value!r} does not stand on line {c.line}" + (f"; line {near} has it" if near else "")
