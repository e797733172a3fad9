"""The options of a document's tables: the sizes, the format and the GPUs of each, wherever a table tells them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.reading.wordings import FORMAT
from moewright.audit.text.numbers import COUNT

_SIDE: Final = r"(?:attention |attn\.? |routed |MoE )?"
_TAIL: Final = r"(?: ?(?:size|degree|group|Grad|大小))?(?: ?\([^()]*\))?"


def _title(words: str) -> re.Pattern[str]:
    return re.compile(rf"^{_SIDE}(?:{words}){_TAIL}(?: of (?:the )?attention| der Attention)?$", re.IGNORECASE)


#: titles of the rows or columns that tell a size
_TITLES: Final = {
    "TP": _title(r"TP|tensor[- ]parallel\w*|Tensorparallelit(?:ä|ae)t|张量并行|注意力\s?TP"),
    "PP": _title(r"PP|pipeline[- ]parallel\w*|pipeline stages|Pipelineparallelit(?:ä|ae)t|Pipelinestufen|流水线?并行"),
    "DP": _title(r"DP|data[- ]parallel\w*|Datenparallelit(?:ä|ae)t|数据并行|注意力\s?DP"),
    "EP": _title(r"EP|expert[- ]parallel\w*|Expertenparallelit(?:ä|ae)t|专家并行"),
    "CP": _title(r"CP|context[- ]parallel\w*|上下文并行"),
    "GPUs": re.compile(
        r"^(?:total |number of |all )?(?:GPUs?|cards?|accelerators?|Karten|NPUs?|GPU[- ]count|Kartenzahl|"
        r"(?:总|GPU\s?)?卡数|GPU\s?(?:总)?数量?)(?: ?\([^()]*\)| in all| used| total)?$",
        re.IGNORECASE,
    ),
}
_REDUNDANT: Final = re.compile(
    r"^(?:redundant|replicated|extra)(?: (?:experts?|slots|copies))?$|^冗余(?:专家)?(?:数)?$|^redundante Experten$",
    re.IGNORECASE,
)
_NODES: Final = re.compile(
    r"^(?:nodes?|servers?|Server|Knoten|boxes|hosts|machines|workstations|节点数?|服务器数?)\b", re.IGNORECASE
)
_SIZE: Final = re.compile(r"(?<![\w/-])([TDPEC]P)\s?[-=:]?\s?(\d{1,4})(?![\w%]|[.,]\d)")
_PRODUCT: Final = re.compile(r"^([TDPC]P(?:\s?[×x*·/]\s?[TDPC]P)+)\b")
_EXPERTS: Final = re.compile(r"expert|Experten|专家", re.IGNORECASE)
_FORMATS: Final = re.compile(
    r"^(?:weights?|weight format|precision|dtype|format|Gewichte|Gewichtsformat|权重(?:格式|精度)?|精度)"
    r"(?: ?\([^()]*\))?$",
    re.IGNORECASE,
)
_CACHE_FORMATS: Final = re.compile(
    r"^(?:KV(?:[- ]?cache)?|cache|KV-?缓存)(?: ?(?:format|precision|dtype|Format|精度|格式))?$", re.IGNORECASE
)


@dataclass(slots=True)
class Option:
    """What a column (or a row) of tables stands for. ``sizes``: TP, PP, DP, EP, CP, GPUs, nodes and the GPUs of one
    by every cell that tells one; ``formats``, ``cache_formats``: those of weights, and of the cache; ``cells``: (title,
    the cell's statement by its number, its figures)."""

    name: str
    sizes: dict[str, list[tuple[int, Entry | None]]] = field(default_factory=dict)
    formats: set[str] = field(default_factory=set)
    cache_formats: set[str] = field(default_factory=set)
    cells: list[tuple[str, int, list[Entry]]] = field(default_factory=list)

    def size(self, name: str) -> int:
        """The one value of a size, 0 where there is none or several."""
        values = {v for v, _ in self.sizes.get(name, ())}
        return values.pop() if len(values) == 1 else 0

    def at(self, name: str) -> Entry | None:
        """The figure that tells the size, None where it is told by a title or by several."""
        found = [e for _, e in self.sizes.get(name, ()) if e is not None]
        return found[0] if len(found) == 1 else None

    def tell(self, name: str, value: int, e: Entry | None) -> None:
        self.sizes.setdefault(name, []).append((value, e))


def options_of(ledger: Ledger) -> Iterator[list[Option]]:
    """The options of each table, and of the tables with the same ones together: by columns, and by rows."""
    tables: dict[int, list[int]] = {}
    for i, s in enumerate(ledger.statements):
        if s.kind == "cell":
            tables.setdefault(s.group, []).append(i)
    for across in (True, False):
        alike: dict[tuple[str, ...], dict[str, Option]] = {}
        for group, cells in tables.items():
            names = tuple(dict.fromkeys(_names(ledger, i, across)[1] for i in cells))
            key = names if len(names) > 1 and all(names) else (*names, f"\0{group}")
            options = alike.setdefault(key, {n: _named(n) for n in names})
            for i in cells:
                title, option = _names(ledger, i, across)
                _read(options[option], title, i, ledger)
        for options in alike.values():  # a column of TP sizes is no option
            yield [x for x in options.values() if not any(p.match(x.name) for p in _TITLES.values())]


def _names(ledger: Ledger, index: int, across: bool) -> tuple[str, str]:
    s = ledger.statements[index]
    titles = (s.row.strip(), s.column.strip())
    title, name = titles if across else titles[::-1]
    lettered = _LETTERED.match(name) if across else None
    return title, lettered[1] if lettered else name


#: a column that is named by a letter, and in one table by more: A (today)
_LETTERED: Final = re.compile(r"^([A-Z]\d?)(?: ?\(\w+\)| ?[:–-] ?\w+)$")


def _named(name: str) -> Option:
    """An option with what its name tells."""
    found = Option(name)
    for m in _SIZE.finditer(name):
        found.tell(m[1], int(m[2]), None)
    found.formats |= {m.lower() for m in FORMAT.findall(name)}
    return found


def _read(option: Option, title: str, index: int, ledger: Ledger) -> None:
    """What one cell tells of its option."""
    text, entries = ledger.statements[index].value.strip(), ledger.entries[index]
    option.cells.append((title, index, entries))
    if _FORMATS.match(title):
        option.formats |= {m.lower() for m in FORMAT.findall(text)}
    if _CACHE_FORMATS.match(title):
        option.cache_formats |= {m.lower() for m in FORMAT.findall(text)}
    whole = [e for e in entries if e.number.whole and e.number.dim == COUNT]
    if product := _PRODUCT.match(title):
        names, values = re.findall(r"[TDPC]P", product[1]), re.findall(r"\d+", text)
        if len(names) == len(values) and re.fullmatch(r"[\d\s×x*·/]+", text):
            for name, value in zip(names, values, strict=True):
                option.tell(name, int(value), entries[0] if entries else None)
        return
    if len(whole) == 1 and text.strip("* ") == whole[0].number.text:
        value = int(whole[0].number.value)
        for name, pattern in _TITLES.items():
            if pattern.match(title):
                option.tell(name, value, whole[0])
        if _REDUNDANT.match(title):
            option.tell("redundant", value, whole[0])
        many = re.search(r"\d+", title)
        if _NODES.match(title) and many is not None:
            option.tell("nodes", value, whole[0])
            option.tell("of a node", int(many[0]), None)
        return
    experts = _EXPERTS.search(title)
    for m in _SIZE.finditer(text):
        if m[1] == "EP" or not experts:
            option.tell(m[1], int(m[2]), next((e for e in entries if e.number.at >= m.start()), None))


def columns_of(option: Option) -> Iterator[tuple[str, int, list[Entry]]]:
    """The cells of an option whose title and value have two parts, as two: 'Query / KV heads', '5 / 1'; the others as
    they are."""
    for title, index, entries in option.cells:
        parts = re.split(r"\s/\s", title)
        if len(parts) == len(entries) == 2 and all(b.index == a.index for a, b in pairwise(entries)):
            tail = parts[1].partition(" ")[2]
            yield f"{parts[0]} {tail}", index, entries[:1]
            yield parts[1], index, entries[1:]
        else:
            yield title, index, entries
