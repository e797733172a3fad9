"""Query heads beside those of keys and values, that a GPU has of each, and experts of a layer's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.nearby.splits.split_counts import sizes_told
from moewright.case.attention_kinds import SoftmaxAttention

_PAIR: Final = re.compile(
    r"(?<![\w.,/])(?P<q>\d{1,3})\s*(?:(?:query|Q|attention|Query|Abfrage)(?:[- ]?(?:heads?|K(?:ö|oe)pfe?))?|"
    r"个?\s?(?:查询|Q|query)\s?头)"
    r"\s*(?:,|and|und|plus|\+|/|、|和|sowie|,?\s?with)?\s*(?:only |just |nur |bzw\. )?(?P<k>\d{1,3})\s*"
    r"(?:of (?:the|its) )?(?:(?:KV|key/value|K/V|key-value)(?:[- ]?(?:heads?|groups?|K(?:ö|oe)pfe?|Kopf))?\b|"
    r"个?\s?KV\s?头)",
    re.IGNORECASE,
)
_NEEDS: Final = ("model.attention.heads", "model.attention.kv_heads")


def judge_head_pairs(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the query heads, and those of keys and values, that stand together as one GPU's: both are the
    model's over the same size of tensor parallelism."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _PAIR.search(s.value) if entries and s.kind != "heading" else None
        facts = facts_at(index, _NEEDS) if m is not None else None
        attention = facts.case.model.attention if facts is not None else None
        if m is None or facts is None or not isinstance(attention, SoftmaxAttention):
            continue
        given = facts.setting.given
        if not {"model.attention.kv_heads", "model.name"} & set(given):
            continue  # as many as query heads, by default
        heads, kv = attention.heads, attention.kv_heads
        q, k = int(m["q"]), int(m["k"])
        sizes = [t for t in range(1, heads + 1) if heads % t == 0]
        if not q or not k or (q, k) == (heads, kv) or any((heads // t, max(1, kv // t)) == (q, k) for t in sizes):
            continue
        size = given.get("strategy.tp")
        own = sizes_told(s.text, "TP")
        tp = own.pop() if len(own) == 1 else int(size.value) if size is not None and not own else 0
        if tp < 2 or heads % tp:
            continue
        right = (heads // tp, max(1, kv // tp))
        for name, value, good, whole in (("q", q, right[0], heads), ("k", k, right[1], kv)):
            other = k == right[1] if name == "q" else q == right[0]
            e = next((x for x in entries if x.number.at == m.start(name)), None)
            if (
                e is None
                or value == good
                or not other
                or not (value % good == 0 or good % value == 0 or whole % value == 0)
            ):
                continue
            yield e, e.claim("count.heads per GPU", Verdict.WRONG, f"{whole} / tp {tp} is {good}", good)


_SOME: Final = re.compile(
    r"(?<![\w.,/])(?P<some>\d{1,3}(?:\.\d)?) (?:of (?:each|every|a|the) (?:MoE )?layer['’]s (?P<every>\d{1,4})\b|"
    r"(?:routed )?experts? of (?:each|every) (?:MoE )?layer (?:on|per|in) (?:each|every|a|one) (?:GPU|chip|accelerator|"
    r"card|rank|"
    r"device))",
    re.IGNORECASE,
)


def judge_layer_shares(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the experts of a layer that a GPU has, of all that it has: 16 of each layer's 128, at EP 8."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _SOME.search(s.value) if entries and s.kind != "heading" else None
        facts = facts_at(index, ("model.experts.count", "strategy.ep")) if m is not None else None
        moe = facts.case.model.moe if facts is not None else None
        if m is None or facts is None or moe is None or "strategy.ep" not in facts.setting.given:
            continue
        own = sizes_told(s.text, "EP")
        ep = own.pop() if len(own) == 1 else int(facts.setting.given["strategy.ep"].value)
        e = next((x for x in entries if x.number.at == m.start("some")), None)
        every = int(m["every"] or moe.experts)
        if e is None or every != moe.experts or every % ep or _COPIES.search(s.text) or e.figure.formula:
            continue
        right, found = every // ep, float(m["some"])
        if found == right:
            yield e, e.claim("count.experts per layer per GPU", Verdict.HOLDS, f"{every} / ep {ep}", right)
        else:
            why = f"{every} / ep {ep} is {right}"
            yield e, e.claim("count.experts per layer per GPU", Verdict.WRONG, why, right)


_COPIES: Final = re.compile(
    r"redundan|replica(?:s|ted)\b|shared expert|冗余|slots?\b|instead|would|\bif\b|\bETP\b", re.IGNORECASE
)
