"""Claims of a typed reading: each held against the document that it was read from, its expression, and the planner."""

from __future__ import annotations

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
from moewright.audit.text.document import Statement
from moewright.audit.text.expressions import Node, numbers_in
from moewright.audit.text.numbers import BYTE_RATE, BYTES, FLOP, FLOP_RATE, PER_SECOND, SECONDS, Number
from moewright.audit.typed.relations import Outcome, judge_relation
from moewright.audit.typed.typed_reading import REFERENCE, TypedClaim, node_of
from moewright.audit.typed.typed_values import has_digits, is_in, mantissa, numbers_of, variants
from moewright.case.model import DenseFfn, ModelSpec
from moewright.errors import SpecError

#: numbers that need no source: of seconds, days and prefixes, and small ones such as bytes of an element
_KNOWN: Final = frozenset((24.0, 30.0, 60.0, 100.0, 365.0, 1000.0, 1024.0, 3600.0, 86400.0))
_SMALL: Final = 16
#: units of SI that expressions know
_UNITS: Final = {
    BYTES: "bytes",
    SECONDS: "s",
    FLOP: "FLOP",
    FLOP_RATE: "FLOP/s",
    BYTE_RATE: "bytes/s",
    PER_SECOND: "tokens/s",
}
#: letters of an expression with what its names stand for
MOST_LETTERS: Final = 10_000
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
        here = tuple(numbers_of(line) for line in lines)
        percents = frozenset(
            x for line in lines for m in re.findall(r"([\d.,]+)\s?\\?[%％]", line) for x in variants(m)
        )
        return cls(here, frozenset[float]().union(*here), percents)

    def absent(self, c: TypedClaim) -> str:
        """Why a claim is not what the document has on its line, or an empty text."""
        value = mantissa(c.number)
        if c.line <= len(self.here) and is_in(value, self.here[c.line - 1]):
            return ""
        around = (c.line - 2, c.line)
        near = next((i + 1 for i in around if 0 <= i < len(self.here) and is_in(value, self.here[i])), 0)
        return f"{c.value!r} does not stand on line {c.line}" + (f"; line {near} has it" if near else "")

    def strange(self, n: Number) -> bool:
        """Whether a number of an expression has no source here and needs one."""
        value = mantissa(n)
        if (value <= _SMALL and value == int(value)) or value in _KNOWN or value in (0.5, 1.5):
            return False
        near = (value - 1, value + 1) if n.whole else ()  # one less than the GPUs of a group
        return not (any(is_in(x, self.every) for x in (value, n.value, *near)) or is_in(value * 100, self.percents))


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
            return Outcome(Verdict.NOT_CHECKED, "its expression is none, or too long, with what its names stand for")
        if isinstance(node, Number) and "{" not in c.expression and node.text == c.number.text:
            return Outcome(Verdict.NOT_CHECKED, "its expression is nothing but the figure itself")
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
                if has_digits(n) and self.lines.strange(n):
                    return n.text
        return ""

    def _node(self, c: TypedClaim, put_right: bool) -> tuple[Node | None, list[TypedClaim]]:
        """The expression of ``c``, its names replaced, those of wrong claims by what these ought to be if
        ``put_right``; and the claims of which that is so."""
        wrong: list[TypedClaim] = []

        def stands_for(m: re.Match[str]) -> str:
            return f"({self._referred(m[1].strip(), c, put_right, wrong)})"

        written = c.expression
        if put_right:
            written = self._literals_right(c, written, wrong)
        for _ in range(_DEPTH):
            if "{" not in written or len(written) > MOST_LETTERS:
                break
            written = REFERENCE.sub(stands_for, written)
        return (node_of(written) if len(written) <= MOST_LETTERS else None), wrong

    def _referred(self, wanted: str, c: TypedClaim, put_right: bool, wrong: list[TypedClaim]) -> str:
        """What ``{wanted}`` stands for. Raises SpecError."""
        if wanted in self.let:
            return self.let[wanted]
        other = self.named.get(wanted)
        if other is not None and other is not c:
            right = self._put_right(other, c) if put_right else None
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

    def _literals_right(self, c: TypedClaim, written: str, wrong: list[TypedClaim]) -> str:
        """``written`` with what wrong figures ought to be in place of them, where it has them digit by digit."""
        for (line, _), claims in self.figures.items():
            other = claims[0]
            alike = (line, other.value) != (c.line, c.value) and other.number.text in written
            right = self._put_right(other, c) if alike and _digits_of(other) >= 2 else None
            if right is not None:
                place = rf"(?<![\w.]){re.escape(other.number.text)}(?![\w.])"
                written, found = re.subn(place, f"({right:.12g} {_UNITS.get(other.number.dim, '')})", written)
                wrong += [other] if found else []
        return written

    def _put_right(self, c: TypedClaim, asking: TypedClaim) -> float | None:
        """What the figure of ``c`` ought to be, where this claim or another one on it is wrong, and not by what
        ``asking`` says itself."""
        sure = self._supported(asking, c)
        for other in self.figures[c.line, c.value]:
            if not other.expression or other.relation not in ("=", "~"):
                continue
            if not sure and self._leans_on(other, asking, set()):
                continue
            o = self.outcome(other)
            if o is not None and o.verdict is Verdict.WRONG and o.computed is not None:
                return o.computed
        return None

    def _supported(self, c: TypedClaim, other: TypedClaim) -> bool:
        """Whether another claim on the figure of ``c`` holds that has nothing of ``other`` in it."""
        return any(
            (o := self.outcome(x)) is not None and o.verdict is Verdict.HOLDS
            for x in self.figures[c.line, c.value]
            if x is not c and x.expression and not self._leans_on(x, other, set())
        )

    def _leans_on(self, c: TypedClaim, figure: TypedClaim, seen: set[str]) -> bool:
        """Whether the expression of ``c`` has the figure of another claim in it, by name or digit by digit."""
        same = {x.id for x in self.figures[figure.line, figure.value] if x.id}
        texts = [c.expression]
        for text in texts:
            if _digits_of(figure) >= 2 and re.search(rf"(?<![\w.]){re.escape(figure.number.text)}(?![\w.])", text):
                return True
            for wanted in (m.strip() for m in REFERENCE.findall(text)):
                if wanted in same:
                    return True
                if wanted not in seen:
                    seen.add(wanted)
                    other = self.named.get(wanted)
                    texts.append(self.let.get(wanted, other.expression if other else ""))
        return False

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
    given |= {**known_sizes(setting), **_of_named(setting.case.model)} if "model.name" in setting.given else {}
    if "cluster.device.name" in setting.given:
        device = setting.case.cluster.device
        of_device = {"memory": device.memory, "memory_bandwidth": device.memory_bandwidth}
        given = {f"cluster.device.{name}": value for name, value in of_device.items()} | given
    return given


def _of_named(model: ModelSpec) -> dict[str, object]:
    """Further sizes of a named model, as a spec file names them; those of layers with experts, where they differ."""
    sparse = model.moe_layers()
    attention = model.layers[sparse[0] if sparse else 0].attention
    names = ("head_dim", "q_rank", "kv_rank", "nope_dim", "rope_dim", "value_dim", "window")
    found: dict[str, object] = {f"model.attention.{name}": getattr(attention, name, None) for name in names}
    found["model.vocab_size"] = model.vocab_size
    found["model.moe_layers"] = len(sparse)
    dense = next((x.ffn.width for x in model.layers if isinstance(x.ffn, DenseFfn)), None)
    found["model.dense_layers"] = len(model.layers) - len(sparse)
    found["model.intermediate_size"] = dense
    if model.moe is not None:
        found["model.experts.shared_width"] = model.moe.shared_width
    return {name: value for name, value in found.items() if value is not None}


def _digits_of(c: TypedClaim) -> int:
    """Significant digits of a figure: of one alone nobody can tell where it comes from."""
    return len(f"{mantissa(c.number):g}".replace(".", "").strip("0"))
