"""Collectives of a pass by those of a layer: two all-reduces per layer, 144 per pass of 72 layers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.reading.cluster_sizes import IN_WORDS, in_words
from moewright.audit.text.numbers import COUNT

_CALLS: Final = (
    r"(?:all-?reduces?|all-?to-?alls?|all-?gathers?|reduce-?scatters?|exchanges?|collectives?|calls|transfers?|"
    r"All-?Reduces?|Austausche?|Aufrufe)"
)
_PER_LAYER: Final = re.compile(
    rf"(?<![\w.])(?P<k>{IN_WORDS}) (?:\w+ )?{_CALLS} (?:per|a|an|in each|in every|for each|je|pro) "
    r"(?:MoE |decoder |transformer )?(?:layer|Schicht)\b[^.;\d]{0,28}?(?P<n>(?<![\w.,])\d[\d,]*)"
    rf"(?: {_CALLS}| of them| in all)?,? (?:per|a|an|in a|for a|for one|in each|je|pro) "
    r"(?:\w+ )?(?:pass|step|token|forward|iteration|micro-?batch|Durchlauf|Schritt)\b|"
    rf"每层(?:有|做|需)?\s?(?P<zk>{IN_WORDS})\s?次\s?\S{{0,16}}[,，](?:\d+ ?层)?(?:一步|每步|每次前向|"
    rf"整个模型)?\s?共\s?(?P<zn>\d[\d,]*)\s?次",
    re.IGNORECASE,
)
_NEEDS: Final = ("model.layers",)
#: calls of a layer that a slip may have forgotten, or doubled
_SLIPS: Final = range(1, 9)


def judge_calls(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the collectives of a pass that stand behind those of a layer: so many times the layers, or the
    layers with experts, or another number of layers that the document has; else of other calls of a layer."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _PER_LAYER.search(s.value) if entries and s.kind in ("prose", "item") else None
        if m is None:
            continue
        group = "n" if m["n"] else "zn"
        e = next((x for x in entries if x.number.at == m.start(group)), None)
        facts = facts_at(index, _NEEDS) if e is not None and e.number.dim == COUNT and e.number.whole else None
        if e is None or facts is None or e.figure.formula:
            continue
        each, said = in_words(m["k"] or m["zk"]), int(e.number.value)
        model = facts.case.model
        depths = {len(model.layers), len(model.moe_layers())} - {0}
        right = each * len(model.layers)
        if any(said == each * depth for depth in depths):
            yield e, e.claim("count.calls", Verdict.HOLDS, f"{each} × {said // each} layers", said)
        elif not (said % each == 0 and said // each in ledger.counts) and any(
            said == k * depth for k in _SLIPS for depth in depths
        ):
            why = f"{each} for each of {len(model.layers)} layers are {right:,}"
            yield e, e.claim("count.calls", Verdict.WRONG, why, right)
