"""Bytes by so many of them for each parameter, in one clause: 9 B per param → 24.46 GB; 8 bytes per parameter, 12.6 TB
for the experts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import LARGE, Entry, Ledger, exactly, is_amount, meet, of_bytes, over, ranges, times
from moewright.audit.text.numbers import BYTES, COUNT, NAMES
from moewright.units import format_quantity

_EACH: Final = re.compile(
    r"(?<![\w.])(?P<size>\d{1,2}(?:\.\d+)?)\s?(?:B|bytes?|Bytes?|字节)\s?(?:per|/|a|each|je|pro|每)\s?(?:param\w*|Parameter|weight|参数)"
    r"(?P<then>[^\d.;。；]{0,28})$",
    re.IGNORECASE,
)
_LEADS: Final = re.compile(
    r"^\s*(?:[,:(]|→|->|=|,? ?(?:so|thus|hence|i\.e\.|that is|makes?|gives?|are|is|or|also|das sind|即|共))",
    re.IGNORECASE,
)
#: sentences before that may tell the parameters
BACK: Final = 3
MOST_RANKS: Final = 65536
_SLIPS: Final = (2.0, 4.0, 8.0, 10.0, 16.0, 1000.0)
_CLOSE: Final = 4e-3


def judge_parameter_bytes(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on bytes right behind those of each parameter: so many times a number of parameters of the document, or
    a part of it; by a slip those of the last one told before."""
    counts = [x for x in ledger.alike(COUNT) if x.number.factor >= LARGE and x.figure.role != "operand"]
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind in ("heading", "cell"):
            continue
        for e in entries:
            told = e.number.dim == BYTES and is_amount(e.number) and e.number.at > 0 and not e.number.approx
            m = _EACH.search(s.value[: e.number.at]) if told else None
            if m is None or not _LEADS.match(m["then"]) or e.number.slack > 0.02:
                continue
            size = float(m["size"])
            near = [x for x in reversed(ledger.around(index, BACK)) if x in counts]
            near = [x for x in near if (x.index, x.number.at) < (index, e.number.at)]
            claim = _judged(e, size, near, counts, ledger) if size else None
            if claim is not None:
                yield e, claim


def _judged(e: Entry, size: float, near: list[Entry], counts: list[Entry], ledger: Ledger) -> Claim | None:
    said, one = ranges(e.number), exactly(size)
    told = (x.number for x in ledger.around(e.index, 1))
    parts = [n.value for n in told if n.whole and n.dim == COUNT and 1 < n.value <= MOST_RANKS]
    own = near[:1] if near and near[0].index == e.index else []
    for x in own or counts:
        whole = times(ranges(x.number), one)
        if meet(said, whole, _CLOSE):
            why = f"{x.number.text.strip()} at {of_bytes(size)} each"
            return e.claim("memory", Verdict.HOLDS, why, x.number.value * size)
        if any(meet(said, over(whole, exactly(c)), _CLOSE) for c in parts):
            return None
    for x in near[:1] or counts:
        right = x.number.value * size
        ratio = e.number.value / right
        slips = _SLIPS if near else _SLIPS[-1:]
        if any(abs(ratio * k - 1) < 1e-2 or abs(ratio / k - 1) < 1e-2 for k in slips):
            why = f"{x.number.text.strip()} at {of_bytes(size)} each take {format_quantity(right, NAMES[BYTES])}"
            return e.claim("memory", Verdict.WRONG, why, right)
    return None
