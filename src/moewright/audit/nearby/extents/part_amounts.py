"""What a GPU, or an expert, has of what all of them have, in one sentence: 14,000 tokens/s in total, 873 per GPU. The
one over the other is a number of GPUs, or of experts, that the document tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.extents.cluster_rates import gpus_told
from moewright.audit.nearby.ledger import Entry, Ledger, Range, exactly, meet, over, ranges, rounded, slip
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import BYTES, COUNT, FLOP, NAMES, PER_SECOND
from moewright.units import format_quantity

_GPU: Final = re.compile(
    r"\b(?:per|each|every|a|one|on a|to a|for a|je|pro|jede[rs]?|einer|par|chaque) (?:(?:prefill|decode|single) )?"
    r"(?:GPU|card|device|chip|accelerator|NPU|Karte|carte|puce)\b|/\s?(?:GPU|card|chip)\b|每\s?(?:张|块)?\s?(?:卡|GPU)|单\s?卡",
    re.IGNORECASE,
)
_EXPERT: Final = re.compile(
    r"\b(?:per|each|every|an?|one|je|pro|par) (?:logical |routed )?(?:expert|Experte?n?)\b|每个?专家", re.IGNORECASE
)
#: what is of something else than a GPU and than all of them
_OTHER: Final = re.compile(
    r"\b(?:per|each|every|a|one|je|pro|par|of an?) (?:[\w-]+ )?"
    r"(?:user|session|request|sequence|stream|prompt|token|layer|"
    r"stage|group|pair|Nutzer|Sitzung|Anfrage|Schicht|Stufe|Gruppe|utilisateur|couche|hour|day|million)\b|"
    r"每(?:个|条)?(?:用户|请求|序列|层|组|级)|peak|hottest|busiest|fullest|worst|max|最",
    re.IGNORECASE,
)
#: what is of all of them, whatever they are
_ALL: Final = re.compile(
    r"\bin total\b|\bin all\b|altogether|overall|\btotal\b|cluster|fleet|\brack\b|\bpod\b|together|"
    r"all (?:\d+ )?(?:GPUs|chips)|"
    r"insgesamt|zusammen|gesamt|im Cluster|集群|总|合计|全池|共",
    re.IGNORECASE,
)
_NODE: Final = re.compile(
    r"\b(?:node|box|server|machine|host|instance|replica|cop(?:y|ies)|engine|unit|Knoten|Server|Replik\w*|Instanz|"
    r"serveur|réplique|pool|side)\b|节点|整机|单机|实例|副本|单套",
    re.IGNORECASE,
)
_SIZES: Final = re.compile(
    r"\b(?:E?[TD]P|[EPC]P)\s?[=:]?\s?\d{1,4}\b|\bquarter|\bhalf\b|\bthird\b|Viertel|Hälfte", re.IGNORECASE
)
#: amounts that stand between what all of them have and what one has, and are neither
_THINGS: Final = re.compile(r"^\s*(?:GPUs|cards|chips|ranks|Karten|张|卡|块)", re.IGNORECASE)
_LAYER: Final = re.compile(r"\b(?:per|a|in each|je|pro) (?:layer|Schicht)\b|每层", re.IGNORECASE)
_COPIES: Final = re.compile(
    r"\s*(?:token |routed |expert )?(?:copies|assignments|picks|slots|Kopien|Zuweisungen)|\s*份", re.IGNORECASE
)
LEAST: Final = 1000
FEW: Final = 16
#: figures told so roughly tell nothing
ROUGH: Final = 0.02
MOST: Final = 1 << 16


def judge_part_amounts(ledger: Ledger, gpus_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on what a GPU, or an expert, has right behind what all of them have."""
    told_of = gpus_told(ledger)
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind in ("heading", "cell") or standing_of(s):
            continue
        facts = gpus_at(index, ("cluster.gpus",)) if _GPU.search(s.value) else None
        gpus = [*told_of, *exactly(float(facts.case.cluster.gpus))] if facts is not None else told_of
        amounts = [e for e in entries if e.number.at >= 0 and not e.number.percent and e.figure.role != "operand"]
        amounts = [e for e in amounts if not (e.number.whole and _THINGS.match(e.behind))]
        for whole, e in pairwise(amounts):
            if not _is_pair(whole, e, entries) or e.figure.formula or e.number.approx:
                continue
            words = _words(e, entries)
            if not _GPU.search(words) or _OTHER.search(words) or _SIZES.search(words):
                continue
            told = _words(whole, entries)
            if _COPIES.match(whole.behind):
                told = _LAYER.sub("", told)  # copies of a layer's tokens, of which each GPU has some
            if _GPU.search(told) or _EXPERT.search(told) or _OTHER.search(told):
                continue
            if (claim := _judged(e, whole, told, gpus, ledger)) is not None:
                yield e, claim


def _is_pair(whole: Entry, one: Entry, entries: list[Entry]) -> bool:
    """Whether the two may be an amount of all GPUs and that of one of them."""
    a, b = whole.number, one.number
    if a.dim == PER_SECOND and b.dim == COUNT:
        return True  # 14,000 tokens/s, or 873 per GPU
    if a.dim != b.dim or b.dim not in (PER_SECOND, BYTES, FLOP, COUNT):
        return False
    rates = any(x.number.dim == PER_SECOND and x.number.at < a.at for x in entries)
    copies = bool(_COPIES.match(whole.behind))
    return b.dim != COUNT or (a.value >= LEAST and b.value >= FEW and (rates or copies))


def _words(e: Entry, entries: list[Entry]) -> str:
    """The words around a figure, up to the figures beside it, within its clause."""
    i, value = entries.index(e), e.statement.value
    start = entries[i - 1].number.at + len(entries[i - 1].number.text) if i else 0
    end = entries[i + 1].number.at if i + 1 < len(entries) else len(value)
    front = re.split(r"[,;(](?!\d)", value[max(0, start) : e.number.at])[-1]
    behind = re.split(r"[,;(](?!\d)", value[e.number.at + len(e.number.text) : end])[0]
    return f"{front} {behind}"


def _judged(e: Entry, whole: Entry, told: str, gpus: list[Range], ledger: Ledger) -> Claim | None:
    n, all_of = e.number, whole.number
    if n.half > ROUGH * n.value or all_of.half > ROUGH * all_of.value or all_of.approx or not n.value:
        return None
    got = over(ranges(all_of), rounded(n))
    ratio = all_of.value / n.value
    if meet(got, gpus) or not _ALL.search(f"{e.statement.key} {told}") or _NODE.search(told):
        return None
    counts = [x.number.value for x in ledger.entries[e.index] if x.number.dim == COUNT and x.number.whole]
    likely = sorted({low for low, _ in gpus if 1 < low < MOST})
    several = {a * b for a in (*likely, *counts) for b in (*likely, *counts)} | set(counts)
    if len(likely) > MANY or any(meet(got, exactly(x)) for x in several):
        return None
    room = n.slack + all_of.slack + 2e-3
    for many in likely:
        times = max(ratio / many, many / ratio)
        if slip(ratio / many, room) or (abs(times / round(times) - 1) <= room and times < many + 1):
            right = all_of.value / many
            why = f"{all_of.text.strip()} over {many:g} GPUs are {format_quantity(right, NAMES.get(all_of.dim, ''))}"
            return e.claim(_CALLED.get(all_of.dim, "multiple"), Verdict.WRONG, why, right)
    return None


_CALLED: Final = {PER_SECOND: "throughput", BYTES: "memory"}
#: a document with more numbers of GPUs may mean any
MANY: Final = 6
