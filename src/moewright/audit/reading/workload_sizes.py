"""Sequences in flight and their tokens, as running text and cells tell them: 64 sessions of 8,192 tokens each, a global
batch of 512 sequences, 48 requests per GPU at a mean context of 6,000."""

from __future__ import annotations

import re
from typing import Final, Literal

from moewright.audit.reading.word_lists import word_list, wording

#: sequences of each GPU, of each data-parallel rank, of each copy of the model, of each node
Part = Literal["GPU", "rank", "replica", "node"]
#: premises that say how many sequences a part has
OF_PART: Final[dict[Part, str]] = {
    "GPU": "sequences of a GPU",
    "rank": "sequences of a rank",
    "replica": "sequences of a replica",
    "node": "sequences of a node",
}


def _words(entry: str) -> str:
    """The words of ``entry``, as alternatives."""
    return f"(?:{wording(word_list('workload')[entry]).pattern})"


def _pattern(*parts: str) -> re.Pattern[str]:
    return re.compile("".join(parts), re.IGNORECASE)


_N: Final = r"(?:\d{1,3}(?:[ \u202f\u00a0]\d{3})+(?!\d)|\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
#: a number that is no part of a decimal, of a name, or of a product
_FREE: Final = r"(?<![\w.,^])(?<![×*/·÷=] )(?<![×*/·÷=])(?<!\d x )(?<!\d[ \u202f\u00a0])"
_THING: Final = _words("thing")
_THINGS: Final = rf"(?:{_THING}(?:s|en|n|e|i|a|es)|Nutzer)"
#: what sequences are called beside: concurrent, active, gleichzeitigen
_KIND: Final = rf"(?:(?!{_words('no_kind')}\b)[^\W\d]+[ -]){{0,2}}"
_ZH: Final = _words("thing_zh")
_EXACT: Final = rf"(?: \((?P<exact>{_N})(?: \w+)?\))?"
_LONG: Final = rf"(?P<sequence>{_N})(?:(?P<kilo> ?[kK])(?![\w]){_EXACT}|(?P<kibi> ?Ki)\b)?"
_TOKENS: Final = rf"{_words('tokens')}\b"
_PER: Final = (
    rf"(?: ?{_words('each')} ?(?:DP )?(?:{_words('gpu')}|{_words('rank')}|{_words('replica')}|{_words('node')}))?"
)
_END: Final = r"(?=\s*(?:=|→|:|\.\s|\.?$|,\s|;|\)|\||and\b|or\b|und\b|soit\b|per\b|on each\b|je\b|\())"


def _alike(number: int) -> str:
    """A further number of tokens of a sequence."""
    return rf"(?P<s{number}>{_N})(?P<k{number}> ?[kK](?!\w))?"


#: sequences, and behind them the tokens of each
_LENGTH_BEHIND: Final = _pattern(
    rf"(?:{_THINGS}|{_THING})\b{_PER}\s*[,(]?\s*(?:{_words('of')}[ -]*){{1,6}}(?:[sSL] ?= ?)?{_LONG}",
    rf"(?:[ -]*{_TOKENS}|{_END})|",
    rf"\b(?:an?|one|each|every|eine?|jede[rs]?|une?) (?:\w+ )?{_THING} {_alike(5)} ?{_TOKENS}|",
    rf"\b(?:each|every one|jede[rs]?|chacune?) (?:of|with|at|mit|zu|à|de|bei) {_alike(6)} ?{_TOKENS}",
)
_IS: Final = r"\s*(?:(?:of|is|are|at|von|ist|beträgt|de|in decode|moyen|here)\b|[:=])?\s*"
_NAMED_LENGTH: Final = _pattern(
    rf"\b{_words('length_name')}\b(?: \([^()]{{0,60}}\))?{_IS}(?:(?:about|around|rund|etwa|some|~)\s?)?",
    rf"(?:[sSL] ?= ?)?(?<![\d.]){_LONG}(?![\w.]*\d)(?! ?(?:sequences|requests|users|GB|GPUs))",
)
_BEFORE_CONTEXT: Final = _pattern(
    rf"{_FREE}{_LONG}(?:[ -](?:tokens?|jetons))?[ -](?:(?:of|de|tokens of)[ -])?",
    r"(?:contexts?|Kontext|contexte|window)\b|",
    rf"{_FREE}{_alike(3)}-tokens?[ -](?:{_THINGS}|{_THING})\b|",
    rf"{_FREE}{_alike(2)} ?(?:tokens?|jetons)\s*(?:each|apiece|long|lang|on average|im Mittel|",
    rf"(?:per|je|pro) {_THING})\b",
)
_ZH_LENGTH: Final = _pattern(
    rf"{_words('length_zh')}\s*(?:按|为|是|约|均为|[:：=])?\s*{_LONG}(?!\s*[条路个]|[\d,]*\s*[×x*/÷])|",
    rf"(?:每[条路个](?:{_ZH})?|单条(?:序列)?|平均|长度为)(?:平均)?(?:长|上下文)?\s*{_alike(2)}\s*个?\s*",
    r"(?:token|上下文|的序列)|",
    rf"{_FREE}{_alike(3)}\s*(?:token )?上下文|\d\s*条(?:{_ZH})?\s*[×x*]\s*{_alike(4)}(?!\s*[×x*])",
)
_LENGTHS: Final = (_LENGTH_BEHIND, _NAMED_LENGTH, _BEFORE_CONTEXT, _ZH_LENGTH)
_SEVERAL: Final = _pattern(rf"{_FREE}(?P<batch>{_N}) {_KIND}{_THINGS}\b(?! ?length)(?!-)|{_FREE}(?P<b2>{_N}) running\b")
_NAMED_BATCH: Final = _pattern(
    rf"(?<!micro[- ])(?<!micro)(?<!Mikro)\b{_words('batch_name')}\b(?: (?:per|on each|a|je|pro) ?(?:[A-Z]+ )?\w+)?",
    r"(?:\s*(?:of|is|are|has|at|von|umfasst|ist|de|di|:|=|[A-Za-z] ?=)\s*){0,3}\s*",
    rf"(?P<batch>{_N})(?![\d.]*\s*(?:M|k|million|Mio|tokens?)\b)(?!\w|\.\d)",
)
_ZH_BATCH: Final = _pattern(
    rf"{_words('batch_zh')}\s*(?:共|为|是|取|[:：=])?\s*(?P<batch>{_N})(?!\s*[×x*/÷]\s*\d+\s*[=＝])(?![\w.%])|",
    rf"{_FREE}(?P<b2>{_N})\s*(?:路|条|个)\s*(?:并发|{_ZH}|在途)|{_FREE}(?P<b3>{_N})\s*[路条](?![^\W\d_]|个)|",
    rf"{_FREE}(?P<b4>{_N})\s*条长度",
)
_BATCHES: Final = (_SEVERAL, _NAMED_BATCH, _ZH_BATCH)
#: a batch of so many sequences of so many tokens, without a word for either
_PRODUCT: Final = _pattern(
    rf"{_words('several')}\b[^.;\d]{{0,16}}?(?P<batch>{_N}) ?(?:[x×*·@]|of|at|zu|à|sequences of|条 ?[×x])\s*",
    rf"{_LONG}(?!\s*[×x*·/÷]\s*\d)(?! ?(?:GPU|ms|s\b|GB))",
)
_SYMBOLS: Final = re.compile(rf"\bB ?= ?(?P<batch>{_N})\b(?![.\w]).{{0,40}}?\b[Ss] ?= ?{_LONG}(?![.\w])")
_NOUN: Final = _pattern(rf"^ ?{_KIND}{_THINGS}\b")
#: a part, where it follows its sequences, or stands before them
_PARTS: Final[tuple[tuple[Part, str], ...]] = (
    ("rank", _words("rank")),
    ("replica", _words("replica")),
    ("GPU", _words("gpu")),
    ("node", _words("node")),
)
_RUN: Final = r"(?:(?:are |being )?(?:decoded|decoding|running|live|active|in flight|at a time|at once)\s)?"
_BEHIND: Final = tuple(
    (
        part,
        _pattern(
            rf"^\s*(?:{_words('each')}|{_RUN}{_words('on_each')})\s?(?:the )?{words}(?![^\W\d_]*[a-z])|",
            rf"^\s*[×x*·]\s*\d+\s*{words}(?![^\W\d_]*[a-z])",
        ),
    )
    for part, words in _PARTS
)
_BEFORE: Final = tuple(
    (
        part,
        _pattern(
            rf"(?:\b{_words('one')}\s(?:of the \d+ )?{words}\b|每个?\s*{words}|单{words})[^.;,。;\d]{{0,28}}$",
        ),
    )
    for part, words in _PARTS
)
#: another part, or a time
_OTHER: Final = _pattern(
    r"^[^.;:\d]{0,20}(?:\b(?:per|each|every|a|je|pro)\s+(?:second|minute|hour|day|Sekunde|Minute|stage|group|",
    r"micro-?batch|expert|pair|half|Gruppe|Stufe|pool|layer)|/ ?(?:s\b|min|h\b|d\b))|",
    r"^\s*(?:is|are|arrive|come)?\s*(?:a|per|/) ?(?:second|s\b)|^[^.;。,，]{0,6}(?:/|每)\s?(?:秒|s\b)",
)
_MICRO: Final = _pattern(rf"{_words('micro')}$")
_GROUP_BEFORE: Final = _pattern(rf"{_words('group')}[^.;。,，\d]{{0,28}}$")
#: sequences that there might be, or that there is room for
_UNREAL: Final = _pattern(_words("unreal"))
_ROOM: Final = _pattern(_words("room"))
_NO_LENGTH: Final = _pattern(rf"{_words('no_length')}$")
#: letters of the word for sequences
_WORD: Final = 16
_ASIDE: Final = re.compile(r"^\s*\([^()]*\)")
_THOUSAND: Final = 1000
_KIBI: Final = 1024
#: a sequence has no fewer tokens, and a batch no more sequences
_FEWEST: Final = 64
_MOST: Final = 1 << 24
_SENTENCE: Final = re.compile(r"(?<=[a-z)\d])(?:\.(?=\s+[A-ZÄÖÜ])|;(?=\s))|。|；")


def sizes_of_workload(text: str) -> dict[str, int]:
    """Sequences (of all GPUs, or of each part) and the tokens of each, where ``text`` tells them."""
    if not any(c.isdigit() for c in text):
        return {}
    found: dict[str, int] = {}
    for sentence in _SENTENCE.split(text):
        for name, value in _of_sentence(sentence).items():
            found.setdefault(name, value)
    return found


def _of_sentence(text: str) -> dict[str, int]:
    if _UNREAL.search(text):
        return {}
    for pattern in (_SYMBOLS, _PRODUCT):
        m = pattern.search(text)
        if m and (length := _length(m)) and (field := _field(text, m)):
            return {field: _whole(m["batch"]), "workload.sequence": length}
    found: dict[str, int] = {}
    length = next((n for p in _LENGTHS for m in p.finditer(text) if (n := _length_of(text, m))), 0)
    if length:
        found["workload.sequence"] = length
    for pattern in _BATCHES:
        for m in pattern.finditer(text):
            field = _field(text, m)
            if field and field not in found:
                found[field] = _whole(m[_told(m)])
    return found


def _length_of(text: str, m: re.Match[str]) -> int:
    """The tokens of a sequence that ``m`` tells, or 0 where they are something else's."""
    groups = m.groupdict()
    name = next(n for n in ("sequence", *(f"s{i}" for i in range(2, 7))) if groups.get(n))
    at = m.start(name)
    if _NO_LENGTH.search(text[:at]):
        return 0
    return _length(m, name)


def _length(m: re.Match[str], name: str = "sequence") -> int:
    groups = m.groupdict()
    if groups.get("exact"):
        return _whole(m["exact"])
    kilo = groups.get("kilo") if name == "sequence" else groups.get("k" + name[-1])
    several = _whole(m[name])
    if kilo and several & (several - 1) == 0:
        return 0  # 16k may be 16,000 or 16,384
    value = several * (_THOUSAND if kilo else _KIBI if groups.get("kibi") else 1)
    return value if _FEWEST <= value <= _MOST else 0


def _told(m: re.Match[str]) -> str:
    """The group of ``m`` that has the number of sequences."""
    return next(n for n, g in m.groupdict().items() if g and n.startswith("b"))


def _field(text: str, m: re.Match[str]) -> str:
    """The field that sequences are of, or an empty text."""
    name = _told(m)
    before, behind = text[: m.start()], text[m.end() :]
    value = _whole(m[name])
    if not 0 < value <= _MOST or _MICRO.search(text[: m.start(name)]):
        return ""
    part = _part(text, m)
    if (
        _ROOM.search(before)
        or _ROOM.search(re.split(r"[,;.](?=\s|$)", behind)[0])
        or (part is None and _GROUP_BEFORE.search(before))
        or re.match(r"\s*(?:per|a|/|je|pro)? ?(?:step|micro)", behind)
    ):
        return ""
    if part is None and _OTHER.match(behind):
        return ""
    return OF_PART[part] if part else "workload.batch"


def _part(text: str, m: re.Match[str]) -> Part | None:
    """The part that sequences are of, where they are not of all GPUs."""
    behind, before = _NOUN.sub("", text[m.end() :]), text[: m.start(_told(m))]
    length = _LENGTH_BEHIND.search(text, max(0, m.end() - _WORD))
    further = text[length.end() :] if length and length.start() < m.end() else ""
    for rest in (behind, _ASIDE.sub("", further)):  # 24 sequences of 16,384 tokens per GPU
        told = next((part for part, pattern in _BEHIND if pattern.match(rest)), None)
        if told:
            return told
    return next((part for part, pattern in _BEFORE if pattern.search(before)), None)


def _whole(digits: str) -> int:
    return int(re.sub(r"[^0-9]", "", digits))
