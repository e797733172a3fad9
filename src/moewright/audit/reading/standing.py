"""How a statement stands to the plan: a measurement, a target, another configuration; such figures are no claims that
the planner can hold against the plan."""

from __future__ import annotations

import re
from typing import Final

from moewright.audit.reading.word_lists import word_list, wording
from moewright.audit.text.document import Statement

_STANDINGS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (wording(entry, ascii_only=False), entry["reason"]) for entry in word_list("standings")["standings"].values()
)
#: the reason of a target or a limit
LIMIT: Final = word_list("standings")["standings"]["target"]["reason"]
_ANOTHER: Final = word_list("standings")["standings"]["another"]["reason"]
#: of a heading no more than this tells that what stands under it is a target
_GOAL: Final = re.compile(r"\btargets?\b|\bgoals?\b|\bSL[OA]s?\b|\bobjectives?\b|目标|\bZiele?\b", re.IGNORECASE)
#: parts of a system that are neither a GPU nor the whole
_GROUP: Final = re.compile(
    r"(?:\b(?:per|each|every|an?|one|for the|across the)[ -]|/)(?:[\w-]+[ -]){0,2}(?:group|stage|replica|node|server|"
    r"rack|pod|pair|worker|instance|step|request|sequence|prompt|chunk|user|block|head)s?\b|每(?:个|台)?(?:节点|组|级|请求)",
    re.IGNORECASE,
)


def group_of(text: str) -> str:
    """The words that make a figure one of a group, a stage, a node or a request, or an empty text."""
    said = _GROUP.search(re.sub(r"expert instance|per instance", "", text))
    return said[0].strip(" /-") if said else ""


def standing_of(s: Statement, configuration: str = "", own: bool = False) -> str:
    """Why the figures of ``s`` are no claims about the plan, or an empty text. Its headings count as it does itself;
    the name of the ``configuration`` that it stands in does not; ``own``: that is the configuration which its figures
    are of, whatever its headings say of others."""
    text, above = s.text, s.path[1:]
    if configuration:
        text = text.replace(configuration, "")
        above = tuple(title for title in above if title != configuration)
    for pattern, reason in _STANDINGS:
        heading = _GOAL if "target" in reason else pattern
        titles = () if own and configuration and reason == _ANOTHER else above
        if pattern.search(text) or any(heading.search(title) for title in titles):
            return reason
    return ""
