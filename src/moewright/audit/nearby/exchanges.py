"""What is sent to the experts against what comes back from them, and a whole pass against one layer of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, is_amount, meet, plus, ranges
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.text.numbers import BYTES
from moewright.units import format_quantity

_SENT: Final = re.compile(r"dispatch|分发|派发|verschick|Versand", re.IGNORECASE)
_BACK: Final = re.compile(r"combin|合并|聚合|zurück|Rückweg", re.IGNORECASE)
_APART: Final = re.compile(
    r"would|could|instead|\bvs\b|dedup|unique|one copy|per (?:copy|expert|destination)|statt|würde|去重|一份",
    re.IGNORECASE,
)
#: the fewest experts of a token with which the ratio of two formats is no number of experts
LEAST: Final = 4
_STEP: Final = re.compile(
    r"\b(?:whole|entire|full|complete|per|a|each|every|one|je|pro|ganze[nr]?)\b (?:\w+ ){0,2}"
    r"(?:step|pass|forward|Schritt|Durchlauf)\b|"
    r"整个?(?:前向|步)|每步|一步",
    re.IGNORECASE,
)
_ONE_LAYER: Final = re.compile(
    r"(?:\b(?:per|each|every|a|one|and|je|pro|und) |/ ?)(?:MoE[- ])?(?:layer|Schicht)\b|每层|单层", re.IGNORECASE
)
_LAYER: Final = re.compile(r"layer|Schicht|层", re.IGNORECASE)


def judge_exchanges(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on bytes that are dispatched, where as many as come back, in the same format or another, are as many
    times more as a token has experts."""
    for index, entries in enumerate(ledger.entries):
        yield from _in_one(index, entries, facts_at)
        sent = _only(entries, _SENT, _BACK)
        if sent is None or _APART.search(sent.statement.text):
            continue
        s = sent.statement
        for after in ledger.entries[index + 1 : index + 3]:
            back = _only(after, _BACK, _SENT)
            if back is None or back.statement.path != s.path or back.statement.group != s.group:
                continue
            facts = facts_at(index, ("model.experts.count", "model.experts.top_k"))
            moe = facts.case.model.moe if facts is not None else None
            if moe is None or moe.top_k < LEAST or _APART.search(back.statement.text):
                break
            yield from _compared(sent, back, moe.top_k)
            break


def _compared(sent: Entry, back: Entry, top_k: int) -> Iterator[tuple[Entry, Claim]]:
    """The verdict on what is sent, by what comes back."""
    ratio = back.number.value / sent.number.value
    room = sent.number.slack + back.number.slack + 2e-3
    for k in (1.0, 2.0):
        if abs(ratio / (k * top_k) - 1) <= room:
            right = sent.number.value * top_k
            told = f"line {back.line} brings {ratio:.3g} times as much back: one copy is counted"
            why = f"{told}; top {top_k} makes {format_quantity(right, 'bytes')}"
            yield sent, sent.claim("slip", Verdict.WRONG, why, right)


def _in_one(index: int, entries: list[Entry], facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """The verdict on a dispatch whose combine stands behind it in the same statement."""
    amounts = [e for e in entries if e.number.dim == BYTES and is_amount(e.number) and e.figure.role != "operand"]
    if len(amounts) != 2:
        return
    sent, back = amounts
    s = sent.statement
    front, between = s.value[: sent.number.at], s.value[sent.number.at : back.number.at]
    if not _SENT.search(f"{s.key} {front}") or not _BACK.search(between) or _SENT.search(between):
        return  # dispatch and combine: both together
    if _APART.search(s.text):
        return
    facts = facts_at(index, ("model.experts.count", "model.experts.top_k"))
    moe = facts.case.model.moe if facts is not None else None
    if moe is not None and moe.top_k >= LEAST:
        yield from _compared(sent, back, moe.top_k)


def _only(entries: list[Entry], topic: re.Pattern[str], other: re.Pattern[str]) -> Entry | None:
    """The one amount of bytes of a statement that speaks of ``topic`` alone."""
    found = [e for e in entries if e.number.dim == BYTES and is_amount(e.number) and not e.figure.remark]
    if len(found) != 1 or found[0].figure.role == "operand":
        return None
    s = found[0].statement
    text = f"{s.row} {s.key} {s.value}"
    return found[0] if topic.search(text) and not other.search(text) else None


def judge_steps(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the bytes of a whole step that are those of one layer, told in the statement before."""
    for index, entries in enumerate(ledger.entries[1:], 1):
        s = ledger.statements[index]
        up = next(ledger.before(index, 1), None) if s.kind == "cell" and entries else None
        above = up.statement if up is not None else ledger.statements[index - 1]
        ones = ledger.entries[up.index if up is not None else index - 1]
        if not entries or s.path != above.path or not _ONE_LAYER.search(f"{above.key} {above.value}"):
            continue
        e = next((x for x in entries if x.number.dim == BYTES and is_amount(x.number)), None)
        front = s.value[: e.number.at] if e is not None else ""
        front = f"{s.row} {front}" if s.kind == "cell" else front
        if e is None or e.figure.role == "operand" or not _STEP.search(front):
            continue
        clause = re.split(r"[,;.](?=\s)", s.value[e.number.at :])[0]
        if _LAYER.search(front) or _LAYER.search(clause):
            continue
        ones = [x for x in ones if x.number.dim == BYTES and is_amount(x.number)]
        sums = [ranges(x.number) for x in ones]
        sums += [plus(ranges(a.number), ranges(b.number)) for i, a in enumerate(ones) for b in ones[i + 1 :]]
        facts = facts_at(index, ("model.layers", "model.experts.count"))
        layers = len(facts.case.model.moe_layers()) if facts is not None else 0
        if layers > 1 and any(meet(ranges(e.number), x, 1e-3) for x in sums):
            right = e.number.value * layers
            why = f"that is what one layer sends; {layers} layers send {format_quantity(right, 'bytes')}"
            yield e, e.claim("slip", Verdict.WRONG, why, right)
