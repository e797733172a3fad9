"""Tokens that an expert sees on average: those of the pass times the experts of a token, over all experts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, ranges
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.text.numbers import COUNT

_NEEDS: Final = ("model.experts.count", "model.experts.top_k")
_EACH: Final = re.compile(
    r"\b(?:per|each|every|an?|one|single|je|pro|jeder?|jedes|par|chaque|por|cada) (?:routed )?"
    r"(?:expert|Experten?|experto)\b|"
    r"每(?:个)?(?:路由)?专家|单个?专家",
    re.IGNORECASE,
)
_TOKENS: Final = re.compile(
    r"\btok(?:ens?)?\b|Token|jeton|\brows?\b|token|份|副本|copies|assignments|个", re.IGNORECASE
)
_GETS: Final = re.compile(
    r"expert (?:gets|receives|sees|processes)|专家(?:平均)?(?:收到|处理)|expert reçoit|"
    r"Experte (?:bekommt|erhält|sieht)",
    re.I,
)
_ARE_TOKENS: Final = re.compile(
    r"^[ -]?(?:\w+ )?(?:tokens?|Token|jetons?|sequences|requests|streams|Sequenzen|Anfragen)\b|"
    r"^\s?(?:个|条|路)?\s?(?:token|条|路|请求|并发|序列)",
    re.IGNORECASE,
)
#: other tokens of an expert than the mean
_OTHER: Final = re.compile(
    r"\b(?:at least|minimum|max|peak|worst|hottest|capacity|factor|fullest|need|want|target)\w*|最|至少|容量|"
    r"mindestens|höchstens|GPU|chip|accelerator|card|rank|卡",
    re.IGNORECASE,
)
#: statements before a mean in which its tokens may be told
BACK: Final = 3


def judge_expert_tokens(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the mean of tokens of an expert: by the tokens, or the copies of them, that are told before it, or
    without the experts of a token not."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        mean = [e for e in entries if _is_mean(e, entries)] if _EACH.search(s.text) and s.kind != "heading" else []
        facts = facts_at(index, _NEEDS) if mean else None
        moe = facts.case.model.moe if facts is not None else None
        if moe is None or moe.top_k < 2:
            continue
        e, many, k = mean[-1], moe.experts, moe.top_k
        if (forgotten := _without_top_k(e, many, k, index, ledger)) is not None:
            yield e, forgotten
            continue
        near = [x for x in ledger.around(index, BACK) if x is not e and x.number.dim == COUNT]
        amounts = [x for x in near if x.number.value >= many and not x.number.percent]
        said = ranges(e.number)
        if any(
            meet(said, exactly(x.number.value * f / many)) for x in amounts for f in (1.0, k) if _is_copies(x, k, f)
        ):
            continue
        yield from _beside_copies(e, entries, many, k)
        tokens = [x for x in amounts if _ARE_TOKENS.match(x.behind) and not _is_copies(x, k, 1.0)]
        for x in tokens:
            if meet(said, exactly(x.number.value / many)):
                right = x.number.value * k / many
                why = f"{x.number.text.strip()} tokens × top {k} / {many} experts are {right:.4g}"
                yield e, e.claim("count.tokens per expert", Verdict.WRONG, why, right)
                break


def _without_top_k(e: Entry, many: int, k: int, index: int, ledger: Ledger) -> Claim | None:
    """The verdict on a mean that is worked out as tokens over experts: 8,192 / 256 = 32."""
    formula = [n.value for n in e.figure.formula]
    if len(formula) != 2 or formula[1] != many or abs(formula[0] / many - e.number.value) > e.number.half:
        return None
    near = ledger.around(index, BACK)
    made = any(x.number.value == formula[0] and (x.figure.formula or _COPIES.match(x.behind)) for x in near)
    if made or _COPIES.match(e.statement.value[e.figure.formula[0].at + len(e.figure.formula[0].text) :]):
        return None
    right = formula[0] * k / many
    why = f"{formula[0]:,.0f} tokens × top {k} / {many} experts are {right:.4g}"
    return e.claim("count.tokens per expert", Verdict.WRONG, why, right)


def _beside_copies(e: Entry, entries: list[Entry], many: int, k: int) -> Iterator[tuple[Entry, Claim]]:
    """The verdict on a mean that is that of the tokens, beside the product of them with the experts of a token."""
    for x in entries:
        tokens = [n.value for n in x.figure.formula if n.value != k]
        if len(x.figure.formula) != 2 or len(tokens) != 1 or x.number.at > e.number.at:
            continue
        if abs(x.number.value - tokens[0] * k) < 1 and meet(ranges(e.number), exactly(tokens[0] / many)):
            right = x.number.value / many
            why = f"{x.number.text.strip()} over {many} experts are {right:.4g}"
            yield e, e.claim("count.tokens per expert", Verdict.WRONG, why, right)
            return


def _is_mean(e: Entry, entries: list[Entry]) -> bool:
    """Whether ``e`` is what an expert has: its words, or its row, name one expert and tokens."""
    n, s = e.number, e.statement
    if n.dim != COUNT or n.percent or n.approx or e.figure.role == "operand" or n.value <= 0:
        return False
    if s.kind == "cell":
        title = f"{s.row} | {s.column}"
        return bool(_EACH.search(title) and _TOKENS.search(title)) and not _OTHER.search(title)
    i = entries.index(e)
    first = e.figure.formula[0].at if e.figure.formula else n.at
    before = [x for x in entries[:i] if x.number.at < first]
    start = before[-1].number.at + len(before[-1].number.text) if before else 0
    end = entries[i + 1].number.at if i + 1 < len(entries) else len(s.value)
    front = re.split(r"[;,.](?!\d)", s.value[max(0, start) : first])[-1]
    behind = re.split(r"[;,.](?!\d)", s.value[n.at + len(n.text) : end])[0]
    around = f"{'' if before else s.key} {front} # {behind}"
    copies = any(x.figure.formula and _COPIES.match(x.behind) for x in before)
    named = copies or bool(_TOKENS.search(around) or _GETS.search(around))
    return bool(_EACH.search(around)) and named and not _OTHER.search(around)


def _is_copies(x: Entry, k: int, factor: float) -> bool:
    """Whether ``x`` counts copies, as the result of a product with the experts of a token (``factor`` 1), or tokens."""
    product = any(n.value == k for n in x.figure.formula) and bool(_ROUTED.search(x.statement.text))
    copies = product or bool(_COPIES.match(x.behind))
    return copies if factor == 1.0 else not copies


_ROUTED: Final = re.compile(r"top|cop(?:y|ies)|assign|routed|experts (?:per|a|each)|副本|份|Kopien", re.IGNORECASE)
_COPIES: Final = re.compile(
    r"^[ -]?(?:\w+[ -])?(?:copies|assignments|routed tokens|token[- ]expert|expert[- ]tokens|rows)|"
    r"^\s?(?:份|个)?(?:副本|指派)",
    re.IGNORECASE,
)
