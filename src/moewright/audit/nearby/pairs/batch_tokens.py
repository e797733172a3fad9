"""Tokens of so many sequences of so many each, told in words: 192 prompts of 8192 tokens, which makes 1,572,864."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, ranges
from moewright.audit.text.numbers import COUNT

_SEQUENCES: Final = (
    r"(?:sequences?|prompts?|requests?|conversations?|users?|sessions?|chats?|streams?|documents?|samples?|queries|seqs|"
    r"Sequenzen|Anfragen|Sitzungen|Prompts|Nutzer|条|路|个请求|个会话|个序列)"
)
_BATCH: Final = re.compile(
    rf"(?<![\w.,×x*])(?P<many>\d[\d,]*)\s*(?:[^\W\d]+ )?{_SEQUENCES}\s*"
    r"(?:of|with|at|@|×|x|\*|zu|mit|à|je|each (?:of|with)|，每(?:条|路)|,每(?:条|路)|每(?:条|路))\s*(?:je |up to |"
    r"about )?"
    r"(?P<each>\d[\d,]*)(?!\d|\.\d|\s?%)\s*(?:个\s?)?(?:tokens?|Token|jetons)?(?: each| deep| long| of context| je)?"
    r"(?P<leads>[^.;\d]{0,40}?)(?P<all>\d[\d,]*(?:\.\d+)?)(?!\d|,\d|\.\d|\s?%)\s*(?P<k>[kKMB]|Mio\.?)?\s*(?:个\s?)?(?:tokens?|Token)\b",
    re.IGNORECASE,
)
_LEADS: Final = re.compile(
    r"\b(?:which|that|makes?|is|are|so|hence|thus|i\.?e|in all|altogether|together|total(?:ling)?|or|also|"
    r"das sind|zusammen|"
    r"insgesamt|macht|mithin)\b|[=:→,(]|即|共|合计",
    re.IGNORECASE,
)
_OTHER: Final = re.compile(
    r"\b(?:plus|output|generated|new|per|each|every|of which|GPU|chip|accelerator|rank)\b|每|输出|je\b", re.IGNORECASE
)


def judge_batch_tokens(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the tokens of so many sequences of so many tokens each, right behind them: their product."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _BATCH.search(s.value) if len(entries) > 2 and s.kind != "heading" else None
        if m is None or not _LEADS.search(m["leads"]) or _OTHER.search(m["leads"]):
            continue
        e = next((x for x in entries if x.number.at == m.start("all")), None)
        many, each = (float(m[g].replace(",", "")) for g in ("many", "each"))
        if e is None or e.number.dim != COUNT or e.figure.formula or many < 2 or each < 2:
            continue
        right = many * each
        why = f"{many:,.0f} × {each:,.0f} are {right:,.0f}"
        if meet(ranges(e.number), exactly(right), 2e-3):
            yield e, e.claim("multiple", Verdict.HOLDS, why, right)
        elif 1 / 20 < e.number.value / right < 20 and not e.number.approx:
            yield e, e.claim("multiple", Verdict.WRONG, why, right)
