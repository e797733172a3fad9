"""Bytes of the states of training — weights, gradients, optimizer — of parameters that stand beside them, by the bytes
that each parameter is said to have and the ranks that they are shared out over."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, Range, exactly, meet, over, ranges, sum_of, times, words
from moewright.audit.nearby.sizes.element_sizes import ELEMENT_BYTES
from moewright.audit.reading.standing import standing_of
from moewright.audit.reading.wordings import formats_in
from moewright.audit.text.numbers import BYTES, COUNT
from moewright.units import format_bytes

_EACH: Final = re.compile(
    r"(?<![\w.,])(?P<size>\d{1,2})(?:\s?(?:B|bytes?|Byte|octets|字节)(?!\w|/[^\W\d]*s\b)| optimi[sz]er bytes)",
    re.IGNORECASE,
)
_RANKS: Final = re.compile(
    r"(?:shard\w*|partition\w*|split|cut|spread|distributed|divided|verteilt|geteilt|réparti\w*|切分|分片|分摊|分到|在)"
    r"[^|\d]{0,24}?(?P<ranks>\d{1,4})(?![\d.,]\d|\s?B\b|\w)|"
    r"\b(?:over|across) (?:(?:E?DP|[TCPE]P)(?:\s?[×x*·]\s?(?:E?DP|"
    r"[TCPE]P))*\s?=?)?\s?(?P<over>\d{1,4})(?![\d.,]\d|\w)(?!\s?(?:nodes|boxes|servers|racks|stages|layers))|"
    r"(?:B|bytes|octets|Byte)\s?/\s?(?P<by>\d{1,4})(?![\d.,]\d|\w)|\(?(?P<ways>\d{1,4})[ -]ways?\b|"
    r"切\s?(?P<pieces>\d{1,4})\s?份|(?P<cards>\d{1,4}) ?(?:卡|路|个)[^|\d]{0,8}?(?:切分|分片|分摊)",
    re.IGNORECASE,
)
_SHARED: Final = re.compile(
    r"shard|ZeRO|\b(?:over|across)\b|divided|split|geteilt|verteilt|réparti|切|分片|分摊|分到|[/÷]", re.IGNORECASE
)
_GRADIENTS: Final = re.compile(r"\bgrad(?:ient)?s?\b|Gradienten|gradientes|梯度", re.IGNORECASE)
_OPTIMIZER: Final = re.compile(r"\badam|optim|moments?\b|moment(?:um|a)\b|优化器|动量", re.IGNORECASE)
_WEIGHTS: Final = re.compile(
    r"\b(?:weights|parameters|params|Gewichte|Parameter|poids)\b|\b(?:working|BF16|FP16) copy\b|权重|参数",
    re.IGNORECASE,
)
_MASTER: Final = re.compile(r"\bmaster (?:weights|copy|parameters)|\bmasters?\b|主权重|Master", re.IGNORECASE)
#: parts of a model by which a number of parameters and its bytes are of the same ones
_EXPERTS: Final = re.compile(r"expert|routed|专家", re.IGNORECASE)
_OTHERS: Final = re.compile(
    r"dense|\brest\b|remainder|others?\b|non-expert|attention|shared|稠密|其余|注意力|übrig", re.IGNORECASE
)
#: names of the ranks that share a part's states, and the sizes that a document gives them
_NAMES: Final = (
    re.compile(r"\b(?:EDP|expert[- ](?:DP|data)|专家 ?DP)", re.IGNORECASE),
    re.compile(r"(?<![\w-])(?<!expert )(?<!专家 )DP\b"),
)
#: the title of a column of the bytes of a parameter
_PER: Final = re.compile(r"(?:\bB|bytes?|Byte|octets|字节)\b.{0,6}param|参数.{0,3}字节|字节.{0,3}参数", re.IGNORECASE)
#: what an amount is said to be of behind it: 0.85 GB for the experts (6 ways)
_BEHIND: Final = re.compile(
    r"\s*(?:for|of|für) (?:the |die |den )?[^,;.()\d]{2,24}(?:\(\d{1,4}[ -]ways?\))?", re.IGNORECASE
)
#: bytes that a parameter's states may have
_SIZES: Final = (1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
#: bytes of a parameter that an optimizer alone may have
_OF_OPTIMIZER: Final = range(6, 17)
#: parameters of a GPU, at least
LEAST: Final = 1e6
#: what figures of so few digits are told within
CLOSE: Final = 4e-3
ROOM: Final = 8e-3
#: statements before one that tell the parameters it is of
NEAR: Final = 14


@dataclass(frozen=True, slots=True)
class _State:
    """``size`` bytes for each parameter of ``part`` over ``ranks``."""

    entry: Entry
    size: float
    ranks: int
    part: re.Pattern[str] | None

    @property
    def parameters(self) -> tuple[Range, ...]:
        """How many parameters the bytes are of."""
        return times(over(ranges(self.entry.number), exactly(self.size)), exactly(float(self.ranks)))


@dataclass
class _Sizes:
    """What the whole document tells of states: looked up once, and only where a state needs it."""

    ledger: Ledger

    @cached_property
    def of_optimizer(self) -> set[int]:
        """The bytes of a parameter that the document says its optimizer keeps."""
        told = (s.text for s in self.ledger.statements if _OPTIMIZER.search(s.text))
        return {int(m["size"]) for text in told for m in _EACH.finditer(text) if int(m["size"]) in _OF_OPTIMIZER}

    @cached_property
    def of_ranks(self) -> list[tuple[re.Pattern[str], set[int]]]:
        """The numbers of ranks that the document gives the groups which share states."""
        sized = [(name, re.compile(rf"(?:{name.pattern})\s?[=:×]?\s?(\d{{1,4}})\b")) for name in _NAMES]
        texts = [s.text for s in self.ledger.statements]
        return [(name, {int(m[1]) for text in texts for m in size.finditer(text)}) for name, size in sized]


def judge_training_states(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on bytes of a state of training that no parameters told before them have, where parameters of the same
    part do but for a slip in the bytes of each, in the ranks or in the unit."""
    sizes = _Sizes(ledger)
    states = [x for index in range(len(ledger.entries)) for x in _states(index, ledger, sizes)]
    indices = [x.entry.index for x in states]
    for x, index in zip(states, indices, strict=True):
        counts = _counts(index, ledger)
        sums = list(_sums(counts))
        same = any(meet(x.parameters, c, CLOSE) for c in sums)
        verdict = Verdict.HOLDS if same else Verdict.WRONG
        near = states[bisect_left(indices, index - NEAR) : bisect_right(indices, index + NEAR)]
        for told, many in _bases(x, counts, sums, near):
            if meet(x.parameters, many, CLOSE) if same else _slipped(x, many):
                value = (many[0][0] + many[0][1]) / 2 * x.size / x.ranks
                why = f"{told} × {x.size:g} B" + (f" / {x.ranks}" if x.ranks > 1 else "") + f" is {format_bytes(value)}"
                yield x.entry, x.entry.claim("multiple", verdict, why, value)
                break


def _slipped(x: _State, many: tuple[Range, ...]) -> bool:
    """Whether the bytes are those of ``many`` parameters but for a slip."""
    said, right = ranges(x.entry.number), times(over(many, exactly(float(x.ranks))), exactly(x.size))
    slips = [1e3, 1e-3, *(k / x.size for k in _SIZES), float(x.ranks), 1.0 / x.ranks, 2.0, 0.5]
    return any(meet(said, times(right, exactly(k)), CLOSE) for k in slips if k != 1.0)


def _counts(index: int, ledger: Ledger) -> list[Entry]:
    """The numbers of parameters that are told not long before statement number ``index``, or in its table."""
    s = ledger.statements[index]
    near = (x for x in ledger.alike(COUNT) if x.number.value >= LEAST and x.number.half <= ROOM * x.number.value)
    group = s.group if s.kind == "cell" else -1
    return [
        x
        for x in near
        if index - NEAR <= x.index <= index or (x.statement.kind == "cell" and x.statement.group == group)
    ]


def _sums(counts: list[Entry]) -> Iterator[tuple[Range, ...]]:
    """The counts, and the sums of two or three that stand together."""
    for k in (1, 2, 3):
        for some in combinations(counts[-10:], k):
            if some[-1].index - some[0].index <= NEAR:
                yield sum_of([x.number for x in some])


def _bases(
    x: _State, counts: list[Entry], sums: list[tuple[Range, ...]], near: list[_State]
) -> Iterator[tuple[str, tuple[Range, ...]]]:
    """Parameters that the state must be of: those of its part just above, or, of all, the sum of those of the parts, or
    those of another state ``near`` it that one of the ``sums`` of ``counts`` confirms."""
    mine = [c for c in reversed(counts) if c.figure.role != "operand" and _is_beside(c, x.entry)]
    if x.part is not None:
        yield from ((c.number.text.strip(), ranges(c.number)) for c in mine if _part_of(_told(c)) is x.part)
        return
    parts = [next((c for c in mine if _part_of(_told(c)) is p), None) for p in (_EXPERTS, _OTHERS)]
    both = [c for c in parts if c is not None]
    if len(both) == 2:
        yield " + ".join(c.number.text.strip() for c in both), sum_of([c.number for c in both])
    for other in near:
        many = other.parameters
        if other.entry is not x.entry and other.part is None and any(meet(many, c, CLOSE) for c in sums):
            yield f"the parameters of {other.entry.number.text.strip()}", many


def _is_beside(c: Entry, e: Entry) -> bool:
    """Whether two figures stand in one table, or under the same heading."""
    return c.statement.path == e.statement.path or (c.statement.group == e.statement.group and c.statement.group > 0)


def _part_of(text: str) -> re.Pattern[str] | None:
    """The part that ``text`` names, where it names one."""
    found = [p for p in (_EXPERTS, _OTHERS) if p.search(text)]
    return found[0] if len(found) == 1 else None


def _told(e: Entry) -> str:
    """The words that a number of parameters is told with."""
    s = e.statement
    if s.kind == "cell":
        return f"{s.row} {s.column}"
    front = re.split(r"[,;，；。]", s.value[: e.number.at])[-1] if e.number.at >= 0 else ""
    behind = " ".join(words(re.split(r"[,;.，；。(]", e.behind)[0])[:2])
    return f"{front} {behind} {'' if _part_of(front) else s.key}"


def _states(index: int, ledger: Ledger, sizes: _Sizes) -> Iterator[_State]:
    """The states of training that a statement tells the bytes of."""
    s = ledger.statements[index]
    amounts = [e for e in ledger.entries[index] if _is_amount(e)]
    if s.kind == "heading" or not amounts or standing_of(s):
        return
    for place, e in enumerate(amounts):
        own, scope = _texts(e, amounts[place - 1] if place else None, ledger)
        size, ranks = _size(own, scope, sizes), _ranks(own, scope, sizes)
        if size and ranks and e.number.slack <= ROOM:
            yield _State(e, size, ranks, _part_of(own) or _part_of(scope))


def _is_amount(e: Entry) -> bool:
    n = e.number
    return n.dim == BYTES and n.factor >= 1e6 and e.figure.role != "operand" and not e.figure.formula and n.at >= 0


def _texts(e: Entry, before: Entry | None, ledger: Ledger) -> tuple[str, str]:
    """What is said of one amount of a statement, and what of all of them."""
    s, n = e.statement, e.number
    if s.kind == "cell":
        plain = (
            ledger.statements[i] for i in ledger.beside(e.index, 3, 3) if not any(map(_is_amount, ledger.entries[i]))
        )
        told = (f"{x.value} bytes" if _PER.search(x.column) and x.value.isdigit() else x.value for x in plain)
        return f"{s.column} | {s.value[: n.at]}", " | ".join((s.row, *told))
    head, colon, _ = re.split(r"\d[\d.,]* ?[kMG]i?B\b", s.value, maxsplit=1)[0].rpartition(": ")
    behind = _BEHIND.match(e.behind)
    if behind is not None:
        return behind[0], f"{s.key} {head if colon else s.value[: n.at] if before is None else ''}"
    start = before.number.at + len(before.number.text) if before is not None else len(head)
    return re.split(r"[;；。]", s.value[start : n.at])[-1], f"{s.key} {head}"


#: the states of the optimizer, each by itself
_ONE_OF_ADAM: Final = (
    re.compile(r"\bmaster\b|主权重", re.IGNORECASE),
    re.compile(r"\bm\b|\bfirst moment|\bmomentum\b|一阶", re.IGNORECASE),
    re.compile(r"\bv\b|\bsecond moment|\bvariance\b|二阶", re.IGNORECASE),
)
_SEVERAL_STATES: Final = re.compile(r"\bstates\b|\bmoments\b|optimi[sz]er|优化器", re.IGNORECASE)


def _size(own: str, scope: str, sizes: _Sizes) -> float:
    """The bytes that each parameter of a state has by its words, 0.0 where they are not told."""
    text = own if _kinds(own) else f"{own} {scope}"
    kinds, formats = _kinds(text), formats_in(own) or formats_in(scope)
    if len(kinds) != 1:
        return 0.0
    told = {int(m["size"]) for m in _EACH.finditer(text if _EACH.search(text) else scope)}
    if kinds == {"optimizer"}:
        alone = sum(bool(p.search(text)) for p in _ONE_OF_ADAM) == 1 and not _SEVERAL_STATES.search(text)
        told = told or (set() if alone else sizes.of_optimizer)
    elif not told and len(formats) == 1:
        return ELEMENT_BYTES.get(next(iter(formats)), 0.0)
    return float(next(iter(told))) if len(told) == 1 and told <= set(_SIZES) else 0.0


def _kinds(text: str) -> set[str]:
    """The kinds of states that ``text`` names."""
    kinds = {"optimizer"} if _OPTIMIZER.search(text) or _MASTER.search(text) else set()
    text = _MASTER.sub(" ", text)  # of the optimizer
    text = re.sub(r"(?:per|each|a|je|pro|每个?) ?(?:param\w*|参数)|parameter each", " ", text, flags=re.IGNORECASE)
    kinds |= {"gradients"} if _GRADIENTS.search(text) else set()
    return kinds | ({"weights"} if _WEIGHTS.search(text) else set())


def _ranks(own: str, scope: str, sizes: _Sizes) -> int:
    """The ranks that share a state by its words, 1 where it is not shared, 0 where their number is not told."""
    for text in (own, scope):
        found = {int(next(filter(None, m.groups()))) for m in _RANKS.finditer(text)}
        if found:
            return next(iter(found)) if len(found) == 1 else 0
        if _SHARED.search(text):
            named = [told for name, told in sizes.of_ranks if name.search(text)]
            return next(iter(named[0])) if len(named) == 1 and len(named[0]) == 1 else 0
    return 1
