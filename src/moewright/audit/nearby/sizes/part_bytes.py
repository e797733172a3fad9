"""Bytes of a model, or of a part of it, in the format that their own clause names, against its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, is_amount, meet, of_bytes, ranges
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.nearby.sizes.element_sizes import ELEMENT_BYTES
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.wordings import FORMAT, PER_GPU
from moewright.audit.text.numbers import BYTES, COUNT
from moewright.case.tensors.layer_tensors import parameters_by_kind
from moewright.units import format_count, format_quantity

_NEEDS: Final = (
    "model.layers",
    "model.hidden_size",
    "model.experts.count",
    "model.experts.intermediate_size",
    "model.experts.gated",
    "model.attention.heads",
    "model.attention.kv_heads",
)
_EXPERTS: Final = re.compile(r"(?:routed |all (?:the )?)?experts\b|Experten\b|专家", re.IGNORECASE)
_ATTENTION: Final = re.compile(r"\battention\b|注意力", re.IGNORECASE)
_WHOLE: Final = re.compile(
    r"whole (?:model|thing)|entire model|full model|the model\b|weights alone|all (?:the )?weights|checkpoint|file set|"
    r"on disk|Gesamtmodell|das (?:ganze )?Modell|ganze Modell|alle Gewichte|权重总量|全部权重|整个模型|模型权重",
    re.IGNORECASE,
)
#: what makes the bytes those of a part, of another thing, or of another plan
_APART: Final = re.compile(
    r"\blayers?\b|Schicht|层|stage|node\b|shard|replica|per |\beach\b|\bje\b|每|单|one expert|an expert|cache|gradient|"
    r"\bhal(?:f|ves|ved)\b|\bthirds?\b|\bquarters?\b|Hälfte|halbe|Viertel|一半|moitié|mitad|"
    r"\bafter (?:the )?(?:TP|EP|split|sharding)|\bTP\b|"
    r"optimi|moment|master|activ|would|could|instead|\bvs\b|quantiz|shared|LoRA|共享|优化|梯度|缓存|激活|/",
    re.IGNORECASE,
)
_OF_EXPERTS: Final = re.compile(r"expert|专家", re.IGNORECASE)
_PARAMETERS: Final = re.compile(r"\bparam|参数|Parameter", re.IGNORECASE)
#: bytes of an element of weights
_ELEMENTS: Final = (2.0, 1.0, 4.0)
#: all layers of a model, and what is of a part of it
_OF_ALL: Final = re.compile(
    r"\bwhole (?:model|network)\b|"
    r"of the (?:whole |entire |full )?(?:model|network)|"
    r"(?:in|over|across) (?:the whole |the entire )?(?:model|network)\b|"
    r"\b(?:all|over) (?:the )?(?:\d+ )?(?:MoE )?layers|in all\b|in total\b|des Modells|im (?:ganzen )?Modell|"
    r"aller (?:\d+ )?Schichten|全部层|所有层|整个模型|全模型|\d+ ?层(?:合计|共)",
    re.IGNORECASE,
)
_PART_OF: Final = re.compile(
    r"(?:per|one|each|a|every|single|/)[ -]?(?:MoE )?(?:layer|expert|GPU|chip|accelerator|card|rank|stage|token)|"
    r"active|aktiv|激活|每|单|"
    r"\bje\b|\bpro\b|shared|共享",
    re.IGNORECASE,
)
#: a slip of the format leaves one of these
_FACTORS: Final = (0.25, 0.5, 2.0, 4.0)
_CUT: Final = re.compile(r"[;,.](?=\s)|\b(?:and|und|plus|while|but)\b|[,，、;；。]")
#: parts of a document's clause that a figure is told in
CLOSE: Final = 0.012
#: of a figure that is so many layers off, more may be rounded away
COARSE: Final = 0.03


def judge_part_bytes(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the bytes of all experts, of the attention or of the model, whose clause names one format."""
    for index, entries in enumerate(ledger.entries):
        for e in entries:
            s, n = e.statement, e.number
            if n.dim != BYTES or n.value < 1e9 or e.figure.role == "operand" or n.slack > CLOSE or s.kind == "cell":
                continue
            clause = _clause(s.value, n.at, n.at + len(n.text))
            named = {m.lower() for m in FORMAT.findall(clause)}
            size = ELEMENT_BYTES.get(named.pop()) if len(named) == 1 else None
            if size is None or PER_GPU.search(s.text) or _APART.search(clause):
                continue
            amounts = [x for x in entries if x.number.dim == BYTES and n.at - 40 < x.number.at < n.at + 40]
            if any(x is not e and _clause(s.value, x.number.at, x.number.at + 1) == clause for x in amounts):
                continue
            facts = facts_at(index, _NEEDS)
            claim = _judged(e, clause, size, facts) if facts is not None else None
            if claim is not None:
                yield e, claim


def judge_part_parameters(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the parameters that the experts, or the attention, of a whole model are said to have, where they are
    those of one of its layers."""
    for index, entries in enumerate(ledger.entries):
        amounts = [e for e in entries if is_amount(e.number) and e.figure.role != "operand"]
        s = ledger.statements[index]
        if len(amounts) != 1 or amounts[0].number.dim not in (COUNT, BYTES) or amounts[0].number.slack > COARSE:
            continue
        counted = amounts[0].number.dim == COUNT
        if (counted and not _PARAMETERS.search(s.text)) or not _OF_ALL.search(s.text) or _PART_OF.search(s.text):
            continue
        facts = facts_at(index, _NEEDS)
        if facts is None:
            continue
        counts, layers = parameters_by_kind(facts.case.model), len(facts.case.model.moe_layers())
        kind = "experts" if _OF_EXPERTS.search(s.text) else "attention" if _ATTENTION.search(s.text) else ""
        right = counts[kind] if kind else 0
        ep = facts.setting.given.get("strategy.ep") if PER_GPU.search(" ".join(s.path[-1:])) else None
        whole = right / (ep.value if ep is not None and kind == "experts" else 1)
        for size in (1.0,) if counted else _ELEMENTS:
            if right and layers > 1 and meet(ranges(amounts[0].number), exactly(whole * size / layers), CLOSE):
                all_ = format_count(right) if counted else format_quantity(whole * size, "bytes")
                name = "count.parameters" if counted else f"memory.{kind}"
                why = f"that is what one of {layers} layers has; all have {all_}"
                yield amounts[0], amounts[0].claim(name, Verdict.WRONG, why, whole * size)
                break


def _clause(text: str, start: int, end: int) -> str:
    """The clause around ``start`` to ``end``."""
    before = [m.end() for m in _CUT.finditer(text, 0, start)]
    after = _CUT.search(text, end)
    return text[before[-1] if before else 0 : after.start() if after else len(text)]


def _judged(e: Entry, clause: str, size: float, facts: Facts) -> Claim | None:
    counts = parameters_by_kind(facts.case.model)
    routed, every = counts["experts"], counts.total()
    if _EXPERTS.search(clause):
        right, told = [routed, routed + counts["shared_experts"]], "the experts"
    elif _ATTENTION.search(clause):
        right, told = [counts["attention"]], "the attention"
    elif _WHOLE.search(clause):
        right, told = [every, every - counts["vocabulary"]], "the model"
    else:
        return None
    said = ranges(e.number)
    if not right[0] or any(meet(said, exactly(x * size), CLOSE) for x in right):
        return None
    for x in right:
        for factor in _FACTORS:
            if meet(said, exactly(x * size * factor), 5e-3):
                whole = x * size
                why = f"the {x:,} parameters of {told} at {of_bytes(size)} each take {format_quantity(whole, 'bytes')}"
                return e.claim("memory", Verdict.WRONG, why, whole)
    return None
