"""The rate of a GPU against that of the cluster, over all GPUs that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from math import prod
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import (
    TELLING,
    Entry,
    Ledger,
    Range,
    digits,
    exactly,
    meet,
    over,
    ranges,
    rounded,
    span_between,
)
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.cluster_sizes import IN_WORDS, in_words
from moewright.audit.text.numbers import BYTES, COUNT, FLOP, NAMES, PER_SECOND
from moewright.case.cluster import Cluster
from moewright.units import format_quantity

_ONE: Final = re.compile(
    r"\b(?:per|each|every|a|one|single|on a|je|pro|jede[rs]?|einer|par|por)\s+(?:(?:prefill|decode|single) )?"
    r"(?:GPU|card|device|rank|NPU|chip|accelerator|H\d00|B\d00|A100|Karte|carte)\b|/\s?(?:GPU|card)|\b(?:and|"
    r"und) (?:GPU|chip|accelerator|card|Karte)\b|"
    r"(?:每|单|一)\s?(?:张|块)?\s?(?:卡|GPU)",
    re.IGNORECASE,
)
_CLUSTER: Final = re.compile(
    r"\b(?:cluster|fleet|rack|pod|deployment|grappe|all (?:\d+ )?GPUs)\b|集群|全部", re.IGNORECASE
)
_GPUS: Final = re.compile(r"\b(?:\w+ )?(?:GPUs|cards|NPUs|Karten)\b|(?:张|块)?卡", re.IGNORECASE)
#: slips of a number of GPUs
_SLIPS: Final = (2, 4, 8, 10)
#: digits of a rate that is told about, and how far off rounding never makes one
FEWEST_DIGITS: Final = 2
FAR_OFF: Final = 3.5
#: numbers of things below this stand between amounts of bytes
FEW: Final = 1e5
#: letters around a rate that say what it is of
AROUND: Final = 60


def judge_cluster_rates(ledger: Ledger, gpus_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the tokens a second of a GPU that stand in the same sentence as those of the cluster, or in the row
    below: over its GPUs, or over its nodes, the GPUs of a node, or half or twice as many."""
    many = gpus_told(ledger)
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        rates = [e for e in entries if _is_rate(e, entries) and e.figure.role != "operand"]
        for i, one in enumerate(rates if s.kind != "heading" else ()):
            keyed = len(rates) == 1 and bool(_ONE.search(s.row if s.kind == "cell" else s.key))
            if not keyed and not _is_of_one(one, rates, i):
                continue
            whole = rates[i - 1] if i else next(ledger.before(index, 1), None) if keyed or len(rates) == 1 else None
            claim = _per_gpu(one, whole, gpus_at, many) if whole is not None else None
            if claim is not None:
                yield one, claim
                break


def _is_of_one(e: Entry, rates: list[Entry], i: int) -> bool:
    """Whether words right behind a rate, or between it and the one before, make it that of a GPU."""
    start = rates[i - 1].number.at + len(rates[i - 1].number.text) if i else 0
    front = re.split(r"[,;]", e.statement.value[max(0, start) : max(0, e.number.at)])[-1]
    return bool(_ONE.match(e.behind.lstrip()) or _ONE.search(front))


def _per_gpu(one: Entry, whole: Entry, gpus_at: FactsAt, many: list[Range]) -> Claim | None:
    """The verdict on the rate of a GPU beside that of all of them."""
    n = one.number
    if whole.number.dim != PER_SECOND or n.half > 0.04 * n.value or (n.approx and digits(n) < FEWEST_DIGITS):
        return None
    loose = n.half > 0.02 * n.value or (n.approx and digits(n) < TELLING)
    if n.dim == PER_SECOND and whole.number.noun[:3] != n.noun[:3]:
        return None
    told = _clause(whole) if whole.index == one.index else whole.statement.text
    facts = gpus_at(one.index, ("cluster.gpus",))
    if facts is None:
        return None
    cluster = facts.case.cluster
    named = _gpus_named(told, cluster)
    gpus = named or cluster.gpus
    of_part = _OF_PART.search(told) and not (_is_one_node(facts) and _NODE.search(told))
    if not named and not _CLUSTER.search(told) and (of_part or _ONE.search(told)):
        return None
    got, right, why = _over(one, whole, gpus)
    if meet(got, exactly(float(gpus))):
        return one.claim("throughput", Verdict.HOLDS, f"over {gpus} GPUs", right)
    others = [x for k in _SLIPS for x in (gpus * k, gpus / k)] + _of_nodes(cluster)
    others = [x for x in others if not loose or not 1 / FAR_OFF < x / gpus < FAR_OFF]  # rounding makes no eighth
    sure = bool(named or _CLUSTER.search(told)) or got[0][1] < gpus  # else the cluster may be larger than was read
    sure = sure or _fill(facts) == gpus or meet(got, exactly(10.0 * gpus))
    if sure and any(meet(got, exactly(x)) for x in others) and not meet(got, many):
        return one.claim("throughput", Verdict.WRONG, why, right)
    return None


#: so many nodes that a rate is of
_OF_NODES: Final = re.compile(
    rf"\b(?:for|over|across|on|of|from|für|auf) (?:the |all |die )?(?P<n>{IN_WORDS}) "
    r"(?:nodes|servers|boxes|machines|Knoten|Server)\b",
    re.IGNORECASE,
)


def _gpus_named(told: str, cluster: Cluster) -> int:
    """The GPUs of so many nodes that a text names, 0 where it names none."""
    m = _OF_NODES.search(told)
    return in_words(m["n"]) * cluster.gpus_per_node if m else 0


def _fill(facts: Facts) -> int:
    """The GPUs that the sizes of the strategy take, where the document gives at least two of them; else 0."""
    given = facts.setting.given
    sizes = [given[f].value for f in ("strategy.tp", "strategy.pp", "strategy.dp", "strategy.cp") if f in given]
    return prod(sizes) if len(sizes) > 1 and all(isinstance(x, int) for x in sizes) else 0


def _is_one_node(facts: Facts) -> bool:
    return facts.case.cluster.gpus == facts.case.cluster.gpus_per_node


def _over(one: Entry, whole: Entry, gpus: int) -> tuple[tuple[Range, ...], float, str]:
    """(How many times ``one`` the ``whole`` is, what it is over ``gpus``, and that in words)."""
    right = whole.number.value / gpus
    told = format_quantity(right, NAMES[whole.number.dim])
    return (
        over(ranges(whole.number), rounded(one.number)),
        right,
        f"{whole.number.text.strip()} over {gpus} GPUs are {told}",
    )


def _of_nodes(cluster: Cluster) -> list[float]:
    """The GPUs of a node, and the nodes, where they are several."""
    return [float(x) for x in (cluster.gpus_per_node, cluster.gpus // cluster.gpus_per_node) if x > 1]


#: extents of a rate between a GPU and the cluster
_OF_PART: Final = re.compile(
    r"\b(?:per|each|every|a|one|je|pro|par|por|chaque)\s+\w|\b(?:replicas?|instances?|groups?|(?:prefill|"
    r"decode) pools?|pools|prompts?|"
    r"units?|users?|stages?|servers?|nodes?|box|Knoten|Gruppe|serveurs?|nœuds?|input)\b|副本|实例|组|每|单|节点|用户",
    re.IGNORECASE,
)
_NODE: Final = re.compile(r"\b(?:box|node|server|machine|Knoten|Server|serveur)\b|节点|整机|单机", re.IGNORECASE)


def _is_rate(e: Entry, entries: list[Entry]) -> bool:
    """Whether ``e`` is a rate, or goes on with the unit of the rate just before it: 250.3 k tokens/s, or 3,476 per
    GPU."""
    if e.number.dim == PER_SECOND:
        return True
    i = entries.index(e)
    before = entries[i - 1] if i else None
    if e.number.dim != COUNT or before is None or before.number.dim != PER_SECOND:
        return False
    between = span_between(e.statement, before.number, e.number)
    if not _ONE.match(e.behind.lstrip()):
        return bool(_ONE.fullmatch(between.strip(" ,，约~≈(")))
    return bool(_OR.fullmatch(re.sub(r"(?:tok(?:ens?)?|Token)/s", "", between)))


#: between a rate and what of it a GPU has, without its unit
_OR: Final = re.compile(r"[^.;\d]{0,32}")


#: before GPUs that share something
_SHARED: Final = re.compile(r"\b(?:over|across|among|between|auf|über|sur)\s*(?:the |all )?$|在\s*$", re.IGNORECASE)


#: GPUs of a part that has no rate of its own
_STAGE: Final = re.compile(r"\bstages?\b|\b(?:EP|TP|DP) groups?\b|Stufe|流水|级|段|组", re.IGNORECASE)


_OF_EACH: Final = re.compile(r"\bper|each|node|je|每|间", re.IGNORECASE)


def gpus_told(ledger: Ledger) -> list[Range]:
    """The numbers of GPUs, other than of a node, that the document speaks of."""
    found: list[Range] = []
    for e in (e for entries in ledger.entries for e in entries):
        named = _GPUS.match(e.number.noun) and not _OF_EACH.search(re.split(r"[.;](?=\s|$)", e.behind[:20])[0])
        named = named and not _SHARED.search(_front(e)) and not _STAGE.search(e.statement.text)
        if named and not re.search(r"[×x*]\s*$", _front(e)):
            found += exactly(e.number.value)
    return found


def _front(e: Entry) -> str:
    return e.statement.value[max(0, e.number.at - AROUND) : max(0, e.number.at)]


_MEMORY: Final = re.compile(r"\bHBM\b|\bVRAM\b|\bmemory\b|Speicher|mémoire|显存", re.IGNORECASE)
_WHOLE: Final = re.compile(
    r"\b(?:whole|entire|full) (?:cluster|fleet|rack|pod)|\bcluster (?:has|holds|total)|all (?:\d+ )?GPUs|"
    r"im (?:ganzen )?Cluster|整个集群|集群(?:共|总)",
    re.IGNORECASE,
)


_ALTOGETHER: Final = re.compile(
    r"^[^.;\d]{0,24}\b(?:altogether|in all|in total|together|total|insgesamt|zusammen|gesamt|au total)\b|"
    r"^[^.;。\d]{0,12}(?:合计|总)",
    re.IGNORECASE,
)


def judge_cluster_memory(ledger: Ledger, gpus_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the memory of the cluster: that of a GPU, which the document gives, times its GPUs, or a thousand
    times more or less."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        amounts = [e for e in entries if e.number.dim == BYTES and e.number.factor >= 1e9]
        if not 1 <= len(amounts) <= 2 or s.kind == "heading" or not _MEMORY.search(s.text):
            continue
        e = amounts[-1]
        facts = gpus_at(index, ("cluster.gpus", "cluster.device.memory"))
        if facts is None or e.figure.role == "operand" or e.number.approx:
            continue
        memory, gpus = facts.case.cluster.device.memory, facts.case.cluster.gpus
        of_each = len(amounts) > 1 and meet(ranges(amounts[0].number), exactly(memory))
        if not (of_each and _ALTOGETHER.search(e.behind)) and (len(amounts) > 1 or not _WHOLE.search(s.text)):
            continue
        right = memory * gpus
        told = f"{format_quantity(memory, 'bytes')} of each of {gpus} GPUs are {format_quantity(right, 'bytes')}"
        if meet(ranges(e.number), exactly(right)):
            yield e, e.claim("memory", Verdict.HOLDS, told, right)
        elif any(meet(ranges(e.number), exactly(right * k)) for k in (1e3, 1e-3)) or (
            of_each and any(meet(ranges(e.number), exactly(memory * k)) for k in _of_nodes(facts.case.cluster))
        ):
            yield e, e.claim("memory", Verdict.WRONG, told, right)


_SUM: Final = re.compile(
    r"cluster|grappe|fleet|pod\b|rack|in total|in all\b|altogether|together|overall|whole|entire|every|\ball\b|"
    r"the batch|"
    r"the cache|\bbox\b|\bnode\b|server|machine|Knoten|insgesamt|gesamt|zusammen|alle\b|集群|共|总|合计|全部|that's|"
    r"that is",
    re.I,
)


def judge_cluster_amounts(ledger: Ledger, gpus_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the bytes of a GPU right behind those of the cluster: over its GPUs, or over its nodes, or over the
    GPUs of a node."""
    many = gpus_told(ledger)
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        previous = ledger.entries[index - 1] if index and ledger.statements[index - 1].kind == s.kind == "prose" else []
        row = [*previous[-1:], *entries]
        row = [x for x in row if not (x.number.dim == COUNT and x.number.whole and x.number.value < FEW)]
        for whole, one in pairwise(row):
            n = one.number
            if (
                n.dim not in (BYTES, FLOP)
                or whole.number.dim != n.dim
                or "operand" in (one.figure.role, whole.figure.role)
            ):
                continue
            if one.index != index or one.figure.formula or n.half > 0.02 * n.value or whole.number.value <= n.value:
                continue
            text = whole.behind if whole.index != index else ""
            between = (
                f"{text} {s.value[(whole.number.at + len(whole.number.text) if whole.index == index else 0) : n.at]}"
            )
            told = _clause(whole)
            of_one = _ONE.search(between) or _ONE.match(one.behind.lstrip())
            summed = _SUM.search(told) or (n.dim == FLOP and bool(whole.figure.formula))
            if not of_one or len(between) > AROUND or not summed or s.kind == "heading":
                continue
            claim = _amount_of_gpu(one, whole, gpus_at, many, told)
            if claim is not None:
                yield one, claim


def _clause(e: Entry) -> str:
    """The words of a figure's own clause."""
    front = re.split(r"[;,，。、:](?!\d)|[.](?=\s)|\bthus\b|\band\b", e.statement.value[: max(0, e.number.at)])[-1]
    behind = re.split(r"[;,，。、]|[.](?=\s|$)|\d|\b(?:or|oder|ou|i\.?e)\b", e.behind)[0]
    return f"{front[-AROUND:]} {behind[:AROUND]}"


#: what is the load of all GPUs
_ALL_LOAD: Final = re.compile(
    r"\b(?:all|the whole|every|alle|sämtliche) (?:\w+ )?(?:requests?|sequences|sessions|users|batch|prompts|"
    r"chats|Anfragen|"
    r"Sequenzen|Sitzungen)\b|全部请求|所有请求",
    re.IGNORECASE,
)


#: what work is of, whatever GPUs it is on
_STEPS: Final = re.compile(
    r"\b(?:per|a|each|every|je|pro) (?:step|iteration|pass|batch|Schritt|Durchlauf)\b", re.IGNORECASE
)


def _amount_of_gpu(one: Entry, whole: Entry, gpus_at: FactsAt, many: list[Range], told: str) -> Claim | None:
    facts = gpus_at(one.index, ("cluster.gpus",))
    told = _STEPS.sub(" ", told) if one.number.dim == FLOP else told
    if facts is None or (_OF_PART.search(told) and not (_is_one_node(facts) and _NODE.search(told))):
        return None
    cluster, given = facts.case.cluster, facts.setting.given
    got, right, why = _over(one, whole, cluster.gpus)
    if meet(got, exactly(float(cluster.gpus))):
        return one.claim("memory", Verdict.HOLDS, why, right)
    sizes = {float(p.value) for f, p in given.items() if f.startswith("strategy.") and isinstance(p.value, int)}
    every = bool(_CLUSTER.search(told) or _ALL_LOAD.search(told))
    parts = [*_of_nodes(cluster), *(sizes if every else ())]
    parts += [cluster.gpus * k for k in (10.0, 0.1, 2.0, 0.5)] if one.number.dim == FLOP else []
    sizes = set() if every else sizes
    parts += [cluster.gpus * 2.0, cluster.gpus * 10.0] if _NODE.search(told) and _is_one_node(facts) else []
    if any(meet(got, exactly(x)) for x in parts if x not in sizes and x > 1) and not meet(got, many):
        return one.claim("memory", Verdict.WRONG, why, right)
    return None
