"""Rows of a table of training states, each with its bytes of a parameter: all are of the same parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import LARGE, Entry, Ledger, exactly, meet, of_bytes, over, ranges, sum_of, times
from moewright.audit.text.numbers import BYTES, COUNT
from moewright.units import format_quantity

_EACH: Final = re.compile(
    r"(?:(?:每|单)(?:个)?参数|je Parameter|per param\w*|a parameter)?\s*(?<![\d.,])(?P<size>\d{1,2})\s?(?:B|bytes?|"
    r"Bytes?|字节)\s?(?:each|per param\w*|a param\w*|/\s?param\w*|apiece|"
    r"je Parameter|pro Parameter|(?:每|/)\s?参数)?(?:, (?:ZeRO-?\d )?(?:over|across|split over|sharded (?:over|"
    r"across)|在) "
    r"?(?P<over>\d{1,4}) ?(?:replicas|ranks|ways|GPUs|卡间切分|卡))?$",
    re.IGNORECASE,
)
_STATE: Final = re.compile(
    r"grad|weight|param|master|moment|adam|optimi|momentum|variance|Gewichte|Gradient|权重|梯度|参数|优化器|动量",
    re.IGNORECASE,
)
#: what makes a row's parameters others than those of the rest
_PART: Final = re.compile(r"expert|attention|other|rest|dense|embed|专家|注意力|其余|Experten|übrige", re.IGNORECASE)
_SLIPS: Final = (2.0, 0.5, 4.0, 0.25, 1e3, 1e-3)


def judge_state_rows(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the bytes of a state of training that stand in a row with the bytes of each parameter: over those,
    they are numbers of parameters that the table gives, or that another row has."""
    groups: dict[int, list[tuple[Entry, int, int]]] = {}
    for entries in ledger.entries:
        for e in entries:
            told = _told(e, ledger)
            if told is not None:
                groups.setdefault(e.statement.group, []).append((e, *told))
    for group, rows in groups.items():
        counts = [x for x in ledger.alike(COUNT) if x.statement.group == group and x.number.value >= LARGE]
        counts = [x for x in counts if x.figure.role != "operand" and x.statement.kind == "cell"][:6]
        every = [ranges(x.number) for x in counts]
        if 2 <= len(counts) <= 4:
            every.append(sum_of([x.number for x in counts]))
        for e, size, ways in rows:
            mine = times(over(ranges(e.number), exactly(float(size))), exactly(float(ways)))
            if any(meet(mine, c, 8e-3) for c in every):
                continue
            others = [
                times(over(ranges(x.number), exactly(float(k))), exactly(float(w))) for x, k, w in rows if x is not e
            ]
            part = _PART.search(e.statement.row)
            whole = [c for c in every if part or any(meet(c, o, 8e-3) for o in others)]
            right = next((c for c in whole for k in _slips(ways) if meet(mine, times(c, exactly(k)), 8e-3)), None)
            if right is not None:
                value = (right[0][0] + right[0][1]) / 2 * size / ways
                why = f"{of_bytes(size)} for each of the parameters of the table"
                why += f", over {ways}" if ways > 1 else ""
                yield e, e.claim("multiple", Verdict.WRONG, f"{why} are {format_quantity(value, 'bytes')}", value)


def _slips(ways: int) -> tuple[float, ...]:
    return (*_SLIPS, float(ways), 1.0 / ways) if ways > 1 else _SLIPS


def _told(e: Entry, ledger: Ledger) -> tuple[int, int] | None:
    """(Bytes of a parameter, ranks that share them) of a cell of bytes, where a cell of its row tells them."""
    s = e.statement
    if s.kind != "cell" or e.number.dim != BYTES or e.figure.role == "operand" or e.number.factor < 1e6:
        return None
    if not _STATE.search(s.row) or e.number.slack > 0.02:
        return None
    for i in ledger.beside(e.index, 4, 4):
        m = _EACH.search(ledger.statements[i].value.strip())
        if m is not None and int(m["size"]):
            return int(m["size"]), int(m["over"] or 1)
    return None
