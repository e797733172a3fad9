"""Totals of a table: of a row that another cell calls a sum, and of a model's parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import LARGE, Entry, Ledger
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.quantities.readings import Facts
from moewright.audit.text.numbers import BYTES, COUNT
from moewright.case.tensors.layer_tensors import parameters_by_kind
from moewright.units import format_count, format_quantity

#: a cell that says of the others of its row that they are a sum
_SUM: Final = re.compile(
    r"^\W*(?:sum|suma|somme|Summe|sum of (?:the )?(?:\w+ )?(?:rows? )?(?:above|rows)|"
    r"sub-?total|Zwischensumme|小计|合计|求和|以上之和)\W*$",
    re.IGNORECASE,
)
_TOTAL: Final = re.compile(
    r"^\W*(?:total|sum|params? total|total params?|total parameters|whole model|grand total|Summe|Gesamt|insgesamt|"
    r"suma|合计|总计|总参数量?|总和)\W*$",
    re.IGNORECASE,
)
_EXPERTS: Final = re.compile(r"expert|MoE|专家", re.IGNORECASE)
_ATTENTION: Final = re.compile(r"attention|\battn\b|注意力|Aufmerksamkeit", re.IGNORECASE)
#: cells to either side that may tell what a sum is
NEAR: Final = 4
#: rows above a total that are looked at
MOST_ROWS: Final = 8
#: how far from every usual count a total must be
FAR: Final = 0.025
_NEEDS: Final = (
    "model.layers",
    "model.hidden_size",
    "model.attention.heads",
    "model.attention.kv_heads",
    "model.experts.count",
    "model.experts.intermediate_size",
    "model.experts.gated",
    "model.vocab_size",
)


def judge_sum_rows(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the amount of a row, of which another cell says that it is the sum: of rows above it."""
    for index, s in enumerate(ledger.statements):
        if s.kind != "cell" or not _SUM.match(s.value) or _SUM.match(s.row):
            continue
        line = [index, *ledger.beside(index, NEAR, NEAR)]
        amounts = [e for i in line for e in ledger.entries[i] if e.figure.role == "lone"]
        if len(amounts) == 1 and (found := _summed(amounts[0], ledger)) is not None:
            yield amounts[0], found


def _above(e: Entry, ledger: Ledger) -> list[Entry]:
    """The amounts in the rows above, the nearest first."""
    s = e.statement
    found = []
    for i in range(e.index - 1, max(-1, e.index - 60), -1):
        t = ledger.statements[i]
        if t.kind != "cell" or t.group != s.group:
            break
        mine = [x for x in ledger.entries[i] if x.number.dim == e.number.dim and not x.figure.remark]
        if t.column == s.column and len(mine) == 1 and mine[0].figure.role in ("lone", "result"):
            found.append(mine[0])
    return found[:MOST_ROWS]


def _adds_up(e: Entry, parts: Sequence[Entry]) -> bool:
    n = e.number
    room = n.half + sum(x.number.half for x in parts)
    pairs = ((n.value, [x.number.value for x in parts]), (n.binary, [x.number.binary for x in parts]))
    return any(abs(value - sum(of)) <= room * (value / n.value) * (1 + 1e-9) for value, of in pairs)


def _summed(e: Entry, ledger: Ledger) -> Claim | None:
    above = _above(e, ledger)
    for size in range(2, len(above) + 1):
        if any(_adds_up(e, parts) for parts in combinations(above, size)):
            return e.claim("sum", Verdict.HOLDS, "of rows above it", e.number.value)
    runs = [above[:size] for size in range(2, len(above) + 1)]
    sums = [sum(x.number.value for x in run) for run in runs]
    near = min(zip(sums, runs, strict=True), key=lambda x: abs(x[0] - e.number.value), default=None)
    few = e.number.dim == COUNT and e.number.value < LARGE and e.number.whole
    if near is None or few or not 0.5 < e.number.value / near[0] < 2:
        return None
    unit = "bytes" if e.number.dim == BYTES else "count"
    told = " + ".join(x.number.text.strip() for x in reversed(near[1]))
    right = format_quantity(near[0], unit) if unit == "bytes" else f"{near[0]:.6g}"
    return e.claim("sum", Verdict.WRONG, f"the rows above do not add up to it: {told} is {right}", near[0])


def judge_parameter_totals(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the total of a table of a model's parts that neither its own rows nor the model's sizes make."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        main = [e for e in entries if e.number.dim == COUNT and e.number.value >= 100 * LARGE and not e.number.percent]
        if s.kind != "cell" or not _TOTAL.match(s.row) or len(main) != 1 or main[0].number.slack > FAR / 2:
            continue
        e = main[0]
        above = _above(e, ledger)
        rows = [x.statement.row for x in above]
        if not any(map(_EXPERTS.search, rows)) or not any(map(_ATTENTION.search, rows)):
            continue
        sizes = range(2, len(above) + 1)
        facts = facts_at(index, _NEEDS)
        if facts is None or any(_adds_up(e, parts) for k in sizes for parts in combinations(above, k)):
            continue
        usual = _usual_totals(facts)
        if all(abs(e.number.value / x - 1) > FAR for x in usual):
            why = f"neither its rows nor the sizes of the model make it: those make {format_count(usual[0])}"
            yield e, e.claim("count.parameters", Verdict.WRONG, why, usual[0])


def _usual_totals(facts: Facts) -> list[float]:
    """Parameters of a model, with its vocabulary's matrices, one of them and none."""
    counts = parameters_by_kind(facts.case.model)
    every, words = counts.total(), counts["vocabulary"]
    return [float(every), every - words / 2, float(every - words)]
