"""An amount of one layer, or one GPU, and behind it that of all of them: 11.27 GB a layer, 653.7 GB for all 58."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, is_amount, meet, ranges, span_between, sum_of, times
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.reading.word_lists import word_list
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, NAMES
from moewright.units import format_quantity

_ONE_LAYER: Final = re.compile(
    r"\b(?:per|a|an|each|every|one|single|je|pro|einer|eine|par)[ -](?:(?:MoE|single|decoder|sparse)[ -])?"
    r"(?:layer|block|Schicht|couche)\b|\blayer['’]s\b|\blayer of\b|/\s?layer|(?:每|一|单)(?:个)?\s?(?:MoE\s?)?层",
    re.IGNORECASE,
)
_ALL_LAYERS: Final = re.compile(
    r"\ball\b|\b(?:the|for|over|in|of|across|through) (?:the )?(?:whole |entire |full |complete )?"
    r"(?:stack|depth|network|net|model|\d+ of them|\d+ layers)\b|\baltogether|\boverall|\bin total\b|\bin all\b|"
    r"über alle|im ganzen|insgesamt|zusammen|\d+\s*层|整网|全网|全部|合计|总计|共",
    re.IGNORECASE,
)
_ONE_GPU: Final = re.compile(
    r"\b(?:per|a|an|each|every|one|single|je|pro|jede\w*|par) (?:\w+ )?(?:GPU|card|device|rank|chip|Karte)\b|/\s?GPU|"
    r"\b(?:GPUs|cards|Karten|ranks) (?:at|of|with|à|mit|zu)\b|(?:每|单)(?:张)?\s?(?:卡|GPU)|\beach\b|\bapiece\b",
    re.IGNORECASE,
)
_ALL_GPUS: Final = re.compile(
    r"\b(?:fleet|cluster|estate|farm|rack|pod|all (?:the )?(?:\d+ )?(?:of them|GPUs|cards))\b|\bin all\b|\bin total\b|"
    r"altogether|\boverall|gives us|insgesamt|zusammen|全集群|整个集群|集群(?:共|合计|总)|总计|合计|共",
    re.IGNORECASE,
)
_BOX: Final = re.compile(
    r"\b(?:for|on|in|across|over) (?:the|a|one|each) (?:\w+ )?(?:box|node|server|machine)\b|整机|单机"
)
#: words that may stand between the two, and name nothing else
_WORDS: Final = frozenset(word_list("extents")["between"])
_NAMED: Final = re.compile(r"[^\W\d_]+")
_ZH: Final = re.compile(r"[\u4e00-\u9fff]")
_ZH_PLAIN: Final = re.compile(
    r"一层|每层|单层|全部|所有|合计|总计|总共|累计|层|共|即|则|约|的|整网|全网|每卡|单卡|全集群|集群|卡|张|个"
)
#: what makes an amount that of something else than a GPU
_NO_GPU: Final = re.compile(r"layer|层|Schicht|token|stage|group", re.IGNORECASE)
#: letters between the two, and behind the second
MOST: Final = 60
BEHIND: Final = 32
#: first layers that may be dense
MOST_DENSE: Final = 4
#: what is left open beside rounding
ROOM: Final = 1.5e-3
#: how near the whole is to one of them that is told as all
SAME: Final = 0.01
#: slips of a number of GPUs, and of the unit
_SLIPS: Final = (1e3, 1e-3, 2.0, 0.5, 10.0, 0.1)
#: how many times the whole may be off
ASTRAY: Final = 12.0
_PART: Final = re.compile(
    r"\b(?:per|each|every|on a|one) (?:\w+ )?(?:GPU|chip|accelerator|"
    r"card|rank|device|stage|node)|stage|GPU|卡|级|Karte|Stufe",
    re.IGNORECASE,
)


def judge_told_wholes(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on an amount that is said to be of all layers, or of all GPUs, right behind that of one."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading":
            continue
        amounts = [e for e in entries if e.number.at >= 0 and is_amount(e.number) and e.figure.role != "operand"]
        for one, e in pairwise(amounts):
            if one.number.dim != e.number.dim or e.number.dim not in (BYTES, BYTE_RATE, FLOP, COUNT):
                continue
            between = span_between(s, one.number, e.number)
            behind = re.split(r"[.;,(](?!\d)|\d", e.behind)[0][:BEHIND]
            if e.figure.formula or e.number.approx or len(between) > MOST or not _is_plain(between):
                continue
            if _explained(e, one, entries):
                continue
            front = re.split(r"[.;](?!\d)", s.value[: one.number.at])[-1][-MOST:]
            around = (front, between, behind)
            claim = _of_layers(e, one, around, facts_at, ledger) or _of_gpus(e, one, around, facts_at)
            if claim is not None:
                yield e, claim


def _explained(e: Entry, one: Entry, entries: list[Entry]) -> bool:
    """Whether the whole is the amount before it times another count of the statement, or the two before it together."""
    said = ranges(e.number)
    before = [x for x in entries if x.number.at < one.number.at]
    counts = [x.number.value for x in before if x.number.dim == COUNT and x.number.whole and x.number.value > 1]
    alike = [x for x in before if x.number.dim == one.number.dim and is_amount(x.number)]
    every = [ranges(one.number), *(sum_of([x.number, one.number]) for x in alike)]
    told = [x.number.value for x in entries if x.number.dim == COUNT and x.number.whole and x.number.value > 1]
    if any(meet(said, times(every[0], exactly(c)), 4e-3) for c in counts):
        return True
    return any(meet(said, times(both, exactly(c)), 4e-3) for both in every[1:] for c in (1.0, *told))


def _is_plain(between: str) -> bool:
    """Whether the words between two amounts name no other thing."""
    rest = _ZH_PLAIN.sub(" ", between)
    return not _ZH.search(rest) and all(w.lower() in _WORDS for w in _NAMED.findall(rest))


Around = tuple[str, str, str]


def _of_layers(e: Entry, one: Entry, around: Around, facts_at: FactsAt, ledger: Ledger) -> Claim | None:
    """The verdict on what all layers have; ``around``: the text before the two, between them and behind."""
    front, between, behind = around
    if not _ONE_LAYER.search(f"{front}|{between}") or not _ALL_LAYERS.search(f"{between}|{behind}"):
        return None
    if _PART.search(f"{front[-30:]}{between}{behind}") or _ONE_LAYER.search(behind):
        return None
    told = [int(x) for x in re.findall(r"(?<![\d.,])(\d{1,3})(?![\d.,]*\d)", between)]
    if len(told) > 1:
        return None
    counts = told
    if not counts:
        facts = facts_at(e.index, ("model.layers",))
        if facts is None:
            return None
        layers = len(facts.case.model.layers)
        sparse = len(facts.case.model.moe_layers())
        some = (layers - dense for dense in range(1, MOST_DENSE + 1) if layers - dense in ledger.counts)
        counts = list(dict.fromkeys((layers, sparse, *some)))
    return _verdict(e, one, [c for c in counts if c > 1], "layers")


def _of_gpus(e: Entry, one: Entry, around: Around, facts_at: FactsAt) -> Claim | None:
    """The verdict on what all GPUs, or those of a node, have."""
    front, between, behind = around
    clause = f"{front}|{between}"
    boxed = bool(_BOX.search(f"{between}|{behind}"))
    if not _ONE_GPU.search(clause) or not (boxed or _ALL_GPUS.search(f"{between}|{behind}")):
        return None
    if _ONE_GPU.search(behind) or _NO_GPU.search(f"{front[-30:]}{between}{behind}"):
        return None
    facts = facts_at(e.index, ("cluster.gpus",))
    if facts is None or "cluster.gpus" not in facts.setting.given:
        return None
    cluster = facts.case.cluster
    gpus, node = cluster.gpus, cluster.gpus_per_node
    return _verdict(e, one, [node, gpus] if boxed else [gpus], "GPUs", node if gpus > node and not boxed else 0)


def _verdict(e: Entry, one: Entry, counts: list[int], name: str, part: int = 0) -> Claim | None:
    """By the numbers of things that there may be; ``part``: of one of several nodes, which alone is a slip."""
    if not counts:
        return None
    said, mine = ranges(e.number), ranges(one.number)
    for c in counts:
        if meet(said, times(mine, exactly(float(c))), ROOM):
            why = f"{one.number.text.strip()} × {c} {name}"
            return e.claim("multiple", Verdict.HOLDS, why, one.number.value * c)
    right = one.number.value * counts[0]
    if name == "layers":
        astray = 1 / ASTRAY < e.number.value / right < ASTRAY or abs(e.number.value / one.number.value - 1) < SAME
    else:
        slips = (float(part), *(counts[0] * k for k in _SLIPS))
        astray = any(x and meet(said, times(mine, exactly(x)), ROOM) for x in slips)
    told = f"{one.number.text.strip()} × {counts[0]} {name} are {format_quantity(right, NAMES.get(e.number.dim, ''))}"
    return e.claim("multiple", Verdict.WRONG, told, right) if astray else None
