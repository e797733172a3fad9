"""Rates of a GPU against those of all GPUs: the one is the other over a number of GPUs, groups or users."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, over, ranges
from moewright.audit.text.numbers import BYTE_RATE, BYTES, NAMES, PER_SECOND
from moewright.units import format_quantity

_ONE: Final = re.compile(
    r"\b(?:per|each|every|a|one|je|pro|jede\w*)\s+(?:GPU|chip|accelerator|card|device|rank|Karte)\b|/\s?GPU|每\s?(?:张)?(?:卡|GPU)|单卡",
    re.IGNORECASE,
)
_ALL: Final = re.compile(
    r"\ball\b|total|cluster|system|overall|pool|aggregate|together|gesamt|insgesamt|全池|全集群|总|合计|集群|fleet",
    re.IGNORECASE,
)


def judge_per_gpu_rates(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on every rate of a GPU that stands beside the rate of all of them, where no number that the document
    names leads from the one to the other."""
    for entries in ledger.entries:
        for i, e in enumerate(entries):
            n, _s = e.number, e.statement
            if n.dim != PER_SECOND or e.figure.role == "operand" or e.figure.formula or n.approx or n.slack > 0.02:
                continue
            if not _ONE.search(_around(entries, i)):
                continue
            whole = _whole(entries, i, ledger)
            if whole is None or whole.number.noun[:5] != n.noun[:5]:
                continue
            low, high = ranges(whole.number)[0][0] / ranges(n)[0][1], ranges(whole.number)[0][1] / ranges(n)[0][0]
            counts = [c for c in ledger.counts if c <= 16384]
            if low <= 1 or any(low * 0.998 <= c <= high * 1.002 for c in (1, *counts)):
                continue
            products = {a * b for a in counts if a <= 512 for b in counts if b <= 512 and a * b <= 16384}
            if any(low * 0.998 <= c <= high * 1.002 for c in products):
                continue
            ratio = whole.number.value / n.value
            nearest = min(counts, key=lambda c: abs(c / ratio - 1), default=0)
            if not nearest:
                continue
            right = whole.number.value / nearest
            why = f"{whole.number.text} over {n.text} is {ratio:.3g}, which is no number of GPUs or groups of the "
            why += f"document; over {nearest} it is {format_quantity(right, 'per second')}"
            yield e, e.claim("throughput", Verdict.WRONG, why, right)


#: a slip of the unit
_SLIPS: Final = (1000.0, 1024.0, 1e-3, 1 / 1024)


def judge_per_gpu_amounts(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the bytes of all GPUs that stand in one sentence behind those of one: the one over the other is a
    number of the document, or by a slip of the unit not."""
    for entries in ledger.entries:
        places = [i for i, x in enumerate(entries) if x.number.dim in (BYTES, BYTE_RATE)]
        for j, i in pairwise(places):
            one, e = entries[j], entries[i]
            n = e.number
            if one.number.dim != n.dim:
                continue
            if "operand" in (e.figure.role, one.figure.role) or n.slack > 0.03 or one.number.slack > 0.03:
                continue
            if _WHOLE.search(_front(entries, j)) and _ONE.search(_front(entries, i)):
                one, e = e, one  # the total first
                n = e.number
            elif (
                not _ONE.search(_around(entries, j))
                or _ONE.search(_behind(entries, i))
                or not _TOGETHER.search(_behind(entries, i))
            ):
                continue
            low, high = over(ranges(n)[:1], ranges(one.number)[:1])[0]
            counts = {c for c in ledger.counts if 1 < c <= 16384}
            products = counts | {a * b for a in counts if a <= 64 for b in counts if b <= 512}
            if any(low * 0.998 <= c <= high * 1.002 for c in products):
                continue
            for k in _SLIPS:
                meant = next((c for c in sorted(counts) if low * k * 0.998 <= c <= high * k * 1.002), 0)
                if meant:
                    right = one.number.value * meant
                    why = f"{one.number.text} on each of {meant} is {format_quantity(right, NAMES[n.dim])}"
                    yield e, e.claim("memory", Verdict.WRONG, why, right)
                    break


_TOGETHER: Final = re.compile(
    r"\b(?:in|over|across|through|on) (?:the )?(?:whole |entire |all |\w+ )*"
    r"(?:cluster|rack|fleet|pool|side|system|node|box|GPUs|cards)|"
    r"\bin (?:all|total)\b|insgesamt|im Cluster|总共|全集群|整机|全池",
    re.IGNORECASE,
)


def _around(entries: list[Entry], i: int) -> str:
    """The words that the rate is of: its row, its key, or what stands around it up to the next figures."""
    e = entries[i]
    s = e.statement
    start = entries[i - 1].number.at + len(entries[i - 1].number.text) if i else 0
    end = entries[i + 1].number.at if i + 1 < len(entries) else len(s.value)
    key = s.key if i == 0 else ""
    front = re.split(r"[,;](?!\d)", s.value[max(0, start) : max(0, e.number.at)])[-1] if i else s.value[: e.number.at]
    return f"{key} {front}{s.value[max(0, e.number.at) : end]}"[:120]


_WHOLE: Final = re.compile(r"\b(?:total|overall|aggregate|in all|insgesamt|gesamt)\b|总|合计", re.IGNORECASE)


def _front(entries: list[Entry], i: int) -> str:
    """The words between the figure before and this one."""
    e = entries[i]
    start = entries[i - 1].number.at + len(entries[i - 1].number.text) if i else 0
    return e.statement.value[max(0, start) : max(0, e.number.at)][-60:]


def _behind(entries: list[Entry], i: int) -> str:
    """The words between a figure and the next one."""
    e = entries[i]
    end = entries[i + 1].number.at if i + 1 < len(entries) else len(e.statement.value)
    return e.statement.value[e.number.at + len(e.number.text) : end][:80]


def _named_alike(a: str, b: str) -> bool:
    """Whether two keys share a word that is not of a GPU or of all."""
    words = [
        {w.lower() for w in re.findall(r"[^\W\d]{4,}", key)} - {"total", "each", "card", "cluster"} for key in (a, b)
    ]
    return bool(words[0] & words[1])


def _whole(entries: list[Entry], i: int, ledger: Ledger) -> Entry | None:
    """The rate of all GPUs: before it in the statement, or in the row or item above."""
    e = entries[i]
    for j in range(i - 1, -1, -1):
        if entries[j].number.dim == PER_SECOND:
            return entries[j] if _ALL.search(_around(entries, j)) and not _ONE.search(_around(entries, j)) else None
    for x in ledger.before(e.index, 2):
        if e.statement.kind != "cell" and not _named_alike(e.statement.key, x.statement.key):
            continue
        if x.number.dim == PER_SECOND:
            around = f"{x.statement.key} {x.statement.value}"
            return x if _ALL.search(around) and not _ONE.search(around) else None
    return None
