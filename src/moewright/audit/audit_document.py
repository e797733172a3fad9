"""A document → the audit of it: premises, every claim with its verdict, and the better plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from moewright.audit.audit_record import Audit, Claim, Unread, Variant
from moewright.audit.judges.admissible import Doubts, doubts_of
from moewright.audit.judges.better import better_of
from moewright.audit.judges.calculations.assignments import judge_assignments
from moewright.audit.judges.calculations.formulas import judge_formulas
from moewright.audit.judges.culprits import blamed
from moewright.audit.judges.document_claims import judge_arithmetic, judge_document
from moewright.audit.judges.places import Given, Place, Said
from moewright.audit.judges.support import supported
from moewright.audit.judges.words import View
from moewright.audit.nearby.quotations import judge_quotations
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.configurations import MOST_CONFIGURATIONS, Configuration, Places, configurations_of
from moewright.audit.reading.corrections import read_premises
from moewright.audit.reading.document_case import Setting, parse_assume
from moewright.audit.reading.model_sizes import with_further_sizes
from moewright.audit.reading.premises import Premise, keyed_premises, premises_of, told_premises
from moewright.audit.reading.restated import has_copies, inferred, judge_premises, judge_strategy
from moewright.audit.reading.wordings import PARAMETERS
from moewright.audit.setting_facts import accepted_setting, facts_of_setting
from moewright.audit.tables.columns import judge_columns
from moewright.audit.tables.row_references import judge_references
from moewright.audit.text.clauses import Clauses, clauses_of
from moewright.audit.text.document import MOST_PAIRS, MOST_STATEMENTS, Document, Statement, parse, read_text
from moewright.audit.text.numbers import COUNT
from moewright.audit.typed.typed_reading import TypedReading
from moewright.errors import SpecError

_YAML: Final = (".yaml", ".yml")
_TOO_MANY: Final = (
    f"it is of a configuration beyond the first {MOST_CONFIGURATIONS}, which are the most that are priced"
)
_MEMORY: Final = re.compile(r"memory|bytes?\b|\bsize|\bGB\b|storage|显存", re.IGNORECASE)


def audit(
    path: str | Path,
    assume: Iterable[str] = (),
    spec: str | None = None,
    premises: str | Path | None = None,
    claims: str | Path | None = None,
) -> Audit:
    """The audit of a document in Markdown, or of claims in YAML. ``assume``: ``KEY=VALUE`` for what the document does
    not give or was misread; ``spec``: a spec file that gives everything; ``premises``: a file of premises, in place of
    those that the document's text gives; ``claims``: a file of somebody's reading, premises and claims, in place of
    all that is read here. Raises SpecError."""
    assumed = parse_assume(assume)
    if claims is not None:
        return _by_reading(path, claims, assumed, spec, premises)
    own = None if premises is None else read_premises(premises)
    if Path(path).suffix.lower() in _YAML:
        if own is not None:
            raise SpecError("is for documents; claims in YAML come with a spec", file=str(path), field="--premises")
        from moewright.audit.typed.claims_file import audit_claims

        return audit_claims(str(path), assumed, spec)
    document = parse(read_text(path), str(path))
    return audit_document(document, assumed, spec, own)


def _by_reading(
    path: str | Path, claims: str | Path, assumed: dict[str, object], spec: str | None, premises: str | Path | None
) -> Audit:
    from moewright.audit.typed.typed_reading import read_reading

    for option, given in (("--spec", spec), ("--premises", premises)):
        if given is not None:
            raise SpecError("contradicts --claims, whose file gives the premises", field=option)
    if Path(path).suffix.lower() in _YAML:
        raise SpecError("is for documents; claims in YAML are a reading already", file=str(path), field="--claims")
    document = parse(read_text(path), str(path))
    return audit_by_reading(document, read_reading(claims, document.lines), assumed, str(claims))


def audit_by_assistant(
    path: str | Path, command: str, assume: Iterable[str], tell: Callable[[float], None]
) -> tuple[Audit, str]:
    """The audit of a document as the program of ``command`` reads it, and that reading in YAML. Raises SpecError."""
    from moewright.audit.typed.assistant import read_by
    from moewright.audit.typed.typed_audit import audit_reading

    assumed = parse_assume(assume)
    if Path(path).suffix.lower() in _YAML:
        raise SpecError("is for documents; claims in YAML are a reading already", file=str(path), field="--reader")
    document = parse(read_text(path), str(path))

    figures = _figure_lines(document)

    def judged(reading: TypedReading) -> Audit:
        return audit_reading(document, reading, assumed, "reading", figures)

    answer = read_by(command, document, judged, tell)
    return answer.audit, answer.text


def audit_by_reading(document: Document, reading: TypedReading, assumed: dict[str, object], file: str) -> Audit:
    """The audit of ``document`` by somebody's ``reading`` of it, which ``file`` gives. Raises SpecError."""
    from moewright.audit.typed.typed_audit import audit_reading

    return audit_reading(document, reading, assumed, file, _figure_lines(document))


def _figure_lines(document: Document) -> list[int]:
    """The lines of the figures that the grammar finds."""
    return [c.line for c in _judged(document, {}, None, alone=True).claims]


def audit_document(
    document: Document, assumed: dict[str, object], spec: str | None, own: list[Premise] | None = None
) -> Audit:
    """The audit of a document that was read; ``own``: premises in place of its own."""
    first = _judged(document, assumed, spec, own)
    claims = blamed(document, first.claims, lambda d: _judged(d, assumed, spec, own, alone=True).claims)
    return replace(first, claims=claims)


def _judged(
    document: Document,
    assumed: dict[str, object],
    spec: str | None,
    own: list[Premise] | None = None,
    alone: bool = False,
) -> Audit:
    """The audit of a document with each figure judged by itself; ``alone``: no better plan is looked for."""
    said = list(_clauses(document))
    keyed, told = ([], []) if own is not None else _premises(document)
    premises = premises_of(keyed, told) if own is None else list(own)
    premises += inferred(said, premises) if own is None else []
    assigned = judge_assignments(document.statements, document.lines)
    reckoned = (*assigned.claims, *judge_formulas(document.lines), *judge_quotations(document.lines))
    for s, found in said:
        if s.line in assigned.lines:
            found.equalities.clear()  # they are judged as what they are, code
    if not any(p.field.startswith(("model.", "strategy.", "cluster.")) for p in premises) and not spec:
        claims = _with_tables(said, (*judge_arithmetic(said), *reckoned), document.lines)
        note = "" if claims else "nothing to check: no premise of a strategy and no claim was found"
        return Audit(document.file, (), (), (), claims, None, note, lines=document.lines)
    places = configurations_of(document, keyed + told) if spec is None else Places({}, {}, {})
    setting, premises, unread = accepted_setting(premises, assumed, spec, document.file)
    unread += _beyond_limits(document)
    facts = facts_of_setting(setting)
    better, best = (None, None) if alone else better_of(facts)
    every = (*premises, *keyed, *told, *(p for c in places.all() for p in c.premises))
    given: Given = frozenset((p.line, p.value, p.where.column if p.where else None) for p in every)
    here = [p for p in premises if places.at(p.where) is None]
    copied = has_copies(document.lines)
    restated = list(judge_premises(here, setting))
    restated += judge_strategy(premises, setting, facts.reason, bool(facts.plans), copied)
    doubts = _doubts(document, doubts_of(premises, setting), setting, facts)
    base = Place(View(facts, facts.plan, best), doubts, restated, given)
    made: dict[int, Place] = {}
    stand: list[Place] = []
    for s, _ in said:
        c = places.at(s)
        if c is not None and id(c) not in made:
            reason = c.unpriced or (_TOO_MANY if len(made) >= MOST_CONFIGURATIONS else "")
            made[id(c)] = _unpriced(c, base, reason) if reason else _place(c, assumed, document, base, copied)
        stand.append(made.get(id(c), base))
    judged = judge_document([Said(s, found, place) for (s, found), place in zip(said, stand, strict=True)])
    claims = _with_tables(said, (*judged, *reckoned), document.lines)
    shown = tuple(dict((p.field, p) for p in reversed(premises) if "." in p.field).values())[::-1]
    assumptions = tuple(setting.assumed.values())
    variants = tuple(_variant(c, made[id(c)]) for c in places.all() if id(c) in made)
    return Audit(
        document.file,
        shown,
        assumptions,
        setting.missing,
        claims,
        better,
        unread=unread,
        configurations=tuple(sorted(variants, key=lambda v: v.line)),
        lines=document.lines,
    )


def _premises(document: Document) -> tuple[list[Premise], list[Premise]]:
    """The premises that a document writes ``key: value``, and those that it tells otherwise."""
    keyed = keyed_premises(document)
    return keyed, with_further_sizes(document, told_premises(document), keyed)


def _beyond_limits(document: Document) -> tuple[Unread, ...]:
    """The first statement of a document that is beyond those which are read."""
    if document.unread is None:
        return ()
    most = f"{MOST_STATEMENTS:,} statements, or {MOST_PAIRS:,} pairs of numbers that stand together,"
    reason = f"it and what follows are beyond the first {most} which are read"
    return (Unread(document.unread.line, document.unread.text, reason),)


def _with_tables(
    said: list[tuple[Statement, Clauses]], claims: tuple[Claim, ...], lines: Sequence[str]
) -> tuple[Claim, ...]:
    """``claims`` and those of tables, whose rows and columns may be of several configurations, by their lines."""
    named = {c.key: c for c in judge_references(said, lines)}
    others = [c for c in claims if c.key not in named]
    claims = (*others, *named.values())
    return supported(sorted((*claims, *judge_columns(said, claims)), key=lambda c: c.line))


def _doubts(document: Document, doubts: Doubts, setting: Setting, facts: Facts) -> Doubts:
    """``doubts``, with the kind of pass, and with the batch that ``facts`` took to be of each GPU."""
    doubts = _of_which_attention(document, _of_which_pass(document, doubts, setting), setting)
    own, taken = setting.case.workload.batch[0], facts.case.workload.batch[0]
    both = {} if own == taken else {"workload.batch": (own, f"{own} on each GPU")}
    return Doubts({**both, **doubts.contested})


#: what a document that decodes speaks of
_DECODES: Final = re.compile(r"\bdecod|解码|\btpot\b|\bitl\b", re.IGNORECASE)


def _of_which_pass(document: Document, doubts: Doubts, setting: Setting) -> Doubts:
    """``doubts``, with the kind of pass, where a document that speaks of decoding does not tell it."""
    if "workload.kind" in setting.given or setting.assumed["workload.kind"].source == "--assume":
        return doubts
    if not any(_DECODES.search(line) for line in document.lines):
        return doubts
    return Doubts({"workload.kind": ("a pass over whole sequences", "decode"), **doubts.contested})


#: an attention that heads and their width do not tell
_OTHER_ATTENTION: Final = re.compile(r"\bM[FL]A\b|\bMamba\b|\b(?:linear|lightning) attention\b|\bDeltaNet\b|线性注意力")


def _of_which_attention(document: Document, doubts: Doubts, setting: Setting) -> Doubts:
    """``doubts``, with the heads, where a model that is not known by name has layers of another attention."""
    if "model.name" in setting.given or not any(_OTHER_ATTENTION.search(line) for line in document.lines):
        return doubts
    heads = setting.case.model.attention.heads
    return Doubts({"model.attention.heads": (heads, "those of another attention"), **doubts.contested})


#: what a configuration may have of its own, where a document gives it several values and this one none
_LOADS: Final = ("workload.batch", "workload.sequence")


def _place(c: Configuration, assumed: dict[str, object], document: Document, base: Place, copied: bool) -> Place:
    """What the claims of ``c`` are judged against; nothing where its premises make no case. ``copied``: the document
    speaks of redundant copies of experts."""
    try:
        setting, premises, _ = accepted_setting(list(c.premises), assumed, None, document.file)
    except SpecError as error:
        return _unpriced(c, base, f"the premises of {c.name[:60]!r} make no case: {error.problem}")
    facts = facts_of_setting(setting)
    restated = list(judge_premises([p for p in premises if p.field in c.own], setting))
    if c.own & {"cluster.gpus", "nodes"} and not c.contested:
        restated += judge_strategy(premises, setting, facts.reason, bool(facts.plans), copied)
    loads = {f: v for f, v in base.doubts.contested.items() if f in _LOADS and f not in c.own}
    settled = {f for f, _ in c.contested if f.startswith("model.") and f not in c.own} - set(base.doubts.contested)
    mine = {f: v for f, v in c.contested if f not in settled}
    doubts = _doubts(document, Doubts({**loads, **mine}), setting, facts)
    return Place(View(facts, facts.plan, None, c.name), doubts, restated, base.given)


def _unpriced(c: Configuration, base: Place, reason: str) -> Place:
    return Place(replace(base.view, name=c.name), base.doubts, (), base.given, reason)


def _variant(c: Configuration, place: Place) -> Variant:
    line = min((p.line for p in c.premises if p.field in c.own), default=c.line or 1)
    return Variant(c.name, line, c.premises, place.unpriced)


def _clauses(document: Document) -> Iterator[tuple[Statement, Clauses]]:
    """Each statement with what it says in numbers; where a sentence before in its paragraph counts parameters by
    millions or billions, and neither tells bytes, B is a billion: ``..., the embeddings 1.57 B. The sum is 239 B.``"""
    paragraph, counted = -1, False
    for s in document.statements:
        if s.kind != "prose" or s.line > paragraph:
            counted = False
        found = clauses_of(s.value, _counts_parameters(s) or (counted and not _BYTES.search(s.value)))
        yield s, found
        if s.kind == "prose":
            paragraph = s.line + len(s.breaks)
            millions = any(f.number.dim == COUNT and f.number.factor >= 1e6 for f in found.figures)
            counted = (counted or (millions and bool(PARAMETERS.search(s.text)))) and not _BYTES.search(s.value)


#: what makes a bare B a byte
_BYTES: Final = re.compile(r"\d\s?[KMGTP]i?B\b|\bbytes?\b|\bByte|字节|octets?|\d\s?B\s?/", re.IGNORECASE)


def _counts_parameters(s: Statement) -> bool:
    """Whether the figures of ``s`` are numbers of parameters, so that B is a billion."""
    return bool(PARAMETERS.search(s.key)) and not _MEMORY.search(s.key)
