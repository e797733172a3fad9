"""A statement → its clauses: equalities, splits (``16 heads → 8``), and figures with the words around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from moewright.audit.text.expressions import Node, Operation, evaluate, fold, numbers_in, prefix, suffix, whole
from moewright.audit.text.numbers import BYTE_RATE, COUNT, MOST_BILLIONS, Number, Token, in_billions, is_bare, tokens_of

#: words behind a bare number that may stand before its "="; anything else there is a name that is given a value
_NOUNS: Final = re.compile(
    r"(?:experts?|instances?|layers?|gpus?|heads?|tokens?|sequences?|modules?|tensors?|dim(?:ension)?s?|total|"
    r"matrices|bytes?|elements?|params?|parameters?|nodes?|groups?|stages?|ranks?|copies|requests?|samples?|"
    r"positions?|cards?|devices?|deep|wide|long|slots?|replicas?|[\u4e00-\u9fff]+)$",
    re.IGNORECASE,
)
#: of a number before "=" with nothing else, what is no thing that is told in another way
_NUMBER_NOUN: Final = re.compile(r"(?:bytes?|elements?|params?|parameters?|tokens?|total)$", re.IGNORECASE)
_SYMBOL: Final = re.compile(r"(?:^|\s|/)(?:[A-Za-z]{1,2}|[EDTPC]P|batch|size|top_?k)$")


_RANGE_AFTER: Final = re.compile(r"^\s*(?:-|to|bis|至|\.\.\.?|~)\s*[~≈]?\d")
_RANGE_BEFORE: Final = re.compile(r"\d[\d.,]*\s*[A-Za-zμ%/]{0,5}\s*(?:-|to|bis|至|\.\.\.?|~)\s*$")


@dataclass(frozen=True, slots=True)
class Equality:
    """``left = right`` as written; ``loose`` where it is ≈."""

    left: Node
    right: Node
    text: str
    loose: bool


@dataclass(frozen=True, slots=True)
class Split:
    """``before → after``."""

    before: Number
    after: Number
    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with what is said of it. ``role``: result (of an equality), operand, or lone. ``words``: the words
    of its clause; ``remark``: it stands in brackets behind another figure, ``main``. ``formula``: the numbers it
    is computed from."""

    number: Number
    role: str
    words: str
    remark: bool = False
    main: Number | None = None
    formula: tuple[Number, ...] = ()


@dataclass(slots=True)
class Clauses:
    """What a statement says in numbers."""

    equalities: list[Equality] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)


def ends_range(text: str, n: Number) -> bool:
    """Whether ``n`` is an end of a range in ``text``: 10-100 GB."""
    return bool(_RANGE_AFTER.search(text[n.at + len(n.text) :]) or _RANGE_BEFORE.search(text[: n.at]))


def clauses_of(text: str, parameters: bool = False) -> Clauses:
    """Everything that ``text`` says in numbers; ``parameters``: it counts them, so that B is a billion."""
    found = Clauses()
    _read(_billions(tokens_of(text), parameters), text, found, None)
    return found


def _billions(tokens: list[Token], parameters: bool) -> list[Token]:
    """``tokens`` with B as 10⁹ where they count parameters, or stand beside millions or billions of them."""
    numbers = [t.number for t in tokens if t.number is not None]
    counted = parameters or any(n.dim == COUNT and n.factor >= 1e6 for n in numbers)
    if not counted:
        return tokens
    behind = [" ".join(t.text for t in tokens[i + 1 : i + 3]) for i in range(len(tokens))]
    return [
        replace(t, number=in_billions(t.number))
        if t.number is not None and _may_be_billions(t.number) and not _OF_ONE_EACH.match(after)
        else t
        for t, after in zip(tokens, behind, strict=True)
    ]


def _may_be_billions(n: Number) -> bool:
    """A bare B that is neither a size of an element nor of so many that a model has fewer billions of parameters."""
    return is_bare(n) and n.value not in (0.5, 1.0, 2.0, 4.0, 8.0) and n.value < MOST_BILLIONS


#: 14 B per parameter
_OF_ONE_EACH: Final = re.compile(r"(?:per|a|je|pro|/) ?param", re.IGNORECASE)


def _read(tokens: list[Token], text: str, found: Clauses, main: Number | None, depth: int = 0) -> None:
    plain, remarks, equal = _without_remarks(fold(tokens))
    for a, b in equal:
        found.equalities.append(Equality(a, b, _span(text, a, b), a.approx))
    for clause in _split(plain):
        _clause(clause, text, found, main, depth > 0)
    if depth < 4:
        for inner, anchor in remarks:
            _read(inner, text, found, anchor, depth + 1)


def _without_remarks(
    tokens: list[Token],
) -> tuple[list[Token], list[tuple[list[Token], Number | None]], list[tuple[Number, Node]]]:
    """(tokens outside remarks, remarks with the number they stand behind, brackets that restate a number)."""
    out: list[Token] = []
    remarks: list[tuple[list[Token], Number | None]] = []
    equal: list[tuple[Number, Node]] = []
    i = 0
    while i < len(tokens):
        end = _closing(tokens, i) if tokens[i].kind == "open" else 0
        if not end:
            if tokens[i].kind != "close" or any(t.kind == "open" for t in out):
                out.append(tokens[i])
            i += 1
            continue
        inner = tokens[i + 1 : end]
        before = next((t.number for t in reversed(out) if t.kind != "word"), None) if out else None
        ahead = tokens[end + 1].kind if end + 1 < len(tokens) else ""
        node = whole(inner)
        if node is not None and (not out or out[-1].kind in ("op", "eq", "open") or ahead == "op"):
            out += tokens[i : end + 1]
        elif node is not None and before is not None and _factor(before, tokens[i].at):
            out += [Token("op", "×", tokens[i].at), *tokens[i : end + 1]]  # 128(576 + 512)
        elif node is not None and before is not None and _restates(before, node):
            equal.append((before, node))
            remarks.append((inner, before))
        elif node is not None and (groups := _groups_told(out, node)) is not None:
            equal.append((groups, node))
            remarks.append((inner, groups))
        else:
            remarks.append((inner, before))
            out.append(Token("remark", "", tokens[i].at))
        i = end + 1
    return out, remarks, equal


def _factor(before: Number, at: int) -> bool:
    """Whether a bracket at ``at`` stands right behind a bare number, which multiplies it."""
    return before.whole and before.dim == COUNT and at == before.at + len(before.text)


_GROUPS: Final = re.compile(
    r"(?:\w+[ -]){0,3}(?:groups?|replicas|copies|instances|stages|pools|Gruppen|Instanzen|groupes)\b|"
    r"个?\s?(?:\w+\s?)?(?:组|实例|副本)",
    re.IGNORECASE,
)


def _groups_told(before: list[Token], node: Node) -> Number | None:
    """The number of groups before a bracket with their quotient, behind which one of its operands is told again: 32 EP
    groups of 8 ranks (256 / 8)."""
    numbers = [t.number for t in before if t.number is not None]
    if len(numbers) < 2 or not isinstance(node, Operation) or node.sign != "÷":
        return None
    last, groups = numbers[-1], numbers[-2]
    again = any(n.value == last.value and n.dim == last.dim for n in numbers_in(node))
    told = again and groups.whole and bool(_GROUPS.match(groups.noun))
    value = evaluate(node).low
    return groups if told and value == round(value) else None


_BITS: Final = re.compile(r"(?:bits?/s|bps|[KMGT]b/s)$")


def _restates(before: Number, node: Node) -> bool:
    if _is_range(node):
        return False  # 4-8 nodes (32-64 GPUs)
    if isinstance(node, Operation):
        if before.dim == BYTE_RATE and any(_BITS.search(n.text) for n in numbers_in(node)):
            return False  # 87 GB/s (4 × 200 Gb/s): what the links are
        things = node.sign == "+" and all(n.whole and n.noun and n.dim == COUNT for n in numbers_in(node))
        if things and before.dim == COUNT and before.factor >= 1e3:
            return False  # 3B (8 routed experts + 1 shared one)
        if node.sign != "÷" or before.dim != COUNT or not before.whole:
            return bool(before.value)
        return abs(evaluate(node).low - before.value) < 0.6 * before.value  # not DP 4 (320/384)
    if node.noun or node.dim != before.dim or node.dim == COUNT or not before.value:
        return False
    ratio = node.value / before.value
    if node.factor == before.factor:
        return abs(ratio - 1) < 0.01
    return any(abs(ratio / scale - 1) < 0.25 for scale in (1, 1000, 1e-3))


def _closing(tokens: list[Token], at: int) -> int:
    depth = 0
    for i in range(at, len(tokens)):
        depth += {"open": 1, "close": -1}.get(tokens[i].kind, 0)
        if not depth:
            return i
    return 0


def _split(tokens: list[Token]) -> Iterator[list[Token]]:
    clause: list[Token] = []
    for token in tokens:
        if token.kind == "stop" and token.text in ",;.:|!?":
            if clause:
                yield clause
            clause = []
        else:
            clause.append(token)
    if clause:
        yield clause


def _clause(tokens: list[Token], text: str, found: Clauses, main: Number | None, remark: bool) -> None:
    tokens = [t for t in tokens if t.kind != "remark"]
    parts: list[tuple[str, list[Token]]] = [("", [])]
    for token in tokens:
        if token.kind in ("eq", "arrow"):
            parts.append((token.text, []))
        else:
            parts[-1][1].append(token)
    loosely = {t.at for sign, part in parts if sign in tuple("≈≃") for t in part[:1]}
    operands: dict[int, None] = {}
    results: dict[int, tuple[Number, ...]] = {}
    formula: tuple[Number, ...] = ()
    for i in range(1, len(parts)):
        sign, right_tokens = parts[i]
        left = _left(parts[i - 1][1], first=i == 1)
        right_tokens = _without_about(right_tokens)
        right, end = prefix(right_tokens)
        if left is not None and right is not None and _renamed(left, right, sign):
            operands[next(numbers_in(left)).at] = (
                None  # 1 expert = 3 × …: what the rest is of, and no number of experts
            )
            continue
        if left is None or right is None or _goes_on(right_tokens, end) or _of_many(right) or _symbols(left, text):
            continue
        if _is_range(right) or _is_range(left) or (isinstance(right, Number) and ends_range(text, right)):
            continue
        if sign == "→" and isinstance(right, Operation):  # 50 ms → 128 / 0.05 s: what follows
            continue
        if sign == "→" and isinstance(left, Number) and isinstance(right, Number):
            if _sized(parts[i - 1][1], left) or parts[i - 1][0] == "=":  # EP 128 → 2 experts, E_p = 64 → 4
                continue
            found.splits.append(Split(left, right, _span(text, left, right)))
        else:
            loose = sign in "≈≃"
            found.equalities.append(Equality(left, right, _span(text, left, right), loose))
        formula = (*formula, *(n for n in numbers_in(left)))
        for n in numbers_in(left):
            operands[n.at] = None
        if isinstance(right, Number):
            results[right.at] = formula
            operands.pop(right.at, None)
    lead = " ".join(t.text for t in tokens if t.kind == "word")
    for token in tokens:
        if token.number is None:
            continue
        n = replace(token.number, approx=token.number.approx or token.number.at in loosely)
        if n.at in operands:
            found.figures.append(Figure(n, "operand", n.noun, remark, main))
        elif n.at in results:
            words = f"{n.noun} {_joined(tokens, n.at)} {lead}"
            found.figures.append(Figure(n, "result", " ".join(words.split()), remark, main, results[n.at]))
        else:
            before = " ".join(t.text for t in tokens if t.kind == "word" and t.at < n.at)
            inside = _in_expression(tokens, token)
            role = "operand" if inside else "lone"
            found.figures.append(Figure(n, role, n.noun if inside else f"{n.noun} {before}".strip(), remark, main))


def _is_range(node: Node) -> bool:
    """Whether a difference is rather a range: 4-5."""
    if not isinstance(node, Operation) or node.sign != "-":
        return False
    a, b = node.left, node.right
    joined = isinstance(a, Number) and isinstance(b, Number) and b.at == a.at + len(a.text) + 1
    return joined and evaluate(a).low < evaluate(b).low


def _without_about(tokens: list[Token]) -> list[Token]:
    """``tokens`` without a word before the first number that says that it is approximate, which the number has too."""
    n = tokens[1].number if len(tokens) > 1 and tokens[0].kind == "word" else None
    return tokens[1:] if n is not None and n.approx and n.text[0].isdigit() else tokens


def _joined(tokens: list[Token], at: int) -> str:
    """What stands behind "and" before the formula of the result at ``at``: dispatches, in ``has 8 tokens and
    dispatches 8 × 2 = 16``."""
    for token in reversed(tokens):
        if token.number is not None and token.at < at and token.number.noun:
            said = re.search(r"\b(?:and|und)\s+(.*)$", token.number.noun)
            return said[1] if said else ""
    return ""


def _in_expression(tokens: list[Token], token: Token) -> bool:
    at = tokens.index(token)
    sides = ((at - 1, at - 2), (at + 1, at + 2))
    return any(
        min(sign, other) >= 0
        and max(sign, other) < len(tokens)
        and tokens[sign].kind == "op"
        and tokens[other].kind in ("number", "open", "close")
        for sign, other in sides
    )


_SIZE_NAME: Final = re.compile(r"(?:E?[TD]P|[EPCS]P)$", re.IGNORECASE)


def _sized(tokens: list[Token], n: Number) -> bool:
    """Whether ``n`` is a parallel size, by the name before it."""
    before = [t for t in tokens if t.at < n.at and t.kind != "eq"]
    return bool(before) and before[-1].kind == "word" and bool(_SIZE_NAME.fullmatch(before[-1].text))


def _left(tokens: list[Token], first: bool) -> Node | None:
    """The expression before a sign, unless the words before it name what is given a value."""
    node = suffix(tokens)
    if node is None or _symbolic(tokens, next(numbers_in(node)).at):
        return None
    product = isinstance(node, Operation) and node.sign in "×÷"  # plus 112 x 74 us = 8.29 ms
    if not product and _continued(tokens, next(numbers_in(node)).at):
        return None
    last = list(numbers_in(node))[-1].noun
    if "_" in last.rpartition(" ")[2]:  # an identifier that is given a value
        return None
    if isinstance(node, Number) and re.match(r"/|per\b|pro\b|je\b|每", last):  # 117 MB/layer = 8.2 GB in all
        return None
    if isinstance(node, Number) and _counted_before(tokens, node):
        return None
    if isinstance(node, Number):
        return node if not last or _NOUNS.search(last) else None
    return None if last and _SYMBOL.search(last) and not _NOUNS.search(last) else node


def _symbolic(tokens: list[Token], start: int) -> bool:
    """Whether what stands before the expression is more of it that cannot be read: ``EP 8 × expert-DP 4``."""
    before = [t for t in tokens if t.at < start and t.kind != "open"]
    if before and before[-1].kind == "word" and before[-1].text in ("x", "times"):
        return True  # ..., x 48 layers x 2 bytes
    while before and before[-1].kind == "word":
        before.pop()
    named = bool(before) and any(t.kind == "word" for t in tokens if before[-1].at < t.at < start)
    return bool(before) and before[-1].kind == "op" and before[-1].text in "×·*÷/+-" and (named or len(before) > 1)


#: words by which what follows is added to what stands before
_PLUS: Final = re.compile(
    r"(?:\b(?:plus|another|zuzüglich|dazu)|^(?:and |then )?add(?:ing)?|加上|再加|另加)\s*$", re.IGNORECASE
)


def _continued(tokens: list[Token], start: int) -> bool:
    """Whether an expression is added to what stands before its sentence: ``plus 3.5 GB + 12.9 GB``."""
    words = " ".join(t.text for t in tokens if t.at < start and t.kind == "word")
    return bool(_PLUS.search(words)) and not any(t.number is not None for t in tokens if t.at < start)


def _counted_before(tokens: list[Token], last: Number) -> bool:
    """``64 sequences of 4,096 tokens``: a product that has no sign."""
    before = [t.number for t in tokens if t.number is not None and t.at < last.at]
    return bool(before) and bool(re.search(r"\b(?:of|at|with|à|de|da|von|zu|je|mit)$", before[-1].noun))


def _goes_on(tokens: list[Token], end: int) -> bool:
    """Whether a right side has more factors, of which the next is no number."""
    ahead = tokens[end : end + 2]
    number = tokens[end - 1].number if end else None
    if ahead and number is not None and ahead[0].kind == "number":
        return not number.noun and not tokens[end - 1].text[-1:].isalpha()  # 192 512
    return len(ahead) == 2 and ahead[0].kind == "op" and ahead[0].text in "×÷/" and ahead[1].kind == "word"


#: a symbol behind a number: 2h, or, with an index, also behind a blank: 2 n_{kv} d_h
_SYMBOL_BEHIND: Final = re.compile(r"[A-Za-z](?:_\w+)?\s*(?:[·×+*/=-]|$)|\s?[A-Za-z]_\{?\w+\}?(?![\w:])")


def _symbols(node: Node, text: str) -> bool:
    """Whether a number has a symbol behind it that it is multiplied with: 2h · 4096."""
    ends = (n.at + len(n.text) for n in numbers_in(node))
    return any(_SYMBOL_BEHIND.match(text[end:]) for end in ends)


def _of_many(node: Node) -> bool:
    """A result that is told per million or per thousand, which the formula does not show."""
    return any(re.match(r"per (?:a )?(?:million|thousand|billion|mille)\b", n.noun) for n in numbers_in(node))


def _renamed(left: Node, right: Node, sign: str) -> bool:
    """``160 experts = 7.55 GB``, ``25% = 120 tokens/s``: a lone number that is told in another unit is no side of an
    equation."""
    if not isinstance(left, Number):
        return False
    others = list(numbers_in(right))
    if left.percent:
        return not any(n.percent for n in others)
    if left.dim != COUNT and all(n.percent for n in others):  # 16.5 GB = 20.6 %
        return True
    if left.dim == COUNT and left.noun and isinstance(right, Operation):  # 8 experts = 8 × 2,099,712
        return True
    if left.dim == COUNT and left.noun and sign != "→" and not _NUMBER_NOUN.match(left.noun):  # 8 of them = 151 M
        return True
    if left.dim != COUNT and sign != "→" and all(n.dim not in (COUNT, left.dim) and not n.either for n in others):
        return True  # 108 MiB = 4.72 ms
    if left.dim != COUNT and sign != "→" and all(n.dim == COUNT and not n.percent for n in others):
        return True  # 8 × 16 H100 80 GB = 128
    return left.dim == COUNT and bool(left.noun) and any(n.dim != COUNT for n in others)


def _span(text: str, left: Node, right: Node) -> str:
    """The part of ``text`` from ``left`` to the end of ``right``."""
    first, last = next(numbers_in(left)), list(numbers_in(right))[-1]
    start, end = first.at, last.at + len(last.text)
    while start and text[start - 1] == "(":
        start -= 1
    missing = text[start:end].count("(") - text[start:end].count(")")
    for _ in range(missing):
        end = text.find(")", end) + 1 or len(text)
    return text[start:end].strip()
