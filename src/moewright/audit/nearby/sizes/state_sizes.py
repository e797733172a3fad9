"""Bytes of the states of so many parameters — optimizer, master weights — by the bytes that each is said to have and
the ranks that they are shared out over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, ranges, words
from moewright.audit.text.numbers import BYTES, COUNT
from moewright.units import format_bytes

_EACH: Final = re.compile(r"(?<![\w.,])(?P<size>\d{1,2})\s?(?:B|bytes?|Byte|octets|字节)(?!\w|/\w)", re.IGNORECASE)
_OVER: Final = re.compile(
    r"(?:shard\w*|partition\w*|split|cut|spread|distributed|verteilt|geteilt|réparti\w*|切分|分片)[^|\d]{0,24}?"
    r"(?P<ranks>\d{1,4})(?![\d.,]|\s?B\b)|over (?:E?DP)?\s?(?P<over>\d{1,4})(?![\d.,])|"
    r"(?:B|bytes|octets|Byte)\s?/\s?(?P<by>\d{1,4})(?![\d.,])",
    re.IGNORECASE,
)
_STATE: Final = re.compile(r"adam|optim|master|moment|优化器|动量", re.IGNORECASE)
#: parts of a model by which a number of parameters and a row are of the same ones
_PARTS: Final = (
    re.compile(r"expert|routed|专家|Experten", re.IGNORECASE),
    re.compile(r"dense|rest\b|other|non-expert|attention|稠密|其余|übrig", re.IGNORECASE),
)
#: bytes that a parameter's states may have
_SIZES: Final = (2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
#: parameters of a GPU, at least
LEAST: Final = 1e7
#: what a figure of so few digits is told within
CLOSE: Final = 4e-3


def judge_state_sizes(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the bytes of a row that tells what each parameter has and over how many ranks they are sharded: by a
    number of parameters of the same part that the document tells before it, or by a slip of either."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        label = _label(index, ledger)
        size, ranks = _EACH.search(label), _OVER.search(label)
        amounts = [e for e in entries if e.number.dim == BYTES and e.number.factor >= 1e6 and not e.figure.formula]
        if size is None or ranks is None or not _STATE.search(label) or len(amounts) != 1 or s.kind == "heading":
            continue
        part = [p for p in _PARTS if p.search(label)]
        e, each, over = amounts[0], int(size["size"]), int(ranks["ranks"] or ranks["over"] or ranks["by"])
        if len(part) != 1 or each not in _SIZES or over < 2 or e.number.slack > CLOSE * 2:
            continue
        near = [x for x in ledger.alike(COUNT) if x.index < index and x.number.value >= LEAST]
        said = ranges(e.number)
        if any(meet(said, exactly(x.number.value * each / over), CLOSE) for x in near):
            continue
        for x in (x for x in reversed(near) if part[0].search(_told(x))):
            wrong = [k / over for k in _SIZES if k != each] + [float(each)]
            if any(meet(said, exactly(x.number.value * k), CLOSE) for k in wrong):
                right = x.number.value * each / over
                why = f"{x.number.text.strip()} (line {x.line}) × {each} B / {over} is {format_bytes(right)}"
                yield e, e.claim("memory.optimizer", Verdict.WRONG, why, right)
                break


def _label(index: int, ledger: Ledger) -> str:
    """What a row says of its amount, in its name and its other cells; of an item its key."""
    s = ledger.statements[index]
    if s.kind != "cell":
        return s.key or s.text
    return " | ".join((s.row, *(ledger.statements[i].value for i in ledger.beside(index, 3, 3))))


def _told(e: Entry) -> str:
    """The words that a number of parameters is told with."""
    s = e.statement
    return f"{s.row} {s.column}" if s.kind == "cell" else f"{s.key} {e.figure.words} {' '.join(words(e.behind)[:3])}"
