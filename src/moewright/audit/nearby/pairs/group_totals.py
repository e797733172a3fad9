"""What so many groups have by what each has: 45 sessions per pair, with 8 pairs 360."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, ranges, slip, times
from moewright.audit.reading.cluster_sizes import IN_WORDS, in_words
from moewright.audit.text.numbers import COUNT, NAMES
from moewright.units import format_quantity

_NOUN: Final = (
    r"(?:(?:DP|TP|EP|PP)[ -]?)?(?:groups?|replicas?|pairs?|instances?|copies|copy|units?|servers?|nodes?|pipelines?|"
    r"Paar|Instanz|Replik|Gruppe|Server|Knoten|组|副本|实例|台|对|节点)"
)
_EACH: Final = re.compile(rf"(?:per|each|every|a|one|je|pro|jede[rs]?|每个?|单)\s?(?P<noun>{_NOUN})", re.IGNORECASE)
#: so many of them, and what leads to what they have
_MANY: Final = re.compile(
    rf"[^.;。；\d]{{0,24}}?(?P<n>{IN_WORDS})\s?(?:such )?(?P<noun>{_NOUN})(?:e?n|s)?(?:\s?(?:together|in all|"
    rf"hold|have|make|give|"
    r"that is|are|sum to|zusammen|insgesamt|sind|ergeben|macht|合计|一共|总共|共|即|为|[:=→,，(]))?\s*(?:about |"
    r"~|约 ?)?$",
    re.IGNORECASE,
)
#: letters between the two figures
MOST: Final = 48
_SURE: Final = 0.02


def judge_group_totals(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on what so many groups, replicas or nodes are said to have right behind what each of them has: so many
    times it, or by a slip not."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind in ("heading", "cell"):
            continue
        for i, one in enumerate(entries):
            end = one.number.at + len(one.number.text)
            for e in entries[i + 1 : i + 3]:
                between = s.value[end : e.number.at]
                m = _MANY.search(between) if one.number.at >= 0 and len(between) <= MOST else None
                if m is None or not _is_alike(one, e, m):
                    continue
                front = f"{s.value[max(0, one.number.at - 24) : one.number.at]} | {between[: m.start('n')]}"
                each = list(_EACH.finditer(front))
                if not each or _root(each[-1]["noun"]) != _root(m["noun"]) or e.figure.formula:
                    continue
                claim = _judged(one, e, in_words(m["n"]))
                if claim is not None:
                    yield e, claim


def _root(noun: str) -> str:
    """A noun without its number and its kind of parallelism."""
    plain = re.sub(r"^(?:DP|TP|EP|PP)[ -]?", "", noun, flags=re.IGNORECASE).lower()
    return plain.removesuffix("s").replace("copie", "copy")


def _is_alike(one: Entry, e: Entry, m: re.Match[str]) -> bool:
    """Whether both are figures of the same, and none of them the number of groups."""
    a, b = one.number, e.number
    if b.at == one.number.at + len(a.text) + m.start("n") or a.percent or b.percent:
        return False
    return a.dim == b.dim and (a.dim != COUNT or a.value > 1) and a.slack < _SURE and b.slack < _SURE


def _judged(one: Entry, e: Entry, many: int) -> Claim | None:
    n, right = e.number, one.number.value * many
    why = f"{many} × {one.number.text.strip()}"
    if meet(ranges(n), times(ranges(one.number), exactly(float(many))), 4e-3):
        return e.claim("multiple", Verdict.HOLDS, why, right)
    found = slip(n.value / right, n.slack + one.number.slack + 2e-3, ((float(many), f"the {many}"),))
    if not found or many < 2:
        return None
    return e.claim(
        "multiple", Verdict.WRONG, f"{why} is {format_quantity(right, NAMES.get(n.dim, ''))}: {found}", right
    )
