"""Terms of a sum that the document works out nowhere, where a figure that it does work out, and uses nowhere, is that
term but for a factor: 12.08 + 1.41 + 8.59 GB below "attention: 5.64 GB"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, digits, is_amount, meet, ranges, slip
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.text.numbers import BYTES, COUNT, FLOP, NAMES, SECONDS, Number, plain_digits
from moewright.units import format_quantity

#: statements above a sum among which its parts are looked for
BACK: Final = 12
#: digits below which figures agree by chance
ENOUGH: Final = 3
#: how near a ratio must be to a whole number
CLOSE: Final = 6e-3
#: a whole number above this is no number of stages or ranks that a part may be of
MOST: Final = 64
_PIECE: Final = re.compile(
    r"\b(?:per|a|an|each|one|single|every)[ -](?:\w+ )?(?:layer|expert|token|instance|sequence|head|step)\b|"
    r"/\s?(?:layer|token|expert)|\b(?:je|pro) (?:Schicht|Token|Experte)|每|单|一个|一层",
    re.IGNORECASE,
)


def judge_sum_terms(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a result that stands in no other place, where a sum below has a term that stands in no other place
    and is so many times, or a part of, the result."""
    for index, entries in enumerate(ledger.entries):
        for total in entries:
            terms = _terms(total) if total.number.dim in (BYTES, FLOP, SECONDS) else []
            if not _is_sum(total, terms):
                continue
            orphans = [t for t in terms if plain_digits(t) >= ENOUGH - 1 and not ledger.stands_elsewhere(t, index)]
            for term in orphans:
                found = _listed(term, terms, total, ledger) if len(orphans) == 1 else None
                found = found or _of_a_layer(term, total, ledger, facts_at)
                if found is not None:
                    right = format_quantity(term.value, NAMES.get(total.number.dim, ""))
                    why = f"the sum of line {total.line} takes {right}"
                    yield found, found.claim("sum", Verdict.CONTRADICTED, why, term.value)


def _terms(total: Entry) -> list[Number]:
    """The numbers of the formula of a result, bare ones in its unit."""
    n = total.number
    if not any(t.dim == n.dim for t in total.figure.formula):
        return [_in_unit(t, n) for t in total.figure.formula if t.dim == COUNT and t.factor == 1]
    return [t for t in total.figure.formula if t.dim == n.dim]


def _in_unit(t: Number, n: Number) -> Number:
    value = t.value * n.factor
    half = (0.5 if t.whole else t.half) * n.factor
    return replace(t, value=value, binary=value, half=half, dim=n.dim, factor=n.factor, whole=False)


def _is_sum(total: Entry, terms: list[Number]) -> bool:
    """Whether a result is the sum of the amounts of its formula, two at least."""
    whole = sum(n.value for n in terms)
    room = total.number.half + sum(n.half for n in terms)
    return len(terms) > 1 and len(terms) == len(total.figure.formula) and abs(whole - total.number.value) <= room


def _listed(term: Number, terms: list[Number], total: Entry, ledger: Ledger) -> Entry | None:
    """The one figure of the list above a sum that is none of its terms; None where there is none, or several are."""
    near: list[Entry] = []
    for i in range(total.index - 1, max(-1, total.index - 1 - BACK), -1):
        s = ledger.statements[i]
        if s.path != total.statement.path or s.kind == "heading":
            break
        near += [x for x in ledger.entries[i] if _is_result(x, total)]
    used = [t for t in terms if t is not term and any(meet(ranges(t), ranges(x.number), 1e-3) for x in near)]
    apart = [x for x in near if not any(meet(ranges(x.number), ranges(t), 1e-3) for t in terms)]
    apart = [x for x in apart if not (_PIECE.search(x.statement.text) or ledger.stands_elsewhere(x.number, x.index))]
    if len(used) < len(terms) - 1 or len(apart) != 1:
        return None
    return apart[0] if _is_slip(apart[0].number, term) else None


def _of_a_layer(term: Number, total: Entry, ledger: Ledger, facts_at: FactsAt) -> Entry | None:
    """The one result of the document that is what one layer has of a term; None where there is none."""
    facts = facts_at(total.index, ("model.layers",))
    if facts is None or digits(total.number) < ENOUGH:
        return None
    model = facts.case.model
    many = {len(model.layers), len(model.moe_layers())}
    found = []
    for x in ledger.alike(term.dim):
        room = CLOSE + x.number.slack + term.slack
        one = x.index < total.index and _is_result(x, total) and x.figure.formula and room < 3 * CLOSE
        if one and any(abs(term.value / x.number.value / k - 1) <= room for k in many if k > 2):
            found.append(x)
    if len(found) != 1 or _PIECE.search(" | ".join((found[0].statement.text, *found[0].statement.path[-1:]))):
        return None
    return None if ledger.stands_elsewhere(found[0].number, found[0].index) else found[0]


def _is_result(x: Entry, total: Entry) -> bool:
    alike = x.number.dim == total.number.dim and is_amount(x.number) and not x.figure.remark
    return alike and x.figure.role != "operand" and x.number.at >= 0


def _is_slip(n: Number, right: Number) -> bool:
    """Whether a figure is off by a whole number, or by a usual slip."""
    ratio = n.value / right.value
    k, room = max(ratio, 1 / ratio), CLOSE + n.slack + right.slack
    whole = round(k)
    return bool(slip(ratio, room)) or (1 < whole <= MOST and abs(k / whole - 1) <= room)
