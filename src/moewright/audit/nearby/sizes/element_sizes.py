"""Bytes of so many parameters at so many bytes each, and FLOPs that are counted with all parameters of a model whose
tokens pass a part of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import LARGE, Entry, Ledger, exactly, is_amount, meet, of_bytes, ranges, times
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.reading.wordings import FORMAT
from moewright.audit.text.expressions import evaluate, fold, numbers_in, whole
from moewright.audit.text.numbers import BYTES, COUNT, FLOP, MOST_BILLIONS, NAMES, Number, in_billions, tokens_of
from moewright.case.tensors.layer_tensors import active_parameters, total_parameters
from moewright.units import format_count, format_quantity

_EACH: Final = re.compile(
    r"(?P<size>\d+) bytes? (?:each|per param\w*|a parameter|per element|per weight|je Parameter)", re.IGNORECASE
)
_SIZES: Final = (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 18.0, 20.0)
_BYTES_TITLE: Final = re.compile(r"bytes?\b|B/|字节|Byte", re.IGNORECASE)
_ACTIVE: Final = re.compile(r"\bactiv|aktiv|激活", re.IGNORECASE)
_TOTAL: Final = re.compile(
    r"\btotal|\bsum\b|Summe|\ball\b|in all|complete|whole model|model|gesamt|insgesamt|总", re.IGNORECASE
)
_DENSE: Final = re.compile(r"dense|if every|all experts|without routing|dicht|稠密", re.IGNORECASE)


def judge_element_sizes(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on bytes that stand beside a number of parameters and the bytes of each: their product, or by a factor
    of 2 or 4 not."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        for e in entries:
            if e.number.dim != BYTES or e.figure.role == "operand" or e.number.factor < 1e6:
                continue
            if s.kind == "cell":
                row = ledger.row(e)
                counts = [x for x in row if x.number.dim == COUNT and x.number.value >= LARGE and not x.number.percent]
                sizes = [
                    x
                    for x in row
                    if x.number.value in _SIZES and x not in counts and _BYTES_TITLE.search(x.statement.column)
                ]
                if len(counts) != 1 or len(sizes) != 1 or len(row) != 2:
                    continue
                found, size, many = counts[:1], sizes[0].number.value, True
            else:
                m = _EACH.search(s.text)
                if m is None or not int(m["size"]) or re.search(r"[/÷×]", s.text[m.end() :]):
                    continue
                size, many = float(m["size"]), False
                found = [x for x in ledger.before(index, 4) if x.number.dim == COUNT and x.number.value >= LARGE]
                if not found:
                    found = [x for x in _totals(ledger) if x.number.value >= 1e9][:3]
            claim = _judged(e, found, size, many)
            if claim is not None:
                yield e, claim


def _judged(e: Entry, counts: list[Entry], size: float, beside: bool) -> Claim | None:
    said, one = ranges(e.number), exactly(size)
    if not counts or any(meet(said, times(ranges(x.number), one), 5e-3) for x in counts):
        return None
    right = counts[0].number.value * size
    ratio = e.number.value / right
    room = e.number.slack + counts[0].number.slack + 5e-3
    usual = any(abs(ratio / x - 1) <= room for x in (2.0, 0.5, 4.0, 0.25, 1000.0, 1e-3, 10.0, 0.1))
    if not usual and not (beside and 0.2 < ratio < 5):
        return None
    why = f"{counts[0].number.text} at {of_bytes(size)} each take {format_quantity(right, 'bytes')}"
    return e.claim("memory", Verdict.WRONG, why, right)


_WHOLE: Final = re.compile(
    r"\bmodel\b|checkpoint|(?:one|a|single|complete|whole|full) copy|all (?:the )?weights|"
    r"Gesamtmodell|Modell\b|整个模型|模型权重|全部权重",
    re.IGNORECASE,
)
_PART: Final = re.compile(
    r"\b(?:per|each|every|on)\b (?:\w+ )?(?:GPU|chip|accelerator|card|device|rank|node|box)|/\s?GPU|"
    r"expert|attention|embed|active|cache|\bKV\b|optimi|gradient|activation|"
    r"每卡|单卡|je (?:GPU|Karte)|shard|quantiz|expert|专家|注意力|激活|缓存|优化",
    re.IGNORECASE,
)
#: formats, and bytes of an element of each
ELEMENT_BYTES: Final = {"fp32": 4.0, "bf16": 2.0, "bfloat16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5}


def _totals(ledger: Ledger) -> list[Entry]:
    """Numbers of parameters that are said to be those of the whole model."""
    said = [(x, f"{x.figure.words} {x.statement.key}") for x in ledger.alike(COUNT)]
    return [x for x, words in said if _TOTAL.search(words) and not _PARTIAL.search(words)]


def judge_model_bytes(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the bytes that a whole model is said to take in one format, by the total of its parameters."""
    totals = [x for x in _totals(ledger) if x.number.value >= 1e9]
    if not totals:
        return
    for entries in ledger.entries:
        for e in entries:
            s, n = e.statement, e.number
            named = {m.lower() for m in FORMAT.findall(s.text)}
            if n.dim != BYTES or n.value < 1e9 or e.figure.role != "lone" or len(named) != 1 or n.slack > 0.03:
                continue
            amounts = [x for x in entries if x.number.dim == BYTES and x.number.value >= 1e9]
            size = ELEMENT_BYTES.get(named.pop())
            if size is None or len(amounts) > 1 or not _WHOLE.search(s.text) or _PART.search(s.text):
                continue
            if any(abs(n.value / (x.number.value * size) - 1) < 0.1 for x in totals):
                continue
            for x in totals:
                ratio = n.value / (x.number.value * size)
                if any(abs(ratio / y - 1) < n.slack + x.number.slack + 5e-3 for y in (0.5, 2.0, 0.25, 4.0, 1e-3, 1e3)):
                    right = x.number.value * size
                    why = f"{x.number.text} parameters at {of_bytes(size)} each take {format_quantity(right, 'bytes')}"
                    yield e, e.claim("memory", Verdict.WRONG, why, right)
                    break


_PARTIAL: Final = re.compile(r"activ|aktiv|激活|expert|attention|embed|专家|注意力|layer|Schicht|层", re.IGNORECASE)


def _said_of(e: Entry) -> str:
    """The words that a number of parameters is told with; of a result, the whole sentence."""
    return f"{e.figure.words} {e.statement.key} {e.statement.text if e.figure.role == 'result' else ''}"


def judge_token_work(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on FLOPs that are 2 or 6 times all parameters of a model, of which a token passes fewer: as the
    document says, or as the model is known to."""
    counts = [x for x in ledger.alike(COUNT) if x.figure.role != "operand"]
    active = [x for x in counts if _ACTIVE.search(_said_of(x)) and not x.figure.remark]
    totals = [x for x in counts if x not in active and _TOTAL.search(f"{x.figure.words} {x.statement.key}")]
    for index, entries in enumerate(ledger.entries):
        for e in entries:
            factors = [n for n in e.figure.formula if n.dim == COUNT]
            if e.number.dim == FLOP and not factors and (lone := _lone_work(e, facts_at)) is not None:
                yield e, lone
                continue
            if e.number.dim != FLOP or not {n.value for n in factors} & {2.0, 6.0} or _DENSE.search(e.statement.text):
                continue
            for n in _parameters(factors, e.number):
                if any(meet(ranges(n), ranges(x.number)) for x in active):
                    continue
                fewer, told = _fewer(n, index, totals, active, facts_at)
                if fewer:
                    right = e.number.value * fewer / n.value
                    why = f"{n.text} are all parameters; a token passes {told}"
                    yield e, e.claim("compute", Verdict.WRONG, why, right)
                    break


def _parameters(factors: list[Number], work: Number) -> Iterator[Number]:
    """Numbers of parameters among the factors of ``work``; bare ones in billions: 2 × 444.12 = 888.2 GFLOP."""
    for n in factors:
        if n.value >= 1e9:
            yield n
        elif n.factor == 1 and not n.whole and work.factor == 1e9 and n.value < MOST_BILLIONS:
            yield in_billions(n)


_OF_TOKEN: Final = re.compile(
    r"^\s*(?:for |of )?(?:per|a|each|every|/|je|pro|and|one) ?(?:output |prompt |input |generated )?tok", re.IGNORECASE
)
_TOKEN_BEFORE: Final = re.compile(r"(?:per|each|every|a|je|pro|一个|每个?) ?token[^.;]{0,40}$", re.IGNORECASE)
#: how much the scores, the vocabulary and the router may make of a token's work
AROUND: Final = 0.15


def _lone_work(e: Entry, facts_at: FactsAt) -> Claim | None:
    """The verdict on FLOPs of a token that are 2 or 6 for each of all parameters, where those of a token are fewer."""
    n, s = e.number, e.statement
    if n.slack > 0.01 or not (_OF_TOKEN.search(e.behind) or _TOKEN_BEFORE.search(f"{s.key}: {s.value[: n.at]}")):
        return None
    if _DENSE.search(s.text) or e.figure.role == "operand":
        return None
    facts = facts_at(e.index, ("model.layers", "model.hidden_size", "model.experts.count", "model.experts.top_k"))
    if facts is None:
        return None
    every, passes = float(total_parameters(facts.case.model)), float(active_parameters(facts.case.model))
    if passes > 0.6 * every or any(abs(n.value / (k * passes) - 1) < AROUND for k in (1.0, 2.0, 3.0, 4.0, 6.0)):
        return None
    for k in (2.0, 6.0):
        if abs(n.value / (k * every) - 1) < 0.015:
            right = k * passes
            why = f"that is {k:g} for each of all {format_count(every)} parameters"
            why += f"; a token passes {format_count(passes)}"
            return e.claim("compute", Verdict.WRONG, why, right)
    return None


#: what the parameters of a model follow from
_SIZES_NEEDED: Final = (
    "model.layers",
    "model.hidden_size",
    "model.experts.count",
    "model.experts.top_k",
    "model.experts.intermediate_size",
    "model.attention.heads",
    "model.attention.kv_heads",
    "model.vocab_size",
)


def _fewer(n: Number, index: int, totals: list[Entry], active: list[Entry], facts_at: FactsAt) -> tuple[float, str]:
    """The parameters that a token passes, where ``n`` are all of a model, and in words; (0, "") where that is not
    known."""
    if any(meet(ranges(n), ranges(x.number)) for x in totals):
        for x in active:
            if x.number.value < 0.8 * n.value:
                return x.number.value, x.number.text
    facts = facts_at(index, _SIZES_NEEDED)
    given = facts.setting.given if facts is not None else {}
    if facts is None or not ("model.name" in given or all(x in given for x in _SIZES_NEEDED)):
        return 0.0, ""
    model = facts.case.model
    passes = float(active_parameters(model))
    if abs(n.value / total_parameters(model) - 1) < 0.01 and passes < 0.8 * n.value:
        return passes, format_count(passes)
    return 0.0, ""


_MIXED: Final = re.compile(
    r"master|moment|scale|Adam|optimi|accumul|mixed|statt|instead|vs\b|would|->|→|from|block", re.IGNORECASE
)


_TIMES_BYTES: Final = re.compile(r"[×x*·]\s*([124])\s*(?:bytes?\b|B\b|Byte\b|字节)", re.IGNORECASE)


def judge_formats_of_elements(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on bytes that are worked out with elements of another size than the one format that is named has."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        for e in entries:
            if e.number.dim != BYTES or e.figure.role == "operand":
                continue
            beside = [x for x in ledger.row(e) if x.number.value in _SIZES and _BYTES_TITLE.search(x.statement.column)]
            text = f"{s.row} {s.value}" if s.kind == "cell" else s.text
            named = {m.lower() for m in FORMAT.findall(text)}
            size = ELEMENT_BYTES.get(next(iter(named))) if len(named) == 1 else None
            apart = s.kind != "cell" and ";" in e.behind and not FORMAT.search(s.text.removesuffix(e.behind))
            if size is None or _MIXED.search(text) or len(entries) > 8 or apart:  # another clause names it
                continue
            told = [n.value for n in e.figure.formula if n.dim == BYTES and n.value in (1.0, 2.0, 4.0)]
            told += [x.number.value for x in beside] if s.kind == "cell" and not e.figure.formula else []
            formulas = {x.statement.value for x in ledger.row(e)} if s.kind == "cell" and not told else set()
            told += [float(m[1]) for text_ in formulas for m in _TIMES_BYTES.finditer(text_)]
            formula = bool(e.figure.formula)
            if len(told) == 1 and told[0] in (1.0, 2.0, 4.0) and told[0] != size and (formula or e is entries[0]):
                why = f"an element of {named.pop()} has {of_bytes(size)}, not {told[0]:g}"
                right = e.number.value * size / told[0] if formula else None
                yield e, e.claim("memory", Verdict.WRONG, why, right)


_NAMED_SIZE: Final = re.compile(
    r"\b(?P<format>FP32|BF16|FP16|FP8|INT8)\b\s?[,(:]\s?(?P<size>[124])\s?(?:B|bytes?|Byte|字节)\b(?![/\w])",
    re.IGNORECASE,
)


def judge_named_sizes(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the bytes of an element that stand right behind the name of its format: FP32, 2 B."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        for m in _NAMED_SIZE.finditer(s.value):
            size, told = ELEMENT_BYTES[m["format"].lower()], float(m["size"])
            e = next((x for x in entries if x.number.at == m.start("size")), None)
            if e is not None and size != told and not _MIXED.search(s.value):
                why = f"an element of {m['format']} has {of_bytes(size)}, not {told:g}"
                yield e, e.claim("memory", Verdict.WRONG, why, size)


_OUTSIDE: Final = re.compile(
    r"\((\s*\d[\d,.]*(?:\s*[+−-]\s*\d[\d,.]*)+\s*)\)\s*([KMGT]i?B(?:/s)?|[mµμn]?s|[KMGTP]?FLOPS?)\b"
)


def _unit_inside(text: str) -> str:
    """``text`` with the unit of a bracket at each of its terms: (17.1 + 61.3) GB."""
    return _OUTSIDE.sub(lambda m: "(" + _TERM.sub(f" {m[2]}", m[1]) + ")", text)


#: the end of a term of a sum
_TERM: Final = re.compile(r"(?<=[0-9])(?=\s*(?:[+−-]|$))")


def judge_cell_products(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the one amount of a table's row, beside a cell that is the product it is worked out by."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind != "cell" or len(entries) < 2 or any(e.figure.role != "operand" for e in entries):
            continue
        if " / " in s.value and any(" / " in x for x in (s.row, s.column, s.key)):
            continue  # experts / top-k: 64 / 4
        node = whole(fold(tokens_of(_unit_inside(s.value))))
        if node is None:
            continue
        product = evaluate(node)
        amounts = [
            x
            for x in ledger.row(entries[0])
            if is_amount(x.number) and x.number.dim in product.dims and x.figure.role == "lone"
        ]
        if not amounts:
            amounts = [x for x in ledger.row(entries[0]) if x.number.dim == COUNT and x.figure.role == "lone"]
            plain = (
                COUNT in product.dims and product.low >= 2 and not re.search(r"[^\W\d]|\+", s.value.replace("x", ""))
            )
            amounts = amounts if plain else []
        if len(amounts) != 1 or not 0 < product.low < float("inf"):
            continue
        e = amounts[0]
        loose = sum(n.slack for n in numbers_in(node) if not n.whole)
        ratio = e.number.value / product.low
        ranged = ((product.low * (1 - loose), product.high * (1 + loose)),)
        verdict = Verdict.HOLDS if meet(ranges(e.number), ranged) else Verdict.WRONG
        if verdict is Verdict.WRONG and not 0.1 < ratio < 10:
            continue
        why = f"{s.value[:80]} is {format_quantity(product.low, NAMES[e.number.dim])}"
        yield e, e.claim("arithmetic", verdict, why, product.low)
