"""What a document takes for given: hardware, model, workload, strategy, by the field's usual wordings."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from moewright.audit.reading.cluster_sizes import gpus_of_nodes
from moewright.audit.reading.symbols import AXES, sizes_by_symbol, sizes_of_heads, sizes_of_product
from moewright.audit.reading.wordings import (
    ASIDE,
    COMPILED,
    DENSE_FORMATS,
    DERIVED,
    FLAGS,
    FORMAT,
    MAPPINGS,
    MEASURES,
    PER_GPU,
    ROMANCE,
    ROMANCE_TEXT,
    TEXT,
    WORK,
)
from moewright.audit.reading.workload_sizes import sizes_of_workload
from moewright.audit.text.document import Document, Statement, keyed
from moewright.audit.text.numbers import BYTE_RATE, COUNT, FLOP, Dim, Number, Token, tokens_of


@dataclass(frozen=True, slots=True)
class Premise:
    """One field of a case with its value (SI), where the document gives it, and in which words."""

    field: str
    value: Any
    line: int
    text: str
    path: tuple[str, ...] = ()
    keyed: bool = False  # written ``key: value``, and no cell of a table of several configurations
    where: Statement | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def read_from(self) -> str:
        """What it was read from, the plainest first: a key with its value, the cell of a table, code, a heading, or
        running text."""
        if self.where is None:
            return "text"
        kind = {"cell": "table", "code": "code", "heading": "heading"}.get(self.where.kind, "text")
        return "key" if self.keyed and kind == "text" else kind


def premises_of(keyed_ones: list[Premise], told: list[Premise]) -> list[Premise]:
    """The premises that the document's own case is made of: those that are written ``key: value`` first, then those of
    running text for what no key gives; a field may come several times (then the first counts)."""
    named = {p.field for p in keyed_ones}
    return keyed_ones + [p for p in told if p.field not in named or p.field.startswith(("strategy", *_IN_WORDS))]


#: fields that words give, which stand beside what keys give
_IN_WORDS: Final = (
    "model.name",
    "model.precision",
    "model.experts.gated",
    "cluster.device.name",
    "workload.causal",
    "workload.kind",
)


def keyed_premises(document: Document) -> list[Premise]:
    """Premises that are written ``key: value``, or as a row of a table."""
    found: list[Premise] = []
    for s in document.statements:
        for part in _parts(s):
            whole = s.kind != "cell" or " | " not in s.key
            found += [replace(p, path=s.path, keyed=whole, where=s) for p in _keyed(part)]
        found += [replace(p, path=s.path, where=s) for p in _options(s)]
    return found


_OPTION: Final = re.compile(r"(?:^|(?<=[\s\"'(`])--?|^--?)([a-z][a-z0-9-]+)[ =](\d{1,9})(?![\w.])")


def _options(s: Statement) -> Iterator[Premise]:
    """Options of a command in a code block, or with their dashes in a sentence."""
    if s.kind == "code" or "--" in s.text:
        for m in _OPTION.finditer(s.text.replace("_", "-")):
            if m[1] in FLAGS and int(m[2]) and (s.kind == "code" or s.text.startswith("--", max(0, m.start(1) - 2))):
                yield Premise(FLAGS[m[1]], int(m[2]), s.line, s.text)


def told_premises(document: Document) -> list[Premise]:
    """Premises of running text, and words that are premises."""
    found: list[Premise] = []
    lead = ""
    for s in document.statements:
        lead = lead if s.kind == "item" else s.text
        read = (*_phrases(s), *_symbols(s), *_named(s), *_measures(s), *_words(s))
        shared = s.kind == "item" and bool(_EACH_HAS.search(lead))  # per GPU: - 32 heads
        found += [replace(p, where=s) for p in read if not (shared and p.field in _DIVIDED)]
    return found


#: the end of a line whose list is of one GPU
_EACH_HAS: Final = re.compile(
    r"(?:\b(?:per|each|every|one|a single|je|pro|jede[rs]?|auf jeder) (?:GPU|card|device|rank|chip|Karte)\b|"
    r"每(?:张)?(?:卡|GPU)|单卡)[^.;:]{0,24}[:：]\s*$",
    re.IGNORECASE,
)
#: sizes of which a GPU may have a part
_DIVIDED: Final = (
    *("model.layers", "model.attention.heads", "model.attention.kv_heads", "model.experts.count"),
    *("model.experts.intermediate_size", "workload.batch"),
)


def _symbols(s: Statement) -> Iterator[Premise]:
    """Premises of a statement that gives a model's sizes by their symbols, or parallel sizes by their product."""
    found = sizes_by_symbol(s.text) | sizes_of_product(s.text) | sizes_of_workload(s.text)
    found |= {} if PER_GPU.search(s.text) else sizes_of_heads(s.text)
    yield from (Premise(field, value, s.line, s.text) for field, value in found.items())


def _listed(key: str, value: str) -> tuple[list[str], list[str]]:
    """The names of a key and the values that it gives to each: ``heads / KV heads: 32 / 4``, ``heads (query / KV): 32 /
    4``, ``query heads x head dim: 64 x 128``."""
    values = value.split(" / ")
    inner = re.fullmatch(r"([^()]+?)\s*\(([^()]* / [^()]*)\)", key)
    if inner and len(values) > 1:
        of = inner[1].rstrip("s")
        names = [
            f"{x} {inner[1]}" if not re.match(r"dim|size|width", x) else f"{of} {x}" for x in inner[2].split(" / ")
        ]
        return names, values
    title, bar, column = key.partition(" | ")
    if len(values) > 1 and re.match(
        r"(?:[^/]*\bexperts\b|专家)[^/]* / (?:active|chosen|selected|激活)\w*$", title, re.I
    ):
        return [title.split(" / ")[0] + bar + column, "top-k", *title.split(" / ")[2:]], values
    if ", " in title and " / " not in title and re.fullmatch(r"\d+(?:, \d+)+", value.strip()):
        return [f"{x}{bar}{column}" for x in title.split(", ")], value.strip().split(", ")
    two = re.fullmatch(r"(.+?) and (.+?) (heads|experts|layers)", title)
    if two and re.fullmatch(r"\d+(?:, | / )\d+", value.strip()):  # query and key/value heads: 40, 8
        return [f"{x} {two[3]}{bar}{column}" for x in (two[1], two[2])], re.split(r", | / ", value.strip())
    parts, told = re.split(r", (?![^()]*\))", title), value.split(", ")
    if len(parts) == len(told) > 1 and all(x[:1].isdigit() for x in told):  # heads (Q / KV), head dim: 32 / 8, 128
        both = [_listed(f"{name}{bar}{column}", x) for name, x in zip(parts, told, strict=True)]
        if all(len(names) == len(values) for names, values in both):
            return [x for names, _ in both for x in names], [x for _, values in both for x in values]
    if " / " not in key:
        pairs = re.split(r" [x×] ", key), re.split(r" [x×] ", value)
        if len(pairs[0]) == len(pairs[1]) > 1:
            return pairs
    return key.split(" / "), values


#: several values in braces, as YAML writes them in one line
_MAPPING: Final = re.compile(r"\{([^{}]{1,200})\}")


def _parts(s: Statement) -> Iterator[Statement]:
    """A statement, and where it gives several (``batch: 8, context: 4096``), each by itself."""
    mapping = _MAPPING.fullmatch(s.value.split(" #")[0].strip()) if s.key else None
    if mapping:  # moe: {experts: 64, top_k: 4}
        for piece in mapping[1].split(","):
            key, value = keyed(piece)
            name = key.strip("\"'")
            yield replace(s, key=MAPPINGS.get(s.key.strip("\"'").lower(), {}).get(name.lower(), name), value=value)
        return
    keys, values = _listed(s.key, s.value)
    if len(keys) > 1 and len(keys) == len(values) and not PER_GPU.search(s.key):  # heads / KV heads: 32 / 4
        yield from (replace(s, key=key, value=value) for key, value in zip(keys, values, strict=True))
        return
    pieces = re.split(r"[,;](?!\d{3})\s*", s.value) if s.key and s.kind in ("item", "prose") else []
    if not any(keyed(piece)[0] for piece in pieces[1:]):
        yield s
        return
    for i, piece in enumerate(pieces):
        key, value = (s.key, piece) if not i else keyed(piece)
        yield replace(s, key=key, value=value)


#: numbers of experts, which "per layer" and "per token" make no less a premise
_PER_LAYER: Final = re.compile(
    r"(?:routed |active |activated |selected )?experts?(?: per|/)|(?:geroutete |aktive )?experten (?:pro|je)",
    re.IGNORECASE,
)
#: what a size of a strategy is no number of
_THINGS: Final = re.compile(
    r"\s*(?:\w+ )?(?:experts?|heads|layers|tokens|sequences|Experten|Schichten|个专家|层)\b", re.IGNORECASE
)
#: so many nodes of so many GPUs
_NODES_OF: Final = re.compile(
    r"^\W*(\d{1,5})\s*(?:(?:\w+ )?(?:nodes?|servers?|boxes|Knoten|Server)|[台机]|个?节点)\s*"
    r"(?:[x×·*,]|of|with|mit(?: je)?|à)\s*(\d{1,2})\b",
    re.IGNORECASE,
)
_ALL_GPUS: Final = re.compile(
    r"(?<![\d.])(\d[\d,]*) (?:GPUs|cards|accelerators|Karten)\b(?! (?:per|each|je))|"
    r"共\s*(\d[\d,]*)\s*(?:张|块)?卡",
    re.IGNORECASE,
)
#: what stands before a number of GPUs that is of each of several nodes
_OF_NODES: Final = re.compile(
    r"\b(?:[2-9]|\d{2,})\s*(?:nodes?|servers?|Knoten|Server)\s*(?:of|with|each with|x|×|mit|zu|à)(?: je)?\s*$",
    re.IGNORECASE,
)


_OF_PRODUCT: Final = re.compile(r"\b(?:E?[TD]P|[EPC]P)\s*[×x*·]\s*$")
#: what stands around a number of GPUs that is of a part of the system
_GROUP: Final = r"(?:groups?|stages?|replicas?|pipelines?|instances?|islands?|domains?|pools?|Gruppen?|Stufen?)"
_BEFORE_PART: Final = re.compile(
    rf"\b(?:an?|each|every|one|eine?|jede[rs]?) {_GROUP}\b[^.;]{{0,48}}\b(?:on|over|across|auf|über)\s*$|"
    rf"\b{_GROUP}\s*(?:of|with|has|have|takes?|holds?|spans?|mit|von)\s*(?:\d+ )?$|"
    r"\b(?:each|every|per|one|an?|the|je|jeder|pro) (?:\w+ )?"
    r"(?:node|server|box|machine|host|tray|rack|Knoten|Server)\s*"
    r"(?:has|with|of|holds|contains|carries|packs|houses|is|hat|mit|trägt|:|=)\s*(?:\w+ )?$",
    re.IGNORECASE,
)
_BEHIND_PART: Final = re.compile(
    rf"^\s*(?:per|each|in (?:each|a|one)|for (?:each|one|a)|a|je|pro)\b.{{0,24}}{_GROUP}", re.I
)


#: what stands behind layers, heads or experts of a part of the model
_PER_PART: Final = re.compile(
    r"\s*(?:(?:and|,|und) \d+ (?:KV|key/value|KV-)[ -]?(?:heads?|Kopf|Köpfe))?"
    r"\s*(?:/|(?:per|each|in each|on each|in every|pro|je)\b)\s*(?:[\w-]+ )?"
    r"(?:stage|gpu|group|rank|node|device|card|Stufe)|"
    r"\s*(?:(?:and|,|und) \d+ (?:KV|key/value|KV-)[ -]?(?:heads?|Kopf|Köpfe))?\s*(?:each|apiece|"
    r"jeweils)\b(?! (?:layer|block))",
    re.IGNORECASE,
)


_HELD_BY: Final = re.compile(
    r"\b(?:held|shared|stored|kept|copied|replicated|duplicated|split) (?:by|on|between|among)\s*$", re.IGNORECASE
)


def _of_part(before: str, behind: str) -> bool:
    """Whether a number of GPUs is that of a node, a group, a stage or a copy."""
    return bool(
        _HELD_BY.search(before)
        or _OF_NODES.search(before)
        or _BEFORE_PART.search(before)
        or _BEHIND_PART.search(behind)
    )


def _keyed(s: Statement) -> Iterator[Premise]:
    """The premise of a ``key: value``, or of a table's row."""
    key = ASIDE.sub("", s.key).split(" | ")[0].strip()
    key = re.sub(r"^(\w+), (?:all|each|every|none|alle|jede)\b.*", r"\1", key)  # layers, all of them MoE
    sizes = _PER_LAYER.match(key)
    if not key or len(key) > 48 or (DERIVED.search(s.key) and not sizes) or len(key.split()) > 6:
        return
    if sizes and re.search(r"gpu|device|card|rank|karte|卡", s.key, re.IGNORECASE):
        return
    tokens = tokens_of(s.value)
    numbers = [t for t in tokens if t.number is not None]
    if s.kind == "cell" and (_AXIS.search(s.corner) or (key.lower() in AXES and _MESH.search(" ".join(s.path[-1:])))):
        if key.lower() in AXES and len(numbers) == 1:
            yield from _valued(AXES[key.lower()], numbers[0].number, s)
        return
    if not numbers or _computed(tokens) or _GLUED.search(s.value) or s.value.startswith("="):
        return
    title = s.column if s.kind == "cell" else ""
    titled = next((field for pattern, field, _ in COMPILED if title and pattern.search(title)), "")
    for pattern, field, dims in COMPILED:
        if not pattern.search(key):
            continue
        if (field == "cluster.device.flops" and WORK.search(key)) or (titled and titled != field):
            return
        if field.startswith("strategy.") and (_OF_GROUP.search(key) or _SIZED_KEY.search(key)):
            return
        if field.startswith("model.") and PER_GPU.search(s.key):
            return
        if field == "cluster.device.memory" and _OF_SEVERAL.search(key):
            return
        fits = [t for t in numbers if t.number is not None and _fits(t.number, dims)]
        if field == "cluster.gpus" and (m := _NODES_OF.match(s.value)):
            told = _ALL_GPUS.search(s.value)
            every = int((told[1] or told[2]).replace(",", "")) if told else int(m[1]) * int(m[2])
            yield Premise(field, every, s.line, s.text)
            return
        if fits and field.startswith("strategy.") and _THINGS.match(s.value[fits[0].at + len(fits[0].text) :]):
            return  # expert parallelism: each GPU has 16 experts
        if fits and _SIZE_WORD.search(s.value[: fits[0].at]):
            return  # experts: EP 16
        if fits and field == "model.layers" and _IN_LAYER.match(s.value[fits[0].at + len(fits[0].text) :]):
            return  # MoE layer: 128 experts
        if field.endswith("intermediate_size") and _ELSEWHERE.search(s.key) and not _EXPERTS.search(s.key):
            return  # of dense layers
        if fits and field.startswith("model.") and PER_GPU.search(_piece(s.value, fits[0])):
            return  # heads: 8 query heads and 1 KV head per GPU
        if fits and field.startswith("model.") and _SHARED_OUT.match(s.value[fits[0].at + len(fits[0].text) :]):
            return  # experts: 8 per GPU
        if fits and (fits[0] is tokens[0] or fits[0].at < 24):
            yield from _valued(field, fits[0].number, s)
        elif field.endswith("latency") or not fits:
            continue
        return


#: what has the memory of several GPUs, or of none
_OF_SEVERAL: Final = re.compile(
    r"\b(?:node|server|box|rack|cluster|pool|host|CPU|system|total|Knoten|Gesamt\w*)\b|整机|节点|集群|总", re.IGNORECASE
)
#: the title of a column that names the axes of a device mesh
_AXIS: Final = re.compile(r"\b(?:mesh )?ax[ie]s\b|\bAchse\b|轴", re.IGNORECASE)
_MESH: Final = re.compile(r"\bmesh(?:es)?\b|网格", re.IGNORECASE)


def _piece(text: str, token: Token) -> str:
    """What is said of a number, up to the next comma."""
    return re.split(r"[,;]", text[token.at + len(token.text) :])[0]


_SHARED_OUT: Final = re.compile(
    r"\s*(?:tokens?\b|each\b|apiece|(?:per|on each|on every|je|pro|/)\s*"
    r"(?:(?:layer|Schicht)\s*(?:and|und|per|je|/|,|on each)\s*)?(?:expert|GPU|chip|accelerator|"
    r"card|rank|device|Karte|Experte))",
    re.IGNORECASE,
)
#: what a layer has, of which a number is none of layers
_IN_LAYER: Final = re.compile(
    r"\s*(?:(?:routed|shared|geroutete|local|total) )?(?:experts?|heads?|Experten|Köpfe|tokens?)\b|\s*个?(?:路由)?专家",
    re.IGNORECASE,
)
#: sizes with their names, each of which the phrases of running text read
_GLUED: Final = re.compile(r"\b(?:E?[TD]P|[EPC]P)\d")
#: a key that gives a size itself: attention with TP 4: 24 query heads
_SIZED_KEY: Final = re.compile(r"\b(?:E?TP|EP|PP|DP|CP)\s?=?\s?\d")
_OF_GROUP: Final = re.compile(r"token|group|组|Gruppe|batch|per |pro |je |每", re.IGNORECASE)
_SIZE_WORD: Final = re.compile(r"\b[ETDPC]P\s*[=:]?\s*$")


def _fits(n: Number, dims: tuple[Dim, ...]) -> bool:
    """FLOPs are a rate only where they are written so that they may be one."""
    return n.dim in dims and (n.dim != FLOP or n.either)


#: ranks that a parallel size may have
MOST_RANKS: Final = 1 << 16


def _valued(field: str, n: Number | None, s: Statement) -> Iterator[Premise]:
    if n is None:
        return
    value: Any = n.value
    share = field.endswith(("mfu", "bandwidth_utilization"))
    if share and value > 1 and n.percent:
        yield Premise("share above 1", value, s.line_of(n.at), s.text)
    if share and not 0 < value <= 1:
        return
    if not share and n.dim == COUNT:
        if n.percent or value != int(value) or not value or (field.startswith("model.") and n.factor >= 1e6):
            return
        if field.startswith("strategy.") and value > MOST_RANKS:
            return  # data parallel, 13B: the model's size
        value = int(value)
    if field == "cluster.device.memory" and value < 4e9:
        return
    if field.startswith("cluster.network.") and n.dim == BYTE_RATE and _BOTH_WAYS.match(s.value[n.at + len(n.text) :]):
        value /= 2  # in each direction
    yield Premise(field, value, s.line_of(n.at), s.text)


#: what makes a rate that of both directions
_BOTH_WAYS: Final = re.compile(
    r"\s*(?:per GPU |/GPU )?[(,]?\s*(?:bidirectional|bi-?dir\b|both (?:directions|ways)|aggregate\b|"
    r"双向|bidirektional|in beiden Richtungen)",
    re.IGNORECASE,
)


def _computed(tokens: list[Token]) -> bool:
    """A value that is worked out, not given."""
    behind = next((b for a, b in pairwise(tokens) if a.kind == "number"), None)
    if behind is not None and behind.kind == "op":
        return True
    return any(t.kind in ("eq", "arrow") for t in tokens[1:]) and tokens[0].kind != "eq"


_DIGITS: Final = {
    **{word: i for i, word in enumerate(("two", "three", "four", "five", "six", "seven", "eight"), 2)},
    **{"nine": 9, "ten": 10, "twelve": 12, "sixteen": 16, "thirty-two": 32, "sixty-four": 64},
    **{"zwei": 2, "drei": 3, "vier": 4, "sechs": 6, "acht": 8, "zwölf": 12, "sechzehn": 16},
}
_IN_WORDS_OF: Final = re.compile(
    rf"\b({'|'.join(_DIGITS)})(?= (?:"
    r"(?:of (?:which|them|these)|davon|von denen|chosen|active|selected|used|per token)\b|"
    r"(?:routed |active |NVIDIA )?(?:GPUs?|experts?|Replikate|replicas|copies|"
    r"nodes?|servers?|cards?|[ABHL]\d{2,3}s?|Knoten|Karten|Experten)\b))",
    re.IGNORECASE,
)


def _in_digits(text: str) -> str:
    """``text`` with the numbers of GPUs, nodes and experts that it spells in digits."""
    return _IN_WORDS_OF.sub(lambda m: str(_DIGITS[m[1].lower()]), text)


#: GPUs of each of several nodes
_EACH: Final = re.compile(
    r"[ -]?(?:x |× )?(?:[A-Z]\w+ )?(?:GPUs?|cards?|Karten|accelerators?)?\s*"
    r"(?:each\b|per (?:node|server|box|machine)|a node|je (?:Knoten|Server))",
    re.IGNORECASE,
)


#: what makes a strategy another one than the document's
_UNREAL: Final = re.compile(
    r"\b(?:instead of|rather than|(?<!\bI )(?<!\bwe )would|statt|anstatt|anstelle|würden?|ergäben?|wären?|hätten?)\b|"
    r"而不是|而非",
    re.IGNORECASE,
)


#: GPUs that there may be later
_GROWTH: Final = re.compile(
    r"\b(?:expan\w+|upgrad\w+|later|next (?:year|quarter|phase)|future|grow\w* to|scal\w+ (?:up|out) to|planned for|"
    r"Ausbau\w*|erweiter\w+|aufgestockt|künftig|später|extension|agrandir)\b|扩容|扩展到|未来|后续",
    re.IGNORECASE,
)
_ENDS: Final = re.compile(r"[;.](?:\s|$)")


def _is_later(text: str, at: int) -> bool:
    """Whether the clause that stands around character ``at`` is of what there may be later."""
    return bool(_GROWTH.search(_ENDS.split(text[:at])[-1] + _ENDS.split(text[at:])[0]))


#: two strategies, of which one is to be chosen
_EITHER: Final = re.compile(
    r"\b[TEDP]P\s?=?\s?\d+\b[^.;]{0,30}\b(?:or|vs\.?|versus|oder|gegen|against)\b[^.;]{0,30}\b[TEDP]P\s?=?\s?\d|"
    r"[TEDP]P\s?=?\s?\d+[^。;]{0,12}(?:还是|或)[^。;]{0,12}[TEDP]P\s?=?\s?\d",
)


def _phrases(s: Statement) -> Iterator[Premise]:
    """Premises inside running text, such as "128 GPUs"; none inside what is worked out."""
    text, shift = _without_symbols(_in_digits(s.text))
    if not _DIGIT.search(text):
        return
    nodes = gpus_of_nodes(s.text)
    if nodes is not None:
        yield Premise("cluster.gpus", nodes[0], s.line_of(nodes[1], in_text=True), s.text)
    for pattern, field in (*TEXT, *ROMANCE_TEXT) if ROMANCE.search(text) else TEXT:
        if nodes is not None and field in ("cluster.gpus", "nodes"):
            continue
        for m in pattern.finditer(text):
            before, after = text[: m.start(1)].rstrip()[-1:], text[m.end(1) :].lstrip()[:1]
            worked = m.start() == m.start(1) and before in tuple("=×÷/*+→≈.-·")
            worked = worked and not re.search(r"[^\W\d]{3,}\s*/\s*$", text[: m.start()])  # 32 Q heads / 8 KV heads
            worked = worked or (
                m.end() == m.end(1) and bool(after in tuple("×÷/*+=→≈%^") or re.match(r"\.\d", text[m.end(1) :]))
            )
            if field.startswith("strategy.") and re.match(r"\s*(?:→|[×x*·]\s*[A-Za-z-]+)", text[m.end(1) :]):
                worked = worked and m.start() == m.start(1)  # TP 4 × PP 8 names its factors; EP8 → 16 a GPU
            if (
                field.startswith("strategy.")
                and _LAST_FACTOR.match(text[m.end(1) :])
                and re.search(r"\d\s*[×x*·]\s*$", text[: m.start()])
            ):
                worked = False  # DP8 × TP4 = 32
            if (
                m.start() == m.start(1)
                and _NAMES_FIRST.match(text[m.end() :])
                and text[: m.start()].rstrip()[-1:].isalpha()
            ):
                continue  # hidden 2560 q-heads 32
            clause = re.split(r"[;.](?:\s|$)", text[: m.start(1)])[-1]
            if field.endswith("intermediate_size") and _ELSEWHERE.search(clause) and not _EXPERTS.search(clause):
                continue
            if field.startswith("strategy.") and (_UNREAL.search(text) or _EITHER.search(text)):
                continue
            if field.startswith("strategy.") and "=" in m[0] and _OF_PRODUCT.search(text[: m.start()]):
                continue  # TP × DP = 40
            if field == "cluster.gpus" and (
                _of_part(text[: m.start(1)], text[m.end() :]) or _is_later(text, m.start(1))
            ):
                continue
            if field == "cluster.gpus" and (_EACH.match(text[m.end(1) :]) or _OF_STAGE.match(text[m.end() :])):
                continue
            if field == "model.experts.count" and _OF_TOKEN.search(text[: m.start(1)]):
                continue  # a token wakes up 2 experts per layer
            part = field.startswith("model.") and not field.endswith("size") and PER_GPU.search(s.text)
            part = part or (field.startswith("model.") and _PER_PART.match(text[m.end() :]))
            whole = _GROUPED.match(m[1])
            told = whole[0] if whole else ""  # 隐藏维 4096,32 个头
            if not worked and not part and 0 < len(told) < 10 and int(told.replace(",", "")):
                at = m.start() + sum(removed for place, removed in shift if place <= m.start())
                yield Premise(field, int(told.replace(",", "")), s.line_of(at, in_text=True), s.text)
                break


#: digits in groups of three
_GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?!\d)|\d+")
#: what stands behind a name in a list of names with their numbers behind them
_NAMES_FIRST: Final = re.compile(r"\s*=?\s*\d+(?!\s*[×x*/]|[.,]?\d)")
#: what stands behind the last factor of a product of parallel sizes
_LAST_FACTOR: Final = re.compile(r"\s*=\s*\d")
#: what makes GPUs those of a stage or a group
_OF_STAGE: Final = re.compile(
    r"\s*(?:of (?:a|each|one|the) |in (?:a|each|one) |einer |der |d'une? )(?:\w+ )?"
    r"(?:stage|group|Stufe|Gruppe|étage|groupe)\b",
    re.IGNORECASE,
)
#: what makes experts those of a token
_OF_TOKEN: Final = re.compile(
    r"\b(?:tokens?|jeton)\b[^.;|\d]{0,30}$|\bactive\b[^.;|]{0,16}\((?:[^()\d]{0,12})$|每个?\s?token[^。;\d]{0,12}$",
    re.IGNORECASE,
)
_DIGIT: Final = re.compile(r"\d")
#: what ends a piece of an enumeration: 61 layers, hidden size 7168 and a vocabulary of 129,280
_BETWEEN: Final = re.compile(r"[;()]|,(?!\d{3})|[.:](?=\s|$)|\b(?:and|with|und|mit|sowie|has|have|hat|haben)\b|和|以及")
#: a size behind its name, or before it
_NAME_FIRST: Final = re.compile(
    r"^\W*(?:(?:an?|the|its|each|of|one|ein\w*|der|die|das|de[mnr]|je|its|is|are) )*"
    r"(?P<name>[^\W\d][^\d=:×÷*+]{1,40}?)\s*(?:\b(?:of|is|are|von|ist|beträgt)\b|[=:为是])?\s*(?<![A-Za-z])(?P<value>\d[\d,]*)(?P<k>k\b)?\W*$",
    re.IGNORECASE,
)
#: what makes a width that of another part than the experts
_ELSEWHERE: Final = re.compile(r"\b(?:dense|shared|dicht\w*|vision|draft|mtp)\b|稠密|共享", re.IGNORECASE)
_EXPERTS: Final = re.compile(r"expert|moe|专家", re.IGNORECASE)
_OF_MODEL: Final = ("model.",)


def _named(s: Statement) -> Iterator[Premise]:
    """Sizes of a model in an enumeration, each with its name before it: hidden size 7168, expert FFN 2048."""
    if s.kind == "cell" or not _DIGIT.search(s.text) or PER_GPU.search(s.text):
        return
    text, shift = _without_symbols(s.text)
    at = 0
    for cut in (*_BETWEEN.finditer(text), None):
        end = cut.start() if cut else len(text)
        piece = text[at:end]
        m = _NAME_FIRST.match(piece)
        start, at = at, cut.end() if cut else end
        if not m or text[end : end + 1] == "%" or len(m["name"].split()) > 5:
            continue
        name = m["name"].strip().removesuffix(" of").removesuffix(" is").strip()
        for pattern, field, dims in COMPILED:
            if not pattern.search(name):
                continue
            if field == "model.hidden_size" and _EXPERTS.search(name):
                field = "model.experts.intermediate_size"
            value = int(m["value"].replace(",", "").strip() or 0) if len(m["value"]) < 12 else 0
            wide = field == "model.experts.intermediate_size"
            other = wide and (_ELSEWHERE.search(name) or (not _EXPERTS.search(name) and _ELSEWHERE.search(text)))
            if field.startswith(_OF_MODEL) and COUNT in dims and value and not other and not DERIVED.search(name):
                place = start + m.start("value")
                place += sum(removed for where, removed in shift if where <= place)
                yield Premise(field, value * (1024 if m["k"] else 1), s.line_of(place, in_text=True), s.text)
            break


#: a symbol that a number is the value of: L = 32 layers
_SYMBOL: Final = re.compile(
    r"(?<![\w×÷/*+·-])(?<![×÷/*+·-] )(?!d_(?:model|ff|expert))[A-Za-zα-ω](?:_\{?\w{1,6}\}?)?\s?=\s?(?=\d)"
)


def _without_symbols(text: str) -> tuple[str, list[tuple[int, int]]]:
    """``text`` without the symbols that its numbers are given to, and (place in it, characters taken away there)."""
    shift: list[tuple[int, int]] = []
    taken = 0
    for m in _SYMBOL.finditer(text):
        shift.append((m.start() - taken, len(m[0])))
        taken += len(m[0])
    return _SYMBOL.sub("", text), shift


def _measures(s: Statement) -> Iterator[Premise]:
    """Figures of hardware inside running text, such as "80 GB of HBM"."""
    if s.kind == "cell":
        return
    tokens = tokens_of(s.text)
    for i, token in enumerate(tokens):
        n = token.number
        beside = {t.kind for t in (*tokens[max(i - 1, 0) : i], *tokens[i + 1 : i + 2])}
        if n is None or beside & {"eq", "op", "arrow"}:  # part of a sum
            continue
        for before, after, field, dims in MEASURES:
            around = before.search(s.text[: n.at]) and after.search(s.text[n.at + len(n.text) :])
            if around and _fits(n, dims) and (n.dim != COUNT or n.percent):
                yield from _valued(field, n, replace(s, value=s.text))
                break


_FORMATS: Final = r"fp8|fp4|bf16|bfloat16|fp16|int8|int4|mxfp4|nvfp4"
#: the format of a model's weights, in two words
_WEIGHTS_IN: Final = re.compile(
    rf"\b({_FORMATS}) (?:weights|checkpoint|Gewichte)\b(?! (?:and|plus|of|for) )|"
    rf"(?<!expert )\b(?:weights|Gewichte)(?: are| stay| kept| sind)?(?: in|:|,)? ({_FORMATS})\b|权重(?:用|为|采用|"
    rf"以)?\s?({_FORMATS})\b",
    re.IGNORECASE,
)
#: what makes a format another one than the plan's
_SUPPOSED: Final = re.compile(
    r"\b(?:would|could|if|instead|versus|vs|compared|master|grads?|gradients?|optimi[sz]er|wären?|würden?|statt)\b|若|如果|对比"
)


#: what says that tensor parallelism cuts no expert
_WHOLE_EXPERTS: Final = re.compile(
    r"\b(?:no|without|ohne) (?:TP|tensor parallelism|Tensorparallelität) (?:in|inside|within|for|of|bei) "
    r"(?:the |den |der )?expert",
    re.IGNORECASE,
)


def _words(s: Statement) -> Iterator[Premise]:
    """Premises that are words: names, precision, kinds."""
    low = s.text.lower()
    key = s.key.lower()
    told = re.search(r"precision|dtype|data type|quanti[sz]|präzision|datentyp|精度|数据类型", key or low)
    told = told or re.search(r"(?:weights|runs?|stored?|served?|deploy)\b[^.;()]{0,60}\bin (?:fp|bf|int|mx|nv)\d", low)
    m = FORMAT.search(s.text) if told else _WEIGHTS_IN.search(s.text) if not _SUPPOSED.search(low) else None
    if m is not None:
        name = next(g for g in m.groups() if g).lower()
        yield Premise("model.precision", DENSE_FORMATS.get(name, name), s.line, s.text)
    gated = re.search(r"swiglu|geglu|\bglu\b|gate[d_ ]|three matri|3 matri|gate_proj|门控线性|三个矩阵", low)
    if "gate, up" in low or (
        gated and not re.search(r"gating network|moe gate|router|not gated|ungated|non-gated|no gate", low)
    ):
        yield Premise("model.experts.gated", True, s.line, s.text)
    plain = (
        r"two matri|2 matri|\bno gate\b|\bgelu\b|not gated|ungated|non-gated|(?<!gate, )up and down|two-matrix|"
        r"两个矩阵|无门控"
    )
    if re.search(plain, low) and not re.search(r"embed|vocab|head\b|gate,? (?:and )?up|einbettung|词表|嵌入", low):
        yield Premise("model.experts.gated", False, s.line, s.text)
    links = re.search(r"b/s|bandwidth|link\b|pcie|reduce|带宽|通信|传输", low)
    if re.search(r"non-?causal|bidirectional|full mask|not causal|双向", low) and not links:
        yield Premise("workload.causal", False, s.line, s.text)
    elif re.search(r"\bcausal|autoregressive|因果", low):
        yield Premise("workload.causal", True, s.line, s.text)
    if re.search(
        r"broadcast(?:s|ed)? to (?:all|every)|replicated (?:on|to|across) (?:all|every)|"
        r"every gpu (?:holds|sees|gets|receives) (?:all|every)|广播(?:到|至|给)(?:所有|全部|每)",
        low,
    ):
        yield Premise("strategy.broadcast", True, s.line, s.text)
    if _WHOLE_EXPERTS.search(s.text):
        yield Premise("strategy.etp", 1, s.line, s.text)
    if s.kind == "heading" or re.search(r"workload|phase|mode|stage|scenario|阶段|场景|负载", key):
        for kind, words in (("decode", r"decod|解码|generation"), ("prefill", r"prefill|预填充")):
            if re.search(words, low):
                yield Premise("workload.kind", kind, s.line, s.text)
                break
    phase = re.search(
        r"(?:for|during|in|of) (?:the )?(decode|prefill)|"
        r"\b(decode|prefill)(?:ing)? (?:phase|stage|with|step|of|batch|only)|"
        r"\b(decode|prefill)[- ](?:betrieb|phase|schritt|dienst|service|deployment|fleet|cluster)\b|"
        r"^(prefill|decod)|(解码|预填充)(?:阶段|服务|部署|集群)",
        low,
    )
    if phase and s.kind != "heading":
        word = next(g for g in phase.groups() if g)
        yield Premise("workload.kind", "prefill" if word in ("prefill", "预填充") else "decode", s.line, s.text)
    yield from _catalogued(s)


#: a sentence on several models, of which the document's may be none
_COMPARED: Final = re.compile(
    r"(?:DeepSeek|Kimi|Mixtral|Qwen|GLM|gpt-oss|Llama|MiniMax)\S*(?: \S+){0,2} (?:and|or|vs\.?|versus|und|oder|like) "
    r"(?:DeepSeek|Kimi|Mixtral|Qwen|GLM|gpt-oss|Llama|MiniMax)",
    re.IGNORECASE,
)


#: a name that says what another model is like
_LIKE: Final = re.compile(
    r"\b[A-Z][\w.]*(?:-[\w.]+)*?[- ](?:look-?alike|like|style|class|sized|inspired|clone|ähnlich\w*)\b|"
    r"(?:\b(?:similar to|modell?ed (?:on|after)|inspired by|unlike|akin to|"
    r"(?:cut|fork|variant|offshoot|descendant) of|(?:derived|pruned|trimmed|distilled|cut down) from|abgeleitet von|"
    r"ähnlich (?:zu|wie))|类似于?) ?[A-Z][\w.-]*",
    re.IGNORECASE,
)


_OF_SIZE: Final = re.compile(r"\b([ABHVL]\d{2,3})s? (?:of|with|mit|zu|à|de) (\d{2,3} ?GB)\b")


def _catalogued(s: Statement) -> Iterator[Premise]:
    """Models and devices of the catalogue, by name."""
    compared = s.kind == "prose" and bool(_COMPARED.search(s.text))
    plain = _OF_SIZE.sub(r"\1 \2", _LIKE.sub(" ", s.text[:1000]))  # A100 of 40 GB
    for model, device in catalogued_names(plain):
        if model and not compared:
            yield Premise("model.name", model, s.line, s.text)
        if device:
            yield Premise("cluster.device.name", device, s.line, s.text)


def catalogued_names(text: str) -> Iterator[tuple[str | None, str | None]]:
    """(model, device) of the catalogue of every name in ``text``: up to three words, for a device two."""
    words = re.findall(r"[A-Za-z0-9][\w.]*(?:[-/][\w.]+)*", text, re.ASCII)
    for i in range(len(words)):
        longer = False  # A100 40 GB is no A100 of another size
        for size in (3, 2, 1):
            name = " ".join(words[i : i + size]).strip(".")
            if (
                i + size <= len(words)
                and _HAS_LETTER.search(name)
                and (_DIGIT.search(name) or _ACRONYM.fullmatch(name))
            ):
                model, device = catalogued(name)
                yield model, device if size < 3 and not longer else None
                longer = longer or (device is not None and size == 2)


_HAS_LETTER: Final = re.compile(r"[A-Za-z]")
#: a name without a digit, such as DBRX
_ACRONYM: Final = re.compile(r"[A-Z]{4,}")


@lru_cache(1 << 16)
def catalogued(name: str) -> tuple[str | None, str | None]:
    """(model, device) of the catalogue that ``name`` is of."""
    from moewright.case.catalogue.hardware_catalogue import find_device
    from moewright.case.catalogue.model_catalogue import find_alias, find_name

    return find_name(name) or find_alias(name), find_device(name) or find_device(name.rstrip("s"))
