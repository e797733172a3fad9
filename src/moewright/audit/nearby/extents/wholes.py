"""Figures of all layers, or of the whole cluster, that are less than what one of them has by the sentence or the list
they stand in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, is_amount, meet, ranges, slip, sum_of, times
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.reading.standing import standing_of
from moewright.audit.reading.wordings import formats_in
from moewright.audit.text.numbers import BYTES, COUNT, FLOP, NAMES
from moewright.case.precision import element_bytes
from moewright.units import format_quantity

#: words right before a figure that make it of all layers, or of all GPUs, of what the sentence speaks of
_WHOLE: Final = {
    "layer": re.compile(
        r"整网|全模型|整个(?:模型|网络)|(?:over|of) the (?:(?:whole|entire) )?(?:stack|model|network)\b|"
        r"whole net(?:work)?|\ball \d{1,3} of (?:them|these)|im ganzen Modell|"
        r"(?:全部|所有|各)\s?层\s?(?:合计|共计|共|总计)?|(?<!\d)\d{1,3}\s?层\s?(?:合计|共计|共|总计)|"
        r"\b(?:in |over |across |for )?(?:all|the) (?:the )?(?:\d{1,3} )?layers(?: together)?|"
        r"\b(?:in |über )?alle[nr]? (?:\d{1,3} )?Schichten(?: zusammen)?|\btoutes les (?:\d{1,3} )?couches",
        re.IGNORECASE,
    ),
    "gpu": re.compile(
        r"\b(?:the )?(?:whole|entire) (?:installation|cluster|fleet|system|box|server|deployment)|\ball (?:\d+ )?GPUs|"
        r"(?:der |im )?ganze[rn]? (?:Cluster|Server|Anlage)|整个集群|整套集群|全集群|所有\s?(?:卡|GPU)",
        re.IGNORECASE,
    ),
}
_PART: Final = {
    "layer": re.compile(
        r"\b(?:per|a|an|each|one|every)[ -](?:MoE |transformer )?layer\b|/\s?layer|\b(?:je|pro) Schicht|\bpar couche|"
        r"每(?:个)?(?:\s?MoE\s?)?层|单层|一层",
        re.IGNORECASE,
    ),
    "gpu": re.compile(
        r"\b(?:per|a|an|each|one|every) (?:GPU|chip|accelerator|"
        r"card|device|rank)\b|\b(?:je|pro) (?:GPU|Karte)|每(?:张)?(?:卡|GPU)|单卡",
        re.IGNORECASE,
    ),
}
#: what may stand between such words and the figure
_JOIN: Final = re.compile(
    r"\s*(?:[:,=：，]|(?:come |sum |amount )?to|is|are|makes?|need|take|has|have|about|sind|macht|为|需|约)?\s*[~≈]?\s*"
)
_IN_ALL: Final = re.compile(
    r"(?:in all|altogether|in total|insgesamt|zusammen|au total)(?=\s*(?:$|[.,;)]))|共计?(?=\s*(?:$|[,;。]))"
)
#: statements of a list that a figure of the whole may follow
BACK: Final = 4
#: by how much a whole may be less than its part, by rounding alone
ROUNDING: Final = 0.02
#: the rest of what stands before, and nothing that names another thing
_FRESH: Final = re.compile(
    r"(?:[^.;,。；，]|\.(?=\d))*[.;,。；，]\s*(?:(?:and|or|und|et|so|以及|而|和)\b)?\s*", re.IGNORECASE
)


def judge_wholes(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on an amount of all layers, or of all GPUs, that names no other thing than what it follows: no less
    than what one of them has, and not the sum of what one layer has."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading":
            continue
        for e in entries:
            if e.number.dim not in (BYTES, FLOP, COUNT) or e.figure.role == "operand" or e.number.at < 0:
                continue
            if not is_amount(e.number) or e.figure.formula:
                continue
            for axis in _WHOLE:
                start = _start(e, entries, axis)
                if start is None:
                    continue
                parts = _parts(ledger, e, start, axis)
                claim = _less(e, parts) or (_of_one(e, parts, facts_at) if axis == "layer" else None)
                if claim is not None and not standing_of(s):
                    yield e, claim
                    break


def _start(e: Entry, entries: list[Entry], axis: str) -> int | None:
    """Where the words begin that make ``e`` of the whole; None where there are none, or others stand beside them."""
    text, n, whole = e.statement.value, e.number, _WHOLE[axis]
    name = e.statement.row if e.statement.kind == "cell" else e.statement.key
    if whole.fullmatch(name.strip()) and _JOIN.fullmatch(text[: n.at]):
        return 0
    last = max(
        (x.number.at + len(x.number.text) for x in entries if 0 <= x.number.at < n.at and _is_part(x)), default=0
    )
    m = whole.search(text, last)
    if m is not None and m.end() <= n.at:
        alone = _FRESH.fullmatch(text[last : m.start()]) if last else not text[: m.start()].strip()
        return m.start() if alone and _JOIN.fullmatch(text[m.end() : n.at]) else None
    rest = text[n.at + len(n.text) :].lstrip()
    behind = whole.match(rest) or (axis == "layer" and _IN_ALL.match(rest))  # 53.1 MB in all layers
    return n.at if behind and last and _FRESH.fullmatch(text[last : n.at]) else None


def _parts(ledger: Ledger, e: Entry, start: int, axis: str) -> list[Entry]:
    """The figures of one layer, or of one GPU, that a figure of the whole follows."""
    s = e.statement
    here = [x for x in ledger.entries[e.index] if 0 <= x.number.at < start and _is_part(x)]
    if here:
        own = " | ".join((s.key, s.value[:start]))
        return here if _PART[axis].search(own) else []
    name = s.row if s.kind == "cell" else s.key
    if name and not _WHOLE[axis].search(name):
        return []  # of what it names, and no figure above
    found: list[Entry] = []
    for i in range(e.index - 1, max(-1, e.index - 1 - BACK), -1):
        t = ledger.statements[i]
        if t.path != s.path or t.kind != s.kind or t.column != s.column:
            break
        amounts = [x for x in ledger.entries[i] if _is_part(x) and x.number.dim == e.number.dim]
        if _PART[axis].search(t.text) and amounts:
            found += amounts if i == e.index - 1 else amounts[-1:]
            if i == e.index - 1 and len(amounts) > 1:
                break  # what it is the sum of
    return found


def _is_part(x: Entry) -> bool:
    return x.figure.role != "operand" and is_amount(x.number) and not x.figure.remark


def _less(e: Entry, parts: list[Entry]) -> Claim | None:
    alike = [x for x in parts if x.number.dim == e.number.dim]
    most = max(alike, key=lambda x: x.number.value, default=None)
    if most is None or e.number.binary * (1 + ROUNDING) >= most.number.value:
        return None
    why = f"{most.number.text.strip()} (line {most.line}) of one alone is more"
    return e.claim("multiple", Verdict.WRONG, why, None)


def _of_one(e: Entry, parts: list[Entry], facts_at: FactsAt) -> Claim | None:
    """The verdict on a figure of all layers that is the sum of those of one, or the bytes of the parameters of one."""
    facts = facts_at(e.index, ("model.layers",))
    told = re.search(r"(?<![\d.,])\d{1,3}(?=\s?(?:layers|Schichten|couches|层))", e.statement.value)
    layers = int(told[0]) if told else len(facts.case.model.layers) if facts is not None else 0
    if layers < 2 or not parts or e.number.slack > ROUNDING:
        return None
    said, unit = ranges(e.number), NAMES.get(e.number.dim, "")
    alike = [x for x in parts if x.number.dim == e.number.dim]
    if len(alike) == 1 == len(parts) and alike[0].index == e.index:
        x = alike[0]
        right, ratio = x.number.value * layers, e.number.value / x.number.value / layers
        usual = slip(ratio, e.number.slack + x.number.slack + 2e-3)
        passes = re.findall(
            r"(?<![\d.,])(\d{1,4}) (?:per|a|each|je|pro) (?:pass|step|Schritt|forward)", e.statement.value
        )
        if any(meet(said, times(ranges(x.number), exactly(float(c)))) for c in passes):
            return None  # two per layer, 64 per pass
        why = f"{x.number.text.strip()} × {layers} is {format_quantity(right, unit)}"
        if meet(said, times(ranges(x.number), exactly(float(layers)))):
            return e.claim("multiple", Verdict.HOLDS, why, right)
        if usual and facts is not None and layers == len(facts.case.model.moe_layers()):
            return e.claim("multiple", Verdict.WRONG, f"{why}: {usual}", right)
    if len(alike) > 1 and len(alike) == len(parts) and (claim := _of_sum(e, alike, layers)) is not None:
        return claim
    counted = [x for x in parts if x.number.dim == COUNT and x.index == e.index]
    named = formats_in(f"{e.statement.key} {e.statement.value}")
    if e.number.dim == BYTES and len(counted) == 1 == len(named):
        size = element_bytes(next(iter(named)))
        right = counted[0].number.value * size * layers
        if meet(said, times(ranges(counted[0].number), exactly(size))):
            why = f"that is {counted[0].number.text.strip()} at {size:g} B of one layer; "
            why += f"all {layers} have {format_quantity(right, unit)}"
            return e.claim("multiple", Verdict.WRONG, why, right)
        if meet(said, times(ranges(counted[0].number), exactly(size * layers))):
            why = f"{counted[0].number.text.strip()} × {layers} at {size:g} B"
            return e.claim("multiple", Verdict.HOLDS, why, right)
    return None


def _of_sum(e: Entry, alike: list[Entry], layers: int) -> Claim | None:
    """The verdict on a figure of all layers by the sum of what one has."""
    said, one = ranges(e.number), sum_of([x.number for x in alike])
    right = sum(x.number.value for x in alike) * layers
    text = " + ".join(x.number.text.strip() for x in alike)
    why = f"({text}) × {layers} is {format_quantity(right, NAMES.get(e.number.dim, ''))}"
    if meet(said, times(one, exactly(float(layers)))):
        return e.claim("multiple", Verdict.HOLDS, why, right)
    if meet(said, one):
        return e.claim("multiple", Verdict.WRONG, f"{why}: the {layers} times too small", right)
    off = slip(e.number.value / right, e.number.slack + 5e-3)
    return (
        e.claim("multiple", Verdict.WRONG, f"{why}: {off}", right) if off.startswith(("1000 ", "10 ", "100 ")) else None
    )
