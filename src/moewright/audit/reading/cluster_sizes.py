"""GPUs of so many nodes with so many each, in words or digits: ``two HGX nodes, 8 × H200 each``."""

from __future__ import annotations

import re
from typing import Final

#: numbers as words
SPELLED: Final = {
    **dict.fromkeys(("a", "an", "one", "single", "ein", "eine", "einem", "einen", "einer", "une", "一"), 1),
    **dict.fromkeys(("two", "zwei", "deux", "两", "二"), 2),
    **dict.fromkeys(("three", "drei", "trois", "三"), 3),
    **dict.fromkeys(("four", "vier", "quatre", "四"), 4),
    **dict.fromkeys(("six", "sechs", "六"), 6),
    **dict.fromkeys(("eight", "acht", "huit", "八"), 8),
    **dict.fromkeys(("twelve", "zwölf", "douze"), 12),
    **dict.fromkeys(("sixteen", "sechzehn", "seize"), 16),
}
_UNITS: Final = dict(
    zip(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], range(1, 10), strict=True)
)
_TEENS: Final = {"ten": 10, "eleven": 11, "thirteen": 13, "fourteen": 14, "fifteen": 15, "eighteen": 18}
_TENS: Final = {
    **{"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
}
_GERMAN: Final = {"fünf": 5, "sieben": 7, "neun": 9, "zehn": 10, "五": 5, "七": 7, "九": 9, "十": 10}
_KNOWN: Final = SPELLED | _UNITS | _TEENS | _GERMAN
#: a number of things, in digits or in words
IN_WORDS: Final = (
    r"(?:\d[\d,]*|(?:"
    + "|".join(_TENS)
    + r")(?:-(?:"
    + "|".join(_UNITS)
    + r"))?|"
    + "|".join(sorted(_KNOWN.keys() - {"a", "an", "single"}, key=len, reverse=True))
    + ")"
)


def in_words(text: str) -> int:
    """What a text that ``IN_WORDS`` matches, or a word of ``SPELLED``, is: 27, 1,024, twenty-seven, a."""
    told = text.lower().replace(",", "")
    ten, _, unit = told.partition("-")
    return int(told) if told.isdigit() else _TENS[ten] + _UNITS.get(unit, 0) if ten in _TENS else _KNOWN[told]


_MANY: Final = r"(?:\d{1,4}|" + "|".join(sorted(SPELLED, key=len, reverse=True)) + ")"
_NODE: Final = (
    r"(?:nodes?|machines?|servers?|boxes|box|hosts?|trays?|Knoten|Server[ns]?|Rechnern?|Maschinen?|serveurs?|nœuds?|"
    r"servidores|nodos)"
)
_GPU: Final = (
    r"(?:(?:NVIDIA |AMD |Nvidia )?(?:[ABHL]\d{2,3}\w?|GB?[23]00|MI3\d\dX?|910[BC]?)\b|"
    r"(?:Intel |Huawei |AMD )?(?:Gaudi|Ascend|Instinct)\b(?: ?v?\d\w*)?|"
    r"GPUs?\b|cards?\b|Karten\b|accelerators?\b|(?:[A-Z][\w-]{0,12} )?chips?\b|[NT]PUs?\b)"
)
_NODES_OF_GPUS: Final = re.compile(
    rf"(?<![\w.×*])(?P<nodes>{_MANY})\s+(?:[^\W\d][\w-]*\s+){{0,3}}?(?:[A-Z]\w{{1,6}}-)?{_NODE}\s*"
    rf"(?:(?:of|with|mit|zu|à|de|having|each|je|,|:|\(|×|x)\s*){{1,4}}(?:[^\W\d]+\s+)?"
    rf"(?P<each>{_MANY})\s*(?:[×x]\s*)?{_GPU}(?!\s*(?:in all|in total|altogether|insgesamt))|"
    rf"(?<![\w.×*])(?P<n2>{_MANY})\s+(?:[^\W\d][\w-]*\s+)?(?P<e2>\d{{1,2}})\s?[×x-]\s?{_GPU}[ -]{_NODE}\b",
    re.IGNORECASE,
)
_CHINESE: Final = re.compile(
    r"(?P<nodes>\d{1,4}|[一两二三四六八])\s*(?:台|个节点|节点)[^\d,。;，；]{0,12}(?:\w\d{2,3})?[^\d,。;，；]{0,8}[,，、]?\s*"
    r"每(?:台|节点|机)\s*(?P<each>\d{1,2})\s*(?:张|块|卡|个)|"
    r"(?P<n2>\d{1,4}|[一两二三四六八])\s*台\s*(?P<e2>\d{1,2})\s*(?:张|块|个)?\s*(?:卡|GPU|[ABH]\d{2,3})"
)
#: nodes x GPUs: 48 x 4
_KEYED: Final = re.compile(
    rf"^\W*(?:{_NODE}|节点)\s*[×x*]\s*(?:[A-Z]\w* )?(?:GPUs?|卡|cards?|Karten|[AHB]\d{{2,3}}\w*|MI\d{{3}}\w?)"
    rf"(?: (?:per|je|pro) {_NODE})?[^:\d]{{0,24}}:\s*(?P<n2>\d{{1,4}})\s*[×x*]\s*(?P<e2>\d{{1,3}})(?!\d)",
    re.IGNORECASE,
)
#: nodes x GPUs of each, with the GPUs or what they are in all behind: 8 台 × 8 卡 = 64 卡, 3 boxes × 8 = 24 A100
_PRODUCT: Final = re.compile(
    rf"(?<![\w.×*/])(?P<nodes>\d{{1,4}})\s*(?:(?:HGX|DGX|NVIDIA)[ -]?(?:[ABH]\d{{2,3}} )?)?"
    rf"(?:{_NODE}|台(?:服务器|机器)?|机|个?节点)\s*[×x*·]\s*(?P<each>\d{{1,2}})(?![\d.,]*\d)\s*"
    rf"(?:{_GPU}|张|卡|块|\)|=\s*\d{{1,5}}\s*(?:{_GPU}|ranks\b|张|卡|块|$|[,;.)])|$)",
    re.IGNORECASE,
)
#: so many nodes of so many, behind the GPUs that they have: 32 H100s as four nodes of eight
_BEHIND: Final = re.compile(
    rf"{_GPU}[^.;]{{0,60}}?[(,]?\s*(?:as |auf |in |on |sur |, )?(?<![\w.])(?P<nodes>{_MANY})\s+(?:HGX |DGX )?{_NODE}\s+"
    rf"(?:of|à|zu|de|mit|with)\s+(?P<each>{_MANY})\b(?!\s*[×x*%])",
    re.IGNORECASE,
)
#: 4 机 32 卡: the second is of all
_IN_ALL: Final = re.compile(r"(?<![\d.])(?P<nodes>\d{1,4})\s*机\s*(?P<all>\d{1,5})\s*卡")
#: nodes that there might be, or that are part of the plan's
_UNREAL: Final = re.compile(
    r"\b(?:would|could|instead|rather than|pilot|earlier|previous|supersede[sd]?|würden?|statt|früher)\b|每组|对比|旧",
    re.IGNORECASE,
)


#: GPUs of a node, and of a rack that is one, at most: 24 nodes, 192 H100 are 192 in all
MOST_OF_NODE: Final = 16
MOST_OF_RACK: Final = 144


def gpus_of_nodes(text: str) -> tuple[int, int] | None:
    """(GPUs in all, the place in ``text``) where it tells how many nodes there are and how many GPUs each has."""
    patterns = (_NODES_OF_GPUS, _CHINESE, _KEYED, _PRODUCT, _BEHIND, _IN_ALL)
    m = next((m for m in (p.search(text) for p in patterns) if m is not None), None)
    if m is None or _UNREAL.search(text):
        return None
    if m.re is _IN_ALL:
        every, several = int(m["all"]), int(m["nodes"])
        return (every, m.start("all")) if several and every > several and every % several == 0 else None
    groups = {k: v for k, v in m.groupdict().items() if v}
    nodes, each = (in_words(groups.get(a) or groups[b]) for a, b in (("nodes", "n2"), ("each", "e2")))
    most = MOST_OF_RACK if re.search(r"NVL|rack|pod", text, re.IGNORECASE) else MOST_OF_NODE
    return (nodes * each, m.start()) if nodes * each > 1 and each <= most else None
