"""Rates of a link that are told in bits and in bytes: 400 Gb/s, which is 50 GB/s."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, meet, ranges, span_between
from moewright.audit.text.numbers import BYTE_RATE
from moewright.units import format_quantity

_BITS: Final = re.compile(r"[KMGT]\s?(?:b/s|bps|bit/s|bits/s|Bit/s|bit)", re.ASCII)
#: before the rate of one link: how many there are, in words or digits; in digits; and with their name between
_SEVERAL: Final = re.compile(
    r"(?:\b(?:two|four|eight|sixteen|zwei|vier|acht|deux|quatre|huit)|[×x*]|\d) (?:links? (?:of|at) )?$", re.IGNORECASE
)
_LINKS: Final = re.compile(r"(?<![\d.,])(?:[2-9]|\d{2,})\s?[×x*]\s?$")
_NAMED: Final = re.compile(r"\d\s?[×x*]\s?(?:[A-Za-z]\w*\s){1,3}$")
#: between the rates: what makes them those of one link, whatever stands before; the latter also behind 4 ×
_OWN: Final = re.compile(r"one (?:NIC|port|link) per|=", re.IGNORECASE)
_SINGLE: Final = re.compile(r"\b(?:one|a|each|per|eine) (?:NIC|port|link|GPU|card|chip)\b|=", re.IGNORECASE)
#: what makes the second the first in another unit
_SAME: Final = re.compile(
    r"\s*(?:(?:HDR|NDR|XDR|InfiniBand|IB|RoCE|Ethernet|NICs?|links?|ports?|"
    r"(?:per|je|pro|a) (?:GPU|chip|card|NPU|node|Karte)|each|"
    r"adapters?|网卡|网口|端口|口|网络)[\s,]*){0,3}"
    r"[\s,(]*(?:=|≈|~|即|也就是|合|折合|i\.?\s?e\.?,?|that is,?|that's|which is|or|also|d\.\s?h\.|das sind|das ist|"
    r"macht|makes|giving|soit|c'est-à-dire|"
    r"which (?:moves?|gives?|makes?|means?|carr(?:y|ies))|equals?|entspricht|bzw\.)[\s(]*(?:about |rund |约)?|"
    r"\s*[(（]\s*(?:=|≈|~)?\s*|"
    r"[^.;\d(]{0,24},\s*(?:one|a) (?:NIC|port|link) (?:per|for each) (?:GPU|card|chip),\s*(?:so|that is|i\.e\.)?\s*|"
    r"[^.;\d(]{0,24}\((?:one NIC|one port|a NIC|eine NIC) (?:per|je|for each) (?:GPU|card|chip),\s*"
)
_EQUAL: Final = re.compile(r"=|即|折合|i\.?\s?e\b|that is|which|das (?:sind|ist)|d\.\s?h|entspricht|equals?|soit")
#: a rate told so finely is no other one rounded
CLOSE: Final = 0.12
#: ways in which the one may be the other: in each direction, both together
_USUAL: Final = (1.0, 2.0, 0.5)
_SLIPS: Final = (
    (8.0, "bits are taken for bytes"),
    (1 / 8, "8 times too small"),
    (1e3, ""),
    (1e-3, ""),
    (10.0, ""),
    (0.1, ""),
)


def judge_link_units(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a rate in bytes right behind one in bits: an eighth of it."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        for bits, e in pairwise(entries):
            if bits.number.dim != BYTE_RATE or e.number.dim != BYTE_RATE or s.kind == "heading":
                continue
            if not _BITS.search(bits.number.text) or _BITS.search(e.number.text):
                continue
            between = span_between(s, bits.number, e.number)
            if _is_of_several(s.value[: bits.number.at], between):
                continue
            if len(e.figure.formula) > 1 or not _SAME.fullmatch(between):
                continue
            right = bits.number.value
            said, told = ranges(e.number), f"{bits.number.text.strip()} are {format_quantity(right, 'bytes/s')}"
            if meet(said, ranges(bits.number), 5e-3):
                yield e, e.claim("bandwidth", Verdict.HOLDS, told, right)
                continue
            ratio = e.number.value / right
            slip = next((why for k, why in _SLIPS if abs(ratio / k - 1) < 1e-2), None)
            if slip is None and _EQUAL.search(between) and e.number.slack < CLOSE:
                slip = ""  # the same in another unit, and nothing else
            if slip is not None and not any(abs(ratio / k - 1) < 1e-2 for k in _USUAL):
                yield e, e.claim("bandwidth", Verdict.WRONG, f"{told}{': ' if slip else ''}{slip}", right)


def _is_of_several(front: str, between: str) -> bool:
    """Whether the rate in bytes may be that of several links, by the text before that in bits, and between them."""
    if _SEVERAL.search(front) and not _SINGLE.search(between):
        return True  # eight 400 Gb/s NICs, which are 400 GB/s
    if _LINKS.search(front) and not _OWN.search(between):
        return True  # 4 × 200 Gb/s, 25 GB/s per port
    return _NAMED.search(front) is not None  # 4 × HDR InfiniBand 200 Gb/s
