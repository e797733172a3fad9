"""Tokens of a batch by its sequences and what each is long: 128 sequences of 4,096 are 524,288 tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, ranges
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.text.numbers import COUNT

_SEQUENCES: Final = re.compile(
    r"\s*(?:\w+ )?(?:sequences?|samples?|prompts?|requests?|Sequenzen|séquences)\b|\s*条", re.IGNORECASE
)
_TOKENS: Final = re.compile(r"\s*(?:个\s?)?(?:tokens?|Token|jetons?)\b", re.IGNORECASE)
#: a row, or a key, that is of the tokens of a step
_OF_STEP: Final = re.compile(
    r"\btokens? (?:per|in a|a|each) (?:\w+ )?(?:step|batch|iteration)\b|Token (?:je|pro) Schritt|每步\s?token",
    re.IGNORECASE,
)
#: tokens that are of a part, or of more than the sequences
_APART: Final = re.compile(
    r"\b(?:per|each|every|on) (?:\w+ )?(?:GPU|chip|card|rank|device|accelerator|expert|group|micro-?batch|replica|"
    r"second|layer)\b|(?:je|pro|auf jeder) (?:GPU|Karte|Rang|Experte|Gruppe|Mikro\w*)\b|每(?:张)?(?:卡|个专家|秒|组)|"
    r"\b(?:plus|output|generated|answer|on average|mean|up to|at most)\b",
    re.IGNORECASE,
)
_LENGTH: Final = re.compile(
    r"(?:\b(?:at|of|with|zu|mit|à|de|bei)(?: je| up to)?|each(?: of)?|[x×*@]|每[条个路])\s*$", re.IGNORECASE
)
_SLIPS: Final = (2.0, 4.0, 8.0, 10.0, 16.0, 32.0, 64.0, 100.0, 1000.0)
_CLOSE: Final = 3e-3


def judge_sequence_tokens(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the tokens that so many sequences of the same statement have, or that a step has of the document's
    batch, each as long as it says: wrong by a usual slip, and where nothing of the document makes them."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading" or _APART.search(s.text):
            continue
        named = s.row if s.kind == "cell" else s.key
        told = [e for e in entries if _is_tokens(e, bool(_OF_STEP.search(named)))]
        many = [e.number.value for e in entries if _SEQUENCES.match(e.behind) and e.number.whole and e.number.value > 1]
        if len(told) != 1:
            continue
        needs = ("workload.sequence",) if many else ("workload.sequence", "workload.batch")
        facts = facts_at(index, needs)
        if facts is None or any(x not in facts.setting.given for x in needs):
            continue
        e, w = told[0], facts.case.workload
        counts = many or ([float(w.batch[0])] if _OF_STEP.search(f"{named} {s.text}") else [])
        said = ranges(e.number)
        if _LENGTH.search(s.value[: e.number.at]):
            continue  # 32 requests at 8192 tokens
        explained = any(
            meet(said, exactly(c * float(x)), _CLOSE) for c in (*counts, float(w.batch[0])) for x in (1, *ledger.counts)
        )
        if len(set(counts)) != 1 or explained:
            continue
        right = counts[0] * w.sequence
        ratio = e.number.value / right
        if any(abs(ratio * k - 1) < _CLOSE or abs(ratio / k - 1) < _CLOSE for k in _SLIPS):
            yield e, e.claim("multiple", Verdict.WRONG, f"{counts[0]:,.0f} × {w.sequence:,} are {right:,.0f}", right)


def _is_tokens(e: Entry, titled: bool) -> bool:
    """Whether a figure is of tokens of many sequences."""
    n = e.number
    many = n.dim == COUNT and not n.percent and n.value >= 4096 and not e.figure.formula and not n.approx
    return many and (titled or bool(_TOKENS.match(e.behind)))
