"""Sequences of a data-parallel rank: of 512 over 16 ranks, each has 32."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.reading.cluster_sizes import IN_WORDS, in_words

_SEQUENCES: Final = r"(?:sequences|samples|Sequenzen|séquences|条?序列)"
_WHOLE: Final = re.compile(rf"(?<![\w.,])(?P<n>\d[\d,]*) (?:\w+ )?{_SEQUENCES}\b", re.IGNORECASE)
_RANKS: Final = re.compile(
    rf"(?:with|over|across|among|on|bei|über|auf) (?:the |all |den )?(?P<d>{IN_WORDS}) "
    r"(?:data[- ]parallel |DP |model )?(?:ranks?|replicas?|groups?|GPUs|copies|Repliken|Gruppen)\b|"
    r"\bDP[ =](?P<dp>\d{1,4})\b",
    re.IGNORECASE,
)
_EACH: Final = re.compile(
    r"\b(?:each|every|a|one|per|jede\w*|je)\s(?:data[- ]parallel |DP )?(?:GPU|rank|replica|group|Karte|Replik|"
    r"Gruppe)?\s?"
    rf"(?:\w+ )?(?:gets|has|takes|sees|processes|holds|is given|bekommt|hat|erhält|=|"
    rf":)? ?(?P<m>\d[\d,]*) (?:\w+ )?{_SEQUENCES}\b",
    re.IGNORECASE,
)
#: how many times the share may be off
_SLIPS: Final = (2, 4, 8, 16, 32)


def judge_rank_sequences(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the sequences of each rank where the statement has the ranks, and it or the one before it those of
    all: the one over the other."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        ranks, each = _RANKS.search(s.value), _EACH.search(s.value)
        if s.kind not in ("prose", "item") or ranks is None or each is None or each.start() < ranks.start():
            continue
        before = ledger.statements[index - 1] if index else s
        text = f"{before.text if before.path == s.path else ''} | {s.value[: each.start()]}"
        wholes = [int(m["n"].replace(",", "")) for m in _WHOLE.finditer(text)]
        e = next((x for x in entries if x.number.at == each.start("m")), None)
        if len(wholes) != 1 or e is None or e.figure.formula:
            continue
        whole, many = wholes[0], in_words(ranks["d"] or ranks["dp"])
        if not many or whole % many:
            continue
        right, said = whole // many, int(e.number.value)
        why = f"{whole:,} over {many}"
        if said == right:
            yield e, e.claim("count.sequences", Verdict.HOLDS, why, right)
        elif any(said in (right * k, right / k) for k in _SLIPS):
            yield e, e.claim("count.sequences", Verdict.WRONG, f"{why} is {right:,}", right)
