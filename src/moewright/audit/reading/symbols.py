"""Sizes that a text gives by their usual symbols: L = 48, d = 5120, E = 64, k = 4; PP·TP·DP = 2·4·8."""

from __future__ import annotations

import re
from typing import Final

_GIVEN: Final = re.compile(
    r"(?<![\w|\\^])\|?([A-Za-z](?:_\{?[A-Za-z]{1,5}\}?)?)\|?\s*=\s*(\d[\d,]*)(?!\w|\.\d|\s*[×x*·/+-])"
)
_FIELDS: Final = {
    "L": "model.layers",
    "E": "model.experts.count",
    "k": "model.experts.top_k",
    "K": "model.experts.top_k",
    "f": "model.experts.intermediate_size",
    "d_ff": "model.experts.intermediate_size",
    "V": "model.vocab_size",
    **dict.fromkeys(("n_q", "n_h", "h_q", "H_q"), "model.attention.heads"),
    **dict.fromkeys(("n_kv", "h_kv", "H_kv", "n_g"), "model.attention.kv_heads"),
    **dict.fromkeys(("d_h", "d_k", "d_head"), "model.attention.head_dim"),
}
#: h and d are a hidden size where they are as large, else heads and the size of one
_WIDE: Final = 1024
#: sizes without which a text is no list of a model's
_NEEDED: Final = {"model.layers", "model.hidden_size", "model.experts.count"}
_FEWEST: Final = 4


def sizes_by_symbol(text: str) -> dict[str, int]:
    """Fields of a model and their values, where ``text`` gives enough of them by their symbols; else none."""
    found = {
        m[1].translate({ord(x): None for x in "{}"}): int(m[2].replace(",", ""))
        for m in _GIVEN.finditer(text.replace("{,}", ","))
    }
    fields = {_FIELDS[x]: v for x, v in found.items() if x in _FIELDS and v}
    for x in ("d", "h", "D", "H"):
        if found.get(x):
            small = "model.attention.head_dim" if x in "dD" else "model.attention.heads"
            fields.setdefault("model.hidden_size" if found[x] >= _WIDE else small, found[x])
    if set(fields) >= _NEEDED and len(fields) >= _FEWEST:
        return fields
    beside = re.search(r"\b\d+ layers\b[^.;]{0,40}[,(] ?d ?= ?(\d{4,5})\b(?! ?[×x*/])", text)
    return {"model.hidden_size": int(beside[1])} if beside else {}


_HEADS: Final = r"(?:attention |attn )?(?:heads?|Köpfen?|头)"
_QUERY: Final = r"(?:queries|query|Q|attention|Abfrage|查询)"
_KV: Final = r"(?:KV|K/V|key[-/ ]value|Schlüssel-Wert)"
_TWO: Final = r"(?P<q>\d{1,3})\s?(?:/|:|\+|,|und|and)\s?(?P<kv>\d{1,3})(?![\d.]|\s?[/×x*=])"
#: query heads with the heads of keys and values: 96 query / 8 KV heads, query / KV heads: 96 / 8, GQA 96/8
_PAIR_OF_HEADS: Final = (
    re.compile(
        rf"(?<![\w./])(?P<q>\d{{1,3}})\s?{_QUERY}\s?(?:/|\+|,|und|and)\s?(?P<kv>\d{{1,3}})\s?{_KV}[- ]?{_HEADS}", re.I
    ),
    re.compile(rf"(?<!\w){_QUERY}[- ]?{_HEADS}?\s?(?:/|und|and|,)\s?{_KV}[- ]?{_HEADS}\W{{1,3}}{_TWO}", re.I),
    re.compile(rf"(?<!\w){_HEADS}\s?\(?{_QUERY}\s?/\s?{_KV}\)?\W{{1,3}}{_TWO}", re.I),
    re.compile(rf"\bGQA\W{{1,3}}{_TWO}", re.I),
    re.compile(rf"(?<![\w./])(?P<q>\d{{1,3}}) {_HEADS} \((?P<kv>\d{{1,3}}) {_KV}\b", re.I),
    re.compile(
        rf"^{_HEADS}(?!.{{0,20}}(?:after|cut|split|local|shard|rank|GPU|chip|accelerator|"
        rf"card|nach|je|pro))[^:\d]{{0,24}}: "
        rf"(?P<q>\d{{1,3}}) {_QUERY}\s?[,/]\s?(?P<kv>\d{{1,3}}) {_KV}\b",
        re.I,
    ),
)
_HEAD_DIM: Final = re.compile(r"(?:head[_ -]?|, ?)(?:dim(?:ension)?|size)\s?[=:]?\s?(\d{2,3})(?![\d.])", re.I)


def sizes_of_heads(text: str) -> dict[str, int]:
    """Heads of queries, and those of keys and values, that a text gives as a pair."""
    found = next((m for p in _PAIR_OF_HEADS if (m := p.search(text))), None)
    if found is None or not int(found["kv"]) or int(found["q"]) % int(found["kv"]):
        return {}
    sizes = {"model.attention.heads": int(found["q"]), "model.attention.kv_heads": int(found["kv"])}
    dim = _HEAD_DIM.search(text, found.end())
    return sizes | ({"model.attention.head_dim": int(dim[1])} if dim else {})


_PRODUCT: Final = re.compile(
    r"(?<![\w×x*·/])((?:(?:E?[TD]P|[EPC]P)\s?[×x*·]\s?)+(?:E?[TD]P|[EPC]P))\s?=\s?"
    r"((?:\d{1,4}\s?[×x*·]\s?)+\d{1,4})(?!\s?[×x*·/]|\d)"
)
#: the sizes of a strategy
_SIZES: Final = ("TP", "PP", "DP", "EP", "CP", "ETP")


def sizes_of_product(text: str) -> dict[str, int]:
    """Parallel sizes that a text gives as a product in the order of their names."""
    found = sizes_of_mesh(text)
    for m in _PRODUCT.finditer(text):
        names, values = re.findall(r"[A-Z]+", m[1]), [int(x) for x in re.findall(r"\d+", m[2])]
        if len(names) == len(values) and len(set(names)) == len(names) and all(values):
            told = {f"strategy.{n.lower()}": v for n, v in zip(names, values, strict=True) if n in _SIZES}
            found = told | found
    return found


#: axes of a device mesh, as JAX names them, and the parallel sizes that they are
AXES: Final = {
    "expert": "strategy.ep",
    **dict.fromkeys(("tensor", "model", "mp"), "strategy.tp"),
    **dict.fromkeys(("stage", "pipeline", "pipe"), "strategy.pp"),
    **dict.fromkeys(("context", "sequence"), "strategy.cp"),
}
#: axes that are data parallel alone
_DATA: Final = ("data", "fsdp", "dp", "replica")
_MESH: Final = re.compile(
    rf"(?<![\w.])({'|'.join((*AXES, *_DATA))})\s?[=:]\s?(\d{{1,4}})(?![\w.]|\s*[/+*×-]\s*\d)", re.IGNORECASE
)
_FEWEST_AXES: Final = 2


def sizes_of_mesh(text: str) -> dict[str, int]:
    """Parallel sizes that a text gives as the axes of a mesh: fsdp=16 x expert=8."""
    axes = {m[1].lower(): int(m[2]) for m in _MESH.finditer(text)}
    if len(axes) < _FEWEST_AXES or not set(axes) & set(_DATA):
        return {}
    return {AXES[x]: size for x, size in axes.items() if x in AXES and size}
