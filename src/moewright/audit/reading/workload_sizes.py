"""Sequences of a batch and their tokens, as running text tells them together: 64 sessions of 8,192 tokens each."""

from __future__ import annotations

import re
from typing import Final

_MANY: Final = r"(?<![\w.,×x*/·-])(?<![×x*/·=] )(?P<batch>\d[\d,]*)"
_THINGS: Final = (
    r"(?:sequences|seqs|requests|reqs|sessions|users|conversations|chats|prompts|streams|samples|"
    r"Sequenzen|Anfragen|Sitzungen|Nutzern?|Dialogen?|requêtes|séquences|utilisateurs)"
)
#: what sequences are called beside: concurrent, active, gleichzeitigen
_KIND: Final = r"(?:(?!(?:and|or|und|oder|of|tokens?|GPUs?|experts?)\b)[^\W\d]+ ){0,2}"
_LENGTH: Final = r"(?P<sequence>\d[\d,]*)(?:(?P<kilo> ?[kK])(?![a-zA-Z])| ?(?P<kibi>Ki)\b)?"
_TOKENS: Final = r"[ -]?(?:tokens?\b|Tokens?\b|jetons\b|ctx\b|context\b|Kontext\b)"
_PAIRS: Final = (
    re.compile(
        rf"{_MANY} {_KIND}{_THINGS}\s*,?\s*(?:(?:of|at|with|x|×|\*|@|each|mit|zu|à|de|je|bei|jeweils)\s+){{1,3}}"
        rf"(?:(?:an?|einem|einer|about|rund|~) ?)?(?:(?:average|mean|mittlere[mnr]?) )?"
        rf"(?:(?:context|length|Kontext|Länge) (?:of |von )?)?{_LENGTH}{_TOKENS}",
        re.IGNORECASE,
    ),
    re.compile(
        rf"{_MANY} {_KIND}{_THINGS}\s*(?:,|with|at|of|mit|bei)\s*(?:an? )?(?:average |mean |mittlere[mnr]? )?"
        rf"(?:context|sequence length|prompt length|Kontext(?:länge)?|Sequenzlänge)(?: length)?"
        rf"(?: of| von)? {_LENGTH}(?![\w.])",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?<![\d.×*])(?P<batch>\d[\d,]*)\s*(?:条|路|个)?\s*(?:并发)?(?:序列|请求|会话|用户|对话|路)[,，、]?\s*"
        r"(?:每[条路个]|平均)?(?:请求|序列)?(?:上下文|长度?|提示)?(?:长度?)?(?:为|是|约)?\s*"
        r"(?P<sequence>\d[\d,]*)(?P<kilo> ?[kK])?\s*个?\s*token",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?:并发|全局批(?:大小|次)?)\s*(?:为|是|:|：)?\s*(?P<batch>\d[\d,]*)\s*(?:路|条|个)?(?:请求|序列)?[,，、]\s*"
        r"(?:每[条路个])?(?:平均)?(?:上下文|序列长度?|长度)(?:长度)?\s*(?:为|是|约|:|：)?\s*"
        r"(?P<sequence>\d[\d,]*)(?P<kilo> ?[kK])?(?![\w.])",
        re.IGNORECASE,
    ),
)
#: sequences of one GPU, of a part, or of a second
_OF_PART: Final = re.compile(
    r"\b(?:per|each|every|on an?|je|pro|jede[rs]?)\s+(?:\w+ )?"
    r"(?:GPU|chip|accelerator|card|rank|replica|instance|group|node|device|server|stage|second|s\b|minute|hour|day|Karte|Replik|Gruppe|Knoten|Sekunde)|/\s?(?:GPU|s\b|rank)|micro-?batch|Mikrobatch|微批|"
    r"每(?:张)?(?:卡|GPU|秒|个副本|实例|节点)",
    re.IGNORECASE,
)
#: sequences that there might be
_UNREAL: Final = re.compile(
    r"\b(?:would|could|if|instead|suppose|imagine|at most|up to|würden?|könnten?|falls|höchstens|bis zu)\b|"
    r"如果|假如|最多|若",
    re.IGNORECASE,
)
#: what makes sequences those that there is room for
HOLDS: Final = re.compile(
    r"\b(?:holds?|fits?|room for|enough for|space for|reichen für|passen|fasst)\b|可(?:容纳|放)|放得下", re.IGNORECASE
)
#: letters behind a pair that may make it one of a part
_AROUND: Final = 40
_THOUSAND: Final = 1000
_KIBI: Final = 1024
#: a sequence has no fewer tokens
_FEWEST: Final = 16


def sizes_of_workload(text: str) -> dict[str, int]:
    """A batch and the tokens of each of its sequences, where ``text`` tells both together and means all GPUs."""
    m = next((m for p in _PAIRS if (m := p.search(text))), None)
    if (
        m is None
        or HOLDS.search(text[: m.start()])
        or _UNREAL.search(text)
        or _OF_PART.search(text[max(0, m.start() - _AROUND) : m.end() + _AROUND])
    ):
        return {}
    groups = m.groupdict()
    times = _THOUSAND if groups.get("kilo") else _KIBI if groups.get("kibi") else 1
    batch, sequence = (int(m[name].replace(",", "")) for name in ("batch", "sequence"))
    return (
        {"workload.batch": batch, "workload.sequence": sequence * times}
        if batch and sequence * times >= _FEWEST
        else {}
    )
