"""Claims of a typed reading: each held against the document that it was read from, its expression, and the planner."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from moewright.audit.audit_record import FAILING, Claim, Verdict
from moewright.audit.judges.admissible import admitted_by_name
from moewright.audit.judges.figures import Context, judge_figure, label, unit_of
from moewright.audit.judges.sums import Part
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.meaning import Meaning
from moewright.audit.reading.restated import known_sizes
from moewright.audit.text.clauses import Figure
from moewright.audit.text.document import Statement, normal
from moewright.audit.text.expressions import Node, numbers_in
from moewright.audit.text.numbers import BYTE_RATE, BYTES, FLOP, FLOP_RATE, PER_SECOND, SECONDS, Number
from moewright.audit.typed.relations import Outcome, judge_relation
from moewright.audit.typed.typed_reading import REFERENCE, TypedClaim, node_of
from moewright.errors import SpecError

#: numbers that need no source: of seconds, days and prefixes, and small ones such as bytes of an element
_KNOWN: Final = frozenset((24.0, 30.0, 60.0, 100.0, 365.0, 1000.0, 1024.0, 3600.0, 86400.0))
_SMALL: Final = 16
_DIGITS: Final = re.compile(r"\d[\d.,]*\d|\d")
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:\.\d{3})+")
_TEN: Final = (
    ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    ("ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"),
    ("un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix"),
    tuple("一二三四五六七八九十"),
)
_WORDS: Final = {word: float(i) for words in _TEN for i, word in enumerate(words, 1)} | {
    **{"两": 2.0, "eleven": 11.0, "twelve": 12.0, "sixteen": 16.0, "twice": 2.0, "double": 2.0, "doppelt": 2.0},
    **{"half": 0.5, "hälfte": 0.5, "一半": 0.5, "quarter": 0.25, "three quarters": 0.75, "drei viertel": 0.75},
}
#: units of SI that expressions know
_UNITS: Final = {
    BYTES: "bytes",
    SECONDS: "s",
    FLOP: "FLOP",
    FLOP_RATE: "FLOP/s",
    BYTE_RATE: "bytes/s",
    PER_SECOND: "tokens/s",
}
#: names inside of names of ``let`` that are followed
_DEPTH: Final = 12

FactsOf = Callable[[str], Facts]


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
    figures: dict[tuple[int, str], list[TypedClaim]] = {}
    for c in claims:
        figures.setdefault((c.line, c.value), []).append(c)
    named, known = {c.id: c for c in claims if c.id}, Lines.of(lines) if lines else None
    judge = _Judge(named, figures, let or {}, facts_of, file, admit, known)
    for c in claims:
        yield replace(judge.verdict(c), configuration=c.configuration)


@dataclass(frozen=True, slots=True)
class Lines:
    """The numbers of each line of a document, of all, and those that are percentages."""

    here: tuple[frozenset[float], ...]
    every: frozenset[float]
    percents: frozenset[float]

    @classmethod
    def of(cls, lines: Sequence[str]) -> Lines:
        here = tuple(_numbers_of(line) for line in lines)
        percents = frozenset(
            x for line in lines for m in re.findall(r"([\d.,]+)\s?\\?[%％]", line) for x in _variants(m)
        )
        return cls(here, frozenset[float]().union(*here), percents)

    def absent(self, c: TypedClaim) -> str:
        """Why a claim is not what the document has on its line, or an empty text."""
        value = _mantissa(c.number)
        if c.line <= len(self.here) and _in(value, self.here[c.line - 1]):
            return ""
        around = (c.line - 2, c.line)
        near = next((i + 1 for i in around if 0 <= i < len(self.here) and _in(value, self.here[i])), 0)
        return f"{c.value!r} does not stand on line {c.line}" + (f"; line {near} has it" if near else "")

    def strange(self, n: Number) -> bool:
        """Whether a number of an expression has no source here and needs one."""
        value = _mantissa(n)
        if (value <= _SMALL and value == int(value)) or value in _KNOWN or value in (0.5, 1.5):
            return False
        return not (_in(value, self.every) or _in(n.value, self.every) or _in(value * 100, self.percents))


@dataclass(slots=True)
class _Judge:
    named: Mapping[str, TypedClaim]
    figures: Mapping[tuple[int, str], Sequence[TypedClaim]]
    let: Mapping[str, str]
    facts_of: FactsOf
    file: str
    admit: bool
    lines: Lines | None
    contexts: dict[str, Context] = field(default_factory=dict)
    known: dict[int, Outcome | None] = field(default_factory=dict)

    def verdict(self, c: TypedClaim) -> Claim:
        """The verdict on ``c`` by its expression and by its quantity."""
        if self.lines is not None and (reason := self.lines.absent(c)):
            return _claim(c, Verdict.NOT_CHECKED, reason)
        if not c.expression and not c.quantity:
            return _claim(c, Verdict.NOT_CHECKED, "the reading has neither a quantity nor an expression for it")
        found = None
        if c.expression:
            o = self.outcome(c)
            assert o is not None
            found = _claim(c, o.verdict, o.why, o.computed)
        if not c.quantity or (found is not None and found.verdict in FAILING):
            assert found is not None
            return found
        planned = self._planned(c)
        if found is None or planned.verdict in FAILING or found.verdict is Verdict.NOT_CHECKED:
            return planned
        told = "holds too" if planned.verdict is Verdict.HOLDS else f"is {planned.verdict}"
        return replace(found, why=f"{found.why}; {planned.quantity} {told}: {planned.why}")

    def outcome(self, c: TypedClaim) -> Outcome | None:
        """How ``c`` stands to its expression; None while that is asked for the sake of itself."""
        if c.index in self.known:
            return self.known[c.index]
        self.known[c.index] = None
        self.known[c.index] = found = self._related(c)
        return found

    def _related(self, c: TypedClaim) -> Outcome:
        strange = self._strange(c)
        if strange:
            return Outcome(Verdict.NOT_CHECKED, f"{strange} of its expression stands nowhere in the document")
        node, _ = self._node(c, put_right=False)
        if node is None:
            return Outcome(Verdict.NOT_CHECKED, "its expression is none with what its names stand for")
        found = judge_relation(c.number, c.relation, node)
        if found.verdict is not Verdict.WRONG:
            return found
        other, wrong = self._node(c, put_right=True)
        if other is None or not wrong:
            return found
        again = judge_relation(c.number, c.relation, other)
        if again.verdict is not Verdict.HOLDS:
            return found
        return replace(again, why=f"{again.why}, with {wrong[0].value} of line {wrong[0].line} put right")

    def _strange(self, c: TypedClaim) -> str:
        """A number of the expression, and of what it names by ``let``, that has no source in the document."""
        if self.lines is None:
            return ""
        texts, seen = [c.expression], set[str]()
        for text in texts:
            names = [m.strip() for m in REFERENCE.findall(text)]
            texts += [self.let[n] for n in names if n in self.let and n not in seen]
            seen |= set(names)
            node = node_of(REFERENCE.sub("2", text))
            for n in numbers_in(node) if node is not None else ():
                if _DIGITS.search(n.text) and self.lines.strange(n):
                    return n.text
        return ""

    def _node(self, c: TypedClaim, put_right: bool) -> tuple[Node | None, list[TypedClaim]]:
        """The expression of ``c``, its names replaced, those of wrong claims by what these ought to be if
        ``put_right``; and the claims of which that is so."""
        wrong: list[TypedClaim] = []

        def stands_for(m: re.Match[str]) -> str:
            return f"({self._referred(m[1].strip(), c, put_right, wrong)})"

        written = c.expression
        for _ in range(_DEPTH):
            if "{" not in written:
                break
            written = REFERENCE.sub(stands_for, written)
        return node_of(written), wrong

    def _referred(self, wanted: str, c: TypedClaim, put_right: bool, wrong: list[TypedClaim]) -> str:
        """What ``{wanted}`` stands for. Raises SpecError."""
        if wanted in self.let:
            return self.let[wanted]
        other = self.named.get(wanted)
        if other is not None and other is not c:
            right = self._put_right(other) if put_right else None
            if right is not None:
                wrong.append(other)
                return f"{right:.12g} {_UNITS.get(other.number.dim, '')}"
            return ("0 - " if other.number.value < 0 else "") + other.number.text
        sizes = _sizes(self.facts_of(c.configuration)) if "." in wanted else {}
        value = sizes.get(wanted)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return f"{value:.12g}"
        if isinstance(value, str) and node_of(value) is not None:
            return value
        known = ", ".join([*self.let, *(x for x in self.named if x != c.id), *sizes][:24]) or "none yet"
        raise SpecError(
            f"{wanted[:60]!r} is neither a name of let, nor the id of another claim, nor a premise with a number; "
            f"known are {known}",
            file=self.file,
            field=f"claims.{c.index} (line {c.line}).expression",
        )

    def _put_right(self, c: TypedClaim) -> float | None:
        """What the figure of ``c`` ought to be, where this claim or another one on it is wrong."""
        for other in self.figures[c.line, c.value]:
            o = self.outcome(other) if other.expression and other.relation in ("=", "~") else None
            if o is not None and o.verdict is Verdict.WRONG and o.computed is not None:
                return o.computed
        return None

    def _planned(self, c: TypedClaim) -> Claim:
        """What the planner has for a claim."""
        if c.configuration not in self.contexts:
            self.contexts[c.configuration] = Context(self.facts_of(c.configuration))
        context = self.contexts[c.configuration]
        text = f"{c.quantity}: {c.value}" + (f" per {' and '.join(sorted(c.scope))}" if c.scope else "")
        statement = Statement(c.line, text, c.quantity, c.value, (), "item")
        figure, meaning = Figure(c.number, "lone", ""), Meaning(c.quantity, (c.scope,), c.scope)
        found = judge_figure(figure, statement, meaning, context)
        return admitted_by_name(found, Part(figure, statement, meaning), context) if self.admit else found


def _claim(c: TypedClaim, verdict: Verdict, why: str, computed: float | None = None) -> Claim:
    written = c.value + (f" {c.relation} {c.expression}" if c.expression else "")
    what = label(c.quantity, c.scope) if c.quantity else "expression"
    return Claim(c.line, written, what, verdict, why, c.number.value, computed, unit=unit_of(c.number))


def _sizes(facts: Facts) -> dict[str, object]:
    """Premises by field, and the sizes of a named model."""
    setting = facts.setting
    given: dict[str, object] = {f: a.value for f, a in setting.assumed.items()}
    given |= {f: p.value for f, p in setting.given.items()}
    return given | (known_sizes(setting) if "model.name" in setting.given else {})


def _mantissa(n: Number) -> float:
    """The digits of a number, without unit and power."""
    m = _DIGITS.search(n.text)
    return float(m[0].replace(",", "")) if m else abs(n.value)


def _in(value: float, every: frozenset[float]) -> bool:
    return value in every or any(math.isclose(x, value, rel_tol=1e-9) for x in every)


def _variants(text: str) -> Iterator[float]:
    """The numbers that digits with points and commas may be."""
    if len(text) > 40:
        return
    variants = {text.replace(",", "")}
    if "," in text:
        variants.add(text.replace(".", "").replace(",", "."))
    if _THOUSANDS.fullmatch(text):
        variants.add(text.replace(".", ""))
    for variant in variants:
        try:
            yield float(variant)
        except ValueError:
            continue


def _numbers_of(line: str) -> frozenset[float]:
    """The numbers that a line has, by their digits, with a comma or a point before the decimals, or in words."""
    plain = normal(line)
    found = {x for m in _DIGITS.finditer(plain) for x in _variants(m[0])}
    lowered = plain.lower()
    return frozenset(found | {value for word, value in _WORDS.items() if word in lowered})
