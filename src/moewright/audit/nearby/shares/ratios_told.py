"""Ratios that are told in words: so many times the mean, so far above what is needed, a time at an efficiency, the same
in another format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, is_amount, meet, over, ranges, rounded, span_between
from moewright.audit.nearby.sizes.element_sizes import ELEMENT_BYTES
from moewright.audit.reading.wordings import FORMAT
from moewright.audit.text.numbers import BYTES, COUNT
from moewright.units import format_quantity

_TIMES_MEAN: Final = re.compile(
    r"^\s*(?:x|×|times|fold|fois|mal|veces|-fach)\s*(?:the |la |le |den |das |dem |des |el )?"
    r"(?:mean|average|moyenne|Mittel\w*|Durchschnitt\w*|media|promedio)\b|^\s*倍",
    re.IGNORECASE,
)
_MEAN_OF: Final = re.compile(r"平均(?:值|水平|数)?的\s*(?:约)?\s*$")
_MEAN: Final = re.compile(r"\bmean\b|\baverage|\bavg\b|moyenne|Mittel|Durchschnitt|平均|promedio", re.IGNORECASE)
#: letters around a figure that call it a mean
AROUND: Final = 40


def judge_times_mean(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on how many times the mean the largest figure is said to be, where both are told just before."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        for i, e in enumerate(entries):
            told = _TIMES_MEAN.match(e.behind)
            if told and "倍" in told[0] and not _MEAN_OF.search(s.value[: e.number.at]):
                continue
            if not told or e.number.dim != COUNT or e.number.whole or not i:
                continue
            most = next((x for x in reversed(entries[:i]) if x.number.value > 2 and not x.number.percent), None)
            near = [x for x in (*entries[:i], *ledger.before(index, 2)) if most is not None and x is not most]
            means = [x for x in near if most is not None and x.number.dim == most.number.dim and _is_mean(x)]
            means = [x for x in means if most is not None and x.number.value < most.number.value]
            if most is None or not means:
                continue
            said = ranges(e.number)
            if any(meet(said, over(ranges(most.number), ranges(x.number))) for x in near if x.number.value):
                continue
            mean = means[0]
            right = most.number.value / mean.number.value
            if right < 6:
                why = f"{most.number.text.strip()} over {mean.number.text.strip()} is {right:.3g}"
                yield e, e.claim("share", Verdict.WRONG, why, right)


def _is_mean(x: Entry) -> bool:
    text, n = x.statement.value, x.number
    return bool(_MEAN.search(text[max(0, n.at - AROUND) : n.at + len(n.text) + AROUND]))


_ABOVE: Final = re.compile(
    r"^\s*(?:above|over|more than|beyond|über|mehr als|au-dessus d[eu]s?|de plus que)\s+"
    r"(?:the |our |its |den |die |das |les |la |le )?$",
    re.IGNORECASE,
)


def judge_above_need(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the percentage that what was told is said to be above another figure: 98 % above the 5,200, which is
    198 % of it."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        for p, x in pairwise(entries):
            if not p.number.percent or not _ABOVE.match(span_between(s, p.number, x.number)):
                continue
            near = [y for y in (*ledger.around(index, 2),) if y is not x and not y.number.percent]
            near = [y for y in near if y.number.value > x.number.value > 0]
            said, base = rounded(p.number), ranges(x.number)
            shares = [(y, over(ranges(y.number), base)) for y in near]
            if any(meet(said, tuple((a - 1, b - 1) for a, b in got)) for _, got in shares):
                continue
            for y, got in shares:
                if meet(said, got):
                    right = y.number.value / x.number.value - 1
                    told = f"{y.number.text.strip()} is {right + 1:.1%} of {x.number.text.strip()}"
                    yield p, p.claim("share", Verdict.WRONG, f"{told}, and {right:.1%} above it", right)
                    break


_SAME: Final = re.compile(
    r"\bsame\b|would (?:be|need|take|make)|instead|\bones\b|gleichen?|wären|würden?|même|serai|同样|则为|则需",
    re.IGNORECASE,
)
#: ratios that elements of two formats do not have
_SLIPS: Final = (0.25, 0.5, 2.0, 4.0)


def judge_format_pairs(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the bytes that the same tensors would take in another format: 314.9 GB in FP8, and 629.8 in BF16."""
    last: tuple[Entry, float] | None = None
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        amounts = [e for e in entries if e.number.dim == BYTES and is_amount(e.number) and e.number.factor >= 1e6]
        named = {m.lower() for m in FORMAT.findall(s.text)}
        size = ELEMENT_BYTES.get(next(iter(named))) if len(named) == 1 else None
        first = [e for e in amounts if e.figure.role != "operand"][:1]
        here = (first[0], size) if first and size is not None and s.kind in ("prose", "item") else None
        if last is not None and here is not None and here[1] != last[1] and _SAME.search(s.text):
            (one, of), (e, to) = last, here
            right = one.number.value * to / of
            ratio = e.number.value / right
            room = e.number.slack + one.number.slack + 3e-3
            near = one.statement.path == s.path and index - one.index <= 2 and not e.figure.formula
            if near and any(abs(ratio / x - 1) <= room for x in _SLIPS):
                told = format_quantity(right, "bytes")
                why = f"{one.number.text.strip()} at {of:g} bytes an element are {told} at {to:g}"
                yield e, e.claim("memory", Verdict.WRONG, why, right)
        if amounts:
            last = here


_HOURS: Final = re.compile(
    r"(?P<hours>\d[\d,.]*)\s?(?P<many>thousand|k|K|M|million|Tsd\.?|Mio\.?)?\s?"
    r"(?:GPU|chip|accelerator|card|NPU|H\d00|B\d00)[- ]?(?:hours|h\b|Stunden)"
    r"[^$€\d]{0,24}(?P<sign>[$€]?)\s?(?P<cost>\d[\d,.]*)\s?(?P<costs>M|k|K|million|thousand|Mio\.?)?"
    r"\s*(?:at|@|bei|zu)\s*(?P=sign)\s?(?P<each>\d[\d,.]*)",
    re.IGNORECASE,
)
_MANY: Final = {"thousand": 1e3, "k": 1e3, "tsd": 1e3, "m": 1e6, "million": 1e6, "mio": 1e6}
#: how far off a price may be rounded
CLOSE: Final = 0.02


def judge_gpu_hours(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the cost of so many hours of a GPU at a price each."""
    for index, entries in enumerate(ledger.entries):
        m = _HOURS.search(ledger.statements[index].value)
        e = next((x for x in entries if m is not None and m.start("cost") <= x.number.at + 1 <= m.end("cost")), None)
        if m is None or e is None:
            continue
        hours, cost, each = (float(m[g].strip(".,").replace(",", "")) for g in ("hours", "cost", "each"))
        hours *= _MANY.get((m["many"] or "").lower().strip("."), 1.0)
        cost *= _MANY.get((m["costs"] or "").lower().strip("."), 1.0)
        right = hours * each
        if right and abs(cost / right - 1) > CLOSE:
            why = f"{hours:,.6g} hours at {m['sign']}{each:g} cost {m['sign']}{right:,.0f}"
            yield e, e.claim("cost", Verdict.WRONG, why, right)
