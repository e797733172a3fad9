"""Weights and gradients of the same parameters, each in its format: their bytes stand as their elements do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.sums import Part
from moewright.audit.reading.standing import standing_of
from moewright.audit.reading.wordings import DENSE_FORMATS, FORMAT
from moewright.audit.text.numbers import BYTES, COUNT, Number
from moewright.case.precision import element_bytes
from moewright.units import format_bytes

_WEIGHTS: Final = re.compile(r"\b(?:weights?|parameters?|params?)\b|权重|参数|Gewichte", re.IGNORECASE)
_GRADIENTS: Final = re.compile(r"\bgrad(?:ient)?s?\b|梯度|Gradienten", re.IGNORECASE)
#: parts of a model that a row may be of
_PART: Final = re.compile(
    r"expert|routed|shared|dense|attention|embed|router|other|rest\b|remaining|专家|路由|共享|稠密|注意力|嵌入|其余|dicht|geteilt|"
    r"Einbettung|übrige",
    re.IGNORECASE,
)
#: parameters of a GPU, at least
LEAST: Final = 1e7
#: bytes of an element with all its states
WIDEST: Final = 20
#: what else a line may speak of, or what divides the one and not the other
_OTHERWISE: Final = re.compile(
    r"shard|zero|fsdp|distribut|offload|÷|/ ?(?:dp|\d)|per layer|per expert|optim|adam|moment|master|buffer|"
    r"accumulation steps|切分|优化",
    re.IGNORECASE,
)


def judge_formats(parts: Sequence[Part]) -> Iterator[Claim]:
    """A verdict for the bytes of gradients that stand in a list with the bytes of the weights of the same part of the
    model, where both name a format."""
    counts = [p.figure.number for p in parts if p.figure.number.dim == COUNT and p.figure.number.value >= LEAST]
    rows: dict[tuple[int, int], list[str]] = {}
    for p in parts:
        if p.statement.kind == "cell" and p.statement.value not in rows.setdefault(_row(p), []):
            rows[_row(p)].append(p.statement.value)
    weights: dict[tuple[int, tuple[str, ...], str, frozenset[str]], tuple[Part, str]] = {}
    for p in parts:
        of = frozenset(m.lower() for m in _PART.findall(p.statement.key))
        place = (p.statement.group, p.statement.path, p.statement.column, of)
        form = _format_of(p, " | ".join((p.statement.text, *rows.get(_row(p), ()))))
        if not form:
            continue
        if _GRADIENTS.search(p.statement.key):
            if place in weights:
                yield _judged(*weights[place], p, form, counts)
        elif _WEIGHTS.search(p.statement.key):
            weights.setdefault(place, (p, form))


def _row(p: Part) -> tuple[int, int]:
    return p.statement.line, p.statement.group


def _format_of(p: Part, text: str) -> str:
    """The one format that a line, or the row ``text``, names for its one figure in bytes, or an empty text."""
    s, n = p.statement, p.figure.number
    named: set[str] = {m.lower() for m in FORMAT.findall(text)}
    single = (
        s.kind in ("item", "cell")
        and n.dim == BYTES
        and n.value > WIDEST
        and p.figure.role != "operand"
        and not p.figure.remark
    )
    if not single or len(named) != 1 or _OTHERWISE.search(text) or standing_of(s):
        return ""
    name = named.pop()
    return DENSE_FORMATS.get(name, name)


def _judged(weights: Part, of: str, gradients: Part, form: str, counts: Sequence[Number]) -> Claim:
    """The verdict on the gradients; on the weights, where a number of parameters makes the gradients alone right."""
    w, g, s = weights.figure.number, gradients.figure.number, gradients.statement
    ratio = element_bytes(form) / element_bytes(of)
    right = w.value * ratio

    def makes(n: Number, size: float) -> bool:
        return any(abs(c.value * size - n.value) <= n.half + c.half * size for c in counts)

    if makes(g, element_bytes(form)) and not makes(w, element_bytes(of)) and abs(g.value / right - 1) > 0.02:
        t, right = weights.statement, g.value / ratio
        why = f"line {s.line} has {g.text} of gradients in {form}; weights of the same parameters in {of} take "
        at = t.line_of(w.at)
        why += format_bytes(right)
        return Claim(at, t.text, "memory.weights", Verdict.WRONG, why, w.value, right, unit="bytes")
    room = g.half + w.half * ratio + (0.05 * right if g.approx or w.approx else 0.0)
    holds = abs(g.value - right) <= room * (1 + 1e-9)
    told = f"line {weights.statement.line} has {w.text} of weights in {of}; gradients of the same parameters in {form}"
    why = f"{told} take {format_bytes(right)}"
    verdict = Verdict.HOLDS if holds else Verdict.WRONG
    return Claim(s.line_of(g.at), s.text, "memory.gradients", verdict, why, g.value, right, unit="bytes")
