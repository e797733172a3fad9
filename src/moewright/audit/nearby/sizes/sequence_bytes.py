"""Bytes of sequences by what the document says that a token takes: 4,096 users @ 8,192 take 2.36 TB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, digits, exactly, is_amount, meet, ranges, times
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import BYTES
from moewright.units import format_quantity

_MANY: Final = (
    r"(?:concurrent |simultaneous |gleichzeitige )?(?:users?|sequences?|requests?|sessions?|conversations?|"
    r"chats?|streams?|"
    r"prompts?|Sequenzen|Sitzungen|Anfragen|Nutzer|séquences|requêtes|conversations)"
)
_HELD: Final = re.compile(
    rf"(?<![\d.,])(?P<n>\d[\d,]*)\s*(?:条|路|个)?\s*(?:{_MANY}|(?:请求|序列|会话|并发))\s*"
    r"(?:@|at|of|x|×|with|mit(?: je)?|zu(?: je)?|à|de|,)\s*(?P<c>\d[\d,]*\s?[kK]?)(?: tokens?| Token|"
    r" jetons)?(?![\d.%]|\s?(?:GB|MB|ms))",
    re.IGNORECASE,
)
#: one sequence of so many tokens
_ONE: Final = re.compile(
    r"(?<!mean )(?<!average )(?<!mittleren )\b(?:a|one|each|every|single|full|eine|jede)?\s?(?:sequence|context|"
    r"request|conversation|session|prompt|Sequenz|Sitzung)"
    r" (?:of|with|von|mit) (?:(?:the )?full |all |vollen |ganzen )?(?P<c>\d[\d,]*\s?[kK]?) [tT]okens?\b|"
    r"每条序列\s?(?P<z>\d[\d,]*\s?[kK]?) ?个? ?token",
    re.IGNORECASE,
)
_WEIGHTS: Final = re.compile(r"\s*(?:of |an )?(?:weights|Gewichte|权重)", re.IGNORECASE)
_TOKEN: Final = re.compile(
    r"(?:per|each|every|a|one|je|pro|par|/)\s?(?:token|Token|jeton|tok\b)|每(?:个)?\s?token|token (?:needs|takes|"
    r"costs)|jeton coûte",
    re.IGNORECASE,
)
_LAYER: Final = re.compile(r"layer|层|Schicht|couche", re.IGNORECASE)
_SLIPS: Final = (2.0, 4.0, 8.0, 10.0, 100.0, 1000.0, 1024.0)
#: what a token's cache may be divided by, or be of both of keys and values
_PARTS: Final = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0)


def judge_sequence_bytes(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the bytes of so many sequences of so many tokens, by the bytes of a token that the document tells:
    their product, or a part of it, or by a usual slip not."""
    ones = [x for x in ledger.alike(BYTES) if 64 <= x.number.value < 1e8 and x.number.slack < 0.02 and _is_token(x)]
    whole = [x for x in ones if not _LAYER.search(_clause(x))]
    if not whole:
        return
    gpus = [float(c) for c in ledger.counts if 1 < c <= 4096]
    for entries in ledger.entries:
        s = entries[0].statement if entries else None
        if s is None or s.kind == "heading" or not any(e.number.dim == BYTES for e in entries):
            continue
        text = s.text
        held = list(_HELD.finditer(text)) or list(_ONE.finditer(text))
        amounts = [e for e in entries if e.number.dim == BYTES and e.figure.role != "operand" and is_amount(e.number)]
        amounts = [e for e in amounts if not _is_token(e) and not e.figure.formula]
        if len(held) != 1 or not amounts or len(text) > 400 or standing_of(s):
            continue
        amounts = [e for e in amounts if not _WEIGHTS.match(e.behind)] or amounts
        m, e = held[0], amounts[0]
        fields = m.groupdict()
        n = float((fields.get("n") or "1").replace(",", ""))
        c = _tokens(fields.get("c") or fields.get("z") or "")
        if (
            digits(e.number) < 3
            or e.number.approx
            or not n
            or not c
            or e.number.at + len(text) - len(s.value) < m.end()
        ):
            continue
        said = ranges(e.number)
        every = [times(ranges(x.number), exactly(n * c)) for x in ones]
        if any(meet(said, times(w, exactly(1 / p))) for w in every for p in (*_PARTS, *gpus)):
            continue
        for x in whole:
            right = x.number.value * n * c
            ratio = e.number.value / right
            if any(abs(ratio * k - 1) < 5e-3 or abs(ratio / k - 1) < 5e-3 for k in _SLIPS):
                why = f"{n * c:,.0f} tokens at {x.number.text.strip()} (line {x.line}) take "
                why += format_quantity(right, "bytes")
                yield e, e.claim("memory", Verdict.WRONG, why, right)
                break


def _tokens(text: str) -> float:
    """A number of tokens as it is written: 8,192, 32K."""
    digits_ = re.sub(r"[^\d]", "", text)
    return float(digits_) * (1024.0 if text.strip()[-1:] in "kK" else 1.0) if digits_ else 0.0


def _is_token(x: Entry) -> bool:
    s = x.statement
    near = f"{s.key} | {s.value[max(0, x.number.at - 60) : max(0, x.number.at)]} | {x.behind[:24]}"
    return bool(_TOKEN.search(near))


def _clause(x: Entry) -> str:
    """The words of a figure's own clause."""
    front = re.split(r"[;,](?!\d)", x.statement.value[: max(0, x.number.at)])[-1]
    return f"{front} {x.behind[:24]}"
