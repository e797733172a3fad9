"""Memory and peaks of a cluster, or of so many of its GPUs, against those of one GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.extents.cluster_rates import gpus_told
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, is_amount, meet, ranges
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.quantities.own_sizes import NOMINAL
from moewright.audit.quantities.readings import Facts
from moewright.audit.text.numbers import BYTES, FLOP, FLOP_RATE, NAMES
from moewright.units import format_quantity

_MEMORY: Final = re.compile(r"\bHBM\w*|\bVRAM\b|\bmemory\b|Speicher|mémoire|显存", re.IGNORECASE)
_PEAK: Final = re.compile(r"\bpeaks?\b|\bcompute\b|\bFLOPS\b|TFLOPS|PFLOPS|峰值|算力|Spitze", re.IGNORECASE)
#: what is none of the hardware: what is held, or reached
_USED: Final = re.compile(
    r"\bKV\b|cache|weights?\b|Gewichte|权重|缓存|used|free\b|left|belegt|frei\b|MFU|utili[sz]|delivered|effective|"
    r"at \d|"
    r"\d ?%|"
    r"reach|reserv|activation|optimi[sz]er|need|require|per (?:layer|token|step)",
    re.IGNORECASE,
)
#: words beside a total that make it one of all GPUs
_TOGETHER: Final = re.compile(
    r"\b(?:together|altogether|in all|in total|in sum|combined|zusammen|insgesamt|gesamt|au total|"
    r"(?:over|across|in) (?:both|all|the) (?:\w+ )?(?:nodes|boxes|servers|GPUs)|"
    r"(?:of|in|for) the (?:whole |entire )?(?:cluster|pool|rack|fleet|slice|block|pod)|the (?:cluster|rack|pool|"
    r"pod) has|(?:cluster|pool|rack|slice)(?:'s)?)\b|"
    r"合计|总共|全集群|集群",
    re.IGNORECASE,
)
_PART: Final = re.compile(
    r"\b(?:per|each|every|a|one|je|pro|jeder?) (?:\w+ )?"
    r"(?:node|box|server|group|stage|replica|pool|Knoten|Server|Gruppe)\b|每(?:节点|台|机)",
    re.IGNORECASE,
)
_OWN_GPUS: Final = re.compile(
    r"(?<![\d.])(\d[\d,]*)\s*(?:[×x]\s*)?(?:\w{1,12}\d\w{0,8}\s)?(?:GPUs\b|cards\b|chips\b|accelerators\b|Karten\b|张|卡)",
    re.IGNORECASE,
)
#: ways in which a total may be counted otherwise: GiB for GB, and TiB for TB
_USUAL: Final = (1.0, 1.073741824, 1 / 1.073741824, 1.024, 1 / 1.024, 1.0995, 1 / 1.0995)
#: how far a total may be off, other than by the unit
ASTRAY: Final = 130.0
#: letters of a clause that are looked at
AROUND: Final = 60


def judge_cluster_hardware(ledger: Ledger, gpus_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the memory, or the peak, that a cluster is said to have together: that of a GPU, which the document
    gives, times the GPUs that the sentence names, or else all of them."""
    others = [high for _, high in gpus_told(ledger)]
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading":
            continue
        for e in entries:
            field = _field(e)
            if (
                not field
                or _PART.search(_clause(e) if e.number.whole or _TOGETHER.match(e.behind.lstrip()) else s.text)
                or e.figure.role == "operand"
                or e.figure.formula
                or e.number.approx
                or not is_amount(e.number)
            ):
                continue
            facts = gpus_at(index, ("cluster.gpus",))
            base = _of_one(field, facts, ledger) if facts is not None else 0.0
            if facts is None or not base or e.number.slack > 0.03:
                continue
            own = [int(x.replace(",", "")) for x in _OWN_GPUS.findall(s.text)]
            counts = own or [facts.case.cluster.gpus]
            shares = [x.number.value for x in entries if x.number.percent]
            usual = (*_USUAL, *shares)  # a peak, and what is reached of it
            if any(meet(ranges(e.number), exactly(base * c * k), 4e-3) for c in (*counts, *others, 1) for k in usual):
                continue
            right = base * max(counts)
            if len(set(counts)) == 1 and 1 / ASTRAY < e.number.value / right < ASTRAY:
                unit = NAMES[BYTES] if e.number.dim == BYTES else "FLOP/s"
                why = f"{format_quantity(base, unit)} of each of {max(counts)} GPUs are {format_quantity(right, unit)}"
                yield e, e.claim("cluster", Verdict.WRONG, why, right)


#: so many GPUs, the memory of each, and what leads to that of all
_EACH: Final = re.compile(
    r"(?<![\w.,])(?P<many>\d{1,5})\s?[×x]\s?(?:\w[\w-]*\s){0,3}?\w[\w-]*,\s(?:with )?"
    r"(?P<one>\d[\d,.]*\s?[GT]B)(?: \w+)? (?:each|apiece|je)"
    r"\s*(?:→|->|=|,|:|\(|that is|so|makes?|gives?|together|in all|zusammen)+\s*(?:together |in all |zusammen )?$",
    re.IGNORECASE,
)


def judge_each_totals(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the memory that so many GPUs have together right behind what each of them has: 8 × MI300X, 192 GB
    each → 1,536 GB."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        for one, e in pairwise(entries):
            m = _EACH.search(s.value[: e.number.at]) if e.number.dim == one.number.dim == BYTES else None
            if m is None or m.start("one") != one.number.at or e.figure.formula or s.kind == "heading":
                continue
            many = float(m["many"])
            right = one.number.value * many
            whole = tuple((low * many, high * many) for low, high in ranges(one.number))
            why = f"{m['many']} × {one.number.text.strip()}"
            if meet(ranges(e.number), whole, 4e-3):
                yield e, e.claim("cluster", Verdict.HOLDS, why, right)
            elif 1 / ASTRAY < e.number.value / right < ASTRAY:
                yield e, e.claim("cluster", Verdict.WRONG, f"{why} is {format_quantity(right, NAMES[BYTES])}", right)


def _clause(e: Entry) -> str:
    """The words of a figure's own clause."""
    front = re.split(r"[.;,。；，](?=\s|$)", e.statement.value[: max(0, e.number.at)])[-1]
    behind = re.split(r"[.;,。；，](?=\s|$)", e.behind)[0]
    return f"{front[-AROUND:]} {behind[:AROUND]}"


def _of_one(field: str, facts: Facts, ledger: Ledger) -> float:
    """What the document says that a GPU has: as a premise, or as the one figure that is near that of the device which
    it names; 0 where it says nothing."""
    given = facts.setting.given.get(field)
    if given is not None:
        return float(given.value)
    if field != "cluster.device.memory" or "cluster.device.name" not in facts.setting.given:
        return 0.0
    known = facts.case.cluster.device.memory
    near = {x.number.value for x in ledger.alike(BYTES) if abs(x.number.value / known - 1) < NOMINAL}
    return near.pop() if len(near) == 1 else 0.0


def _field(e: Entry) -> str:
    """The field of a GPU that a figure is the sum of, over all of them; an empty text for what is no such sum."""
    s, n = e.statement, e.number
    clause = re.split(r"[.;,。；，](?=\s|$)", s.value[: n.at])[-1][-AROUND:]
    behind = re.split(r"[.;,。；，](?=\s|$)", e.behind)[0][:AROUND]
    label = f"{s.row} {s.column}" if s.kind == "cell" else s.key
    if _USED.search(f"{label} {clause} {behind}") or not _TOGETHER.search(f"{label} {clause[-30:]} {behind}"):
        return ""
    if n.dim == BYTES and n.value >= 1e10 and _MEMORY.search(f"{label} {s.value}"):
        return "cluster.device.memory"
    rate = n.dim == FLOP_RATE or (n.dim == FLOP and n.either)
    return "cluster.device.flops" if rate and n.value >= 1e13 and _PEAK.search(f"{label} {s.value}") else ""
