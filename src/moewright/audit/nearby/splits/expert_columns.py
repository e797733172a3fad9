"""Columns of an expert that tensor parallelism leaves to a GPU: of 2,944 over TP 8, 368."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.text.numbers import COUNT

_COLUMNS: Final = re.compile(r"\s*(?:of the \d[\d,]* )?(?:\w+ )?(?:columns?|Spalten|colonnes)\b|\s*列", re.IGNORECASE)
_EXPERT: Final = re.compile(r"\bexperts?\b|Experten?\b|专家|\bFFN\b", re.IGNORECASE)
_TP: Final = re.compile(
    r"\b(?:E?TP|tensor[- ]parallel\w*|Tensorparallel\w*)\s?[=:×-]?\s?(\d{1,3})\b|"
    r"\b(\d{1,2})[- ]ways?\b|TP\s?为\s?(\d+)",
    re.I,
)
_OF_ALL: Final = re.compile(r"\b(?:of|von) (?:the |den )?$", re.IGNORECASE)
_NEEDS: Final = ("model.experts.intermediate_size",)


def judge_expert_columns(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the columns of each expert that a GPU has: the width of an expert over a size of tensor parallelism
    that the document tells, and wrong where it is over another number of ranks."""
    sizes = {t for s in ledger.statements for t in _sizes(s.text)}
    for index, entries in enumerate(ledger.entries if sizes else ()):
        s = ledger.statements[index]
        found = [e for e in entries if _COLUMNS.match(e.behind) and e.number.whole and e.number.dim == COUNT]
        found = [e for e in found if not _OF_ALL.search(s.value[: e.number.at])] if len(found) > 1 else found
        if len(found) != 1 or not _EXPERT.search(s.text) or s.kind == "heading" or found[0].figure.formula:
            continue
        e, facts = found[0], facts_at(index, _NEEDS)
        moe = facts.case.model.moe if facts is not None else None
        if moe is None or moe.width < 2:
            continue
        told_here = _sizes(s.text) or sizes
        parts = {moe.width // t for t in told_here if moe.width % t == 0}
        told = int(e.number.value)
        if parts and told not in parts | {moe.width} and moe.width % told == 0:
            tp = min(told_here, key=lambda t: abs(moe.width / t - told))
            why = f"{moe.width:,} columns over TP {tp} are {moe.width // tp:,}"
            yield e, e.claim("split", Verdict.WRONG, why, moe.width // tp)


def _sizes(text: str) -> set[int]:
    """The sizes of tensor parallelism, of two ranks or more, that ``text`` tells."""
    return {int(next(filter(None, m.groups()))) for m in _TP.finditer(text)} - {0, 1}
