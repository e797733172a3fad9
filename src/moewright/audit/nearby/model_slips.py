"""Figures of a token that a usual slip makes wrong: a cache counted with the query heads, a dispatch without top-k."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, is_amount, meet, ranges
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.wordings import DENSE_FORMATS, FORMAT, formats_in
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import BYTES, COUNT
from moewright.case.attention_kinds import LatentAttention, SoftmaxAttention
from moewright.case.precision import element_bytes
from moewright.units import format_quantity

_CACHE: Final = re.compile(r"\bkv\b|\bcache|key[/ -]value|keys and values|\bK and V\b|缓存", re.IGNORECASE)
_SENT: Final = re.compile(r"dispatch|combin|all-?to-?all|a2a\b|分发|派发|合并|verschickt|verteilt", re.IGNORECASE)
#: another cache, or another way to send, than the plan's
_OTHER: Final = re.compile(
    r"\bMHA\b|multi-head attention|uncompress|without|\bnaive|\binstead|\bvs\b|versus|compar|"
    r"would|if every|ordinary|plain|conventional|classic|standard attention|unkomprimiert|ohne|statt|gew(?:ö|oe)hnlich|"
    r"herk(?:ö|oe)mmlich|klassisch|未压缩|对比|相比|朴素|普通|多头注意力|"
    r"若按|若不|不用 ?GQA|假如|如果|标准注意力|ordinaire|classique",
    re.IGNORECASE,
)
#: what is sent once, or is one copy of it
_ONCE: Final = re.compile(
    r"\bcop(?:y|ies)|unique|dedup|per (?:destination|expert|node|rank|copy|peer)|each (?:copy|expert|destination|way)|"
    r"receiv|empf[aä]ng|收到|接收|"
    r"vector|hidden state|activation|payload|one expert|broadcast|all-?gather|at least|dense|一份|每份|副本|向量|Kopie",
    re.IGNORECASE,
)
#: items of a list above one of them, at most
LEAD: Final = 8
#: bytes of an element
_ELEMENTS: Final = (2.0, 1.0)
_USUAL: Final = ("bf16", "fp16", "fp8", "int8", "nvfp4", "mxfp4")
#: parts that a token's cache may be divided into
_PARTS: Final = tuple(range(1, 17))


FactsAt = Callable[[int, tuple[str, ...]], Facts | None]
#: fields that the verdicts stand on
_OF_CACHE: Final = ("model.layers", "model.attention.heads", "model.attention.kv_heads", "model.attention.head_dim")
_OF_SENT: Final = ("model.hidden_size", "model.experts.count", "model.experts.top_k")


@dataclass(frozen=True, slots=True)
class Slips:
    """Bytes of a layer by element: ``right``, and what is ``wrong`` with what is right for it; ``told``: the name of
    the slip; ``layers``: how many there are."""

    right: tuple[float, ...]
    wrong: tuple[tuple[float, float], ...]
    told: str
    layers: int


def judge_model_slips(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on every figure of a token's cache, and of what is dispatched, that is what a usual slip makes of it
    and nothing that it may rightly be; ``facts_at``: the facts of a statement by its number, None where they do not
    tell."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        amounts = [e for e in entries if e.number.dim == BYTES and e.figure.role != "operand" and is_amount(e.number)]
        if not amounts or s.kind == "heading":
            continue
        before = ledger.statements[index - 1] if index and s.kind in ("prose", "code") else _lead(ledger, index)
        above = " | ".join(
            (s.text, s.corner, *s.path[-1:], before.text if before is not None and before.path == s.path else "")
        )
        for judge, topic, needs in ((_cache, _CACHE, _OF_CACHE), (_sent, _SENT, _OF_SENT)):
            facts = facts_at(index, needs) if topic.search(above) and not _OTHER.search(s.text) else None
            if facts is not None:
                whole = facts_at(index, ("strategy.tp", "cluster.gpus")) if topic is _CACHE else None
                for e in amounts:
                    alone = whole is not None and all(meet(ranges(x.number), ranges(e.number), 0.03) for x in amounts)
                    claim = judge(e, facts, ledger) or (_undivided(e, whole) if whole is not None and alone else None)
                    if claim is not None:
                        yield e, claim


def _lead(ledger: Ledger, index: int) -> Statement | None:
    """The line that an item's list stands under, where it is no heading."""
    for i in range(index - 1, max(-1, index - LEAD), -1):
        if ledger.statements[i].kind != "item":
            return ledger.statements[i] if ledger.statements[i].kind == "prose" else None
    return None


def cache_slips(facts: Facts) -> Slips | None:
    """The bytes of a layer's cache of a token, and those with the query heads, or with the heads of an attention that
    is compressed; None for what has neither, or for a model whose layers differ."""
    kinds = {(type(layer.attention), layer.attention.token_bytes(1.0)) for layer in facts.case.model.layers}
    attention = facts.case.model.attention
    if len(kinds) != 1:
        return None
    right = tuple(attention.token_bytes(x) for x in _ELEMENTS)
    layers = len(facts.case.model.layers)
    if isinstance(attention, LatentAttention):
        widths = (attention.nope_dim + attention.rope_dim + attention.value_dim, 2 * attention.value_dim)
        kept = f"{attention.kv_rank} + {attention.rope_dim} values"
        told = f"keys and values of all {attention.heads} heads; MLA keeps {kept}"
        every = tuple((attention.heads * w * x, r) for w in widths for x, r in zip(_ELEMENTS, right, strict=True))
        return Slips(right, every, told, layers)
    if isinstance(attention, SoftmaxAttention) and attention.kv_heads < attention.heads:
        width = attention.head_dim + attention.v_dim
        told = f"keys and values of {attention.heads} query heads; there are {attention.kv_heads} KV heads"
        every = tuple((attention.heads * width * x, r) for x, r in zip(_ELEMENTS, right, strict=True))
        return Slips(right, every, told, layers)
    return None


#: before the tokens of each of several sequences
_TIMES: Final = re.compile(r"\d\s*[^\W\d]*\s*(?:[×x*·]|\b(?:at|of|with|bei|mit|à|zu))\s*$")
_BLOCK: Final = re.compile(r"\bblocks?\b|\bpages?\b|\bchunks?\b|分块|块大小", re.IGNORECASE)


def _cache(e: Entry, facts: Facts, ledger: Ledger) -> Claim | None:
    slips = cache_slips(facts)
    if slips is None or e.number.slack > 0.03:
        return None
    if _BLOCK.search(f"{e.statement.text} {e.statement.column}"):
        return _query_heads(e, facts)
    said = ranges(e.number)
    if (one := _of_one_layer(e, slips, ledger)) is not None:
        return one
    if (wide := _of_format(e, slips)) is not None:
        return wide
    if (half := _keys_alone(e, facts, slips)) is not None:
        return half
    parts = [x * n / p for x in slips.right for n in (1, slips.layers) for p in _PARTS]
    if any(meet(said, exactly(x)) for x in parts):
        return None
    beside = [*ledger.entries[e.index], *ledger.titles(e)]
    named = [x for x in beside if x.number.noun.lower().startswith("token") or "token" in x.figure.words.lower()]
    named = [x for x in named if not _TIMES.search(x.statement.value[: max(0, x.number.at)])]
    many = [x.number.value for x in named if x.number.dim == COUNT and x.number.whole and 128 <= x.number.value < 1e6]
    shared = [x * slips.layers * tokens / p for tokens in many for x in slips.right for p in (1, 2, 4, 8)]
    if any(meet(said, exactly(x)) for x in shared):
        return None
    for tokens in many if not _LAYER.search(e.statement.text) and e.number.slack < CLOSE else ():
        for x in slips.right:
            if meet(said, exactly(x * tokens)):
                whole = x * tokens * slips.layers
                of = f"{ONE_LAYER} of {tokens:,.0f} tokens; all {slips.layers} keep {format_quantity(whole, 'bytes')}"
                return _wrong(e, of, whole)
    for wrong, right in slips.wrong:
        for tokens in many if e.number.slack < 3e-3 else ():
            size = slips.layers * tokens
            if meet(said, exactly(wrong * size), 5e-4):
                of = f"of {tokens:,.0f} tokens, {slips.told}"
                return _wrong(e, f"{of}, which is {format_quantity(right * size, 'bytes')}", right * size)
        for n in (1, slips.layers):
            if meet(said, exactly(wrong * n), 1e-3):
                return _wrong(e, f"{slips.told}, which is {format_quantity(right * n, 'bytes')}", right * n)
    return _query_heads(e, facts)


#: how finely a figure must be told to be that of one layer, and of nothing else
CLOSE: Final = 0.012


def _keys_alone(e: Entry, facts: Facts, slips: Slips) -> Claim | None:
    """A verdict on a token's cache that is worked out with KV heads, their width and two bytes an element, but not the
    two of keys and values."""
    attention = facts.case.model.attention
    numbers = e.figure.formula
    if not isinstance(attention, SoftmaxAttention) or not {2.0} & {n.value for n in numbers if n.dim == BYTES}:
        return None
    counts = [n.value for n in numbers if n.dim == COUNT]
    if 2.0 in counts or attention.kv_heads not in counts or attention.head_dim not in counts:
        return None
    for n in (1, slips.layers):
        right = slips.right[0] * n
        if meet(ranges(e.number), exactly(right / 2), 1e-3):
            return _wrong(e, f"that is of keys alone; with values {format_quantity(right, 'bytes')}", right)
    return None


def _query_heads(e: Entry, facts: Facts) -> Claim | None:
    """A verdict on keys and values, of however many tokens, that are worked out with the heads of queries and their
    width."""
    attention = facts.case.model.attention
    counts = [n.value for n in e.figure.formula if n.dim == COUNT]
    if not isinstance(attention, SoftmaxAttention) or attention.kv_heads == attention.heads or len(counts) < 3:
        return None
    heads, kv = float(attention.heads), float(attention.kv_heads)
    width = float(attention.head_dim)
    rest = list(counts)
    for x in (heads, width, 2.0):
        if x not in rest:
            return None
        rest.remove(x)
    if kv in rest:
        return None
    right = e.number.value * kv / heads
    told = f"it has {heads:g} query heads; keys and values have {kv:g}: {format_quantity(right, 'bytes')}"
    return _wrong(e, told, right)


#: what the verdict on a cache in a format of one byte that is reckoned with two begins with
WIDE: Final = "that is at 2 bytes"


def _of_format(e: Entry, slips: Slips) -> Claim | None:
    """A verdict on a token's cache that is worked out with two bytes an element, where its own words name a format of
    one."""
    sizes = {n.value for n in e.figure.formula if n.dim == BYTES and n.factor == 1}
    named = formats_in(e.statement.text)
    if len(sizes) != 1 or not named or {element_bytes(x) for x in named if x in _USUAL} != {1.0}:
        return None
    for n in (1, slips.layers):
        wide, right = slips.right[0] * n, slips.right[1] * n
        if sizes == {2.0} and meet(ranges(e.number), exactly(wide), 1e-3):
            return _wrong(e, f"{WIDE}; in {min(named)} {format_quantity(right, 'bytes')}", right)
    return None


_OF_GPU: Final = re.compile(
    r"(?:per|each|every|on an?|one|pro|je|auf jeder) (?:GPU|card|device|rank|chip|Karte)\b|每(?:张)?卡|单卡",
    re.IGNORECASE,
)
_UNDIVIDED: Final = re.compile(r"replicat|dupli|\bDP\b|data.parallel|whole|node|复制|数据并行", re.IGNORECASE)


def _undivided(e: Entry, facts: Facts) -> Claim | None:
    """A verdict on what a GPU is said to keep of a token, which is what all of its tensor-parallel group keep."""
    attention = facts.case.model.attention
    given = facts.setting.given.get("strategy.tp")
    s = e.statement
    if given is None or not isinstance(attention, SoftmaxAttention) or _UNDIVIDED.search(s.text):
        return None
    own = f"{s.key} | {s.value[: e.number.at]} {re.split(r'[0-9]', e.behind)[0]}"
    if not _OF_GPU.search(own) or not _TOKEN.search(s.text) or e.number.slack > 1e-3:
        return None
    parts, layers = min(given.value, attention.kv_heads), len(facts.case.model.layers)
    for x in _ELEMENTS if parts > 1 else ():
        whole = attention.token_bytes(x) * layers
        if meet(ranges(e.number), exactly(whole), 1e-3):
            right = whole / parts
            return _wrong(
                e, f"that is of all of the tp {given.value}; a GPU keeps {format_quantity(right, 'bytes')}", right
            )
    return None


_LAYER: Final = re.compile(r"layer|层|Schicht|stage|Stufe|\bL\b", re.IGNORECASE)
_TOKEN: Final = re.compile(r"token|Token", re.IGNORECASE)
#: what says of a figure that it is of all layers
_EVERY_LAYER: Final = re.compile(
    r"\b(?:all|over) (?:all |the )*(?:\d+ )?(?:MoE |attention )?layers|toutes les (?:\d+ )?couches|"
    r"whole (?:model|network|stack)|for the model|in all\b|"
    r"全部层|所有层|整个模型|\d+ ?层(?:合计|共)|alle[nr]? (?:\d+ )?Schichten|ganze[sn]? Modell",
    re.IGNORECASE,
)


#: what the verdict on a layer's cache that is told as a token's begins with
ONE_LAYER: Final = "that is what one layer keeps"


def _of_one_layer(e: Entry, slips: Slips, ledger: Ledger) -> Claim | None:
    """A verdict on a figure that is said to be a token's, is what one layer keeps of it, and of which the document
    tells nowhere what all layers keep."""
    s = e.statement
    near = [s, *ledger.statements[max(0, e.index - 2) : e.index], *ledger.statements[e.index + 1 : e.index + 3]]
    layered = any(_LAYER.search(x.text) for x in near if x.path == s.path) or _LAYER.search(" ".join(s.path[-1:]))
    of_all = bool(_EVERY_LAYER.search(s.text)) and len([x for x in ledger.entries[e.index] if is_amount(x.number)]) == 1
    if not _TOKEN.search(f"{s.key} | {s.value}") or slips.layers < 2:
        return None
    plain = bool(e.figure.formula) or bool(_CACHE.search(s.text))
    if not of_all and (layered or not plain):
        return None
    said = ranges(e.number)
    for x in slips.right:
        if meet(said, exactly(x), 1e-3):
            whole = x * slips.layers
            stated = [ranges(y.number) for y in ledger.alike(BYTES)]
            if not of_all and any(meet(y, exactly(whole / p), 2e-3) for y in stated for p in _PARTS):
                return None
            every = f"all {slips.layers} keep {format_quantity(whole, 'bytes')}"
            why = f"{ONE_LAYER} of a token; {every}"
            return _wrong(e, why, whole)
    return None


def _sent(e: Entry, facts: Facts, ledger: Ledger) -> Claim | None:
    model, moe = facts.case.model, facts.case.model.moe
    s = e.statement
    if moe is None or moe.top_k < 2 or e.number.slack > 0.03 or _ONCE.search(s.text):
        return None
    said, hidden = ranges(e.number), model.hidden_size
    factors = [n.value for n in e.figure.formula if n.dim == COUNT]
    if e.figure.formula and (hidden not in factors or moe.top_k in factors):
        return None
    if any(x in factors for x in _copies(ledger, moe.top_k, e.index)):
        return None  # 65,536 × 2048 × 2 B, which are 8,192 × 8 copies
    beside = [*ledger.entries[e.index], *ledger.titles(e)]
    here = [x.number.value for x in beside if x.number.whole and x.number.value > 1]
    tokens = [1.0, *(t for t in here if t not in (hidden, moe.top_k))]
    layers = (1.0, float(len(model.moe_layers())))
    elements = _elements(e)
    tp = facts.setting.given.get("strategy.tp")
    parts = (1,) if e.figure.formula or tp is None else (1, tp.value)
    others = [float(t) for t in ledger.counts if t * moe.top_k not in tokens]
    for t in tokens if e.figure.formula else (*tokens, *others):
        for x in elements if len(elements) == 1 else (*elements, 3.0):
            right = t * hidden * moe.top_k * x
            if any(meet(said, exactly(right * n / p), 1e-3) for p in parts for n in layers):
                return None
    named = re.search(r"token", f"{s.text} {' '.join(s.path[-1:])}", re.IGNORECASE)
    for t in tokens if e.figure.formula or named else ():
        for x in elements:
            once = t * hidden * x
            if not meet(said, exactly(once), 1e-3):
                continue
            right = once * moe.top_k
            told_too = [y for y in ledger.alike(BYTES) if y.figure.role != "operand" or not e.figure.formula]
            if any(meet(ranges(y.number), exactly(right), 2e-3) for y in told_too):
                return None  # it is one copy, and what all have is told too
            told = f"one copy of {'a token' if t == 1 else f'{t:,.0f} tokens'}; top {moe.top_k} makes"
            return _wrong(e, f"{told} {format_quantity(right, 'bytes')}", right)
    return None


_COPIES: Final = re.compile(r"^[ -]?(?:\w+[ -])?(?:copies|assignments|slots|rows)\b|^\s?(?:份|个)?副本", re.IGNORECASE)


def _copies(ledger: Ledger, top_k: int, index: int) -> set[float]:
    """Numbers of tokens of the document that count one for each of their experts already, near statement ``index``."""
    near = ledger.around(index, 6)
    counts = [x for x in near if x.number.dim == COUNT]
    made = {x.number.value for x in counts if any(n.value == top_k for n in x.figure.formula)}
    return made | {x.number.value for x in counts if _COPIES.match(x.behind)}


def _elements(e: Entry) -> tuple[float, ...]:
    """Bytes of an element, as the formula or the text of ``e`` tells them, else the usual ones."""
    told = [n.value for n in e.figure.formula if n.dim == BYTES and n.value in (0.5, 1.0, 2.0, 4.0)]
    bare = [n.value for n in e.figure.formula if n.dim == COUNT and n.value in (1.0, 2.0)]
    named = [x for x in FORMAT.findall(e.statement.text) if DENSE_FORMATS.get(x.lower(), x.lower()) in _USUAL]
    if told or len(bare) == 1:
        return ((told or bare)[0],)
    if len(set(named)) == 1:
        return (element_bytes(DENSE_FORMATS.get(named[0].lower(), named[0].lower())),)
    return _ELEMENTS


def _wrong(e: Entry, why: str, right: float) -> Claim:
    return e.claim("slip", Verdict.WRONG, why, right)
