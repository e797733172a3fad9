"""The sizes of a model as a list, a table or a paragraph enumerates them: 64 layers, width 6144, 48 query and 8 KV
heads of 128, 8 experts of which 2 are used. Read piece by piece, each under what the pieces before it were of."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import Final

from moewright.audit.reading.premises import Premise
from moewright.audit.reading.word_lists import word_list, wording
from moewright.audit.text.document import Document, Statement

_WORDS: Final = {name: wording(entry, ascii_only=False) for name, entry in word_list("model").items()}
_NUMBER: Final = re.compile(
    r"(?<![\w.,/-])(?<!\d[ \u202f\u00a0])(\d{1,3}(?:[ \u202f\u00a0,.]\d{3})+|\d{1,7})(?![\w.,]*\d)"
    r"(?=[^\w%]|k\b|$|[^\x00-\x7f])(k\b)?"
)
#: a number that is worked out, or a factor
_WORKED: Final = re.compile(r"\d\s*[×x*·/÷+=]\s*\d|=\s*\d[\d.,]*\s*[A-Z]|\d\s*%")
_CUT: Final = re.compile(
    r"[;()|•:]|[,，、](?!\d{3}\b)|[.。；：](?=\s|$|[^\x00-\x7f])|\s[·+]\s|"
    r"\b(?:and|und|et|e|y|plus|sharing|over|with|mit|avec|con)\b|以及|和|\s+(?=[A-Za-z_]+=\d)",
)
_TOP: Final = re.compile(r"\btop[- ]?(\d{1,2})\b", re.IGNORECASE)
_OUT_OF: Final = re.compile(
    r"(\d{1,2})\s*(?:out of|of(?: the)?|from|von|aus|parmi)\s*(?:the |den |les )?(?:[A-Z] ?= ?)?(\d{1,4})",
    re.IGNORECASE,
)
#: a size of one head, behind heads: 48 heads of 128, 64 heads × 256
_OF_SIZE: Final = re.compile(r"(?:\b(?:of|of size|de|der Größe|zu|à)|[×x])\s*(\d{2,3})(?:-dim\w*)?$", re.IGNORECASE)
#: 8 experts of which 2 are used
_EXPERTS_OF_WHICH: Final = re.compile(
    rf"\W*\d+ (?:\w+ )?(?:{_WORDS['experts'].pattern})[^\d]{{0,12}}(?:of (?:which|them|these)|davon|dont|其中)",
    re.IGNORECASE,
)
#: fields that a block has to give so that it is the list of a model's sizes
_FEWEST: Final = 3
_LEAST: Final = {"model.hidden_size": 256, "model.experts.intermediate_size": 128, "model.vocab_size": 1000}
_MOST: Final = {
    "model.layers": 200,
    "model.attention.heads": 512,
    "model.attention.kv_heads": 512,
    "model.attention.head_dim": 576,
    "model.experts.count": 4096,
    "model.experts.top_k": 64,
    "model.hidden_size": 1 << 16,
    "model.experts.intermediate_size": 1 << 17,
}


@dataclass(slots=True)
class _Reader:
    """What was read of a block so far, and what its last piece was of."""

    found: dict[str, tuple[int, Statement]] = field(default_factory=dict)
    twice: set[str] = field(default_factory=set)
    subject: str = "model"

    def tell(self, name: str, value: int, s: Statement) -> None:
        """``name`` has ``value``; a field of two values is of none."""
        if not _LEAST.get(name, 1) <= value <= _MOST.get(name, 1 << 20):
            return
        old = self.found.get(name)
        if old is not None and old[0] != value:
            self.twice.add(name)
        self.found.setdefault(name, (value, s))


def with_further_sizes(document: Document, told: Sequence[Premise], keyed: Sequence[Premise]) -> list[Premise]:
    """``told`` and the sizes of a model that neither it nor ``keyed`` has, from blocks that enumerate at least three
    and contradict nothing that was read; without those of ``told`` that such a block has as another size: d_model
    3072, 32 experts, hidden 4096."""
    known: dict[str, set[object]] = {}
    for p in (*keyed, *told):
        known.setdefault(p.field, set()).add(p.value)
    if "model.name" in known:
        return list(told)
    found: dict[str, Premise] = {}
    kept = list(told)
    for block in _blocks(document.statements):
        sizes = _sizes(block)
        values = {name: value for name, (value, _) in sizes.items()}
        if len(values) < _FEWEST or any(value not in known[name] for name, value in values.items() if name in known):
            continue
        lines = {s.line for s in block}
        kept = [p for p in kept if p.line not in lines or not _is_other_size(p, values)]
        for name, (value, s) in sizes.items():
            if name not in known:
                found.setdefault(name, Premise(name, value, s.line, s.text, s.path, where=s))
    return kept + list(found.values())


def _is_other_size(p: Premise, sizes: dict[str, int]) -> bool:
    """Whether ``p`` gives a field the value that another one has among ``sizes``."""
    own = sizes.get(p.field)
    return own is not None and p.value != own and any(v == p.value for f, v in sizes.items() if f != p.field)


def _blocks(statements: Sequence[Statement]) -> Iterator[list[Statement]]:
    """Runs of statements of one paragraph, list, table or comment."""

    def key(s: Statement) -> tuple[object, ...]:
        if s.kind in ("cell", "item"):
            return (s.kind, s.group)
        return ("text", s.path if s.kind == "prose" else ())

    for _, run in groupby(statements, key):
        block: list[Statement] = []
        for s in run:
            if block and s.kind in ("prose", "heading") and s.line > block[-1].line + len(block[-1].breaks) + 1:
                yield block
                block = []
            block.append(s)
        yield block


def _sizes(block: Sequence[Statement]) -> dict[str, tuple[int, Statement]]:
    """Fields and values that a block gives, but for those it gives twice."""
    reader = _Reader()
    for piece, s, opens in _pieces(block):
        _read(reader, piece, s, opens)
    return {name: told for name, told in reader.found.items() if name not in reader.twice}


def _pieces(block: Sequence[Statement]) -> Iterator[tuple[str, Statement, bool]]:
    """Pieces of a block with the statement that each begins in, and whether it begins a row or a sentence."""
    if block[0].kind in ("cell", "item"):
        for s in block:
            text = f"{s.row or s.key} {s.value}"
            yield from ((piece, s, not i) for i, piece in enumerate(_CUT.split(text)))
        return
    text = " ".join((*(s.text for s in block), ""))
    starts = [0, *accumulate(len(s.text) + 1 for s in block)]
    at = 0
    for m in (*_CUT.finditer(text), None):
        end = m.start() if m else len(text)
        s = block[min(bisect_right(starts, at), len(block)) - 1]
        yield text[at:end], s, at == 0 or text[at - 1] in ".。"
        at = m.end() if m else end


def _has(name: str, text: str) -> bool:
    return bool(_WORDS[name].search(text))


#: what a piece may be of
_SUBJECTS: Final = ("experts", "heads", "vocabulary", "layers")


def _subject(text: str) -> str:
    """What ``text`` is of: the first of its subjects behind a number, else its last; empty where it has none."""
    places = [(m.start(), name) for name in _SUBJECTS for m in _WORDS[name].finditer(text)]
    number = _NUMBER.search(text)
    behind = [x for x in places if number and x[0] >= number.start()]
    return min(behind)[1] if behind else max(places)[1] if places else ""


def _read(reader: _Reader, piece: str, s: Statement, opens: bool) -> None:
    """Take from ``piece`` what it gives."""
    text = piece.strip()
    if opens:
        reader.subject = "model"
    elif reader.subject == "other" and (s.row or _has("all_of_them", text)):  # 128 routed + 1 shared, width 5120
        told = "model.experts.intermediate_size" in reader.found  # 96 routed (width 1,920), 1 shared (width 3,840)
        reader.subject = "other" if told else "experts"
    reader.subject = _subject(text) or reader.subject
    if _has("other_part", text):
        reader.subject = "other"
    if not text or _has("of_part", text) or _take_pair(reader, text, s) or _WORKED.search(text):
        return
    if top := _TOP.search(text):
        reader.tell("model.experts.top_k", int(top[1]), s)
        text = text.replace(top[0], " ")
    numbers = [_value(m) for m in _NUMBER.finditer(text)]
    if numbers:
        any(take(reader, text, numbers, s) for take in (_take_experts, _take_heads, _take_width, _take_layers))


#: heads of queries and those of keys and values: Q / KV heads 40 / 8 × 128
_PAIR: Final = re.compile(
    r"(?<![\w.,/])(\d{1,3})\s?(?:q\s?)?/\s?(\d{1,3})(?:\s?kv)?(?:\s?[×x]\s?(\d{2,3}))?\s*$", re.IGNORECASE
)


def _take_pair(reader: _Reader, text: str, s: Statement) -> bool:
    m = _PAIR.search(text) if _has("heads", text) and _has("kv", text) else None
    if m:
        sizes = zip(("heads", "kv_heads", "head_dim"), m.groups(), strict=True)
        for name, digits in sizes:
            if digits:
                reader.tell(f"model.attention.{name}", int(digits), s)
    return bool(m)


def _value(m: re.Match[str]) -> int:
    return int(re.sub(r"\D", "", m[1])) * (1024 if m[2] else 1)


def _take_experts(reader: _Reader, text: str, numbers: list[int], s: Statement) -> bool:
    if reader.subject == "other":
        return _has("experts", text)
    both = _OUT_OF.search(text)
    if both and _has("experts", text):  # 6 out of 96 experts of width 1280
        reader.tell("model.experts.top_k", int(both[1]), s)
        reader.tell("model.experts.count", int(both[2]), s)
        return len(numbers) < _FEWEST or _take_width(reader, text[both.end() :], numbers[2:], s)
    if _has("picked", text):
        if len(numbers) == 2 and _EXPERTS_OF_WHICH.match(text):  # experts, and those of a token
            reader.tell("model.experts.count", numbers[0], s)
            reader.tell("model.experts.top_k", numbers[1], s)
        elif len(numbers) == 1 and reader.subject == "experts" and "model.experts.count" in reader.found:
            reader.tell("model.experts.top_k", numbers[0], s)
        return True
    named = _has("experts", text) or (reader.subject == "experts" and _has("routed", text))
    if not named or (len(numbers) == 1 and (_has("width", text) or _has("hidden", text))):
        return False
    reader.tell("model.experts.count", numbers[0], s)
    if len(numbers) > 1 and _has("width", text):
        reader.tell("model.experts.intermediate_size", numbers[-1], s)
    return True


def _take_heads(reader: _Reader, text: str, numbers: list[int], s: Statement) -> bool:
    if _has("head_size", text):
        reader.tell("model.attention.head_dim", numbers[-1], s)
        return True
    if reader.subject != "heads" and not _has("kv", text):
        return False
    size = _OF_SIZE.search(text)
    if size:
        reader.tell("model.attention.head_dim", int(size[1]), s)
        numbers = numbers[:-1]
    if len(numbers) == 1 and (_has("heads", text) or _has("kv", text) or _has("query", text)):
        reader.tell(f"model.attention.{'kv_heads' if _has('kv', text) else 'heads'}", numbers[0], s)
        return True
    return bool(size)


def _take_width(reader: _Reader, text: str, numbers: list[int], s: Statement) -> bool:
    """A width: that of the model, or of the experts."""
    if _has("vocabulary", text) and len(numbers) == 1:
        reader.tell("model.vocab_size", numbers[0], s)
        return True
    wide, hidden = _has("width", text), _has("hidden", text)
    if len(numbers) != 1 or not (wide or hidden) or reader.subject in ("other", "heads", "vocabulary"):
        return False
    expert = _has("of_experts", text) or (
        reader.subject == "experts" and (not hidden or "model.hidden_size" in reader.found)
    )
    reader.tell("model.experts.intermediate_size" if expert else "model.hidden_size", numbers[0], s)
    return True


def _take_layers(reader: _Reader, text: str, numbers: list[int], s: Statement) -> bool:
    if not _has("layers", text) or len(numbers) != 1 or _has("some_layers", text) or reader.subject == "other":
        return False
    reader.tell("model.layers", numbers[0], s)
    return True
