"""A document → the audit of it: premises, every claim with its verdict, and the better plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from moewright.audit.audit_record import Audit, Better, Claim, Verdict
from moewright.audit.judges.admissible import admitted, doubts_of
from moewright.audit.judges.better import better_of
from moewright.audit.judges.equalities import Outcome, judge_equality, judge_split
from moewright.audit.judges.figures import Context, Stated, judge_figure, unit_of
from moewright.audit.judges.sums import Part, judge_sums
from moewright.audit.judges.words import View, judge_correct, judge_exactly, judge_words
from moewright.audit.quantities.readings import Facts, facts_of
from moewright.audit.reading.corrections import accepted, read_premises
from moewright.audit.reading.document_case import Setting, parse_assume, strategies
from moewright.audit.reading.meaning import meaning_of
from moewright.audit.reading.premises import Premise, premises_of
from moewright.audit.reading.restated import inferred, judge_premises, judge_strategy
from moewright.audit.text.clauses import Clauses, Equality, clauses_of
from moewright.audit.text.document import Document, Statement, parse, read_text
from moewright.audit.text.expressions import Node, Operation, numbers_in
from moewright.audit.text.numbers import BYTES, COUNT, FLOP, FLOP_RATE, Dim, Number
from moewright.errors import SpecError

_YAML: Final = (".yaml", ".yml")
#: bytes that an element has at most, with all its optimizer's state
_WIDEST: Final = 20
_PARAMETERS: Final = re.compile(r"param|参数", re.IGNORECASE)
_MEMORY: Final = re.compile(r"memory|bytes?\b|\bsize|\bGB\b|storage|显存", re.IGNORECASE)


def audit(
    path: str | Path, assume: Iterable[str] = (), spec: str | None = None, premises: str | Path | None = None
) -> Audit:
    """The audit of a document in Markdown, or of claims in YAML. ``assume``: ``KEY=VALUE`` for what the document does
    not give or was misread; ``spec``: a spec file that gives everything; ``premises``: a file of premises, in place of
    those that the document's text gives. Raises SpecError."""
    assumed = parse_assume(assume)
    own = None if premises is None else read_premises(premises)
    if Path(path).suffix.lower() in _YAML:
        if own is not None:
            raise SpecError("is for documents; claims in YAML come with a spec", file=str(path), field="--premises")
        from moewright.audit.reading.claims_file import audit_claims

        return audit_claims(str(path), assumed, spec)
    document = parse(read_text(path), str(path))
    return audit_document(document, assumed, spec, own)


def audit_document(
    document: Document, assumed: dict[str, object], spec: str | None, own: list[Premise] | None = None
) -> Audit:
    """The audit of a document that was read; ``own``: premises in place of its own."""
    said = [(s, clauses_of(s.value, _counts_parameters(s))) for s in document.statements]
    premises = premises_of(document) if own is None else list(own)
    premises += inferred(said, premises) if own is None else []
    if not any(p.field.startswith(("model.", "strategy.", "cluster.")) for p in premises) and not spec:
        return _without_premises(document, said)
    setting, premises, unread = accepted(premises, assumed, spec, document.file)
    specs, reason = strategies(setting)
    facts = facts_of(setting, specs, reason)
    better = better_of(facts)
    claims = _claims(document, said, premises, facts, better[0], better[1])
    shown = tuple(dict((p.field, p) for p in reversed(premises) if "." in p.field).values())[::-1]
    assumptions = tuple(setting.assumed.values())
    return Audit(document.file, shown, assumptions, setting.missing, tuple(claims), better[0], unread=unread)


def _counts_parameters(s: Statement) -> bool:
    """Whether the figures of ``s`` are numbers of parameters, so that B is a billion."""
    return bool(_PARAMETERS.search(s.key)) and not _MEMORY.search(s.key)


def _without_premises(document: Document, said: list[tuple[Statement, Clauses]]) -> Audit:
    """Arithmetic alone."""
    claims = [c for s, found in said for c in _arithmetic(s, found.equalities, lambda n: None, lambda n: False)]
    note = "" if claims else "nothing to check: no premise of a strategy and no claim was found"
    return Audit(document.file, (), (), (), tuple(claims), None, note)


def _claims(
    document: Document,
    said: list[tuple[Statement, Clauses]],
    premises: list[Premise],
    facts: Facts,
    better: Better | None,
    best: object,
) -> list[Claim]:
    from moewright.planning.record import Plan

    setting, context = facts.setting, Context(facts)
    parts = [Part(f, s, meaning_of(f, s)) for s, found in said for f in found.figures]
    for p in parts:
        if p.meaning is not None and p.figure.role != "operand":
            context.stated.append(
                Stated(p.figure.number, p.statement.line_of(p.figure.number.at), p.meaning.name, p.meaning.explicit)
            )
    dim_of, exact = _dimensions(parts, setting), _exactness(setting)
    view = View(facts, facts.plan, best if isinstance(best, Plan) else None)
    restated = list(judge_premises(premises, setting))
    restated += judge_strategy(premises, setting, facts.reason, bool(facts.plans))
    given = {(p.line, p.value) for p in premises}
    doubts = doubts_of(premises)
    claims: list[Claim] = []
    sums = list(judge_sums(parts, facts))
    for s, found in said:
        mine = [c for c in restated if c.line >= s.line and c.text == s.text]
        mine += _arithmetic(s, found.equalities, dim_of, exact)
        mine += _mixed(s, found.equalities, context)
        mine += _splits(s, found, facts)
        halves = {split.after.at for split in found.splits}
        for p in (p for p in parts if p.statement is s and p.figure.number.at not in halves):
            claim = _figure(p, context, given, setting)
            if claim is not None:
                mine.append(admitted(claim, p, found, context, doubts))
        # a list may leave parts out that its total, which is right, has in it
        right = any(c.verdict is Verdict.HOLDS and "." in c.quantity for c in mine)
        mine += [
            c for c in sums if c.line == s.line and c.text == s.text and not (right and c.verdict is not Verdict.HOLDS)
        ]
        if s.kind != "heading":
            mine += judge_words(s, view, doubts)
            mine += judge_exactly(s, mine)
        claims += list(dict.fromkeys(mine))
    claims += judge_correct(document.statements, claims)
    return sorted(claims, key=lambda c: c.line)


def _arithmetic(
    s: Statement, equalities: list[Equality], dim_of: Callable[[Number], Dim | None], exact: Callable[[Number], bool]
) -> list[Claim]:
    found = []
    for e in equalities:
        o = judge_equality(e, dim_of, exact)
        if o is not None:
            found.append(_judged(s.line_of(next(numbers_in(e.left)).at), e.text, "arithmetic", o))
    return found


def _judged(line: int, text: str, quantity: str, o: Outcome) -> Claim:
    return Claim(line, text, quantity, o.verdict, o.why, o.claimed, o.computed, unit=o.unit)


def _splits(s: Statement, found: Clauses, facts: Facts) -> list[Claim]:
    claims = []
    for split in found.splits:
        plan = facts.plan
        if plan is None:
            why = f"no strategy tells by what it is divided: {facts.reason}"
            claims.append(
                Claim(s.line_of(split.before.at), split.text, "split", Verdict.NOT_CHECKED, why, split.after.value)
            )
            continue
        st = plan.strategy
        sizes = {"tp": st.attention.tp, "ep": st.experts.ep, "dp": st.attention.dp, "pp": st.pp, "cp": st.attention.cp}
        o = judge_split(split, {k: v for k, v in sizes.items() if v > 1}, f"{s.key} {' '.join(s.path[-1:])}")
        if o is not None:
            claims.append(_judged(s.line_of(split.before.at), split.text, "split", o))
    return claims


def _mixed(s: Statement, equalities: list[Equality], context: Context) -> list[Claim]:
    """Sums that add a figure of one layer to one of several."""
    found = []
    for e in equalities:
        terms = list(_terms(e.left))
        over = [t for t in terms if any(re.search(r"\blayers\b|层", n.noun) for n in t)]
        single = [
            (n, st)
            for t in terms
            if t not in over
            for n in t
            for st in context.find(n)
            if "layer" in st.explicit and st.name.startswith(("compute", "memory", "communication", "time"))
        ]
        if over and single:
            n, st = single[0]
            why = f"it adds {n.text}, which is of one layer (line {st.line}), to a term over all layers"
            found.append(Claim(s.line_of(next(numbers_in(e.left)).at), e.text, "mixed sum", Verdict.WRONG, why))
    return found


def _terms(node: Node) -> Iterator[list[Number]]:
    if isinstance(node, Operation) and node.sign in "+-":
        yield from _terms(node.left)
        yield from _terms(node.right)
    else:
        yield list(numbers_in(node))


def _figure(p: Part, context: Context, given: set[tuple[int, object]], setting: Setting) -> Claim | None:
    """The verdict on one figure; None for a premise, an operand without a meaning of its own, or a mere number."""
    n, s = p.figure.number, p.statement
    if (s.line_of(n.at), n.value) in given or (s.kind == "heading" and n.dim == COUNT):
        return None
    if p.meaning is None:
        if p.figure.role == "operand" or (n.dim == COUNT and not n.percent) or _is_given(n, setting):
            return None
        why = "no quantity that the planner knows is named here"
        return Claim(s.line_of(n.at), s.text, "unknown", Verdict.NOT_CHECKED, why, n.value, unit=unit_of(n))
    if p.meaning.name.startswith("balance."):
        return None  # words judge it
    if p.figure.role == "operand":
        if n.dim == COUNT or _is_given(n, setting):
            return None
        claim = judge_figure(p.figure, s, p.meaning, context)
        derived = [x for x in context.find(n) if x.line != s.line or x.name == p.meaning.name]
        if claim.verdict is Verdict.UNSUPPORTED and derived:
            return None  # judged where it is stated
        return None if claim.verdict is Verdict.HOLDS else claim
    if n.dim == BYTES and n.factor == 1 and n.value <= _WIDEST:
        return None  # of an element
    if p.figure.role == "lone" and n.dim != COUNT and _is_given(n, setting):
        return None  # a premise, restated
    if n.dim == COUNT and not n.percent and (p.figure.remark or not _plain(p)):
        return None if p.meaning.scopes == (frozenset(),) else _counted(p, context)
    return judge_figure(p.figure, s, p.meaning, context)


def _plain(p: Part) -> bool:
    return bool(p.figure.words.strip() or p.statement.key)


def _counted(p: Part, context: Context) -> Claim | None:
    claim = judge_figure(p.figure, p.statement, p.meaning, context) if p.meaning else None
    return claim if claim is not None and claim.verdict is not Verdict.NOT_CHECKED else None


def _is_given(n: Number, setting: Setting) -> bool:
    """Whether ``n`` restates a figure of the premises or of the device."""
    device, cluster = setting.case.cluster.device, setting.case.cluster
    known = {p.value for p in setting.given.values() if isinstance(p.value, float | int)}
    known |= {device.memory, device.memory_bandwidth, *device.flops.values()}
    known |= {cluster.node.bandwidth, cluster.fabric.bandwidth}
    return n.value in known and (n.dim != COUNT or n.percent)


def _dimensions(parts: list[Part], setting: Setting) -> Callable[[Number], Dim | None]:
    """What a number that is written in FLOPS is: the rate of a premise, or work where the document derives it so."""
    peak = setting.given.get("cluster.device.flops")
    rates = {peak.value} if peak is not None else set(setting.case.cluster.device.flops.values())
    work = {
        p.figure.number.value
        for p in parts
        if p.figure.number.either
        and p.meaning
        and p.meaning.name.startswith("compute.")
        and p.meaning.name != "compute.delivered"
    }

    def dim_of(n: Number) -> Dim | None:
        if not n.either:
            return None
        if n.value in rates:
            return FLOP_RATE
        return FLOP if n.value in work else None

    return dim_of


def _exactness(setting: Setting) -> Callable[[Number], bool]:
    """Counts and premises are exact; what is derived may be rounded."""
    values = {p.value for p in setting.given.values() if isinstance(p.value, float | int)}
    return lambda n: n.whole or n.value in values
