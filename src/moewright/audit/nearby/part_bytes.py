"""Bytes of a model, or of a part of it, in the format that their own clause names, against its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.element_sizes import ELEMENT_BYTES
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, of_bytes, ranges
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.wordings import FORMAT, PER_GPU
from moewright.audit.text.numbers import BYTES
from moewright.case.tensors.layer_tensors import parameters_by_kind
from moewright.units import format_quantity

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
    r"optimi|moment|master|activ|would|could|instead|\bvs\b|quantiz|shared|LoRA|共享|优化|梯度|缓存|激活|/",
    re.IGNORECASE,
)
#: a slip of the format leaves one of these
_FACTORS: Final = (0.25, 0.5, 2.0, 4.0)
_CUT: Final = re.compile(r"[;,.](?=\s)|\b(?:and|und|plus|while|but)\b|[,，、;；。]")
#: parts of a document's clause that a figure is told in
CLOSE: Final = 0.012


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
