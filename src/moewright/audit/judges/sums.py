"""Totals against their parts: a list's total must be a sum of what the list states."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.judges.figures import unit_of
from moewright.audit.quantities.readings import Facts
from moewright.audit.reading.meaning import Meaning
from moewright.audit.text.clauses import Figure, ends_range
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import BYTES, COUNT, FLOP, SECONDS, Number
from moewright.units import format_quantity

_TOTAL: Final = re.compile(
    r"\btotal\b|\bsum\b|\bsubtotal\b|Zwischensumme|小计|^\W*all (?:the )?weights\b|\bsumme\b|\bsomme\b|\bsuma\b|"
    r"\b(?:ins)?gesamt\b|\bzusammen\b|"
    r"\btogether\b|overall|altogether|合计|总(?:计|和|量|显存|内存|通信|延迟)?",
    re.IGNORECASE,
)
#: the name of a row that is the sum of those above it, and of nothing else
_SUM_NAMED: Final = re.compile(r"^\W*(?:sum|Summe|somme|suma|求和|合计)\W*$", re.IGNORECASE)
#: a row that is of one piece of what others are of, or of some of it
_PIECE: Final = re.compile(
    r"(?:\b(?:per|each|every|an?|je|pro)\s|/\s?|每个?)(?:token|tok\b|layer|expert|instance|sequence|head|Schicht|Expert|token|层|专家)|"
    r"\bone\b|\bsingle\b|^\W*(?:eine?r?|une?|un) [A-ZÉa-zé]|单[个层]|, (?:one|a) |\bof a layer\b|^\W*layer\b|"
    r"^\W*(?:一层|一个|单个)|\bactive\b|\bactivated\b|激活|\baktiv",
    re.IGNORECASE,
)
#: a row that may be the sum of those before it
_SUBTOTAL: Final = re.compile(
    r"^\W*(?:(?:total|all|model|static|GPU|the) )*weights\b|\bmodel state|^\W*(?:alle )?Gewichte|^\W*(?:模型)?权重|"
    r"subtotal|小计",
    re.IGNORECASE,
)
#: what a GPU holds has nothing of what is only sent in it
_HELD: Final = re.compile(r"\bmemory\b|weights|显存|Speicher", re.IGNORECASE)
_SENT: Final = re.compile(r"communication|all-?reduce|all-?gather|reduce-scatter|traffic|通信", re.IGNORECASE)
#: parameters are counted in these
_MILLION: Final = 1e6
#: a title with a unit of what may be added
_MEASURED: Final = re.compile(r"[(\[](?:[KMGT]i?B|Mrd|Mio|[MBG]|[mµμ]?s|billions?|millions?|[TP]?FLOPs?)\.?[)\]]")
#: an amount of money, in a column of it
_MONEY: Final = 100
_CURRENCY: Final = re.compile(r"[€$¥£]|\b(?:EUR|USD|CNY|dollars?|euros?)\b|万元", re.IGNORECASE)
#: units that differ by more than this are no parts of one total
_FAMILY: Final = 5e3
_MULTIPLE: Final = re.compile(r"\d\s*(?:layers|Schichten|层|steps|micro-?batches)", re.IGNORECASE)
#: another value of the same total, behind it
_OR: Final = re.compile(r"[^;.\d]{0,24}(?:\([^()]*\)\s*)?(?:\bor\b|\boder\b|或)\s*[~≈]?\d")
#: parts of a list that can be enumerated
MOST_PARTS: Final = 8
#: figures of one row, each so many times, that are tried
MOST_OPTIONS: Final = 4
#: what of it is left to a part that is worked out where it stands
SURELY: Final = 0.5
#: a factor is told from others where rounding leaves no more of the total than this
_SURE: Final = 0.02
#: figures before a total among which its parts are looked for
MOST_BEFORE: Final = 200


@dataclass(frozen=True, slots=True)
class Part:
    """A stated figure with its statement and meaning (None where its quantity is not known)."""

    figure: Figure
    statement: Statement
    meaning: Meaning | None


def judge_sums(parts: Sequence[Part], f: Facts, holds: Callable[[Part], bool]) -> Iterator[Claim]:
    """A verdict for every total that stands in a list, table or block of code below parts of its own dimension and
    kind; on one of its parts, where that alone is off by a usual factor and does not hold by the plan, as ``holds``
    tells."""
    lists: dict[tuple[int, tuple[str, ...]], list[Part]] = {}
    blamed: set[tuple[int, str]] = set()
    for total in parts:
        before = lists.setdefault((total.statement.group, total.statement.path), [])
        before.append(total)
        if not _is_total(total, before[-MOST_BEFORE:-1]):
            continue
        siblings = [p for p in before[-MOST_BEFORE:-1] if _is_sibling(p, total)]
        if any(ends_range(p.statement.value, p.figure.number) for p in (total, *siblings)):
            continue  # what may be anything adds up to anything
        alike = [p for p in siblings if _is_alike(p, total)]
        chosen = [p for p in alike if p is _foremost(p, alike, total)]
        readings = [_rows(x) for x in (chosen, siblings)]
        readings += [shorter for rows in readings for shorter in _collapsed(rows)]
        readings += [_rows([p for p in rows if not _is_piece(p)]) for rows in (chosen, siblings)]
        judged = [_judged(total, rows, f) for rows in readings if 2 <= len(rows) <= MOST_PARTS]
        if judged and chosen:
            right = next((c for c in judged if c.verdict is Verdict.HOLDS), None)
            many = len(_rows(siblings)) > MOST_PARTS  # too many to know that they do not add up
            claim = right or (None if many else _failing(total, chosen, judged[0], f, siblings, holds))
            if claim is not None and (claim.line, claim.text) not in blamed:
                yield claim
            if claim is not None and claim.verdict is Verdict.WRONG:
                blamed.add((claim.line, claim.text))


def _is_total(total: Part, before: Sequence[Part]) -> bool:
    """Whether a figure is the one of its statement that is said to be a total, and does not say itself of what."""
    n, s = total.figure.number, total.statement
    if not (n.dim in (BYTES, SECONDS, FLOP) or _counts(total)) or total.figure.remark or total.figure.formula:
        return False
    if _MULTIPLE.search(s.key):  # of so many of what stands before it
        return False
    if s.kind not in ("item", "cell", "code") or not _TOTAL.search(_called(total)):
        return False
    if any(p.statement is s and p.figure.number.dim == n.dim for p in before):
        return False  # 3.16 GB = 3.95% of 80 GB
    if s.kind == "cell" and s.column and re.search(rf"\(\s*{re.escape(s.column[:40])}\b", s.row):
        return False  # Total (C: two passes)
    if _OR.match(s.value[n.at + len(n.text) :]):
        return False  # 1.2 ms alone or 0.85 ms with TP 2
    return total.figure.role != "operand" or bool(re.match(r"\s*[=≈]\s*[\d.]+\s?%", s.value[n.at + len(n.text) :]))


def _called(p: Part) -> str:
    """What a figure is called; in a column of totals only its row tells it from the others."""
    s = p.statement
    name = s.row if s.kind == "cell" and _TOTAL.search(s.column) else s.key
    return name or p.figure.words


def _counts(p: Part) -> bool:
    """Whether a figure counts parameters, or is a bare decimal in a column that names a unit."""
    n, s = p.figure.number, p.statement
    if n.dim != COUNT or n.percent:
        return False
    if n.factor >= _MILLION or (s.kind == "cell" and n.value >= _MONEY and _CURRENCY.search(s.column)):
        return True
    return s.kind == "cell" and n.factor == 1 and not n.whole and bool(_MEASURED.search(f"{s.column}\n{s.path[-1:]}"))


def _is_piece(p: Part) -> bool:
    return bool(_PIECE.search(p.statement.key or p.statement.text))


def _failing(
    total: Part,
    chosen: list[Part],
    claim: Claim,
    f: Facts,
    siblings: list[Part],
    holds: Callable[[Part], bool],
) -> Claim | None:
    """The verdict where no reading adds up: on the one part that a usual factor makes right, on the total, or none
    where what stands before it may be no parts of it. ``siblings``: all that may be parts."""
    n = total.figure.number
    counted = _counts(total) and not _CURRENCY.search(total.statement.column)
    summed = total.statement.kind == "cell" and _SUM_NAMED.match(total.statement.row)
    if (counted or summed) and (left := _left_out(total, _rows(siblings))) is not None:
        whole = sum(row[0].figure.number.value for row in _rows(siblings))
        told = f"it leaves out {left.statement.row or left.statement.key}, {left.figure.number.text}: "
        return replace(claim, why=f"{told}its own parts are {format_quantity(whole, _unit(n))}", computed=whole)
    rows = _rows(chosen)
    exact = next(_collapsed(rows), None)
    if exact is not None:
        rows, claim = exact, _judged(total, exact, f)
    if not 2 <= len(rows) <= MOST_PARTS:
        return None
    entire = _rows([p for p in chosen if not _is_piece(p)])
    slipped = _slipped(total, rows, f) or (_slipped(total, entire, f) if 2 <= len(entire) < len(rows) else [])
    if len(slipped) == 1 and not holds(slipped[0][0]):
        return None if _is_piece(slipped[0][0]) else _blamed(total, *slipped[0])
    values = [row[0].figure.number for row in rows]
    if sum(1 / _FAMILY < x.factor / n.factor < _FAMILY for x in values) < 2:
        return None
    if claim.computed is None or not n.value or not 0.5 <= claim.computed / n.value <= 2:
        return None
    if any(len(row) > 2 for row in rows):
        return None  # which of its figures are parts is not said
    small = [x for x in values if x.value < SMALL_PART * n.value]
    rest = sum(x.value for x in values if x not in small)
    if small and abs(rest - n.value) <= n.half + sum(x.half for x in values if x not in small):
        return None  # the smallest are parts of another part
    if exact is None and any(_SUBTOTAL.search(row[0].statement.key) for row in rows[2:]):
        return None  # of what stands before it, or a part beside that
    if counted:
        most = sum(x.value for x in values) > n.value or bool(
            _SUM_NAMED.match(total.statement.row) and len(rows) == len(_rows(siblings))
        )
        subsets = (c for size in range(2, len(values)) for c in combinations(values, size))
        near = any(abs(sum(x.value for x in c) - n.value) <= n.half + sum(x.half for x in c) for c in subsets)
        if not most or near or any(_is_piece(p) for p in chosen):
            return None  # a list may leave parts out, and tell some twice
    return claim


#: a row that is the sum of all above it, where nothing else is said
_EVERY: Final = re.compile(r"^\W*(?:total|sum|Summe|Gesamt|somme|suma|合计|总计|总和)(?: \|[^|]*)?\W*$", re.IGNORECASE)
#: rows that totals may leave out
_ASIDE: Final = re.compile(r"of which|davon|其中|MTP|draft|optional|norm|bias|vision|tied|\bif\b|Option", re.IGNORECASE)


def _left_out(total: Part, rows: list[list[Part]]) -> Part | None:
    """The one row that a total of all rows leaves out, and is the sum of the others without; None where there is
    none."""
    n = total.figure.number
    numbers = [row[0].figure.number for row in rows]
    if not _EVERY.match(total.statement.key) or not FEWEST_ROWS <= len(rows) <= MOST_PARTS:
        return None
    lone = all(len(row) == 1 for row in rows) and not any(_is_piece(row[0]) for row in rows)
    rest = [sum(x.value for x in numbers) - x.value for x in numbers]
    room = n.half + sum(x.half for x in numbers)
    out = [row[0] for row, x in zip(rows, rest, strict=True) if abs(x - n.value) <= room]
    used = {x.value for row in rows for x in row[0].figure.formula}
    out = [p for p in out if p.figure.number.value not in used]  # one expert, which all experts are so many times
    if not lone or len(out) != 1 or out[0].figure.number.value <= 2 * room or _ASIDE.search(out[0].statement.key):
        return None
    return out[0]


#: of a total, parts below this share may be told inside of another part
SMALL_PART: Final = 0.01
#: rows of a table of which a total may leave one out by a slip
FEWEST_ROWS: Final = 4


def _collapsed(rows: list[list[Part]]) -> Iterator[list[list[Part]]]:
    """``rows`` with a subtotal in place of the rows before it that it is the sum of."""
    if len(rows) > 2 * MOST_PARTS:
        return
    for i in range(len(rows) - 1, 1, -1):
        n = rows[i][0].figure.number
        for start in range(i - 1):
            numbers = [row[0].figure.number for row in rows[start:i]]
            if abs(sum(x.value for x in numbers) - n.value) <= (n.half + sum(x.half for x in numbers)) * (1 + 1e-9):
                yield rows[:start] + rows[i:]


_DEVICE: Final = re.compile(r"(?:[ABHL]\d{2,3}\w*|GB?[23]00|MI\d{3}\w*)(?: (?:SXM\d?|PCIe))?[ -]*$")
_ONE_LAYER: Final = re.compile(
    r"\b(?:a|an|one|each|every|per|single|einer|je|pro) (?:\w+ )?(?:layer|Schicht|expert)\b|"
    r"\bein(?:er|es)? Experten?\b|/\s?layer|每层|一层|单层|[单每]个?专家",
    re.IGNORECASE,
)


def _slipped(total: Part, rows: list[list[Part]], f: Facts) -> list[tuple[Part, str, float]]:
    """The parts that a usual factor, each, would make the total right with."""
    n = total.figure.number
    layers = len(f.case.model.layers)
    factors = {"1000": 1e3, "1024": 1024.0, "10": 10.0, "2": 2.0, f"{layers} layers": float(layers)}
    if f.case.model.moe is not None:
        experts, sparse = f.case.model.moe.experts, len(f.case.model.moe_layers())
        factors[f"{sparse} layers"] = float(sparse)
        factors[f"{experts} experts"] = float(experts)
    if f.plan is not None and f.plan.strategy.pp > 1:
        staged = layers // f.plan.strategy.pp
        factors[f"{staged} layers of a stage"] = float(staged)
    if any(len(row) > 2 for row in rows) or sum(len(row) > 1 for row in rows) > 1 or not n.value:
        return []
    found: dict[int, tuple[Part, str, float]] = {}
    for parts in product(*rows):
        for part in parts:
            x = part.figure.number
            rest = [p.figure.number for p in parts if p is not part]
            if abs(sum(y.value for y in rest) - n.value) <= _SURE / 2 * n.value:
                continue  # it is none of the parts
            one = bool(_ONE_LAYER.search(part.statement.text))
            if _DEVICE.search(part.statement.value[: max(0, x.at)]):
                continue  # H100 80GB: the name of a GPU
            for name, k in factors.items():
                for sign, factor in (("×", k), ("/", 1 / k)):
                    value = sum(y.value for y in rest) + x.value * factor
                    room = n.half + sum(y.half for y in rest) + x.half * factor
                    room *= SURELY if len(part.figure.formula) > 1 else 1.0  # its own calculation speaks for it
                    if k > 1 and abs(value - n.value) <= room * (1 + 1e-9) and room <= _SURE * n.value:
                        if one and "layers" in name:
                            return []  # it says that it is of one
                        found.setdefault(id(part), (part, f"{x.text} {sign} {name}", x.value * factor))
    return list(found.values())


def _blamed(total: Part, part: Part, how: str, value: float) -> Claim:
    """The verdict on a part that is off by a usual factor."""
    n, s = part.figure.number, part.statement
    unit = _unit(n)
    why = (
        f"the total of line {total.statement.line}, {total.figure.number.text}, is right with "
        f"{format_quantity(value, unit)} = {how}"
    )
    return Claim(s.line, s.text, "sum", Verdict.WRONG, why, n.value, value, unit=unit)


def _unit(n: Number) -> str:
    return "FLOPs" if n.dim == FLOP else unit_of(n)


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
        and (p.figure.number.dim != COUNT or (p.figure.number.factor > 1 and not p.figure.number.percent) or _counts(p))
        and p.figure.role != "operand"
        and not p.figure.remark
        and not _TOTAL.search(_called(p))
        and not _is_left_out(p, total)
    )


_WITHOUT: Final = re.compile(
    r"\b(?:without|excluding|excl\.|except|ohne|sans|but) (?:the )?([^\W\d_]{4,})|不含\s?(\w{2})", re.IGNORECASE
)


def _is_left_out(p: Part, total: Part) -> bool:
    """Whether a total says of itself that it is without ``p``."""
    m = _WITHOUT.search(total.statement.key)
    return m is not None and (m[1] or m[2]).lower()[:6] in p.statement.key.lower()


def _is_alike(p: Part, total: Part) -> bool:
    if _HELD.search(total.statement.key) and _SENT.search(p.statement.text):
        return False
    return p.meaning is None or total.meaning is None or _kind(p.meaning) == _kind(total.meaning)


def _kind(m: Meaning) -> str:
    """What may be added: bytes that a GPU holds and bytes that it sends are both bytes, and buffers are named after
    what is sent."""
    group = m.name.partition(".")[0]
    return "memory" if group == "communication" else group


#: a row of one layer alone, such as the weights that are gathered
_AS_ONE: Final = re.compile(r"\b(?:one|a single) layer\b|\beine[rn]? Schicht\b|[一单]层", re.IGNORECASE)


def _times(p: Part, total: Part, f: Facts) -> list[float]:
    """How often a part may count in the total: per layer, per expert and per token figures are multiplied."""
    words = f"{p.figure.words} {p.statement.key}"
    layers = len(f.case.model.layers)
    found = [1.0]
    explicit = p.meaning.explicit if p.meaning else frozenset()
    whole = "layer" not in (total.meaning.explicit if total.meaning else ())
    if "layer" in explicit and whole:
        found = [float(layers), layers / (f.plan.strategy.pp if f.plan else 1)]
        unknown = "model.layers" in f.setting.missing
        found = [1.0] if unknown else found + ([1.0] if _AS_ONE.search(p.statement.key) else [])
    if "expert" in explicit or re.search(r"per (?:expert|instance)|每个专家", words):
        held = f.plan.balance.experts_per_gpu.max if f.plan else 1.0
        found = [held, held / layers]
    return list(dict.fromkeys(found))


def _options(row: list[Part], total: Part, f: Facts) -> list[tuple[tuple[Number, float], ...]]:
    """What a row may add to the total: one of its figures, so many times, or all of them."""
    found: list[tuple[tuple[Number, float], ...]] = []
    found += [((p.figure.number, t),) for p in row for t in _times(p, total, f)][:MOST_OPTIONS]
    if len(row) > 1:
        found.append(tuple((p.figure.number, 1.0) for p in row))
    return found


#: how many times a rough total may be what its parts are, by what is not listed
_ROUGH: Final = 1.6


def _judged(total: Part, rows: list[list[Part]], f: Facts) -> Claim:
    n, s = total.figure.number, total.statement
    unit = _unit(n)
    options = [_options(row, total, f) for row in rows]
    best: tuple[float, float, str] | None = None
    for together in product(*options):
        chosen = [x for some in together for x in some]
        for binary in (False, True):
            value = sum(x.of_powers(binary) * t for x, t in chosen)
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
    if n.approx and 1 / _ROUGH < best[0] / best[1] < _ROUGH:
        return Claim(
            s.line,
            s.text,
            "sum",
            Verdict.NOT_CHECKED,
            f"it is told roughly, and not of which parts: {nearest}",
            n.value,
            best[0],
            unit=unit,
        )
    why = f"its own parts, {lines}, do not add up to it: {nearest}"
    return Claim(s.line, s.text, "sum", Verdict.CONTRADICTED, why, n.value, best[0], unit=unit)
