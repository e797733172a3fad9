"""Percentages against the figures that they are shares of: ``32.9B active (3.2%)`` of 1.026T."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import (
    LARGE,
    Entry,
    Ledger,
    Range,
    exactly,
    is_amount,
    meet,
    over,
    ranges,
    rounded,
    span_between,
    times,
    words,
)
from moewright.audit.reading.word_lists import words_of
from moewright.audit.text.clauses import ends_range
from moewright.audit.text.numbers import BYTES, COUNT, NAMES, SECONDS, Number, tokens_of
from moewright.units import format_quantity

#: a change, a rate of something else or an aim: no share of a figure beside it
_OTHER: Final = re.compile(
    r"faster|slower|\bmore\b|\bless\b|fewer|higher|lower|cheaper|better|worse|\bsav|reduc|improv|increas|decreas|"
    r"overhead|ahead|speed|gain|\bMFU\b|efficien|bubble|reserv|hit rate|accept|headroom|margin|spare|\bfree\b|\bleft\b|"
    r"remain|utili[sz]|peak|overlap|hidden|cross|leav|sparsity|dropp|target|threshold|at least|at most|up to|over "
    r"\d|提升|降低|节省|利用率|效率|气泡|剩余|空闲|预留|余量|冗余|schneller|günstiger|mehr|weniger|Auslastung|gespart|"
    r"Reserve|frei|verlassen|übrig|verbleib",
    re.IGNORECASE,
)
#: what may stand between a figure and its share
_LINK: Final = words_of("figure_and_share")
#: what may stand in a bracket with a share
_OF: Final = words_of("share_of_whole")
_FIXED: Final = re.compile(
    r"^\s*(?:of|von|der|des|out of|×)\s+(?:the |its |a |an |each |one )?(?:full |total )?[~≈]?$", re.I
)


_OF_PRODUCT: Final = re.compile(r"\s*(?:of|von|der|des) (?:the |all )?\d[\d.,]*\s*[×x*·]\s*\d")
#: how many times a share of a figure of the document may be off
ASTRAY: Final = 11.0


def judge_shares(ledger: Ledger, capacity: float | None) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on every percentage that stands behind a figure, as its share of another figure of the document or of
    ``capacity`` (bytes of a GPU): wrong where it is the share of none."""
    for entries in ledger.entries:
        for i, e in enumerate(entries):
            if _OF_PRODUCT.match(e.behind):
                continue  # 1.5 % of 32 × 45 GB/s
            told = e.figure.role == "lone" or len(e.figure.formula) == 1
            if not e.number.percent or not told or ends_range(e.statement.value, e.number):
                continue
            part = _part(entries, i)
            if part is not None and (part.number.dim == SECONDS or ends_range(e.statement.value, part.number)):
                continue  # a time stands in many relations to others, and a range is no part
            if part is None:
                claim = _of_previous(e, entries, i, ledger)
                if claim is not None:
                    yield e, claim
                continue
            if _is_other(e, part):
                continue
            claim = _judged(e, part, entries, i, ledger, capacity)
            if claim is not None:
                yield e, claim


#: hours of a day, seconds of an hour and of a day, days of a year
_CALENDAR: Final = {24.0, 60.0, 3600.0, 86400.0, 365.0}


_OF_AMOUNT: Final = re.compile(
    r"^\s*(?:of|von|×|x|\*|·)\s*(?:the |its |each |der |den )?(?:\w+[ -]){0,2}$", re.IGNORECASE
)
_MAKES: Final = re.compile(
    r"^\s*(?:\([^()\d]*\)\s*)?(?:\w+ )?(?:→|->|=|≈|(?:is|are|makes?|gives?|leaves?|ist|sind|macht|ergibt)\b|"
    r",? ?(?:that is|i\.e\.|also|das sind|which leaves|leaving|which is)|即|为|是)\s*(?:about |etwa |rund |~)?$",
    re.IGNORECASE,
)


_LEFT: Final = re.compile(r"\bleav|\bremain|\bbleib|剩", re.IGNORECASE)


def judge_percent_of(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on what a percentage of an amount is said to be: 70 % of 8 TB/s is 5.6 TB/s."""
    for entries in ledger.entries:
        for p, whole, e in zip(entries, entries[1:], entries[2:], strict=False):
            s, n = e.statement, e.number
            if not p.number.percent or whole.number.percent or n.percent or n.dim != whole.number.dim:
                continue
            if not is_amount(whole.number) and n.dim == COUNT:
                continue
            if not _OF_AMOUNT.match(span_between(s, p.number, whole.number)):
                continue
            if not _MAKES.match(span_between(s, whole.number, n)) or _OTHER.search(s.text):
                continue
            share = rounded(p.number)
            got = times(ranges(whole.number), share)
            rest = times(ranges(whole.number), tuple((1 - b, 1 - a) for a, b in share))
            right = p.number.value * whole.number.value
            told = f"{p.number.text.strip()} of {whole.number.text.strip()}"
            left = _LEFT.search(span_between(s, whole.number, n))
            right = (1 - p.number.value) * whole.number.value if left else right
            if meet(ranges(n), rest) or (meet(ranges(n), got) and not left):
                yield e, e.claim("share", Verdict.HOLDS, told, right)
                continue
            times_as_much = n.value / right
            many = round(times_as_much)
            if many not in (1, 100) and 1 < many <= 1024 and abs(times_as_much / many - 1) < 0.01:
                continue  # of so many GPUs
            if abs(times_as_much - 1) > 0.02:
                why = f"{told} is {format_quantity(right, NAMES.get(n.dim, ''))}"
                yield e, e.claim("share", Verdict.WRONG, why, right)


def judge_factors(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on every product in which a percentage that stands beside it is taken for a plain factor:
    40 × 989 TFLOPS at 40%."""
    for index, entries in enumerate(ledger.entries):
        around = ledger.around(index, 1)
        percent = {round(100 * x.number.value, 6) for x in around if x.number.percent}
        keyed = (t.number for t in tokens_of(ledger.statements[index].key) if t.number is not None)
        percent |= {round(100 * n.value, 6) for n in keyed if n.percent}
        for e in entries:
            n, formula = e.number, e.figure.formula
            whole = [x for x in formula if x.dim == COUNT and x.whole and x.value in percent and not x.noun]
            others = [x for x in formula if x not in whole]
            if len(whole) != 1 or not 1 <= len(others) <= 3 or n.percent:
                continue
            if {x.value for x in others} & _CALENDAR:
                continue
            product = prod(x.value for x in others) * (1.0 if any(x.dim == n.dim for x in others) else n.factor)
            if product and abs(n.value / product / whole[0].value - 1) < 0.02:
                right = n.value / 100
                why = f"{whole[0].text}% of {others[0].text} is a hundredth of that"
                yield e, e.claim("share", Verdict.WRONG, why, right)


def judge_hundredfold(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on every figure that is exactly a hundred times the share, told beside it, of a figure nearby: the
    percentage was taken for a plain factor."""
    for index, entries in enumerate(ledger.entries):
        for e in entries:
            n = e.number
            if n.percent or e.figure.role != "lone" or n.slack > 5e-3 or n.approx or n.value <= 0 or n.at < 0:
                continue
            if n.dim == COUNT and n.value < LARGE and not (e.statement.kind == "cell" and "." in n.text):
                continue
            around = [*entries, *ledger.titles(e)]
            shares = {x.number.value for x in around if x.number.percent and 0 < x.number.value < 1}
            if not shares:
                continue
            counts = [
                1.0,
                *(x.number.value for x in around if x.number.dim == COUNT and x.number.whole and x.number.value < 1e5),
            ]
            near = [
                x
                for x in (*entries, *ledger.before(index, 2))
                if x is not e and x.number.dim == n.dim and not x.number.percent
                if x.number.value > 0 and x.number.slack <= 0.02
            ]
            for x in near:
                ratios = [n.value / x.number.value / c for c in counts if c]
                room = n.slack + x.number.slack + 1e-3
                if any(
                    abs(r / s - 1) <= room
                    or abs(r * s - 1) <= room
                    or abs(r / (1 - s) - 1) <= room
                    or abs(r - 1) <= room
                    for r in ratios
                    for s in shares
                ):
                    break  # it follows as it should
            else:
                for x in near:
                    found = [
                        s
                        for c in (counts if n.dim != COUNT else counts[:1])
                        if c
                        for s in shares
                        if abs(n.value / x.number.value / c / (100 * s) - 1) <= 5e-3
                    ]
                    if found:
                        right = n.value / 100
                        why = f"{found[0]:.3g} of {x.number.text} leads to a hundredth of that: "
                        why += "the percentage is taken for a factor"
                        yield e, e.claim("share", Verdict.WRONG, why, right)
                        break


#: who has a share, and of what
_CARD: Final = re.compile(
    r"^\s*(?:of (?:an?|each|the|one|every) (?:\w+[ -])?(?:card|GPU|chip|accelerator|device|HBM|VRAM|memory|capacity)|"
    r"(?:einer|der|jeder) (?:Karte|GPU)|des (?:Speichers|Grafikspeichers)|(?:的)?显存)",
    re.IGNORECASE,
)
_ALL: Final = re.compile(
    r"^\s*(?:of (?:all |the )*(?:total )?(?:model(?:'s)? )?(?:parameters|params|weights)|"
    r"(?:aller|der) (?:Parameter|Gewichte)|des Modells|"
    r"of (?:the|a|its) (?:whole |entire )?(?:model|network)\b|(?:的)?(?:总)?参数)",
    re.IGNORECASE,
)
_ALL_BEFORE: Final = re.compile(r"占(?:模型)?(?:总|全部|全模型)?参数(?:总?量|总数)?的?\s*(?:大?约)?\s*$")
_SUBJECTS: Final = (
    (re.compile(r"expert|专家", re.IGNORECASE), "experts"),
    (re.compile(r"attention|注意力", re.IGNORECASE), "attention"),
    (re.compile(r"weights|Gewichte|权重", re.IGNORECASE), "weights"),
    (re.compile(r"\bKV\b|cache|缓存", re.IGNORECASE), "cache"),
)
#: parameters that a token passes
_USED: Final = re.compile(
    r"\b(?:active|activated|used|touched|participate|take part|actifs?|actives?|activos?|aktive?n?|benutzt|"
    r"genutzt|beteiligt)\b|激活",
    re.IGNORECASE,
)
#: what the vocabulary, the router and shared experts may make of the share of the active parameters
_UNUSUAL: Final = 0.35
#: bytes of usual GPUs, in GB
_CARDS: Final = (24, 32, 40, 48, 64, 80, 94, 96, 141, 180, 192, 288)


def judge_subjects(
    ledger: Ledger, capacity: float | None, model_at: Callable[[int], Mapping[str, tuple[float, ...]]]
) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on every percentage of a GPU's memory, or of all parameters, of which only the subject is told:
    ``experts hold 97.4% of all parameters``. ``model_at``: what shares of its parameters the model has."""
    for index, entries in enumerate(ledger.entries):
        for i, e in enumerate(entries):
            s = e.statement
            behind = e.behind
            if not e.number.percent or e.figure.role != "lone" or ends_range(s.value, e.number):
                continue
            if _part(entries, i) is not None or _OTHER.search(s.text):
                continue
            before = re.split(r"[,;.](?!\d)", s.value[: e.number.at])[-1]
            if _ALL.match(behind) and _USED.search(s.text) and not any(p.search(s.text) for p, _ in _SUBJECTS[:2]):
                rights = model_at(index).get("active", ())
                counts = [ranges(x.number) for x in ledger.alike(COUNT) if x.number.value >= LARGE]
                told = any(meet(rounded(e.number), over(a, b)) for a in counts for b in counts if a is not b)
                if rights and not told and all(abs(e.number.value / r - 1) > _UNUSUAL for r in rights):
                    why = f"a token passes {rights[0]:.1%} of the model's parameters"
                    yield e, e.claim("share", Verdict.WRONG, why, rights[0])
                continue
            topics = [name for pattern, name in _SUBJECTS if pattern.search(before)]
            if len(topics) != 1:
                continue
            said = rounded(e.number)
            if (_ALL.match(behind) or _ALL_BEFORE.search(before)) and topics[0] in ("experts", "attention"):
                rights = model_at(index).get(topics[0], ())
                counts = [ranges(x.number) for x in ledger.alike(COUNT) if x.number.value >= LARGE]
                told = any(meet(said, over(a, b)) for a in counts for b in counts if a is not b)
                if rights and not told and not any(meet(said, exactly(r), 5e-3) for r in rights):
                    why = f"of the model's parameters {topics[0]} have {rights[0]:.1%}"
                    yield e, e.claim("share", Verdict.WRONG, why, rights[0])
            elif _CARD.match(behind) and capacity:
                claim = _of_card(e, topics[0], said, capacity, ledger)
                if claim is not None:
                    yield e, claim


def _of_card(e: Entry, topic: str, said: tuple[Range, ...], capacity: float, ledger: Ledger) -> Claim | None:
    amounts = ledger.alike(BYTES)
    whole = ranges(_bytes(capacity))
    if any(meet(said, over(ranges(x.number), whole)) for x in amounts):
        return None
    pattern = next(p for p, name in _SUBJECTS if name == topic)
    for x in amounts:
        if not pattern.search(f"{x.statement.key} {x.figure.words}"):
            continue
        right = x.number.value / capacity
        cards = [(c * 1e9 / capacity, f"that is the share of {c} GB;") for c in _CARDS if c * 1e9 != capacity]
        for factor, told in (
            *((1 / c, t) for c, t in cards),
            (10.0, "10 times too large:"),
            (0.1, "10 times too small:"),
        ):
            if meet(said, exactly(right * factor), x.number.slack + 1e-3):
                why = f"{told} {x.number.text} of {capacity / 1e9:g} GB is {right:.1%}"
                return e.claim("share", Verdict.WRONG, why, right)
    return None


_SHARE_OF: Final = re.compile(
    r"\b(?:share|fraction|part|portion|percentage|Anteil) (?:of|in|an|am|von) (?:the |all |its |den |der )?$",
    re.IGNORECASE,
)


def _part(entries: list[Entry], i: int) -> Entry | None:
    """The figure that a share is told of: it stands right before it, or before the bracket that it stands in."""
    e = entries[i]
    if i == 0 or not is_amount(entries[i - 1].number):
        return None
    before = entries[i - 1]
    if before.number.at < 0 and re.search(r"[^\W\d]{3,}\W*$", before.statement.key) and not before.figure.formula:
        return None  # that is what 1M costs: 65.2% of it
    told = span_between(e.statement, before.number, e.number).strip() in ("=", "≈")  # 3.16 GB = 3.95%
    if before.figure.role == "operand" and not (told and len(e.figure.formula) == 1):
        return None
    if _SHARE_OF.search(e.statement.value[: before.number.at]):
        return None  # share of 1.04 T: 97.6 %
    if i > 1 and _FIXED.match(span_between(e.statement, entries[i - 2].number, before.number)):
        return None  # 30.64 GB of 80 GB, 38%: of the one before
    between = re.sub(r"\([^()\d]*\)", "", span_between(e.statement, before.number, e.number))
    if between.lstrip().startswith(")") or re.search(r"[^\W\d]: ", between):
        return None  # (240 GB/s), 40% of the FLOPS; what 1M costs: 65.2% of it
    if len(between) > 40 or re.search(r"[.;|→+*×/]|\d", between.replace("i.e.", "").replace("d.h.", "")):
        return None
    said = [w.lower() for w in words(between)]
    if re.fullmatch(r"[,，;\s]*(?:约)?占\s*[^,，。;\d]{0,14}", between):
        return before
    if "(" in between:
        inside = between.partition("(")[2]
        outside = [w.lower() for w in words(between.partition("(")[0])]
        bracket = e.behind.partition(")")[0]
        inner = [w.lower() for w in (*words(inside), *words(bracket))]
        return before if set(inner) <= _OF | _LINK and len(outside) <= 4 else None
    return before if set(said) <= _LINK else None


_THAT: Final = re.compile(
    r"^\W*(?:that|this|it|which|(?:the|die) (?:sum|total|Summe)|together|zusammen|das|dies|这)\s*"
    r"(?:is|makes|equals|are|sind|ist|takes|comes to|相当于|占|即)?\W*$",
    re.I,
)


def _of_previous(e: Entry, entries: list[Entry], i: int, ledger: Ledger) -> Claim | None:
    """The verdict on ``That is 9.5% of the 141 GB``, whose figure stands in the statement before."""
    whole = entries[i + 1].number if i + 1 < len(entries) else None
    s = e.statement
    if i or whole is None or not is_amount(whole) or not _THAT.match(s.value[: e.number.at]) or not e.index:
        return None
    if not _FIXED.match(span_between(s, e.number, whole)):
        return None
    said = rounded(e.number)
    near = [x for x in ledger.alike(whole.dim) if e.index - 12 <= x.index < e.index and x.number.value < whole.value]
    if not near or any(meet(said, over(ranges(x.number), ranges(whole))) for x in near):
        return None
    last = max(near, key=lambda x: (x.index, x.number.at))
    if last.index != e.index - 1 or last is not ledger.entries[e.index - 1][-1]:
        return None
    right = last.number.value / whole.value
    why = f"{last.number.text} of {whole.text} is {right:.1%}"
    return e.claim("share", Verdict.WRONG, why, right)


def _is_other(e: Entry, part: Entry) -> bool:
    """Whether the words around say that it is no share of a whole."""
    s = e.statement
    start = max(0, part.number.at - 30)
    end = e.number.at + len(e.number.text)
    return bool(_OTHER.search(s.value[start : end + 30]) or _OTHER.search(s.key))


def _judged(
    e: Entry, part: Entry, entries: list[Entry], i: int, ledger: Ledger, capacity: float | None
) -> Claim | None:
    said = rounded(e.number)
    if e.number.approx:
        said = ((0.95 * said[0][0], 1.05 * said[0][1]),)
    mine = ranges(part.number)

    fixed = _fixed(e, entries, i, part.number)
    alike = [fixed] if fixed is not None else [x.number for x in ledger.alike(part.number.dim) if x is not part]
    if part.number.dim == BYTES and capacity and fixed is None:
        alike.append(_bytes(capacity))
    for whole in alike:
        got = over(mine, ranges(whole))
        rest = meet(said, tuple((1 - b, 1 - a) for a, b in got)) and not _USED.search(part.statement.value)
        if meet(said, got) or rest:
            why = f"{part.number.text} of {whole.text}"
            return e.claim("share", Verdict.HOLDS, why, _middle(got))
    before = [x.number for x in entries[:i] if x.number.dim == part.number.dim and is_amount(x.number)]
    if part.figure.formula and any(meet(said, over(ranges(n), mine)) for n in before if n.value < part.number.value):
        return None  # 24.8 GB/s, against 16 × 50 = 800 GB/s 3.1 %
    larger = [n for n in alike if n.value > part.number.value]
    if not larger or e.number.value > 1:
        return None
    nearest = min(larger, key=lambda n: abs(part.number.value / n.value - e.number.value))
    right = part.number.value / nearest.value
    if fixed is None and not 1 / ASTRAY < right / e.number.value < ASTRAY:
        return None  # the whole stands nowhere
    if fixed is None:
        why = f"{part.number.text} is that share of no figure of the document; nearest is {right:.1%} of {nearest.text}"
    else:
        why = f"{part.number.text} of {fixed.text} is {right:.2%}"
    return e.claim("share", Verdict.WRONG, why, right)


def _fixed(e: Entry, entries: list[Entry], i: int, part: Number) -> Number | None:
    """The figure of which the share is said to be, right behind it: 3.95% of 80 GB."""
    if i + 1 >= len(entries):
        return None
    after = entries[i + 1].number
    near = _FIXED.match(span_between(e.statement, e.number, after))
    return after if near and after.dim == part.dim and is_amount(after) else None


def _bytes(value: float) -> Number:
    return Number(f"{value / 1e9:g} GB", value, value / 1e9 * 2**30, 0.0, BYTES)


def _middle(found: tuple[Range, ...]) -> float:
    return (found[0][0] + found[0][1]) / 2
