"""How a statement stands to the plan: a measurement, a target, another configuration; such figures are no claims that
the planner can hold against the plan."""

from __future__ import annotations

import re
from typing import Final

from moewright.audit.text.document import Statement

_STANDINGS: Final = (
    (
        re.compile(
            r"\bmeasure|\bobserved\b|\bbenchmark|\bprofil(?:e[ds]?|ing)\b|\bempiric|\bin practice\b|"
            r"\bwe (?:see|saw|got|get|achieve)|\bour (?:tests?|runs?|experiments?)|\bexperiment|\breported\b|"
            r"\bpublished\b|实测|测得|压测|gemessen",
            re.IGNORECASE,
        ),
        "it is given as a measurement, which no model of the plan can refute",
    ),
    (
        re.compile(
            r"\btargets?\b|\bgoals?\b|\bSL[OA]s?\b|\bobjectives?\b|\bthresholds?\b|\brequirements?\b|\bbudget(?:ed)?\b|"
            r"\bconstraints?\b|\bmust\b|\baims? (?:to|for|at)\b|\bto (?:minimi[sz]e|maximi[sz]e)\b|\balert\b|"
            r"目标|要求|Ziel|Vorgabe",
            re.IGNORECASE,
        ),
        "it is a target or a limit, no claim about the plan",
    ),
    (
        re.compile(
            r"\bvs\.?(?!\w)|\bversus\b|\binstead of\b|\bcompared (?:to|with)\b|\bbaselines?\b|\balternativ|\bwould\b|"
            r"\bcould\b|\brather than\b|\bprevious(?:ly)?\b|\btraditional\b|\bnaive\b|\boption(?:s|al)?\b|"
            r"\bexamples?\b|"
            r"\be\.g\.|\bfor instance\b|\bsuppose\b|\bif (?:we|you|the|all|one|only|every)\b|\bwithout\b|\bat first\b|"
            r"^before\b|\bbefore:|\bused to\b|对比|相比|如果|假设|例如|statt|gegenüber",
            re.IGNORECASE,
        ),
        "it may be of another configuration than the plan",
    ),
)


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


def standing_of(s: Statement, configuration: str = "") -> str:
    """Why the figures of ``s`` are no claims about the plan, or an empty text. Its headings count as it does itself;
    the name of the ``configuration`` that it stands in does not."""
    text, above = s.text, s.path[1:]
    if configuration:
        text = text.replace(configuration, "")
        above = tuple(title for title in above if title != configuration)
    for pattern, reason in _STANDINGS:
        heading = _GOAL if "target" in reason else pattern
        if pattern.search(text) or any(heading.search(title) for title in above):
            return reason
    return ""
