"""Rows that are spread over the experts, and sets of experts that are no layer's but a token's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, is_amount, meet, ranges
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import BYTES, COUNT, NAMES
from moewright.units import format_quantity

_SPREAD: Final = re.compile(
    r"(?P<all>\d[\d,]*)(?!\d|\.\d)\s*(?:次|个)?(?:\s?[^\d.;]{0,32}?)"
    r"(?:spread|distribut\w+|divided|shared|split|land\w*|fall\w*|go\w*|verteil\w+|均摊|平均(?:分)?到?|分摊|分配|摊)\s*"
    r"(?:evenly |equally |uniformly |gleichmäßig )?(?:over|across|among|between|on|to|auf|über|到|至|"
    r"给)?\s*(?:the |all |die |our )*"
    r"(?P<over>\d[\d,]*)\s*(?:个)?\s*(?P<what>experts?|Experten|专家|routed experts|GPUs?|cards|ranks|卡)"
    r"[^\d;]{0,40}?(?P<each>\d[\d,]*(?:\.\d+)?)(?!\d|,\d|\s?%)(?P<unit>[^\d;]{0,24})",
    re.IGNORECASE,
)
#: what every such sentence has
_OVER: Final = re.compile(
    r"spread|distribut|divided|shared|split|\bland|\bfall|\bgo(?:es)?\b|verteil|均摊|平均|分摊|分配|摊", re.IGNORECASE
)
_EACH: Final = re.compile(
    r"\b(?:each|per|apiece|every|a piece|one|average|mean|je|pro|jede\w*|im Mittel)\b|每|平均|单", re.IGNORECASE
)


def judge_spread(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on what each of so many gets of a number that is spread over them: the one over the other."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _SPREAD.search(s.value) if len(entries) > 2 and s.kind != "heading" and _OVER.search(s.value) else None
        if m is None or not _EACH.search(s.value[m.end("what") : m.end()]) or standing_of(s):
            continue
        whole, many = (int(m[g].replace(",", "")) for g in ("all", "over"))
        e = next((x for x in entries if x.number.at == m.start("each")), None)
        if e is None or e.number.dim != COUNT or e.figure.formula or many < 2 or whole <= many or e.number.percent:
            continue
        right = whole / many
        if meet(ranges(e.number), exactly(right), 5e-3):
            yield e, e.claim("split", Verdict.HOLDS, f"{whole:,} / {many}", right)
        elif 1 / 40 < e.number.value / right < 40 and not e.number.approx:
            yield e, e.claim("split", Verdict.WRONG, f"{whole:,} / {many} is {right:,.4g}", right)


_SET: Final = re.compile(
    r"\blayer['’]s\b|\b(?:a|one|each|every|per|the) (?:\w+ )?layer\b|\blayer of\b|每层|一层|je Schicht|"
    r"einer Schicht",
    re.IGNORECASE,
)
_EXPERTS: Final = re.compile(r"experts?\b|routed|\bbank\b|Experten|专家", re.IGNORECASE)
_CHOSEN: Final = re.compile(
    r"\b(?:token|active|activ\w+|chosen|selected|top|picked|visited|used|touched|aktiv\w*|shared|GPU|chip|accelerator|card|rank|"
    r"dispatch\w*|attention)\b|激活|选|共享|卡",
    re.IGNORECASE,
)
_NEEDS: Final = (
    "model.hidden_size",
    "model.experts.count",
    "model.experts.top_k",
    "model.experts.intermediate_size",
)


def judge_layer_sets(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the parameters, or the bytes, of a layer's experts that are those of as many as a token visits."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading" or not entries:
            continue
        for e in entries:
            n = e.number
            if n.dim not in (COUNT, BYTES) or not is_amount(n) or e.figure.role == "operand" or n.slack > 0.02:
                continue
            front = re.split(r"[;,.](?!\d)", s.value[: max(0, n.at)])[-1]
            said = (
                f"{s.row} {s.column} {front}"
                if s.kind == "cell"
                else f"{front if re.search('[A-Za-z]', front) else s.key}"
            )
            said += re.split(r"[;,.(](?!\d)", e.behind)[0][:32]
            if not _SET.search(said) or not _EXPERTS.search(said) or _CHOSEN.search(said):
                continue
            facts = facts_at(index, _NEEDS)
            moe = facts.case.model.moe if facts is not None else None
            if facts is None or moe is None or moe.top_k < 2:
                continue
            sizes = (1.0,) if n.dim == COUNT else (0.5, 1.0, 2.0)
            one = [float(k * moe.width * facts.case.model.hidden_size) * b for k in (2, 3) for b in sizes]
            if any(meet(ranges(n), exactly(x * moe.experts), 5e-3) for x in one):
                continue
            found = next((x for x in one if meet(ranges(n), exactly(x * moe.top_k), 3e-3)), None)
            if found is not None:
                right = found * moe.experts
                why = f"that is {moe.top_k} experts; the {moe.experts} of a layer have "
                why += format_quantity(right, NAMES.get(n.dim, ""))
                yield e, e.claim("multiple", Verdict.WRONG, why, right)


_KINDS: Final = re.compile(
    r"(?<![\d.,])(?P<dense>\d{1,2})\s*(?:层)?(?:\s?(?:layers?|of (?:them|which)|are|is|为|是|个|层))*\s*"
    r"(?:dense|dicht\w*|稠密)[^.;\d]{0,32}?(?P<sparse>\d{1,3})\s*(?:层)?"
    r"(?:[^.;\d]{0,20}?)(?:MoE\b|sparse|experts?\b|mixture|Experten|专家)",
    re.IGNORECASE,
)


def judge_layer_kinds(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the layers with experts that stand beside the dense ones: what these leave of all."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _KINDS.search(s.value) if len(entries) > 1 and s.kind != "heading" else None
        facts = facts_at(index, ("model.layers",)) if m is not None else None
        if m is None or facts is None:
            continue
        layers, dense, sparse = len(facts.case.model.layers), int(m["dense"]), int(m["sparse"])
        e = next((x for x in entries if x.number.at == m.start("sparse")), None)
        if e is None or not 0 < dense < 16 or dense >= layers:
            continue
        right = layers - dense
        if sparse == right:
            yield e, e.claim("count.layers", Verdict.HOLDS, f"{layers} - {dense}", right)
        elif sparse == layers or abs(sparse - right) <= 2 * dense:
            yield e, e.claim("count.layers", Verdict.WRONG, f"{layers} layers less {dense} are {right}", right)
