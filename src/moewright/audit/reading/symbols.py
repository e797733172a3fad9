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
    return fields if set(fields) >= _NEEDED and len(fields) >= _FEWEST else {}


_PRODUCT: Final = re.compile(
    r"(?<![\w×x*·/])((?:(?:E?[TD]P|[EPC]P)\s?[×x*·]\s?)+(?:E?[TD]P|[EPC]P))\s?=\s?"
    r"((?:\d{1,4}\s?[×x*·]\s?)+\d{1,4})(?!\s?[×x*·/]|\d)"
)
#: the sizes of a strategy
_SIZES: Final = ("TP", "PP", "DP", "EP", "CP", "ETP")


def sizes_of_product(text: str) -> dict[str, int]:
    """Parallel sizes that a text gives as a product in the order of their names."""
    found: dict[str, int] = {}
    for m in _PRODUCT.finditer(text):
        names, values = re.findall(r"[A-Z]+", m[1]), [int(x) for x in re.findall(r"\d+", m[2])]
        if len(names) == len(values) and len(set(names)) == len(names) and all(values):
            told = {f"strategy.{n.lower()}": v for n, v in zip(names, values, strict=True) if n in _SIZES}
            found = told | found
    return found
