"""Parameters that a token passes: no total, and of it the share that the document's own figures make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, meet, over, ranges, rounded, span_between
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.restated import is_model, models_named
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import COUNT
from moewright.case.tensors.layer_tensors import active_parameters
from moewright.units import format_quantity

_ACTIVE: Final = re.compile(r"\bactiv(?!ations?\b)|aktiv(?!ierungen)|激活", re.IGNORECASE)
_TOTAL: Final = re.compile(
    r"\btotal|\bsum\b|Summe|\ball\b|in all|altogether|all told|overall|gesamt|insgesamt|whole model|somme|"
    r"suma\b|总|合计",
    re.IGNORECASE,
)
_SHARE: Final = re.compile(
    r"\b(?:share|fraction|part|proportion|percent(?:age)?|ratio)\b[^|:]*activ|activ\w*[^|:]*\b(?:share|fraction|ratio|%)|"
    r"Anteil[^|:]*aktiv|aktiver? Anteil|part active|激活(?:比例|占比|率)",
    re.IGNORECASE,
)
_OTHER: Final = re.compile(r"token|expert|memory|byte|FLOP|专家|Experten|seat|user", re.IGNORECASE)
#: a heading under which everything is of what a token passes
_SECTION: Final = re.compile(
    r"^[\d.\s]*(?:active parameters|aktive parameter|paramètres actifs|parámetros activos|激活参数量?)\b", re.IGNORECASE
)
#: parameters of a model that has experts, at least
LEAST: Final = 1e9
#: how many times a share may be off
ASTRAY: Final = 11.0


def judge_active_share(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the share of the parameters that are active, by the two numbers of them that the document tells."""
    counts = [e for e in ledger.alike(COUNT) if e.number.value >= LEAST / 10]
    active = [e for e in counts if _ACTIVE.search(label_of(e)) and e.figure.role != "operand"]
    totals = [e for e in counts if e.number.value >= LEAST and _TOTAL.search(label_of(e)) and e not in active]
    for entries in ledger.entries:
        for e in entries:
            label = label_of(e)
            if not e.number.percent or not _SHARE.search(label) or _OTHER.search(label) or len(entries) > 1:
                continue
            said = rounded(e.number)
            if any(meet(said, over(ranges(a.number), ranges(b.number))) for a in counts for b in counts if a is not b):
                continue
            pairs = [(a, b) for a in active for b in totals if a.number.value < b.number.value]
            if pairs:
                a, b = pairs[-1]
                right = a.number.value / b.number.value
                if 1 / ASTRAY < right / e.number.value < ASTRAY:
                    why = f"{a.number.text.strip()} (line {a.line}) of {b.number.text.strip()} (line {b.line}) are "
                    yield e, e.claim("share", Verdict.WRONG, f"{why}{right:.1%}", right)


#: between what is active and its share of the whole, and what may follow that
_HENCE: Final = re.compile(r"[^.;。；\d]{0,60}", re.IGNORECASE)
_SHORT: Final = re.compile(r"\b(?:i\.e\.|d\.h\.)")
_OF_WHOLE: Final = re.compile(
    r"\s*(?:[,)）;.。，]|$|(?:of|von|der|des|du|del?|aller) (?:the |all |its |das |le )?"
    r"(?:total|whole|model|parameters|weights|Gesamt\w*|Modells?|Parameter|modèle|modelo)|(?:的)?总)",
    re.IGNORECASE,
)


def judge_active_percent(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the percentage that stands behind a number of active parameters: its share of the total that the
    document tells, where it tells one."""
    counts = [e for e in ledger.alike(COUNT) if e.number.value >= LEAST / 10 and e.figure.role != "operand"]
    totals = [e for e in counts if e.number.value >= LEAST and not says_active(e) and _is_total(e)]
    for entries in ledger.entries:
        for a, p in pairwise(entries):
            n = a.number
            if not p.number.percent or n.dim != COUNT or n.percent or n.value < LEAST / 10 or not says_active(a):
                continue
            between = span_between(p.statement, n, p.number)
            if p.figure.formula or not _HENCE.fullmatch(_SHORT.sub("", between)) or not _OF_WHOLE.match(p.behind):
                continue
            said = rounded(p.number)
            if any(meet(said, over(ranges(n), ranges(b.number))) for b in counts if b.number.value > n.value):
                continue
            larger = [t for t in totals if t.number.value > n.value]
            if larger and max(t.number.value for t in larger) < 1.05 * min(t.number.value for t in larger):
                t = larger[-1]
                right = n.value / t.number.value
                whole = re.search(r"\d\s*[BM]?\s*(?:of|von|de|/)\s*$", a.statement.value[: max(0, n.at)])
                if 1 / ASTRAY < right / p.number.value < ASTRAY and not _LEFT_OUT.search(between) and not whole:
                    why = f"{n.text.strip()} of {t.number.text.strip()} (line {t.line}) are {right:.1%}"
                    yield p, p.claim("share", Verdict.WRONG, why, right)


#: a percentage of what is not active, or of another model
_LEFT_OUT: Final = re.compile(
    r"\b(?:less|fewer|more|idle|inactive|dense|than|save|saving|sparsity)\b|weniger|mehr|moins|稀疏|节省", re.IGNORECASE
)


def _is_total(e: Entry) -> bool:
    """Whether a number of parameters is said to be that of the whole model."""
    said = f"{label_of(e)} | {clause_of(e)} {e.behind[:24]}"
    return bool(_TOTAL.search(said) or _WHOLE.match(e.behind.strip())) and not _PART.search(
        f"{label_of(e)} {clause_of(e)}"
    )


def judge_active_total(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a number of parameters in a section on the active ones, which is the model's total."""
    counts = [e for e in ledger.alike(COUNT) if e.number.value >= LEAST]
    totals = [e for e in counts if e.statement.kind == "cell" and _TOTAL.search(e.statement.row)]
    for e in counts:
        s = e.statement
        above = s.path[-1] if s.path else ""
        if not _SECTION.match(above) or s.kind not in ("prose", "item") or _TOTAL.search(s.text):
            continue
        for x in totals:
            apart = not _SECTION.match(x.statement.path[-1] if x.statement.path else "")
            if apart and x.index < e.index and meet(ranges(e.number), ranges(x.number)) and _alone(e, ledger):
                why = f"that is the total of line {x.line}; a token passes fewer"
                yield e, e.claim("count.parameters active", Verdict.WRONG, why, None)
                break


#: words of what is active, right before a figure or behind it
_BEFORE: Final = re.compile(
    r"(?:\bactiv\w*|\baktiv\w*|\bactifs?\b|激活|\btoken (?:touches|uses|passes(?: through)?|needs|runs through|"
    r"goes through)|"
    r"\bToken (?:nutzt|durchläuft|braucht)|\b(?:used|touched|read) (?:by|for) (?:a|an|one|each|every|any) token|"
    r"(?:^|[,;] ?)(?:per|pro|je|par) token)"
    r"(?:(?!\b(?:of|on|out|von|aus)\b)[^.;,()。；，（\d]){0,40}$",
    re.IGNORECASE,
)
_BEHIND: Final = re.compile(
    r"^\s*(?:B\b)?\s*(?!(?-i:Aktiv sind|Active are)\b)"  # 89,6 Mrd. Aktiv sind 9,4 Mrd.
    r"(?:parameters |params |weights )?(?:are |is )?"
    r"(?:activ|aktiv|actifs?\b|激活|at work\b|work on (?:a|any|each|one)|used (?:per|by|for) (?:a|each|one|any)?)",
    re.IGNORECASE,
)
_SHARED: Final = re.compile(r"\bshared (?:\w+ )?experts?|共享专家|(?:geteilte|gemeinsame)\w* Experten", re.IGNORECASE)
#: what stands before a total, of which a part is active
_IS_TOTAL: Final = re.compile(
    r"\d\s?(?:[BM]|billion|million|Mrd|Mio)?\s?(?:(?:out )?of|von|aus|/)\s?(?:(?:the|its|all) )?[~≈]?$", re.IGNORECASE
)
_ASIDE: Final = re.compile(
    r"dense|instead|\bhad\b|wrong|mistak|corrected|falsch|误|compar|\bvs\b|versus|without|statt|稠密|对比",
    re.IGNORECASE,
)
#: fields that what a token passes follows from
NEEDS: Final = (
    "model.layers",
    "model.hidden_size",
    "model.experts.count",
    "model.experts.top_k",
    "model.experts.intermediate_size",
)
#: how many times what a token passes a figure may be, however it is counted
MOST: Final = 1.6
#: how many times as large gated experts are
GATED: Final = 1.5


def judge_active_whole(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a number of active parameters that the document gives as its total too, or that no way to count what
    a token passes makes."""
    counts = [e for e in ledger.alike(COUNT) if e.number.value >= LEAST and e.figure.role != "operand"]
    shared = any(_SHARED.search(s.text) for s in ledger.statements)
    for e in counts:
        s = e.statement
        if s.kind == "code" or not says_active(e) or _ASIDE.search(s.text) or standing_of(s):
            continue
        if _IS_TOTAL.search(s.value[: max(0, e.number.at)]):
            continue  # 3.5B of 31.6B params are active
        same = [x for x in counts if x.number.at != e.number.at or x.index != e.index]
        same = [x for x in same if _is_same(x, e) and not says_active(x)]
        total = next((x for x in same if _TOTAL.search(f"{label_of(x)} | {clause_of(x)}")), None)
        if total is not None and e.number.value * MOST > max(x.number.value for x in counts):
            why = f"that is the total of line {total.line}; a token passes fewer"
            # the total has a verdict of its own, by the same value
            yield e, replace(e.claim(_QUANTITY, Verdict.WRONG, why, None), text=told_of(e))
            continue
        less = next((x for x in _totals_beside(e, counts) if x.number.value * MOST < e.number.value), None)
        if less is not None:
            why = f"that is less than the {e.number.text.strip()} that are active"
            yield less, replace(less.claim("count.parameters", Verdict.WRONG, why, None), text=told_of(less))
            continue
        equal = next((x for x in _totals_beside(e, counts) if _is_same(x, e)), None)
        if equal is not None:
            why = "that is what the model has in all; a token passes fewer"
            yield e, replace(e.claim(_QUANTITY, Verdict.WRONG, why, None), text=told_of(e))
            continue
        facts = facts_of_moe(e, facts_at)
        if facts is None:
            continue
        right = active_parameters(facts.case.model)
        told = {"model.experts.gated", "model.name"} & set(facts.setting.given)
        most = MOST if told else MOST * GATED  # three matrices of an expert or two
        if shared and "model.name" not in facts.setting.given and e.number.value > right:
            continue  # of shared experts no premise tells
        if not 1 / most < e.number.value / right < most:
            why = f"a token passes {format_quantity(right, '')} of the model's, however they are counted"
            yield e, e.claim(_QUANTITY, Verdict.WRONG, why, right)


def _is_same(x: Entry, e: Entry) -> bool:
    """Whether two numbers are the same, but for the digits of the one that is told in fewer."""
    return abs(x.number.value - e.number.value) <= max(x.number.half, e.number.half) * (1 + 1e-9)


#: what says that a number of parameters is the model's
_WHOLE: Final = re.compile(r"\btotal|\bparameters?\b|\bparams\b|overall|Parameter\b|总参数|参数", re.IGNORECASE)
_PART: Final = re.compile(
    r"per (?:layer|expert)|each|attention|expert|embedd|layer|专家|注意力|每层|Experten|Schicht", re.IGNORECASE
)


def _totals_beside(e: Entry, counts: list[Entry]) -> list[Entry]:
    """The numbers of parameters that a statement gives its model beside ``e``, which are active."""
    alike = [x for x in counts if x.index == e.index and x.number.at != e.number.at and not says_active(x)]
    named = [x for x in alike if _WHOLE.match(x.behind.strip()) or _TOTAL.search(clause_of(x))]
    return [x for x in named if not _PART.search(f"{x.statement.key} {clause_of(x)} {x.behind[:24]}")]


def told_of(e: Entry) -> str:
    """The words of a figure, which another of the same value in its statement has otherwise."""
    return f"{clause_of(e).strip()} {e.number.text}".strip()


_QUANTITY: Final = "count.parameters active"


def says_active(e: Entry) -> bool:
    before = e.statement.value[: max(0, e.number.at)]
    named = e.statement.kind == "cell" or not re.search(r"\d", before)
    keyed = named and bool(_ACTIVE.search(f"{e.statement.key} {e.statement.row}"))
    if _BEHIND.match(e.behind) and re.search(r"\d[^\d]*$", clause_of(e)):
        return True  # of 46.7 B in total 12.9 B active
    named = keyed or bool(_BEFORE.search(before)) or bool(_BEHIND.match(e.behind))
    return named and not _TOTAL.search(clause_of(e))


def clause_of(e: Entry) -> str:
    """The words right before a figure."""
    return re.split(r"[.;,。；，]", e.statement.value[: max(0, e.number.at)])[-1]


def facts_of_moe(e: Entry, facts_at: FactsAt) -> Facts | None:
    """The facts of a model with experts that a figure is of, where its text speaks of no other model."""
    s, facts = e.statement, facts_at(e.index, (*NEEDS, "model.attention.heads"))
    if facts is None or facts.case.model.moe is None:
        return None
    given = facts.setting.given.get("model.name")
    named = models_named(" | ".join((s.text, *s.path[-1:])))
    return facts if all(given is not None and is_model(m, str(given.value)) for m in named) else None


def _alone(e: Entry, ledger: Ledger) -> bool:
    """Whether no other number of parameters stands in the statement, of which it might be the total."""
    return not any(
        x is not e and x.number.dim == COUNT and x.number.value >= LEAST and x.number.value != e.number.value
        for x in ledger.entries[e.index]
    )


def label_of(e: Entry) -> str:
    """What names a figure: its row and column, or its key and the words before it."""
    s = e.statement
    return f"{s.row} | {s.column}" if s.kind == "cell" else f"{s.key} {e.figure.words}"
