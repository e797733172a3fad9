"""What a figure is of, in two: the thing, and how much of it — a layer or all of them, a GPU or a node."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from moewright.audit.reading.word_lists import word_list, wording

_LIST: Final = word_list("extents")
_AXES: Final = {
    axis: {kind: wording(entry, False) for kind, entry in kinds.items()} for axis, kinds in _LIST["axes"].items()
}
#: units and remarks in brackets, which say nothing of what a figure is of
_BRACKETS: Final = re.compile(r"[(\[][^()\[\]]*[)\]]")
_WORD: Final = re.compile(r"[^\W\d_]+")
#: words that name nothing
_PLAIN: Final = frozenset(_LIST["plain"])
_PLAIN_ZH: Final = re.compile(r"总|合计|共|的|路由|约|全部|所有")
#: what an extent without a number is of: all there are
EVERY: Final = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """What a figure is of. ``words`` name the thing; ``extents``: how much of it by axis, 1 for one layer, GPU, node,
    token or expert, their number where it is told, EVERY for all of them."""

    words: frozenset[str]
    extents: Mapping[str, int]


@lru_cache(4096)
def subject_of(text: str) -> Subject:
    """The subject of a figure whose row, column or key is ``text``."""
    extents: dict[str, int] = {}
    for axis, kinds in _AXES.items():
        for kind in ("some", "every", "one"):
            m = kinds[kind].search(text) if kind in kinds else None
            if m is not None:
                told = next((g for g in m.groups() if g), None) if kind == "some" else None
                extents[axis] = 1 if kind == "one" else EVERY if told is None else int(told.replace(",", ""))
                text = f"{text[: m.start()]} ; {text[m.end() :]}"
                break
    rest = _PLAIN_ZH.sub("", _BRACKETS.sub(" ", text).lower())
    words = (w.removesuffix("s") if len(w) > 3 else w for w in _WORD.findall(rest))
    return Subject(frozenset(w for w in words if w not in _PLAIN), extents)
