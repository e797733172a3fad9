"""What the figures of a reading must follow from: names replaced, numbers held against the document, and errors told
once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from moewright.audit.audit_record import Verdict
from moewright.audit.judges.figures import unit_of
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.document_case import FIELDS
from moewright.audit.reading.restated import known_sizes
from moewright.audit.text.expressions import Node, has_sign, numbers_in
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, FLOP_RATE, PER_SECOND, SECONDS, Number
from moewright.audit.typed.relations import Outcome, judge_relation
from moewright.audit.typed.source_lines import SourceLines, alike, has_digits, mantissa
from moewright.audit.typed.typed_reading import REFERENCE, TypedClaim, node_of
from moewright.case.model import DenseFfn, ModelSpec
from moewright.errors import SpecError
from moewright.units import format_quantity

#: numbers that need no source: of seconds, days and prefixes, and small ones such as bytes of an element
_KNOWN: Final = frozenset((0.5, 1.5, 24.0, 30.0, 60.0, 100.0, 365.0, 1000.0, 1024.0, 3600.0, 86400.0))
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
#: units of premises by the last part of their field
_FIELD_UNITS: Final = {
    "memory": "bytes",
    "memory_bandwidth": "bytes/s",
    "bandwidth": "bytes/s",
    "flops": "FLOP/s",
    "latency": "s",
}
#: letters of an expression with what its names stand for
MOST_LETTERS: Final = 10_000
#: names inside of names of ``let`` that are followed
_DEPTH: Final = 12
#: claims on one figure that may speak for or against it
MOST_SAME: Final = 16
#: names behind names that are looked through for a figure
MOST_NAMES: Final = 64
#: how often errors are told apart from what follows from them
MOST_ROUNDS: Final = 8

#: how far off what is left out may make a figure
NEARLY: Final = 0.01
#: the same of a share, of which a document seldom tells what it is taken of: all, or what others leave
OF_SHARE: Final = 0.1
_NEARLY: Final = "it is within {room}, as parts that are left out may make, and the calculation is not shown there"
#: a whole number whose point may part thousands
_THOUSANDS: Final = re.compile(r"\D{0,3}[1-9]\d{0,2}\.\d{3}(?![\d.,])")

FactsOf = Callable[[str], Facts]
#: what a figure ought to be, where it is wrong
Right = Callable[[TypedClaim], float | None]


class _NotGivenError(Exception):
    """A premise that an expression names and that nothing gives a number."""


class Expressions:
    """The expressions of ``claims``. ``let``: expressions by names; ``source``: the document, which may be empty;
    ``facts_of``: the facts of a configuration by its name; ``file``: for messages."""

    def __init__(
        self,
        claims: Sequence[TypedClaim],
        let: Mapping[str, str],
        source: SourceLines,
        facts_of: FactsOf,
        file: str,
    ) -> None:
        self.claims = [c for c in claims if c.expression]
        self.named = {c.id: c for c in claims if c.id}
        self.let, self.source, self.facts_of, self.file = let, source, facts_of, file
        self.figures: dict[tuple[int, str], list[TypedClaim]] = {}
        for c in claims:
            same = self.figures.setdefault((c.line, c.value), [])
            if len(same) < MOST_SAME:
                same.append(c)

    def outcomes(self) -> dict[int, Outcome]:
        """How each claim with an expression stands to it, by its index: by what is written there, or else by what wrong
        figures ought to be. Raises SpecError for a name that nothing has."""
        written = {c.index: self._as_written(c) for c in self.claims}
        wrong = [c for c in self.claims if written[c.index].verdict is Verdict.WRONG]
        now = written | self._inputs_at_odds(written)
        for _ in range(MOST_ROUNDS):
            before = dict(now)
            for c in wrong:
                now[c.index] = self._put_right(c, written[c.index], now, wrong)
            if now == before:
                break
        return now

    def _inputs_at_odds(self, written: Mapping[int, Outcome]) -> dict[int, Outcome]:
        """Inputs, claims with neither quantity nor expression, that are told otherwise elsewhere, where more figures
        follow from that than from what they say."""
        found = {}
        again: dict[str, list[TypedClaim]] = {}
        for x in self.claims:
            only = REFERENCE.fullmatch(x.expression.strip())
            if only and written[x.index].verdict is Verdict.WRONG and x.relation in ("=", "~"):
                again.setdefault(only[1], []).append(x)
        for name, others in again.items():
            c, other = self.named.get(name), others[0]
            if c is None or c.quantity or c.expression or len({x.number.value for x in others}) > 1:
                continue
            leaning = [x for x in self.claims if x.expression.strip() != f"{{{name}}}" and name in _names(x.expression)]
            now = sum(written[x.index].verdict is Verdict.HOLDS for x in leaning)
            then = sum(self._with_value(x, c, other.number.value) for x in leaning)
            then += sum(written[x.index].verdict is Verdict.HOLDS for x in self.claims if _is_on(x, other))
            if then > now:
                why = f"line {other.line} has {other.value}, which {then} other figures follow from; from this {now} do"
                found[c.index] = Outcome(Verdict.WRONG, why, other.number.value)
        return found

    def _with_value(self, x: TypedClaim, c: TypedClaim, value: float) -> bool:
        """Whether ``x`` holds where the figure of ``c`` is ``value``."""
        node = self._node(x, x.expression, lambda other: value if other is c else None)
        return node is not None and judge_relation(x.number, x.relation, node).verdict is Verdict.HOLDS

    def _as_written(self, c: TypedClaim) -> Outcome:
        strange = self._strange(c)
        if strange:
            return Outcome(Verdict.NOT_CHECKED, f"{strange} of its expression stands nowhere in the document")
        try:
            node = self._node(c, c.expression, lambda other: None)
        except _NotGivenError as error:
            return Outcome(Verdict.NOT_CHECKED, f"the reading gives no {error}, or none that a case has")
        if node is None:
            return Outcome(Verdict.NOT_CHECKED, "its expression is none, or too long, with what its names stand for")
        if isinstance(node, Number) and "{" not in c.expression and node.text == c.number.text:
            return Outcome(Verdict.NOT_CHECKED, "its expression is nothing but the figure itself")
        judged = judge_relation(c.number, c.relation, node)
        bare = c.number.factor == 1 and c.number.dim in (COUNT, BYTES)
        if judged.verdict is Verdict.WRONG and bare and _THOUSANDS.match(c.value):
            # 10.000, beside decimals with a point
            parted = replace(c.number, value=c.number.value * 1000, binary=c.number.binary * 1000, half=0.5, whole=True)
            again = judge_relation(parted, c.relation, node)
            if again.verdict is Verdict.HOLDS:
                return Outcome(again.verdict, f"{again.why}, its point parting thousands", again.computed)
        nearly = self._nearly(c, judged, node) if judged.verdict is Verdict.WRONG else ""
        return Outcome(Verdict.NOT_CHECKED, f"{judged.why}; {nearly}") if nearly else judged

    def _nearly(self, c: TypedClaim, judged: Outcome, node: Node) -> str:
        """Why a figure is not called wrong: it is off by so little that parts which are left out may make it, and the
        document does not show the calculation itself; an empty text where that is not so."""
        if c.relation != "=" or not judged.computed or REFERENCE.fullmatch(c.expression.strip()):
            return ""
        room, told = (OF_SHARE, "a tenth") if _has_share(node) else (NEARLY, "a hundredth")
        if not self.source.text or abs(c.number.value / judged.computed - 1) > room:
            return ""
        literals = [n for n in numbers_in(node) if has_digits(n)]
        # the result may stand below what it is worked out from
        lines = (c.line, c.line - 1) if c.line > 1 else (c.line,)
        shown = all(any(self.source.has(mantissa(n), line) for line in lines) for n in literals)
        return "" if shown else _NEARLY.format(room=told)

    def _put_right(
        self, c: TypedClaim, written: Outcome, now: Mapping[int, Outcome], wrong: Sequence[TypedClaim]
    ) -> Outcome:
        """How ``c`` stands to its expression where figures in it that are wrong, by name or digit by digit, are what
        they ought to be; as it is ``written`` where that does not help."""
        used: list[TypedClaim] = []

        def right_of(other: TypedClaim) -> float | None:
            right = self._right(other, c, now)
            used.extend([other] if right is not None else [])
            return right

        node = self._node(c, self._literals_right(c, wrong, right_of), right_of)
        again = judge_relation(c.number, c.relation, node) if node is not None and used else written
        if again.verdict is Verdict.WRONG and again.computed is not None and again.computed != written.computed:
            right = format_quantity(again.computed, unit_of(c.number))
            told = f"{written.why}; with {used[0].value} of line {used[0].line} put right it gives {right}"
            return Outcome(written.verdict, told, again.computed)
        if again.verdict is not Verdict.HOLDS:
            return written
        return Outcome(
            again.verdict, f"{again.why}, with {used[0].value} of line {used[0].line} put right", again.computed
        )

    def _strange(self, c: TypedClaim) -> str:
        """A number of the expression, and of what it names by ``let``, that has no source in the document."""
        if not self.source.text:
            return ""
        texts, seen = [c.expression], set[str]()
        for text in texts:
            names = [m.strip() for m in REFERENCE.findall(text)]
            texts += [self.let[n] for n in names if n in self.let and n not in seen]
            seen |= set(names)
            node = node_of(REFERENCE.sub("2", text))
            for n in numbers_in(node) if node is not None else ():
                if has_digits(n) and self._is_strange(n):
                    return n.text
        return ""

    def _is_strange(self, n: Number) -> bool:
        """Whether a number has no source in the document and needs one."""
        value = mantissa(n)
        if (value <= _SMALL and value == int(value)) or value in _KNOWN:
            return False
        near = (value - 1, value + 1) if n.whole else ()  # one less than the GPUs of a group
        told = any(alike(x) in self.source.every for x in (value, n.value, *near))
        return not told and alike(value * 100) not in self.source.percents

    def _node(self, c: TypedClaim, expression: str, right_of: Right) -> Node | None:
        """``expression`` of ``c``, its names replaced; those of wrong figures by what ``right_of`` has for them."""
        for _ in range(_DEPTH):
            if "{" not in expression or len(expression) > MOST_LETTERS:
                break
            expression = REFERENCE.sub(lambda m: f"({self._referred(m[1].strip(), c, right_of)})", expression)
        return node_of(expression) if len(expression) <= MOST_LETTERS else None

    def _referred(self, wanted: str, c: TypedClaim, right_of: Right) -> str:
        """What ``{wanted}`` stands for. Raises SpecError."""
        if wanted in self.let:
            return self.let[wanted]
        other = self.named.get(wanted)
        if other is not None and other is not c:
            right = right_of(other)
            return _in_units(other, right) if right is not None else _as_text(other.number)
        sizes = _sizes(self.facts_of(c.configuration)) if "." in wanted else {}
        value = sizes.get(wanted)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return f"{value:.12g} {_FIELD_UNITS.get(wanted.rpartition('.')[2], '')}".strip()
        if isinstance(value, str) and node_of(value) is not None:
            return value
        if wanted in FIELDS:
            raise _NotGivenError(wanted)
        known = ", ".join([*self.let, *(x for x in self.named if x != c.id), *sizes][:24]) or "none yet"
        raise SpecError(
            f"{wanted[:60]!r} is neither a name of let, nor the id of another claim, nor a premise with a number; "
            f"known are {known}",
            file=self.file,
            field=f"claims.{c.index} (line {c.line}).expression",
        )

    def _literals_right(self, c: TypedClaim, wrong: Sequence[TypedClaim], right_of: Right) -> str:
        """The expression of ``c`` with what wrong figures ought to be, where it has them digit by digit."""
        expression = c.expression
        for line, value in dict.fromkeys((x.line, x.value) for x in wrong):
            other = self.figures[line, value][0]
            if (line, value) == (c.line, c.value) or _digits_of(other) < 2 or not _has(expression, other):
                continue
            right = right_of(other)
            if right is not None:
                expression = _place_of(other).sub(f"({_in_units(other, right)})", expression)
        return expression

    def _right(self, c: TypedClaim, asking: TypedClaim, now: Mapping[int, Outcome]) -> float | None:
        """What the figure of ``c`` ought to be, where a claim on it is wrong, not by what ``asking`` says itself."""
        sure = None
        for other in self.figures[c.line, c.value]:
            o = now.get(other.index)
            if o is None or o.verdict is not Verdict.WRONG or o.computed is None or other.relation not in ("=", "~"):
                continue
            if c.id and other.id and c.id != other.id:
                continue  # weights and gradients of one line, alike by an error
            sure = self._supported(asking, c, now) if sure is None else sure
            if sure or not self._leans_on(other, asking):
                return o.computed
        return None

    def _supported(self, c: TypedClaim, other: TypedClaim, now: Mapping[int, Outcome]) -> bool:
        """Whether another claim on the figure of ``c`` holds that has nothing of ``other`` in it."""
        return any(
            (o := now.get(x.index)) is not None and o.verdict is Verdict.HOLDS and not self._leans_on(x, other)
            for x in self.figures[c.line, c.value]
            if x is not c
        )

    def _leans_on(self, c: TypedClaim, figure: TypedClaim) -> bool:
        """Whether the expression of ``c`` has the figure of another claim in it, by name or digit by digit, or has more
        names behind its own than are looked through."""
        same = {x.id for x in self.figures[figure.line, figure.value] if x.id}
        long = _digits_of(figure) >= 2
        texts, seen = [c.expression], set[str]()
        for text in texts:
            names = _names(text)
            if names & same or (long and _has(text, figure)) or len(seen) > MOST_NAMES:
                return True
            for name in sorted(names - seen):
                other = self.named.get(name)
                texts.append(self.let.get(name, other.expression if other else ""))
            seen |= names
        return False


def _has_share(node: Node) -> bool:
    """Whether an expression takes a percentage of something."""
    return has_sign(node, "×") and any(n.percent for n in numbers_in(node))


def _names(expression: str) -> set[str]:
    """The names of an expression."""
    return {m.strip() for m in REFERENCE.findall(expression)}


def _is_on(c: TypedClaim, other: TypedClaim) -> bool:
    """Whether ``c`` follows from the figure of another claim."""
    return c is not other and ((other.id != "" and other.id in _names(c.expression)) or _has(c.expression, other))


def _place_of(c: TypedClaim) -> re.Pattern[str]:
    """Where a figure stands in an expression as it is written."""
    return re.compile(rf"(?<![\w.]){re.escape(c.number.text)}(?![\w.])")


def _has(text: str, c: TypedClaim) -> bool:
    """Whether ``text`` has the figure of ``c`` as it is written."""
    return c.number.text in text and _place_of(c).search(text) is not None


def _in_units(c: TypedClaim, value: float) -> str:
    """``value``, in SI, with the unit of the figure of ``c``."""
    return f"{value:.12g} {_UNITS.get(c.number.dim, '')}"


def _as_text(n: Number) -> str:
    """A figure as an expression has it; one in words by its value."""
    text = n.text if has_digits(n) else f"{n.value:.12g}"
    text = f"({text}) / (1 byte)" if n.dim == FLOP.times(BYTES, -1) else text
    return ("0 - " if n.value < 0 else "") + text


def _sizes(facts: Facts) -> dict[str, object]:
    """Premises by field, and the sizes of a named model."""
    setting = facts.setting
    given: dict[str, object] = {f: a.value for f, a in setting.assumed.items()}
    given |= {f: p.value for f, p in setting.given.items()}
    if "model.name" in setting.given:
        padded = {f: v for f, v in given.items() if f == "model.vocab_size"}  # each checkpoint pads it its own way
        given |= {**known_sizes(setting), **_of_named(setting.case.model), **padded}
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
