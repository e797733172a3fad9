"""An amount of one replica, or of one GPU, before that of all: 4,750 tokens/s per replica, both replicas 9,500."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, is_amount, meet, over, ranges, rounded
from moewright.audit.reading.cluster_sizes import in_words
from moewright.audit.text.numbers import COUNT, NAMES, PER_SECOND
from moewright.units import format_quantity

_PER: Final = r"(?:per|each|every|a|one|on an?|on each|je|pro|par|chaque|/)\s?"
_REPLICA: Final = re.compile(
    rf"{_PER}(?:replica|instance|copy|server|node|box|Replik|Instanz|Knoten|Server|réplique|nœud)\b|每(?:个)?(?:副本|实例|节点|台)|单(?:副本|机|实例)",
    re.IGNORECASE,
)
_GPU: Final = re.compile(
    rf"{_PER}(?:GPU|card|chip|accelerator|device|NPU|TPU|Karte|GCD|carte|puce)\b|每(?:张)?(?:卡|GPU)|单卡|/卡",
    re.IGNORECASE,
)
_TWO: Final = re.compile(r"\b(?:both|the two)\b|beide[nrm]?\b|les deux|两(?:个)?(?:副本|实例|台)", re.IGNORECASE)
_SEVERAL: Final = re.compile(
    r"\b(?:all |the )?(?P<n>\d{1,4}|three|four|six|eight) (?:replicas|instances|copies|nodes|servers)\b", re.I
)
_RACK: Final = re.compile(
    r"\b(?:for|in|on|of|over|across) (?:the )?(?:whole |entire )?(?:rack|cluster|fleet|pods?|pool|"
    r"slice|box|deployment|unit|system)\b|"
    r"整(?:个)?(?:集群|机柜)|全(?:集群|系统)|总(?:共|计)?|insgesamt",
    re.IGNORECASE,
)
#: a number of GPUs, of a whole or a part
_GPUS: Final = re.compile(
    r"(?<![\w.,])(\d[\d,]*)\s*[×x]?\s*(?:(?!per|each|every|on|a)\w+ )?(?:GPUs?|cards?|chips?|accelerators?|devices|"
    r"NPUs?|GCDs?|Karten|puces|cartes|"
    r"[ABHLV]\d{2,3}\w*|MI\d{3}\w*|GB\d00\w*|Gaudi|TPU)\b|(\d+)\s*(?:张|块)?\s*(?:卡|昇腾)",
    re.IGNORECASE,
)
_TELLING: Final = 0.02
_MANY: Final = 1000
_SLIPS: Final = (2, 3, 4, 8, 9, 10, 16, 100, 1000)


def judge_part_pairs(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on an amount of all replicas, or of all GPUs, behind that of one in the same statement: wrong where it
    is as many times that as there are replicas or GPUs nowhere."""
    gpus, replicas = _gpus(ledger), _replicas(ledger)
    for index, entries in enumerate(ledger.entries):
        if ledger.statements[index].kind == "heading":
            continue
        amounts = [e for e in entries if _is_told(e) and e.number.at >= 0]
        said = [_said_of(e, amounts[i - 1] if i else None) for i, e in enumerate(amounts)]
        key = ledger.statements[index].key
        said = [x if _GPU.search(x) or _REPLICA.search(x) or _RACK.search(x) else f"{key} | {x}" for x in said]
        for i, whole in enumerate(amounts):
            n = whole.number
            if not i or whole.figure.formula or whole.figure.role == "operand" or n.slack > _TELLING:
                continue
            before = [(x, words) for x, words in zip(amounts[:i], said[:i], strict=True) if _is_alike(x, whole)]
            claim = _of_several(before, whole, said[i]) or _of_rack(before, whole, said[i], gpus, replicas)
            if claim is not None:
                yield whole, claim


def _is_told(e: Entry) -> bool:
    """Whether a figure is an amount, or may go on with the unit of the one before it: 3,120 tokens/s a GPU, 225,000 in
    all."""
    n = e.number
    return is_amount(n) or n.dim == PER_SECOND or (n.dim == COUNT and n.value >= _MANY and not n.percent)


#: what stands behind a number whose unit is that of the one before it
_GOES_ON: Final = re.compile(r"\s*(?:for|in|on|per|a|over|across|auf|für|im|je|$|[,.;)])", re.IGNORECASE)


def _is_alike(one: Entry, whole: Entry) -> bool:
    """Whether two figures are of the same unit, or the second of none of its own."""
    a, b = one.number, whole.number
    if a.dim not in (COUNT, PER_SECOND):
        return a.dim == b.dim
    return (a.dim == b.dim and a.noun[:3] == b.noun[:3]) or (b.dim == COUNT and bool(_GOES_ON.match(whole.behind)))


def _gpus(ledger: Ledger) -> set[int]:
    """Numbers of GPUs that the document speaks of, of all, of a node or of a group."""
    found = {int((m[1] or m[2]).replace(",", "")) for s in ledger.statements for m in _GPUS.finditer(s.text)}
    return {x for x in found if x > 1}


_REPLICAS: Final = re.compile(
    r"\b(\d{1,3}|two|three|four|six|eight|zwei|drei|vier) (?:\w+ )?(?:replicas|instances|copies|Repliken|Instanzen)\b|"
    r"([两二三四]|\d{1,3})\s?个?(?:副本|实例)",
    re.IGNORECASE,
)


def _replicas(ledger: Ledger) -> set[int]:
    """Numbers of replicas that the document speaks of."""
    told = {(m[1] or m[2]).lower() for s in ledger.statements for m in _REPLICAS.finditer(s.text)}
    return {x for x in map(in_words, told) if x > 1}


def _said_of(e: Entry, before: Entry | None) -> str:
    """The words that say what an amount is of: right behind it, and between it and the one before."""
    s = e.statement
    start = before.number.at + len(before.number.text) if before is not None else 0
    front = re.split(r"[;；]|\.(?=\s)", s.value[start : e.number.at])[-1]
    front = f"{s.key} {front}" if before is None else front
    if before is not None:
        front = front.partition(",")[2] or front
    return f"{front} | {re.split(r'[;；]|[,.(](?=[ )]|$)', e.behind)[0]}"


def _of_several(before: list[tuple[Entry, str]], whole: Entry, said: str) -> Claim | None:
    """The verdict on what both, or so many, replicas have, by what one has."""
    one = next((x for x, words in reversed(before) if _REPLICA.search(words) and not _GPU.search(words)), None)
    several = _SEVERAL.search(said)
    if one is None or _GPU.search(said) or (several is None and not _TWO.search(said)):
        return None
    many = 2 if several is None else in_words(several["n"])
    return _judged(one, whole, {many}, f"{many} of {one.number.text.strip()}") if many > 1 else None


def _of_rack(
    before: list[tuple[Entry, str]], whole: Entry, said: str, gpus: set[int], replicas: set[int]
) -> Claim | None:
    """The verdict on what all GPUs have, by what one has."""
    one = next((x for x, words in reversed(before) if _GPU.search(words)), None)
    several = next((x for x, words in reversed(before) if _REPLICA.search(words) and not _GPU.search(words)), None)
    if one is None and several is not None and replicas and _RACK.search(said) and not _GPU.search(said):
        return _judged(several, whole, replicas, f"{max(replicas)} of {several.number.text.strip()}")
    if one is None or not _RACK.search(said) or _GPU.search(said) or _REPLICA.search(said) or not gpus:
        return None
    unit = re.search(r"\b(?:unit|pool|box|pod)s?\b", said)
    return _judged(one, whole, gpus if unit else {max(gpus)}, f"{max(gpus)} GPUs of {one.number.text.strip()}")


def _judged(one: Entry, whole: Entry, counts: set[int], told: str) -> Claim | None:
    ratio = over(rounded(whole.number), ranges(one.number))
    if any(meet(ratio, exactly(float(c)), 2e-2) for c in counts):
        return None
    right = one.number.value * max(counts)
    apart = [whole.number.value / one.number.value / c for c in counts]
    if any(abs(x * k - 1) < _TELLING or abs(x / k - 1) < _TELLING for x in apart for k in _SLIPS):
        why = f"{told} are {format_quantity(right, NAMES.get(whole.number.dim, ''))}"
        return whole.claim("multiple", Verdict.WRONG, why, right)
    return None
