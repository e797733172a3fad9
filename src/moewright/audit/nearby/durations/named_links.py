"""Times over a link that is named without its rate, which the document gives elsewhere: over PCIe that is 0.415 ms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, is_amount, is_part, ranges, slip, times
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.clauses import ends_range
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, SECONDS
from moewright.units import format_quantity

_LINKS: Final = {
    "PCIe": re.compile(r"\bPCI-?e\b", re.IGNORECASE),
    "NVLink": re.compile(r"\bNVLink\b", re.IGNORECASE),
    "network": re.compile(
        r"\bInfiniBand\b|\bIB\b|\bRoCE\b|\bnetwork\b|\bNIC\b|\bNetz(?:werk)?\b|网络|\bEthernet\b|\bréseau\b",
        re.IGNORECASE,
    ),
    "HBM": re.compile(r"\bHBM\d?e?\b|显存带宽", re.IGNORECASE),
    "NVMe": re.compile(r"\bNVMe\b|\bSSDs?\b", re.IGNORECASE),
    "Infinity Fabric": re.compile(r"\bInfinity Fabric\b|\bxGMI\b", re.IGNORECASE),
}
#: letters around a rate that tell of what link it is
BEFORE: Final = 48
BEHIND: Final = 32
#: over a link, or nothing but its name before a time
_OVER: Final = re.compile(r"\b(?:over|via|across|through|on|über|par|sur)\b|走|经|通过", re.IGNORECASE)


def judge_named_links(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a time over a link of which the document gives one rate: the amount before it over the rate, a part
    of it, or so many times it, or by ten, a hundred or a thousand not."""
    rates = _rates(ledger)
    for index, entries in enumerate(ledger.entries if rates else ()):
        s = ledger.statements[index]
        lone = [e for e in entries if e.number.dim == SECONDS and e.figure.role == "lone" and not e.figure.formula]
        if s.kind not in ("prose", "item") or len(lone) != 1 or any(e.number.dim == BYTE_RATE for e in entries):
            continue
        named = [name for name, pattern in _LINKS.items() if pattern.search(s.value)]
        if len(named) != 1 or named[0] not in rates or not _OVER.search(s.value):
            continue
        if ends_range(s.value, lone[0].number) or standing_of(s):
            continue
        claim = _judged(lone[0], rates[named[0]], named[0], ledger)
        if claim is not None:
            yield lone[0], claim


def _rates(ledger: Ledger) -> dict[str, Entry]:
    """The rate of each link that the document gives one of."""
    found: dict[str, dict[float, Entry]] = {}
    for e in ledger.alike(BYTE_RATE):
        text, at = e.statement.text, e.statement.text.find(e.number.text)
        near = text[max(0, at - BEFORE) : at + len(e.number.text) + BEHIND]
        for name, pattern in _LINKS.items():
            if pattern.search(near):
                found.setdefault(name, {}).setdefault(e.number.value, e)
    return {name: next(iter(values.values())) for name, values in found.items() if len(values) == 1}


def _judged(t: Entry, rate: Entry, name: str, ledger: Ledger) -> Claim | None:
    amounts = [x for x in ledger.entries[t.index] if x.number.at < t.number.at and _is_sent(x)]
    last = [x for x in ledger.entries[t.index - 1] if _is_sent(x)] if t.index else []
    alike = bool(last) and last[-1].statement.path == t.statement.path
    near = [*reversed(amounts), *(reversed(last) if alike else [])]
    if not near or t.number.slack > 0.02:
        return None
    counts = [x.number.value for x in ledger.around(t.index, 2) if x.number.dim == COUNT and x.number.value > 0]
    parts = [1.0, 2.0, 0.5, *counts, *(1 - c for c in counts if c < 1)]
    moved = times(ranges(t.number), ranges(rate.number))
    if any(is_part(moved, ranges(x.number), parts) for x in near):
        return None
    x = near[0]
    right = x.number.value / rate.number.value
    found = slip(t.number.value / right, t.number.slack + x.number.slack + 5e-3)
    if not found or found.startswith(("2 ", "4 ")):
        return None
    why = f"{x.number.text.strip()} over {name} at {rate.number.text.strip()} (line {rate.line}) take "
    return t.claim("time", Verdict.WRONG, f"{why}{format_quantity(right, 'seconds')}: {found}", right)


def _is_sent(x: Entry) -> bool:
    return x.number.dim == BYTES and is_amount(x.number) and x.figure.role != "operand"
