"""The field's usual wordings of premises, from ``audit/words/premises.yaml``: keys of ``key: value`` and of table rows,
phrases of running text with one number each, and words around figures of hardware."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from moewright.audit.reading.word_lists import LANGUAGES, word_list, wording
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, FLOP_RATE, SECONDS, Dim

_DIMS: Final[dict[str, Dim]] = {
    "count": COUNT,
    "bytes": BYTES,
    "bytes/s": BYTE_RATE,
    "seconds": SECONDS,
    "FLOP": FLOP,
    "FLOP/s": FLOP_RATE,
}
_LIST: Final = word_list("premises")


def _plain(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


def _dims(entry: dict[str, list[str]]) -> tuple[Dim, ...]:
    return tuple(_DIMS[name] for name in entry["of"])


#: (wording of a key, field, dimensions its value may have); the first that matches counts
COMPILED: Final[tuple[tuple[re.Pattern[str], str, tuple[Dim, ...]], ...]] = tuple(
    (wording(entry), entry["field"], _dims(entry)) for entry in _LIST["keys"]
)
_ROMANCE_LANGUAGES: Final = ("fr", "es")


def _phrases(languages: Iterable[str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """The phrases of ``languages`` with their fields."""
    some = tuple(languages)
    return tuple(
        (_plain(rf"(?<![\w.])(?:{phrase})" if phrase.startswith(r"(\d") else phrase), entry["field"])
        for entry in _LIST["phrases"]
        for lang in some
        for phrase in entry.get(lang, ())
    )


#: (phrase with one number, field)
TEXT: Final[tuple[tuple[re.Pattern[str], str], ...]] = _phrases(x for x in LANGUAGES if x not in _ROMANCE_LANGUAGES)
#: those of French and Spanish, of which a text has a word that ROMANCE finds
ROMANCE_TEXT: Final[tuple[tuple[re.Pattern[str], str], ...]] = _phrases(_ROMANCE_LANGUAGES)
ROMANCE: Final = re.compile(
    r"\b(?:couches?|capas?|jetons?|têtes?|cabezas?|expertos?|experts? (?:routés|par|de)|vocabul\w+|cachée?|oculta|soit|"
    r"requêtes|séquences|largeur|ancho|en total|es decir)\b",
    re.IGNORECASE,
)
#: (what stands before a figure of hardware, what behind it, field, dimensions)
MEASURES: Final[tuple[tuple[re.Pattern[str], re.Pattern[str], str, tuple[Dim, ...]], ...]] = tuple(
    (_plain(entry["before"]), _plain(entry["after"]), entry["field"], _dims(entry)) for entry in _LIST["around"]
)
#: option of a command → field
FLAGS: Final[dict[str, str]] = dict(_LIST["flags"])
#: name of a mapping in one line of YAML → short name in it → what that stands for
MAPPINGS: Final[dict[str, dict[str, str]]] = _LIST["mappings"]
#: what speaks of something derived or of a part, so that the figure is a claim and no premise
DERIVED: Final = wording(_LIST["marks"]["derived"], ascii_only=False)
#: what makes FLOPs those of a part of the work, and no rate of a device
WORK: Final = wording(_LIST["marks"]["work"], ascii_only=False)
PER_GPU: Final = wording(_LIST["marks"]["per_gpu"], ascii_only=False)
PARAMETERS: Final = re.compile(r"param|参数", re.IGNORECASE)
ASIDE: Final = re.compile(r"\([^()]*\)")
FORMAT: Final = re.compile(r"\b(fp8|fp4|bf16|bfloat16|fp16|fp32|int8|int4|mxfp4|nvfp4)\b", re.IGNORECASE | re.ASCII)
DENSE_FORMATS: Final = {"bfloat16": "bf16", "fp4": "nvfp4"}


def formats_in(text: str) -> set[str]:
    """The formats of elements that ``text`` names."""
    return {DENSE_FORMATS.get(x.lower(), x.lower()) for x in FORMAT.findall(text)}
