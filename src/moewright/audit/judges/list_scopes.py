"""Figures of one layer in a list, or a table, whose other figures are of all layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.figures import Context, label
from moewright.audit.judges.sums import Part
from moewright.units import format_quantity

_PER_LAYER: Final = " per layer"
#: what a list of a GPU's memory has over all layers
_HELD: Final = ("memory.experts", "memory.attention", "memory.shared", "memory.weights", "memory.kv_cache")
#: how many of something a layer has, which says nothing of the bytes beside it
_COUNTED: Final = re.compile(
    r"\d[\d,]*\s(?:[\w-]+\s)?(?:experts?|heads?|copies|Experten|Köpfe)\s"
    r"(?:per|a|in each|of a|je|pro)\s(?:\w+\s)?(?:layer|Schicht)|"
    r"每(?:个)?(?:\s?MoE\s?)?层\s?\d+\s?个|[(（][^()（）\d]*\d[^()（）]*[)）]",
    re.IGNORECASE,
)
#: why a figure was not checked that is right for a layer
_IS_LAYER: Final = re.compile(r"it is right for memory\.\S+(?: per (?:layer|GPU))*(?<= layer)(?: per GPU)?,")
_ONE: Final = re.compile(r"\blayer\b|\bSchicht\b|\bcouche\b|\bcapa\b|每\S{0,4}层|单层|一层", re.IGNORECASE)


def one_layer_in_lists(held: Sequence[tuple[Claim, Part]], c: Context) -> Iterator[tuple[Claim, Claim]]:
    """(claim, the verdict in its place) for each figure that is right for one layer, which nothing beside it says, in a
    list or column of which others are right for all layers. ``held``: claims with the figures that they are on."""
    lists: dict[object, list[tuple[Claim, Part]]] = {}
    for claim, part in held:
        s = part.statement
        if not claim.quantity.startswith(_HELD) or s.kind not in ("item", "cell"):
            continue
        if claim.verdict is Verdict.HOLDS or _IS_LAYER.match(claim.why):
            lists.setdefault((s.group, s.path, s.column), []).append((claim, part))
    for alike in lists.values():
        held_so = [x for x in alike if x[0].verdict is Verdict.HOLDS]
        whole = {claim.line for claim, _ in held_so if not re.search(r" per (?:layer|token|expert)", claim.quantity)}
        layered = [x for x in alike if x[0].verdict is not Verdict.HOLDS or _PER_LAYER in x[0].quantity]
        if not whole or any(_says_one(part) for _, part in layered):
            continue
        for claim, part in layered:
            if (right := _over_all(claim, part, c)) is not None and claim.line not in whole:
                yield claim, right


def _says_one(part: Part) -> bool:
    """Whether the words of a figure say that it is of one layer."""
    s = part.statement
    return bool(_ONE.search(_COUNTED.sub(" ", " | ".join((s.text, *s.path[-1:])))))


def _over_all(claim: Claim, part: Part, c: Context) -> Claim | None:
    meaning, layers = part.meaning, len(c.facts.case.model.layers)
    if meaning is None or claim.claimed is None or layers in {n.value for n in part.figure.formula}:
        return None
    scopes = dict.fromkeys(x - {"layer"} for x in meaning.scopes if ("gpu" in x) == ("per GPU" in claim.quantity))
    for scope in scopes:
        for r in c.readings(meaning.name, scope):
            if r.value > claim.claimed * 1.5:
                told = format_quantity(r.value, claim.unit)
                why = f"that is of one layer, where the rest of the list is of all of them: {told}"
                quantity = label(meaning.name, scope)
                return replace(claim, verdict=Verdict.WRONG, quantity=quantity, why=why, computed=r.value)
    return None
