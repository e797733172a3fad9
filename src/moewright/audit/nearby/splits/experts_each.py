"""Experts that each GPU has, in the clause that gives the expert-parallel size: EP64, hence 2 per card."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.nearby.splits.split_counts import SPREAD, sizes_told
from moewright.audit.reading.standing import standing_of
from moewright.audit.text.numbers import COUNT

#: between an expert-parallel size and the experts of a GPU, which no other figure stands in
_BETWEEN: Final = re.compile(r"[^\d.;。；]{0,40}", re.IGNORECASE)
_EXPERTS: Final = re.compile(r"\s*(?:个)?\s?(?:routed |geroutete |路由)?(?:experts?|Experten|专家)\b", re.IGNORECASE)
_GPU: Final = re.compile(
    r"\b(?:per|each|every|an?|one|pro|je|jede\w*|par) (?:\w+ )?(?:GPU|chip|accelerator|"
    r"card|device|rank|Karte)\b|/\s?GPU|(?:每|"
    r"单)(?:张)?(?:卡|GPU)",
    re.IGNORECASE,
)
_LAYER: Final = re.compile(r"\b(?:MoE )?(?:layer|block|Schicht|couche)s?\b|层", re.IGNORECASE)
#: experts of all layers, or others than those that were placed
_APART: Final = re.compile(
    r"\bvs\b|instead|\bif\b|would|could|redundan|shared|冗余|共享|slots?\b|EPLB|replica(?:s|ted) expert|geteilt|in all|"
    r"total|all layers|altogether|insgesamt|alle Schichten|active|aktiv|激活|top-|each token|per token|visit|"
    r"每\s?token",
    re.IGNORECASE,
)
_NEEDS: Final = ("model.experts.count",)
#: of a model's experts, what they are at most with redundant ones
MOST: Final = 1.6
#: slips of a size
_FACTORS: Final = (2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


def judge_experts_each(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the experts of a layer that a GPU is said to have, right behind the one expert-parallel size of the
    sentence, which divides the model's."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        ep = sizes_told(s.value, "EP") or sizes_told(s.key, "EP")
        if s.kind in ("heading", "cell") or len(ep) != 1 or not _GPU.search(s.text) or standing_of(s):
            continue
        size = next(iter(ep))
        e = next((x for x in entries if _is_each(x, size)), None)
        facts = facts_at(index, _NEEDS) if e is not None and size > 1 else None
        if e is None or facts is None or facts.case.model.moe is None or any(x > 1 for x in sizes_told(s.text, "ETP")):
            continue
        every, found = facts.case.model.moe.experts, int(e.number.value)
        right = every // size
        if every % size or not right:
            continue
        why = f"{every} / ep {size}"
        if found == right:
            yield e, e.claim("count.experts per layer per GPU", Verdict.HOLDS, why, right)
        elif any(int(m[1]) * found == every for m in SPREAD.finditer(s.text)):
            continue  # two instances of 36 GPUs, 8 experts each
        elif not (every < found * size <= MOST * every and found * size in ledger.counts) and any(
            found in (right * k, right / k) for k in _FACTORS
        ):
            yield e, e.claim("count.experts per layer per GPU", Verdict.WRONG, f"{why} is {right}", right)


_SLOTS: Final = re.compile(
    r"(?P<all>\d[\d,]*) (?:\w+ )?slots\b[^.;]{0,40}?\bEP\s?=?\s?(?P<ep>\d{1,4})\b[^\d.;]{0,24}?"
    r"(?P<each>\d{1,4}) slots (?:per|on each|on every|"
    r"a) (?:GPU|chip|accelerator|card|rank)",
    re.IGNORECASE,
)


def judge_slots(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the slots of experts that a GPU has, of so many of a layer at so large an expert-parallel size."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _SLOTS.search(s.value) if entries and s.kind != "heading" else None
        e = next((x for x in entries if m is not None and x.number.at == m.start("each")), None)
        if m is None or e is None or not int(m["ep"]):
            continue
        every, size = int(m["all"].replace(",", "")), int(m["ep"])
        verdict = Verdict.HOLDS if int(m["each"]) * size == every else Verdict.WRONG
        if every % size == 0:
            why = f"{every} slots / ep {size}" + ("" if verdict is Verdict.HOLDS else f" is {every // size}")
            yield e, e.claim("split", verdict, why, every // size)


#: experts with the size behind them in brackets: 128 experts per layer on each GPU (EP4)
_BEHIND: Final = re.compile(
    r"\s(?:routed |whole )?experts?\b[^.;,()\d]{0,40}\((?:[^()\d]{0,12}\b)?EP\s?=?\s?(?P<ep>\d{1,4})\)", re.IGNORECASE
)


def _is_each(e: Entry, size: int) -> bool:
    """Whether a number is of the experts of one GPU and one layer, in a clause that begins with the size."""
    n, s = e.number, e.statement
    if n.dim != COUNT or not n.whole or n.percent or n.at < 0 or e.figure.formula or e.figure.role == "operand":
        return False
    front = s.value[: n.at]
    if (m := _BEHIND.match(e.behind)) is not None and int(m["ep"]) == size:
        return bool(_GPU.search(m[0])) and not _APART.search(m[0])
    told = list(
        re.finditer(
            rf"(?<![\w/-])EP\s*[=: ]?\s*{size}\b(?:\s?[×x*]\s?(?:EDP|expert[- ]?DP|专家 ?DP)\s?=?\s?\d+)?", front
        )
    )
    clause = front[told[-1].end() :] if told else front if size in sizes_told(s.key, "EP") else None
    if clause is None or not _BETWEEN.fullmatch(clause):
        return False
    behind = re.split(r"[\d.,;。，；]", e.behind)[0]
    named = _EXPERTS.match(e.behind) or _EXPERTS.search(clause) or (_GPU.search(behind) and _LAYER.search(behind))
    around = f"{clause}|{behind}"
    return bool(named and _GPU.search(around) and not _APART.search(around))
