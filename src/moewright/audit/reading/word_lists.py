"""The word lists of ``audit/words``: wordings by language → regular expressions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import yaml

#: languages in the order in which their wordings are tried; ``any`` is of none
LANGUAGES: Final = ("any", "en", "zh", "de", "fr", "es")


@lru_cache
def word_list(name: str) -> Mapping[str, Any]:
    """The word list ``name``: premises, quantities, claims, standings or links."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = (files("moewright.audit") / "words" / f"{name}.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Any] = yaml.load(text, loader)
    return found


def wording(entry: Mapping[str, Any], ascii_only: bool = True) -> re.Pattern[str]:
    """The wordings of an entry in every language as one pattern, read without case; ``ascii_only``: a word ends where
    its ASCII letters do, as between Latin and Chinese."""
    parts: Sequence[str] = [x for language in LANGUAGES for x in entry.get(language, ())]
    return re.compile("|".join(parts), re.IGNORECASE | (re.ASCII if ascii_only else re.NOFLAG))


def words_of(name: str) -> frozenset[str]:
    """The words of an entry of the list of links, of every language."""
    entry = word_list("links")["links"][name]
    return frozenset(word for language in LANGUAGES for word in entry.get(language, ()))
