"""Totals against their parts: a list's total must be a sum of what the list states."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.meaning import Meaning
from moewright.audit.text.clauses import Figure, ends_range
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import BYTES, FLOP, SECONDS, Number
from moewright.units import format_quantity

_TOTAL: Final = re.compile(
    r"\btotal\b|\bsum\b|overall|altogether|合计|总(?:计|和|量|显存|内存|通信|延迟)?", re.IGNORECASE
)
#: parts of a list that can be enumerated
MOST_PARTS: Final = 8
#: figures before a total among which its parts are looked for
MOST_BEFORE: Final = 200


@dataclass(frozen=True, slots=True)
class Part:
    """A stated figure with its statement and meaning (None where its quantity is not known)."""

    figure: Figure
    statement: Statement
    meaning: Meaning | None


def judge_sums(parts: Sequence[Part], f: Facts) -> Iterator[Claim]:
    """A verdict for every total that stands in a list or table below parts of its own dimension and kind."""
    lists: dict[tuple[int, tuple[str, ...]], list[Part]] = {}
    for total in parts:
        before = lists.setdefault((total.statement.group, total.statement.path), [])
        before.append(total)
        n, s = total.figure.number, total.statement
        if n.dim not in (BYTES, SECONDS, FLOP) or total.figure.remark or total.figure.role == "operand":
            continue
        if not _TOTAL.search(s.key or total.figure.words) or s.kind not in ("item", "cell"):
            continue
        if total.figure.formula:  # it says itself what it is the sum of
            continue
        siblings = [p for p in before[-MOST_BEFORE:-1] if _is_sibling(p, total)]
        if any(ends_range(p.statement.value, p.figure.number) for p in siblings):
            continue  # what may be anything adds up to anything
        alike = [p for p in siblings if _is_alike(p, total)]
        chosen = [p for p in alike if p is _foremost(p, alike, total)]
        judged = [_judged(total, rows, f) for rows in map(_rows, (chosen, siblings)) if 2 <= len(rows) <= MOST_PARTS]
        if judged and chosen:
            yield next((c for c in judged if c.verdict is Verdict.HOLDS), judged[0])


def _rows(parts: list[Part]) -> list[list[Part]]:
    lines = dict.fromkeys(p.statement.line for p in parts)
    return [[p for p in parts if p.statement.line == line] for line in lines]


def _foremost(p: Part, parts: list[Part], total: Part) -> Part:
    """Of parts of the same quantity in different scopes, the one in the total's scope, else the last."""
    if p.meaning is None:
        return p
    alike = [x for x in parts if x.meaning is not None and x.meaning.name == p.meaning.name]
    lines = {x.statement.line for x in alike}
    if len(lines) < 2:
        return p
    wanted = total.meaning.explicit if total.meaning else frozenset()
    fitting = [x for x in alike if x.meaning is not None and x.meaning.explicit == wanted] or alike[-1:]
    return p if p in fitting else fitting[0]


def _is_sibling(p: Part, total: Part) -> bool:
    """Whether ``p`` stands in the list, or in the column, that ``total`` may be the total of."""
    s, t = p.statement, total.statement
    return (
        s.group == t.group
        and s.path == t.path
        and s.line != t.line
        and s.key.partition(" | ")[2] == t.key.partition(" | ")[2]
        and p.figure.number.dim == total.figure.number.dim
        and p.figure.role != "operand"
        and not p.figure.remark
        and not _TOTAL.search(s.key or p.figure.words)
    )


def _is_alike(p: Part, total: Part) -> bool:
    return p.meaning is None or total.meaning is None or _kind(p.meaning) == _kind(total.meaning)


def _kind(m: Meaning) -> str:
    """What may be added: bytes that a GPU holds and bytes that it sends are both bytes, and buffers are named after
    what is sent."""
    group = m.name.partition(".")[0]
    return "memory" if group == "communication" else group


def _times(p: Part, total: Part, f: Facts) -> list[float]:
    """How often a part may count in the total: per layer, per expert and per token figures are multiplied."""
    words = f"{p.figure.words} {p.statement.key}"
    layers = len(f.case.model.layers)
    found = [1.0]
    explicit = p.meaning.explicit if p.meaning else frozenset()
    whole = "layer" not in (total.meaning.explicit if total.meaning else ())
    if "layer" in explicit and whole:
        found = [float(layers), layers / (f.plan.strategy.pp if f.plan else 1)]
    if "expert" in explicit or re.search(r"per (?:expert|instance)|每个专家", words):
        held = f.plan.balance.experts_per_gpu.max if f.plan else 1.0
        found = [held, held / layers]
    return list(dict.fromkeys(found))


def _judged(total: Part, rows: list[list[Part]], f: Facts) -> Claim:
    n, s = total.figure.number, total.statement
    unit = "FLOPs" if n.dim == FLOP else "bytes" if n.dim == BYTES else "seconds"
    options = [[(p.figure.number, t) for p in row for t in _times(p, total, f)][:4] for row in rows]
    best: tuple[float, float, str] | None = None
    for chosen in product(*options):
        for binary in (False, True):
            value = sum(_value(x, binary) * t for x, t in chosen)
            room = sum(x.half * t for x, t in chosen if not x.whole)
            for said in (n.value, n.binary):
                slack = n.half + room + (0.1 * said if n.approx else 0.0)
                text = " + ".join(x.text if t == 1 else f"{t:g} × {x.text}" for x, t in chosen)
                if abs(value - said) <= slack * (1 + 1e-9):
                    return Claim(
                        s.line,
                        s.text,
                        "sum",
                        Verdict.HOLDS,
                        f"{text} = {format_quantity(value, unit)}",
                        n.value,
                        value,
                        unit=unit,
                    )
                if best is None or abs(value - said) < abs(best[0] - best[1]):
                    best = value, said, text
    assert best is not None
    lines = f"lines {rows[0][0].statement.line} to {rows[-1][0].statement.line}"
    nearest = f"{best[2]} = {format_quantity(best[0], unit)} at the nearest"
    why = f"its own parts, {lines}, do not add up to it: {nearest}"
    return Claim(s.line, s.text, "sum", Verdict.CONTRADICTED, why, n.value, best[0], unit=unit)


def _value(n: Number, binary: bool) -> float:
    return n.binary if binary else n.value
