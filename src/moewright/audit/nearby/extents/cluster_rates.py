"""The rate of a GPU against that of the cluster, over all GPUs that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, Range, exactly, meet, over, ranges
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.text.numbers import BYTES, COUNT, PER_SECOND
from moewright.units import format_quantity

_ONE: Final = re.compile(
    r"\b(?:per|each|every|a|one|je|pro|par|por)\s+(?:GPU|card|device|rank|NPU|Karte|carte)\b|/\s?GPU|"
    r"每\s?(?:张)?(?:卡|GPU)|单卡",
    re.IGNORECASE,
)
_CLUSTER: Final = re.compile(r"\b(?:cluster|fleet|rack|pod|deployment|all (?:\d+ )?GPUs)\b|集群|全部", re.IGNORECASE)
_GPUS: Final = re.compile(r"\b(?:\w+ )?(?:GPUs|cards|NPUs|Karten)\b|(?:张|块)?卡", re.IGNORECASE)
#: slips of a number of GPUs
_SLIPS: Final = (2, 4, 8)
#: letters around a rate that say what it is of
AROUND: Final = 60


def judge_cluster_rates(ledger: Ledger, gpus_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the tokens a second of a GPU that stand in the same sentence as those of the cluster, or in the row
    below: over its GPUs, or over half or twice as many."""
    many = _told(ledger)
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        rates = [e for e in entries if _is_rate(e, entries) and e.figure.role != "operand"]
        if s.kind == "heading" or not rates:
            continue
        one = rates[-1]
        keyed = len(rates) == 1 and bool(_ONE.search(s.row if s.kind == "cell" else s.key))
        near = _front(one) if len(rates) > 1 else ""
        if not keyed and not _ONE.match(one.behind.lstrip()) and not _ONE.search(near):
            continue
        whole = rates[-2] if len(rates) > 1 else next(ledger.before(index, 1), None)
        bare = one.number.dim != PER_SECOND
        if whole is None or whole.number.dim != PER_SECOND:
            continue
        if not bare and whole.number.noun[:3] != one.number.noun[:3]:
            continue
        told = _front(whole) if len(rates) > 1 else f"{whole.statement.key} {whole.statement.value}"
        facts = gpus_at(index, ("cluster.gpus",)) if _CLUSTER.search(told) else None
        if facts is None or one.number.approx or one.number.slack > 0.02:
            continue
        gpus, got = facts.case.cluster.gpus, over(ranges(whole.number), ranges(one.number))
        if meet(got, exactly(float(gpus))):
            yield one, one.claim("throughput", Verdict.HOLDS, f"over {gpus} GPUs", whole.number.value / gpus)
        elif any(meet(got, exactly(x)) for k in _SLIPS for x in (gpus * k, gpus / k)) and not meet(got, many):
            right = whole.number.value / gpus
            why = f"{whole.number.text.strip()} over {gpus} GPUs are {format_quantity(right, 'per second')}"
            yield one, one.claim("throughput", Verdict.WRONG, why, right)


def _is_rate(e: Entry, entries: list[Entry]) -> bool:
    """Whether ``e`` is a rate, or goes on with the unit of the rate just before it: 250.3 k tokens/s, or 3,476 per
    GPU."""
    if e.number.dim == PER_SECOND:
        return True
    i = entries.index(e)
    before = entries[i - 1] if i else None
    if e.number.dim != COUNT or before is None or before.number.dim != PER_SECOND or not _ONE.match(e.behind.lstrip()):
        return False
    between = e.statement.value[before.number.at + len(before.number.text) : e.number.at]
    return bool(_OR.fullmatch(re.sub(r"tok(?:ens?)?/s", "", between)))


_OR: Final = re.compile(r"[\s,(]*(?:or|which (?:is|makes)|i\.?\s?e\.?|that is|=|oder|also|soit|即)?[\s,]*[~≈]?")


def _told(ledger: Ledger) -> list[Range]:
    """The numbers of GPUs, other than of a node, that the document speaks of."""
    found: list[Range] = []
    for e in (e for entries in ledger.entries for e in entries):
        named = _GPUS.match(e.number.noun) and not re.search(r"\bper|each|node|je|每", e.behind[:20], re.IGNORECASE)
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


def judge_cluster_memory(ledger: Ledger, gpus_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the memory of the cluster: that of a GPU, which the document gives, times its GPUs, or a thousand
    times more or less."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        amounts = [e for e in entries if e.number.dim == BYTES and e.number.factor >= 1e9]
        if len(amounts) != 1 or s.kind == "heading" or not _WHOLE.search(s.text) or not _MEMORY.search(s.text):
            continue
        e = amounts[0]
        facts = gpus_at(index, ("cluster.gpus", "cluster.device.memory"))
        if facts is None or e.figure.role == "operand" or e.number.approx:
            continue
        memory, gpus = facts.case.cluster.device.memory, facts.case.cluster.gpus
        right = memory * gpus
        told = f"{format_quantity(memory, 'bytes')} of each of {gpus} GPUs are {format_quantity(right, 'bytes')}"
        if meet(ranges(e.number), exactly(right)):
            yield e, e.claim("memory", Verdict.HOLDS, told, right)
        elif any(meet(ranges(e.number), exactly(right * k)) for k in (1e3, 1e-3)):
            yield e, e.claim("memory", Verdict.WRONG, told, right)
