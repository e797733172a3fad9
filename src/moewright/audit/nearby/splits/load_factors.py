"""Tokens of the fullest expert by how many times the mean they are, and micro-batches of a step by its sequences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, misprint, ranges, span_between, times
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.text.numbers import COUNT

#: so many times the mean
_FACTOR: Final = re.compile(
    r"^\s*(?:x|×|times|-?fold|-?fache[ns]?|fois|veces|倍)\s*(?:(?:its|the|their|a|den|das|la|el|sa|son) )?"
    r"(?:fair )?(?:share|mean|average|load|moyenne|Mittel\w*|Durchschnitt\w*|part|media)\b",
    re.IGNORECASE,
)
_FULLEST: Final = re.compile(
    r"hottest|busiest|fullest|most loaded|heaviest|vollste|heißeste|le plus chargé|más cargado|最(?:热|忙|满)",
    re.IGNORECASE,
)
_INSTEAD: Final = re.compile(
    r"[^.;\d]{0,40}(?:instead of|rather than|and not|statt|anstelle von|au lieu de|而不是|而非)\s*(?:the )?[~≈]?$",
    re.IGNORECASE,
)
#: the sequences of a step, where they are the first number of a statement
_GLOBAL: Final = re.compile(
    r"^\D*?(?:\bGBS|global[- ]batch(?:[- ]size)?(?: of)?)\s*[:=]?\s*(?P<n>\d[\d,]*)", re.IGNORECASE
)
_MICRO: Final = re.compile(
    r"(?:\bMBS|micro[- ]?batch(?:[- ]size)?(?: of)?)\s*[:=]?\s*(?P<n>\d{1,3})\b(?!\s*micro)", re.IGNORECASE
)
_COUNTED: Final = re.compile(r"^\s*micro[- ]?batches\b(?! (?:in flight|of))", re.IGNORECASE)


def judge_load_factors(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the tokens of the fullest expert that stand beside the mean that they are so many times."""
    for entries in ledger.entries:
        s = entries[0].statement if entries else None
        if s is None or s.kind == "heading" or not _FULLEST.search(s.text):
            continue
        factors = [x for x in entries if x.number.dim == COUNT and 1 < x.number.value < 100 and _FACTOR.match(x.behind)]
        if len(factors) != 1:
            continue
        f = factors[0]
        for i, mean in enumerate(entries[1:], 1):
            e = entries[i - 1]
            between = span_between(s, e.number, mean.number)
            if f in (e, mean) or e.number.dim != COUNT or mean.number.dim != COUNT or not _INSTEAD.fullmatch(between):
                continue
            right = mean.number.value * f.number.value
            why = f"{f.number.text.strip()} × {mean.number.text.strip()} are {right:,.6g}"
            exact = meet(ranges(e.number), times(ranges(f.number), exactly(mean.number.value)), 5e-3)
            exact = exact or abs(e.number.value - right) <= 1
            yield e, e.claim("count.tokens per expert", Verdict.HOLDS if exact else Verdict.WRONG, why, right)


_AGAINST: Final = re.compile(
    r"(?P<most>\d[\d,]*(?:\.\d+)?)[^\d.;]{0,24}\b(?:against|versus|vs\.?|over|to|gegen|bei|contre|"
    r"instead of) (?:the |an? |den |"
    r"average |mean )*(?P<mean>\d[\d,]*(?:\.\d+)?)[^\d.;]{0,24}"
    r"\b(?:imbalance|imbalance factor|max/mean|load factor|Ungleichgewicht|"
    r"déséquilibre)\b[^\d.;]{0,12}(?P<ratio>\d+(?:\.\d+)?)(?!\s?%|[\d.]*\d)",
    re.IGNORECASE,
)


#: what makes a number the mean of GPUs or of experts
_MEAN: Final = re.compile(r"on average|in the mean|im (?:Mittel|Schnitt)|en moyenne|平均", re.IGNORECASE)
_FULL: Final = re.compile(
    r"(?:hottest|busiest|fullest|most loaded|heaviest|worst|vollste|am stärksten (?:belegte|belastete)|heißeste|"
    r"le plus chargé|最(?:热|忙|满|重))[^.;\d]{0,48}(?P<most>\d[\d,]*(?:\.\d+)?)[^.;\d]{0,24}"
    r"(?:\bfactor|\bFaktor|facteur|->|→|=|,|即|倍率|为均值的)\s*(?:of |von |das |"
    r"also das )?(?P<ratio>\d\.\d+)(?![\d%]|\s?%|\s?[A-Za-z]{2,}/)"
    r"(?=\s*(?:[x×.;,)]|times|fois|-?[Ff]ach|倍|$))",
    re.IGNORECASE,
)


def judge_fullest(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on how many times the mean the fullest has, where the statement, or the one before it, tells the means
    of GPUs and experts: the ratio to one of them, or with digits in another order, or of none."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _FULL.search(s.value) if s.kind in ("prose", "item") else None
        e = next((x for x in entries if m is not None and x.number.at == m.start("ratio")), None)
        if m is None or e is None:
            continue
        most = float(m["most"].replace(",", ""))
        near = [x for x in ledger.around(index, 1) if x.number.dim == COUNT and not x.number.percent]
        means = [x.number.value for x in near if 1 < x.number.value < most and x.number.at != m.start("most")]
        told = " | ".join(x.text for x in ledger.statements[max(0, index - 1) : index + 1])
        if not means or not _MEAN.search(told):
            continue
        right = next((c for c in means if meet(ranges(e.number), exactly(most / c), 5e-3)), None)
        if right is not None:
            yield e, e.claim("ratio", Verdict.HOLDS, f"{m['most']} over {right:g}", most / right)
            continue
        named = _named_means(told)
        if named and all(most / c > 1 for c in named) and e.number.slack < 0.01:
            why = f"{m['most']} over {named[-1]:g} is {most / named[-1]:.3g}"
            yield e, e.claim("ratio", Verdict.WRONG, why, most / named[-1])
            continue
        meant = next((c for c in means if misprint(e.number, most / c)), None)
        if meant is not None:
            why = f"{m['most']} over {meant:g} is {most / meant:.3g}: digits have changed places"
            yield e, e.claim("ratio", Verdict.WRONG, why, most / meant)


_IN_MEAN: Final = re.compile(
    rf"(?:{_MEAN.pattern})\s*(?:about |rund |约)?(?P<a>\d[\d,]*(?:\.\d+)?)|"
    r"(?<![\d.,])(?P<b>\d[\d,]*(?:\.\d+)?) (?:tokens )?(?:on average|in the mean|im Mittel)",
    re.IGNORECASE,
)


def _named_means(text: str) -> list[float]:
    """The numbers that a text calls means."""
    return [float((m["a"] or m["b"]).replace(",", "")) for m in _IN_MEAN.finditer(text)]


def judge_imbalances(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on an imbalance that stands behind the most tokens and their mean: the one over the other."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _AGAINST.search(s.value) if len(entries) > 2 and s.kind != "heading" else None
        e = next((x for x in entries if m is not None and x.number.at == m.start("ratio")), None)
        if m is None or e is None or e.figure.formula:
            continue
        most, mean = (float(m[g].replace(",", "")) for g in ("most", "mean"))
        if not 0 < mean < most:
            continue
        right = most / mean
        holds = meet(ranges(e.number), exactly(right), 5e-3)
        why = f"{m['most']} over {m['mean']}" + ("" if holds else f" is {right:.3g}")
        yield e, e.claim("ratio", Verdict.HOLDS if holds else Verdict.WRONG, why, right)


def judge_micro_batches(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the micro-batches of a replica and step in a statement that gives the sequences of both: one over
    the other and the data-parallel size."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        counts = [x for x in entries if x.number.dim == COUNT and x.number.whole and _COUNTED.match(x.behind)]
        whole, micro = _GLOBAL.search(s.text), _MICRO.search(s.text)
        if len(counts) != 1 or whole is None or micro is None or s.kind == "heading":
            continue
        e, facts = counts[0], facts_at(index, ("strategy.dp",))
        dp = facts.setting.given.get("strategy.dp") if facts is not None else None
        if dp is None or e.figure.formula:
            continue
        every, one = int(whole["n"].replace(",", "")), int(micro["n"])
        if not one or every % (one * dp.value):
            continue
        right = every // (one * dp.value)
        why = f"{every:,} sequences over {one} and dp {dp.value} are {right}"
        verdict = Verdict.HOLDS if e.number.value == right else Verdict.WRONG
        yield e, e.claim("count.micro_batches", verdict, why, float(right))
