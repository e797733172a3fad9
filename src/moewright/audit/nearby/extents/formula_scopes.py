"""Figures whose own formula is right, and is of less, or of more, than their words say: all experts of a model as those
of one layer, work of every expert for that of the chosen ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, ranges
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import BYTES, COUNT, FLOP, NAMES, Number
from moewright.case.tensors.layer_tensors import parameters_by_kind
from moewright.units import format_quantity

_NEEDS: Final = (
    "model.layers",
    "model.hidden_size",
    "model.experts.count",
    "model.experts.top_k",
    "model.experts.intermediate_size",
)
#: what says of experts that they are those of all layers
_ALL: Final = re.compile(
    r"\ball (?:the )?(?:\d+ )?(?:MoE )?layers|\bover the (?:\d+ )?layers|\bof all layers|\b(?:whole|"
    r"entire) (?:model|net\w*)|"
    r"\ball (?:the )?(?:routed )?experts|experts?,? (?:in )?(?:total|altogether)|"
    r"total (?:of )?(?:the )?(?:routed )?experts?|"
    r"专家(?:参数|权重)?(?:合计|总计|总量|共计?)|(?:全部|所有)(?:路由)?专家|(?:全部|所有)层|"
    r"\balle[nr]? (?:\d+ )?(?:Schichten|Experten)|Experten (?:gesamt|insgesamt|zusammen)|"
    r"tous les experts|toutes les couches|todos los expertos|todas las capas",
    re.IGNORECASE,
)
#: what makes them those of one layer, or of a part
_ONE: Final = re.compile(
    r"\b(?:per|a|an|one|each|every|single|this|the|je|pro|einer|par|d'une|por)[ -](?:\w+ )?(?:layer|block|"
    r"Schicht|couche|capa)\b|"
    r"/\s?layer|layer's|\blayer\b|每(?:个)?(?:\s?MoE\s?)?层|单层|一层|(?:per|each|every|a|on|je|pro|一|每|单)\s?(?:张)?(?:GPU|chip|accelerator|card|rank|卡|Karte|stage)",
    re.IGNORECASE,
)
_TOKENS_OF_EXPERT: Final = re.compile(
    r"(?:per|each|every|an?|je|pro|jeder?|par|chaque) (?:routed )?(?:expert|Experten?)\b|每(?:个)?专家", re.IGNORECASE
)
#: bytes of an element of weights
_ELEMENTS: Final = (1.0, 2.0, 4.0, 0.5)


def judge_formula_scopes(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on experts of all layers that are worked out as those of one, and on FLOPs that every token costs in
    every expert, where it passes a few."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        worked = [e for e in entries if e.figure.role == "result" and len(e.figure.formula) > 1]
        facts = facts_at(index, _NEEDS) if worked and s.kind != "heading" else None
        if facts is None or facts.case.model.moe is None:
            continue
        for e in worked:
            claim = _of_one_layer(e, facts) or _of_every_expert(e, facts, ledger)
            if claim is not None and not standing_of(s):
                yield e, claim


def _of_one_layer(e: Entry, facts: Facts) -> Claim | None:
    """The verdict on experts of all layers that are those of one layer by their formula."""
    model = facts.case.model
    moe, layers = model.moe, len(model.moe_layers())
    assert moe is not None
    s, formula = e.statement, e.figure.formula
    if e.number.dim not in (COUNT, BYTES) or len(formula) != 2 or layers < 2:
        return None
    counts = [n for n in formula if n.value == moe.experts]
    ones = [n for n in formula if n not in counts and _is_expert(n, facts)]
    if len(counts) != 1 or len(ones) != 1:
        return None
    front = re.split(r"[;.](?=\s)", s.value[: min(n.at for n in formula)])[-1]
    name = s.row if s.kind == "cell" else s.key if not re.search(r"\d", s.value[: min(n.at for n in formula)]) else ""
    told = f"{name} | {front}"
    if not _ALL.search(told) or _ONE.search(_ALL.sub(" ", told)) or _ONE.match(e.behind.lstrip()):
        return None
    if _ONE.search(" ".join(s.path[-1:])):
        return None
    right = e.number.value * layers
    why = f"its formula is of one of {layers} layers; all have {format_quantity(right, NAMES.get(e.number.dim, ''))}"
    return e.claim("multiple", Verdict.WRONG, why, right)


def _is_expert(n: Number, facts: Facts) -> bool:
    """Whether ``n`` is the parameters, or the bytes, of one expert."""
    moe, model = facts.case.model.moe, facts.case.model
    assert moe is not None
    one = parameters_by_kind(model)["experts"] / (moe.experts * max(1, len(model.moe_layers())))
    sizes = (1.0,) if n.dim == COUNT else _ELEMENTS
    return n.value > 1e4 and any(meet(ranges(n), exactly(one * x), 5e-3) for x in sizes)


def _of_every_expert(e: Entry, facts: Facts, ledger: Ledger) -> Claim | None:
    """The verdict on FLOPs whose formula has all experts of a layer in place of those of a token."""
    moe = facts.case.model.moe
    assert moe is not None
    formula = e.figure.formula
    factors = [n for n in formula if not _is_expert(n, facts)]
    values = [n.value for n in factors]
    if e.number.dim != FLOP or len(factors) == len(formula) or moe.top_k >= moe.experts:
        return None
    if values.count(float(moe.experts)) != 1 or moe.top_k in values:
        return None
    tokens = max((v for v in values if v != moe.experts), default=0.0)
    told = [x.number.value for entries in ledger.entries for x in entries if x.number.dim == COUNT]
    mean = any(abs(n * moe.top_k / moe.experts / tokens - 1) < 5e-3 for n in told if n) if tokens else True
    if tokens < moe.experts / moe.top_k or mean or _TOKENS_OF_EXPERT.search(e.statement.text):
        return None
    right = e.number.value * moe.top_k / moe.experts
    why = f"a token passes {moe.top_k} of the {moe.experts} experts: {format_quantity(right, 'FLOPs')}"
    return e.claim("compute", Verdict.WRONG, why, right)
