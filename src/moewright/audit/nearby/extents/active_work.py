"""Work of a pass that is counted with all parameters of a model, of which a token passes the active ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, meet, ranges
from moewright.audit.nearby.shares.active_parameters import LEAST, says_active
from moewright.audit.quantities.own_sizes import PASSES
from moewright.audit.text.numbers import COUNT, FLOP
from moewright.units import format_quantity

#: a dense model, or another one, whose parameters all work
_OTHER: Final = re.compile(
    r"\bdense (?:model|equivalent|baseline)|\bwould\b|\bif\b|instead|compar|\bvs\b|versus|not \d|statt|"
    r"wäre|如果|若|对比|稠密模型",
    re.IGNORECASE,
)
_TOTAL: Final = re.compile(r"total|\bsum\b|Summe|gesamt|insgesamt|whole model|合计|总", re.IGNORECASE)
#: how many times the active parameters all of them are, at least
FEWEST: Final = 1.5


def judge_active_work(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on FLOPs that are worked out as two or six for each of all parameters and every token, where the
    document says how many parameters a token passes."""
    counts = [e for e in ledger.alike(COUNT) if e.number.value >= LEAST and e.number.factor >= 1e6]
    active = [e for e in counts if e.figure.role != "operand" and says_active(e)]
    if not active or len({e.number.value for e in active}) > 2:
        return
    most = max(active, key=lambda e: e.number.value)
    totals = [e for e in counts if e.number.value >= FEWEST * most.number.value and _is_total(e)]
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if s.kind == "heading" or _OTHER.search(s.text):
            continue
        for e in entries:
            values = e.figure.formula
            if e.number.dim != FLOP or len(values) < 3 or values[0].value not in PASSES:
                continue
            every = [n for n in values if n.dim == COUNT and n.factor >= 1e6 and n.value >= FEWEST * most.number.value]
            every = [n for n in every if any(meet(ranges(n), ranges(t.number), 5e-3) for t in totals)]
            others = [n for n in values if n not in every]
            if len(every) != 1 or any(meet(ranges(n), ranges(most.number), 5e-3) for n in others):
                continue
            right = e.number.value * most.number.value / every[0].value
            why = f"{every[0].text.strip()} are all parameters; a token passes {most.number.text.strip()} of them "
            why += f"(line {most.line}): {format_quantity(right, 'FLOPs')}"
            yield e, e.claim("compute", Verdict.WRONG, why, right)


def _is_total(e: Entry) -> bool:
    """Whether a number of parameters is said to be the model's."""
    s = e.statement
    named = f"{s.row} {s.column}" if s.kind == "cell" else f"{s.key} {s.value[max(0, e.number.at - 40) : e.number.at]}"
    behind = re.split(r"[,;.]", e.behind)[0]
    model = re.search(r"parameter|Parameter|参数|\bparams\b", f"{named} {behind}")
    part = re.search(
        r"expert|attention|embed|layer|专家|注意力|Experten|Schicht|shared|active|aktiv|激活", f"{named} {behind}", re.I
    )
    return bool(_TOTAL.search(f"{named} {behind}")) or (bool(model) and not part)
