"""Figures of all layers, or of all GPUs, against the figure of one that is told nearby."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import (
    Entry,
    Ledger,
    Range,
    digits,
    exactly,
    is_amount,
    meet,
    plus,
    ranges,
    slip,
    times,
)
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.reading.cluster_sizes import in_words
from moewright.audit.text.clauses import ends_range
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, FLOP_RATE, NAMES, SECONDS
from moewright.units import format_quantity

#: so many layers, GPUs or users that a figure is of, all together
_ALL: Final = re.compile(
    r"(?:\b(?:over|across|in|for|on|from|through|with|at|über|für|auf|bei|mit|sur|dans|pour|en|por)\s+"
    r"(?:all |the |its |these |those |allen? |die |den |les |toutes |las |los |todas )*|"
    r"\ball (?:the |of the )?|\b(?:the|die|der|alle[nr]?) |[×x*·]\s*|^|[,;(]\s*)"
    r"(?P<count>\d[\d,]*)\s+(?:[^\W\d]+[ -]){0,2}?(?P<what>(?!bytes)[^\W\d]{4,}s|GPU|"
    r"Schichten|Karten|Sitzungen|Anfragen|Knoten|Experten|tokens?|Token)\b|"
    r"(?P<them>\d[\d,]*|two|three|four|six|eight|sixteen) (?:of (?:them|these)|davon)\b|"
    r"\b(?:all|alle) (?P<all>\d[\d,]*)(?= (?:in|einer|je|pro|per)\b|\s*[:,])|"
    r"(?P<zh>\d+)\s*(?:个|张|台|路|条)?\s*(?:层|卡|序列|请求|会话|(?:路由)?专家合计)|"
    r"(?P<times>\b[Tt]imes|\b[Mm]al) (?P<factor>\d[\d,]*)\b|"
    r"(?P<whole>(?:across|over|for|in|through) (?:the )?(?:whole|entire|full) (?:model|stack|network)|\ball layers|"
    r"(?:in |über )?\balle[nr]? Schichten|整个模型|所有层|全部层|各层合计)",
    re.IGNORECASE,
)
#: what is cut over many, of which each has a part
_SHARDED: Final = re.compile(
    r"(?:over|across|über|sur)\b.*\b(?:replicas?|copies|ranks?|shards?|Kopien|Replikate?n?)\b", re.IGNORECASE
)
#: words that make what follows a figure of all of them
_TOGETHER: Final = re.compile(
    r"\bwith\b|makes|together|in all|in total|\ball\b|altogether|\bsum\b|amount|\bover\b|across|→|=|that is|"
    r"of them\b|of these\b|davon\b|makes?|make up|adds? up|amounts? to|sums? to|totals?\b|come to|comes to|"
    r"hold|store|need|take|zusammen|insgesamt|合计|共|总|为|需|达|[:：]",
    re.IGNORECASE,
)
#: what stands behind the figure that it is said of
_BEHIND: Final = re.compile(r"over|across|for|in|through|all|über|in allen|für", re.IGNORECASE)
#: between a figure and what it is said over: 4.1 kB a token in all 40 layers
_OF_TOKEN: Final = re.compile(r"\s{0,2}(?:(?:(?:an?|per|each|je|pro|par) |/ ?)(?:token|jeton)\s)?", re.IGNORECASE)
#: what stands before the figure of one of them: 320 all-reduces of 67 MB
_EACH: Final = re.compile(r"\s*(?:of|at|with|à|zu|von|mit)(?: each| je)?\s*[~≈]?\s*$", re.IGNORECASE)
_THINGS_OF: Final = re.compile(r"\d\s+(?:[\w-]+\s+){1,2}(?:of|at|à|zu|von)(?: each| je)?\s*[~≈]?$", re.IGNORECASE)
_LAYER: Final = re.compile(r"(?:per|one|a|each|single|/)[ -]?layer|je Schicht|pro Schicht|每层|单层", re.IGNORECASE)
_COMMON: Final = frozenset(
    [
        "全部",
        "层全",
        "单层",
        "合计",
        "一层",
        "所有",
        "per",
        "all",
        "layers",
        "layer",
        "in",
        "the",
        "of",
        "one",
        "each",
        "total",
        "gb",
        "mb",
        "kib",
    ]
)
#: two, or more, of what is told nearby: both directions, keys and values, four exchanges
_BOTH: Final = re.compile(
    r"\bboth\b|\bcombin|as much|same again|likewise|dispatch and|K and V|twice|each way|round trip|"
    r"there and back|back and forth|to and fro|"
    r"forward and|plus (?:the )?combine|加上|再加|组合|聚合|beide|hin und|aller et|ida y|双向|两者|来回|两趟|"
    r"两次|同样|往返|doppelt|\btwo\b",
    re.IGNORECASE,
)
_SPELLED: Final = {
    **dict.fromkeys(("three", "drei", "trois", "tres", "三"), 3.0),
    **dict.fromkeys(("four", "vier", "quatre", "cuatro", "四"), 4.0),
    **dict.fromkeys(("six", "sechs", "seis", "六"), 6.0),
    **dict.fromkeys(("eight", "acht", "huit", "ocho", "八"), 8.0),
}
_MANY: Final = re.compile(r"\b(?:" + "|".join(w for w in _SPELLED if w.isascii()) + r")\b|[三四六八]", re.IGNORECASE)
#: an operand further on than this is none that a cell begins with
FRONT: Final = 3
#: figures of one that are looked at
MOST_NEAR: Final = 6


def judge_multiples(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on every figure that is said to be of so many layers, GPUs or users: a multiple, or a part, of a figure
    of the document, or by a usual slip of none."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading":
            continue
        title = _ALL.search(s.row if s.kind == "cell" else s.key)
        amounts = [x for x in entries if is_amount(x.number) and x.number.at >= 0]
        each = amounts and _THINGS_OF.search(s.value[: amounts[0].number.at])
        if title is not None and amounts and not each and (len(amounts) == 1 or s.kind != "cell"):
            yield from _of_row(amounts[0], title, ledger, facts_at)
        for m in _ALL.finditer(s.value):
            facts = facts_at(index, ("model.layers",)) if m["whole"] else None
            if m["whole"]:
                count = len(facts.case.model.layers) if facts is not None else SOME
            else:
                told = m["count"] or m["zh"] or m["factor"] or m["them"] or m["all"]
                count = in_words(told)
            if count < 2 and not m["whole"]:
                continue
            e = _told(m, entries, s.value)
            if e is not None and _SHARDED.match(m[0]) and not _is_whole_of(e, count, ledger):
                continue  # over 2 replicas 7.2 GB: what each has of it
            if e is None or e.figure.role == "operand" or _worked_out(e) or ends_range(s.value, e.number):
                continue
            if e.number.dim not in (BYTES, FLOP, SECONDS, COUNT):
                continue
            claim = _judged(e, count, m.start(), entries, ledger, bool(m["times"]))
            if claim is not None:
                yield e, claim


def _is_whole_of(e: Entry, count: int, ledger: Ledger) -> bool:
    """Whether ``e`` is so many times another figure of the document, which then is each one's part of it."""
    many = exactly(float(count))
    return any(meet(ranges(e.number), times(ranges(x.number), many)) for x in ledger.alike(e.number.dim) if x is not e)


def _of_row(e: Entry, m: re.Match[str], ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """The verdict on a cell whose row is of all layers, by a row above it that is of one."""
    facts = facts_at(e.index, ("model.layers",))
    count = int((m["count"] or m["zh"] or "0").replace(",", ""))
    if m["whole"] and facts is not None:
        count = len(facts.case.model.layers)
    worked = any(_worked_out(x) for x in ledger.entries[e.index])
    operand = e.figure.role == "operand" and (worked or e.number.at > FRONT)
    if count < 2 or _worked_out(e) or operand:
        return
    if e.number.dim in (BYTE_RATE, FLOP_RATE):
        return  # the rate of a link is that of every layer
    one = [x for x in ledger.before(e.index, 3) if x.number.dim == e.number.dim and is_amount(x.number)]
    if e.statement.kind != "cell":
        told = _one_again(e, one)
        if not told and (claim := _of_item_above(e, one, ledger.entries[e.index], count)) is not None:
            yield e, claim
        if told:
            whole, unit = e.number.value * count, NAMES.get(e.number.dim, "")
            why = f"{told} × {count} is {format_quantity(whole, unit)}: the {count} times too small"
            yield e, e.claim("multiple", Verdict.WRONG, why, whole)
        return
    one = [x for x in one if _LAYER.search(x.statement.row)]
    names = _names(e.statement.row)
    one = [x for x in one if names & _names(x.statement.row) - _COMMON]
    if not one:
        return
    whole, n = one[0].number.value * count, e.number
    many = times(ranges(one[0].number), exactly(float(count)))
    unit = NAMES.get(n.dim, "")
    why = f"{one[0].number.text} × {count} is {format_quantity(whole, unit)}"
    if meet(ranges(n), many):
        yield e, e.claim("multiple", Verdict.HOLDS, why, whole)
        return
    found = slip(n.value / whole, n.slack + one[0].number.slack + 5e-3, ((float(count), f"the {count}"),))
    if found and not found.startswith(("2 ", "4 ", "8 ")):
        why += f": {found}"
        yield e, e.claim("multiple", Verdict.WRONG, why, whole)


def _of_item_above(e: Entry, above: list[Entry], here: list[Entry], count: int) -> Claim | None:
    """The verdict on an item on all layers, and nothing else, by the item above it that is of one."""
    s = e.statement
    x = next(iter(above), None)
    if sum(y.number.dim == e.number.dim and is_amount(y.number) for y in here) > 1:
        return None
    plain = re.sub(
        r"\ball\b|\bof\b|\bthe\b|\bMoE\b|\blayers\b|\btogether\b|alle\b|Schichten\b|层|全部|合计|共|[\d\W]", "", s.key
    )
    if x is None or plain or s.kind != "item" or x.index < e.index - 1 or e.number.slack > 0.02 or e.number.approx:
        return None
    if not _ONE.search(x.statement.text) or any(
        y.number.dim == e.number.dim for y in above[1:] if y.index == x.index and y.figure.role != "operand"
    ):
        return None
    whole, many = x.number.value * count, times(ranges(x.number), exactly(float(count)))
    others = [y for y in above if y.index != x.index and y.figure.role != "operand" and _ONE.search(y.statement.text)]
    if any(
        meet(ranges(e.number), times(plus(ranges(x.number), ranges(y.number)), exactly(float(count)))) for y in others
    ):
        return None
    why = f"{x.number.text.strip()} × {count} is {format_quantity(whole, NAMES.get(e.number.dim, ''))}"
    verdict = Verdict.HOLDS if meet(ranges(e.number), many) else Verdict.WRONG
    return e.claim("multiple", verdict, why, whole)


def _names(text: str) -> set[str]:
    """The words of a row's title; of Chinese, which has no spaces, its pairs of characters."""
    found = {w.lower() for w in re.findall(r"[^\W\d\u4e00-\u9fff]{2,}", text)}
    return found | {a + b for run in re.findall(r"[\u4e00-\u9fff]+", text) for a, b in pairwise(run)}


def _one_again(e: Entry, near: list[Entry]) -> str:
    """The figure of one layer, or the sum of two, that ``e`` tells again as that of all; an empty text where it does
    not."""
    said = ranges(e.number)
    if e.number.approx:
        return ""
    if near and near[0].index >= e.index - 1 and meet(said, ranges(near[0].number), 0.0) and digits(e.number) >= 2:
        return near[0].number.text
    last = [x for x in near if near and x.index == near[0].index]
    layered = last and _LAYER.search(f"{last[0].statement.text} | {' '.join(last[0].statement.path[-1:])}")
    if len(last) == 2 and layered and meet(said, plus(*(ranges(x.number) for x in last)), 0.0):
        return f"({last[1].number.text} + {last[0].number.text})"
    return ""


_LAYERS: Final = re.compile(r"layers|Schichten|couches|capas|层", re.IGNORECASE)


#: before a number of things that share an amount
_SPLIT: Final = re.compile(
    r"\b(?:split|shared|sharded|divided|spread|verteilt|aufgeteilt|geteilt)\s*"
    r"(?:(?:over|across|among|between|auf|unter)\s*(?:the |all )?)?$",
    re.IGNORECASE,
)


def _told(m: re.Match[str], entries: list[Entry], text: str) -> Entry | None:
    """The figure that is of what ``m`` counts: right before it (128 KiB across the whole model), or behind it."""
    for e in entries:
        end = e.number.at + len(e.number.text)
        close = m.start() >= end and _OF_TOKEN.fullmatch(text[end : m.start()])
        if close and _BEHIND.match(m[0]) and is_amount(e.number):
            return e
    behind = next((x for x in entries if x.number.at >= m.end() and is_amount(x.number)), None)
    if behind is None:
        return None
    between = text[m.end() : behind.number.at]
    if _EACH.match(between) or len(between) > 60 or re.search(r"\d|[;.|]", between) or _SPLIT.search(text[: m.start()]):
        return None
    if not _TOGETHER.search(m[0] + between) and not (_LAYERS.search(m[0]) and not between.strip(" ,:~≈")):
        return None
    return behind


def _worked_out(e: Entry) -> bool:
    """Whether the figure is the result of arithmetic that is written out."""
    return len(e.figure.formula) > 1


def _judged(e: Entry, count: int, at: int, entries: list[Entry], ledger: Ledger, spelled: bool) -> Claim | None:
    n, s = e.number, e.statement
    said = ranges(n)
    unit = NAMES.get(n.dim, "")
    every = [x for x in ledger.alike(n.dim) if not (x.index == e.index and x.number.at == n.at)]
    many: tuple[Range, ...] = exactly(float(count))
    if count == SOME:
        return _same_as_one(e, entries, at)
    for x in every:
        if meet(said, times(ranges(x.number), many)):
            why = f"{x.number.text} × {count}"
            return e.claim("multiple", Verdict.HOLDS, why, x.number.value * count)
    earlier = [x for x in ledger.before(e.index, 3) if x.number.dim == n.dim and is_amount(x.number)]
    same = [x for x in reversed(entries) if x.number.at < at and x.number.at != n.at]
    near = [*(x for x in same if x.number.dim == n.dim and is_amount(x.number)), *earlier][:MOST_NEAR]
    told = _one_again(e, earlier)
    if told and "+" in told:
        whole = n.value * count
        why = f"{told} × {count} is {format_quantity(whole, unit)}: the {count} times too small"
        return e.claim("multiple", Verdict.WRONG, why, whole)
    if not near or _explained(said, count, every, near, ledger.entries[e.index]):
        return None
    for x in near:
        whole = x.number.value * count
        ratio = n.value / whole
        if x is near[0] and x.index == e.index and abs(ratio * count - 1) < 1e-3:
            why = f"{x.number.text} × {count} is {format_quantity(whole, unit)}: the {count} times too small"
            return e.claim("multiple", Verdict.WRONG, why, whole)
        room = n.slack + x.number.slack + 5e-3
        if n.slack > 0.02 or room > 0.03 or (x is not near[0] and x.index != e.index):
            continue
        found = slip(ratio, room, ((float(count), f"the {count}"),))
        said_again = f"{x.statement.text} | {s.text}"
        times_told = [2.0, 0.5] if _BOTH.search(said_again) else []
        shares = [y.number.value for y in (*entries, *ledger.before(e.index, 1)) if y.number.percent]
        times_told += shares  # of the 7.86 MB 75 % cross NVLink: over all layers
        times_told += [_SPELLED[m[0].lower()] for m in _MANY.finditer(said_again)]
        if any(abs(ratio / k - 1) <= room for k in times_told):
            return None
        counts = [y.number.value for y in entries if y.number.whole and y.number.dim == COUNT and y.number.at != n.at]
        if any(c > 1 and abs(ratio * count / c - 1) <= room for c in counts):
            return None  # two per layer, 64 per pass
        parts = [k for k in {*ledger.counts, *_HALVED} if 1 < k < count and found and e.index != x.index]
        if any(abs(x.number.value / n.value / k - 1) <= n.slack + x.number.slack for k in parts):
            return None  # a part of it: what each of 8 GPUs has
        direct = x is near[0] and x.index >= e.index - 1 and (0.6 < ratio < 1.6 or spelled or _is_each(x, e))
        if found or direct:
            why = f"{x.number.text} × {count} is {format_quantity(whole, unit)}"
            why += f": {found}" if found else ""
            return e.claim("multiple", Verdict.WRONG, why, whole)
    return None


#: parts that GPUs have of what all have
_HALVED: Final = (2, 4, 8, 16, 32, 64)
#: so many layers that the document does not tell, or tells differently
SOME: Final = 1
#: what makes a figure that of one of what the next is of many of
_ONE: Final = re.compile(
    r"(?:\b(?:per|an?|one|each|every|single|je|pro|par|por|d'une|une) |/ ?)(?:MoE |transformer )?"
    r"(?:layer|block|Schicht|couche|capa)\b|每(?:个)?(?:\s?MoE\s?)?层|单层|一层",
    re.IGNORECASE,
)


def _is_each(x: Entry, e: Entry) -> bool:
    """Whether ``x`` is said to be of one layer, and ``e``, in the same statement, of nothing else than of all."""
    s = e.statement
    if x.index != e.index or x.number.at > e.number.at or e.number.slack > 0.02 or _BOTH.search(s.text):
        return False
    front = "" if re.search(r"\d", s.value[: x.number.at]) else s.key
    own = re.split(r"[;,](?!\d)", s.value[: x.number.at])[-1] + " # " + re.split(r"[\d;,]", x.behind)[0]
    names = re.split(r"[;,](?!\d)|\d", s.value[: e.number.at])[-1]
    named = re.search(r"attention|expert|router|dense|embed|combine|dispatch|专家|注意力", names, re.IGNORECASE)
    return bool(_ONE.search(f"{front} {own}")) and named is None


def _same_as_one(e: Entry, entries: list[Entry], at: int) -> Claim | None:
    """The verdict on a figure of all layers, however many, that is the one of a layer that stands before it."""
    before = [x for x in entries if x.number.at < at and x.number.dim == e.number.dim and is_amount(x.number)]
    if not before or not _is_each(before[-1], e) or not meet(ranges(e.number), ranges(before[-1].number), 0.0):
        return None
    return e.claim("multiple", Verdict.WRONG, f"{before[-1].number.text.strip()} is what one layer has", None)


def _explained(said: tuple[Range, ...], count: int, every: list[Entry], near: list[Entry], here: list[Entry]) -> bool:
    """Whether a figure may follow otherwise: as another figure, sum or part of the document."""
    sizes = [x.number.value for x in here if x.number.whole and x.number.dim == COUNT and 2 < x.number.value <= 4096]
    if any(meet(said, ranges(x.number)) for x in every if x not in near):
        return True
    nearby = [ranges(x.number) for x in near]
    for mine in nearby:
        for size in sizes:
            for factor in (size, 1 / size, *((size * count, count / size) if size != count else ())):
                if factor not in (1.0, float(count)) and meet(said, times(mine, exactly(factor))):
                    return True
    for i, a in enumerate(nearby):
        for b in nearby[i + 1 :]:
            both = plus(a, b)
            if meet(said, both) or meet(said, times(both, exactly(float(count)))):
                return True
    return False
