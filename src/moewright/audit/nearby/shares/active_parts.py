"""Parameters that a token passes, from the document's own totals: of the experts top_k of so many, and all else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, meet, ranges
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.nearby.shares.active_parameters import LEAST, clause_of, facts_of_moe, label_of, told_of
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import COUNT
from moewright.case.attention_kinds import SoftmaxAttention
from moewright.case.tensors.layer_tensors import parameters_by_kind
from moewright.units import format_quantity

#: first layers without experts that a model may have
MOST_DENSE: Final = 8
#: of the parameters of all experts, the most that all others may be
MOST_OTHERS: Final = 0.35
#: of the parameters of all experts, what the model has at least
LARGER: Final = 1.002
#: words of a key, at most
SHORT: Final = 4
#: how far off a figure may be beside rounding
ROOM: Final = 0.02

_SAYS: Final = re.compile(
    r"\bactiv(?!ations?\b)|\baktiv(?!ierung)|\bactifs?\b|激活|\bat work\b|\bin use\b|\blive\b|\bengaged?\b|"
    r"\b(?:works?|used|touched|read|run|visited|exercised|passed) (?:on|by|for|per|through by) (?:a|an|any|each|every|"
    r"one)?|\btoken (?:\w+ )?(?:touches|uses|passes|needs|runs|goes|sees|meets|engages|exercises|activates|works)|"
    r"\b(?:per|pro|je|par|por|for (?:a|each|every|any|one)) [Tt]oken|\bToken (?:nutzt|durchläuft|braucht|berührt)|"
    r"arbeiten|每(?:个)?\s?token",
    re.IGNORECASE,
)
#: what a figure beside such words may be of instead
_OTHER: Final = re.compile(
    r"\b(?:bytes?|cache|KV|FLOPs?|routed|experts? (?:alone|only)|sparsity|dense model|instead|compar\w*|versus|vs|"
    r"inactive|idle|if|would|training tokens|trained|statt|ohne Experten|dataset|corpus|"
    r"per (?:layer|second|GPU|chip|accelerator|card))\b|"
    r"稠密|对比|数据|路由专家|专家参数|每层|每卡|单卡|若",
    re.IGNORECASE,
)
_PART: Final = re.compile(
    r"attention|experts?\b|embedd|router|norms?\b|vocab|head|dense|shared|layer|MLP|FFN|注意力|专家|词表|每层|Experten|Schicht",
    re.IGNORECASE,
)
_TOKENS: Final = re.compile(
    r"^\s*(?:[kKMBT]\b\s*)?(?:个\s?)?(?:output |training |input )?(?:tokens?|Token|steps?|GPU|rows)", re.I
)


def judge_active_parts(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a number of active parameters that is less than its experts and attention, or more than all but the
    experts that a token does not visit, by the total and the experts' number of parameters that the document tells."""
    counts = [e for e in ledger.alike(COUNT) if e.number.value >= LEAST / 10 and not _TOKENS.match(e.behind)]
    for e in counts:
        s = e.statement
        listed = len(_LISTED.split(s.row if s.kind == "cell" else s.key)) == 2  # 26.6 B / 2.82 B divides nothing
        if (e.figure.role == "operand" and not listed) or e.figure.formula or s.kind == "heading":
            continue
        if not _says_active(e):
            continue
        if standing_of(replace(s, text=_UNTIED.sub(" ", _beside(e)), path=s.path[-1:])):
            continue
        facts = facts_of_moe(e, facts_at)
        if facts is None:
            continue
        bounds = _bounds(facts, [x for x in counts if x is not e], e.index)
        if bounds is None:
            continue
        low, high, total = bounds
        least, most = (f(x for r in ranges(e.number) for x in r) for f in (min, max))
        if most < low * (1 - ROOM) or least > high * (1 + ROOM):
            told = f"{format_quantity(low, '')} to {format_quantity(high, '')}"
            why = f"of {format_quantity(total, '')} a token passes {told}: top_k of the experts, and all else"
            claim = e.claim("count.parameters active", Verdict.WRONG, why, high)
            twice = any(x is not e and x.number.value == e.number.value for x in ledger.entries[e.index])
            yield e, replace(claim, text=told_of(e)) if twice else claim  # the total has a verdict of its own


def _bounds(facts: Facts, counts: list[Entry], index: int) -> tuple[float, float, float] | None:
    """(Least, most, total): what a token passes by the document's total, also one in statement number ``index``, and
    by its experts' number of parameters; None where it does not tell the total, or several of a kind."""
    model = facts.case.model
    moe = model.moe
    assert moe is not None
    expert = moe.width * model.hidden_size
    own = [e for e in counts if e.figure.role != "operand" or not e.figure.formula]
    found: dict[float, float] = {}
    for matrices in (2, 3):
        for dense in range(MOST_DENSE + 1):
            size = float(matrices * expert * moe.experts * (len(model.layers) - dense))
            exact = (x for x in own if not x.number.approx and x.number.slack < ROOM)
            x = next((x for x in exact if meet(ranges(x.number), ((size, size),))), None)
            if x is not None and size >= LEAST:
                found.setdefault(x.number.value, size)
    if not found:
        two = "model.experts.gated" in facts.setting.given and not moe.gated
        found[0.0] = float((2 if two else 3) * expert * moe.experts * len(model.moe_layers()))
    if len(found) != 1:
        return None
    experts = next(iter(found.values()))
    unknown = 0.0 in found and "model.name" not in facts.setting.given  # some layers may have no experts
    fewest = experts * (1 - MOST_DENSE / len(model.layers)) if unknown else experts
    totals = [e for e in own if experts * LARGER < e.number.value <= experts * (1 + MOST_OTHERS)]
    said = [e for e in totals if _TOTAL.search(f"{label_of(e)} | {clause_of(e)}{e.behind[:30]}")]
    totals = said or [e for e in totals if e.index == index]
    if not totals or max(t.number.value for t in totals) > min(t.number.value for t in totals) * 1.06:
        return None
    total = max(t.number.value for t in totals)
    share = moe.top_k / moe.experts
    attention = model.layers[0].attention
    heads = 0.0
    if isinstance(attention, SoftmaxAttention) and "model.attention.heads" in facts.setting.given:
        heads = 2.0 * model.hidden_size * attention.heads * attention.head_dim * len(model.layers)
    heads = min(heads, total - experts)
    most = total - fewest * (1 - share)
    least = experts * share + heads * (1 - ROOM)
    if "model.vocab_size" in facts.setting.given or "model.name" in facts.setting.given:
        may = parameters_by_kind(model)  # the embeddings may be left out, and shared experts
        shared = may["shared_experts"] if moe.shared_width else moe.width * model.hidden_size * 3.0 * len(model.layers)
        least = max(least, total - experts * (1 - share) - (may["vocabulary"] + shared) * (1 + ROOM) - ROOM * most)
    return least, most, total


_TOTAL: Final = re.compile(
    r"\btotal|\bsum\b|Summe|\ball\b|\bin all|gesamt|insgesamt|whole|altogether|overall|bottom line|arrive at|"
    r"counting up|parameters?\b|params\b|Parameter\b|weighs in|somme|suma\b|总|合计|共",
    re.IGNORECASE,
)


#: what a number of parameters is told without, no other configuration
_UNTIED: Final = re.compile(
    r"\b(?:without|excluding|not counting|leaving out|less|ohne|sans|sin) (?:the |die |both |les )?(?:\w+[ -])?"
    r"(?:embeddings?|vocabulary|tables|head|Einbettung\w*|vocabulaire)",
    re.IGNORECASE,
)


def _beside(e: Entry) -> str:
    """The figure's own clause."""
    behind = re.split(r"[.;,。；，](?!\d)", e.behind)[0]
    return f"{clause_of(e)}{e.number.text}{behind}"


#: names of several figures, one after another: total / active
_LISTED: Final = re.compile(r"\s/\s|(?<=[\u4e00-\u9fff])/|/(?=[\u4e00-\u9fff])")


def judge_swapped(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a model's total that stands beside fewer, or as many, parameters than are active, where one key or
    one sentence names both: parameters, total / active: 37 B / 671 B."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        counts = [e for e in entries if e.number.dim == COUNT and e.number.value >= LEAST / 10 and not e.number.percent]
        names = _LISTED.split(s.row if s.kind == "cell" else s.key)
        operands = any(e.figure.role == "operand" for e in counts) and len(names) != 2  # 37B / 671B divides nothing
        if len(counts) != 2 or s.kind == "heading" or operands:
            continue
        if len(names) == 2:
            said = [bool(_ACTIVE.search(x)) for x in names]
            plain = not any(_PART.search(x) for x in names)
        else:
            said = [False, bool(_NEXT.match(counts[1].behind))]
            plain = bool(_TOLD_TOTAL.match(counts[0].behind)) and not _PART.search(s.text)
        if not plain or said.count(True) != 1:
            continue
        active, total = (counts[0], counts[1]) if said[0] else (counts[1], counts[0])
        if total.number.value <= active.number.value * 1.001:
            why = f"that is no more than the {active.number.text.strip()} that are active"
            yield total, replace(total.claim("count.parameters", Verdict.WRONG, why, None), text=told_of(total))


_ACTIVE: Final = re.compile(r"activ|aktiv|激活|per token|每\s?token", re.IGNORECASE)
_NEXT: Final = re.compile(
    r"\s*(?:of them |parameters |params )?(?:are |is )?(?:activ|aktiv|actif|at work|live\b)", re.IGNORECASE
)
_TOLD_TOTAL: Final = re.compile(r"\s*(?:parameters|params|Parameter|weights|in total|total|in all)\b", re.IGNORECASE)


def _says_active(e: Entry) -> bool:
    """Whether words beside a figure, and beside no other, make it what a token passes."""
    s = e.statement
    before = re.split(r"\d", clause_of(e))[-1]
    behind = re.split(r"[.:;,。；，(（](?!\d)", e.behind)[0]
    behind = "" if re.search(r"\d", behind) else behind  # else it may be of the next figure
    short = s.key if len(s.key.split()) <= SHORT else ""  # else it is a sentence
    if _PART.search(_UNTIED.sub(" ", f"{s.row} {s.column}" if s.kind == "cell" else short)):
        return False
    names = _LISTED.split(s.row if s.kind == "cell" else s.key)
    if len(names) == 2:
        first = not re.search(r"\d", s.value[: max(0, e.number.at)])
        return bool(_SAYS.search(names[0 if first else 1])) and not _OTHER.search(" ".join(names))
    if s.kind == "cell":
        before = f"{s.row} {s.column} {before}" if " / " not in s.column else before
    elif not re.search(r"\d", s.value[: max(0, e.number.at)]):
        before = f"{s.key} {before}"
    return bool(_SAYS.search(before) or _SAYS.search(behind)) and not _OTHER.search(f"{before} {behind}")
