"""Heads and experts of a GPU in options that a document names by a letter, or by a phase, each with its own sizes: ``B:
attention DP64 (TP1), experts EP64``; one node for prefill (EP8) and two for decode (EP16)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.quantities.readings import Facts
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import COUNT
from moewright.case.attention_kinds import SoftmaxAttention

_NAMED: Final = r"(?:(?:Option|Layout|Variante?|Plan|Config(?:uration)?|Setup|Schema|方案|选项)\s*)?"
_LABEL: Final = re.compile(rf"^\W*{_NAMED}(?P<label>[A-H])(?![\w'])(?!\s(?:[a-z]|GPU))", re.IGNORECASE)
_ONLY_LABEL: Final = re.compile(rf"^\W*{_NAMED}(?P<label>[A-H])\W*$")
_TP: Final = re.compile(r"(?<![A-Za-z-])TP\s?[=:]?\s?(\d{1,3})\b")
_EP: Final = re.compile(r"(?<![A-Za-z-])EP\s?[=:]?\s?(\d{1,4})\b")
_ATTENTION_TP: Final = re.compile(
    r"(?:attention|注意力|Attention)[^.;。；]{0,40}?(?<![A-Za-z-])TP\s?[=:]?\s?(\d{1,3})\b"
)
_QUERY: Final = re.compile(
    r"(?:query|attention|\bQ)[- ]?(?:heads?|K(?:ö|oe)pfe?)|(?:查询|注意力|Q)\s?头|Abfragek(?:ö|oe)pfe?", re.IGNORECASE
)
_KV: Final = re.compile(r"(?:KV|key[-/ ]value)[- ]?(?:heads?|K(?:ö|oe)pfe?)|KV\s?头", re.IGNORECASE)
_EXPERTS: Final = re.compile(r"(?:routed |whole )?(?:experts?|Experten)\b|(?:路由)?专家", re.IGNORECASE)
_GPU: Final = re.compile(
    r"(?:per|each|every|on a|je|pro|/|per layer and|je Schicht und)\s?(?:GPU|chip|accelerator|"
    r"card|rank|device|Karte)|每(?:张)?(?:卡|GPU)|单卡",
    re.IGNORECASE,
)
_OF_ALL: Final = re.compile(r"\b(?:of|all|von|der|aller)\s(?:the |its |its own |den )?$|(?:共|全部)\s?$", re.IGNORECASE)
_LAYER: Final = re.compile(r"layer|Schicht|层", re.IGNORECASE)
_APART: Final = re.compile(r"shared|redundan|stage|node|all layers|共享|冗余|节点|Stufe|Knoten|geteilt", re.IGNORECASE)
#: experts that are cut
_CUT: Final = re.compile(r"slice|half|quarter|eighth|\d/\d|切|分片|Scheibe|Hälfte", re.IGNORECASE)
_EXPERTS_NEED: Final = ("model.layers", "model.experts.count")
_HEADS_NEED: Final = (*_EXPERTS_NEED, "model.attention.heads", "model.attention.kv_heads")


def judge_labelled_options(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the heads, and on the experts of a layer, that a GPU is said to have in an option, by the sizes that
    the document gives the option where it names it."""
    tensor, expert = _sizes(ledger, _tp_of), _sizes(ledger, _ep_of)
    if len(tensor) + len(expert) < 2:
        return
    labels = tensor.keys() | expert.keys()
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        label = _label_of(s)
        phased = label in _PHASES
        if label not in labels or not entries or s.kind == "heading" or _APART.search(s.value if phased else s.text):
            continue
        if not _GPU.search(f"{s.row} {s.text} {s.corner}"):
            continue
        facts, has_heads = facts_at(index, _EXPERTS_NEED), facts_at(index, _HEADS_NEED) is not None
        if facts is None:
            continue
        for e in entries:
            whole, told = _whole(e, facts)
            if told == "tp" and not has_heads:
                continue
            size = expert.get(label, 0) if told == "ep" else tensor.get(label, 0)
            own = _TP.search(s.value) or _EP.search(s.value)
            of_all = _OF_ALL.search(s.value[: e.number.at])
            if not whole or not size or own or of_all or e.figure.formula or e.figure.role == "operand":
                continue
            claim = _judged(e, whole, size, told)
            if claim is not None:
                yield e, claim


def _judged(e: Entry, whole: int, size: int, told: str) -> Claim | None:
    found, right = int(e.number.value), max(1, whole // size)
    name = "count.experts per layer per GPU" if told == "ep" else "count.heads per GPU"
    if whole > size and whole % size:
        return None
    if found == right:
        return e.claim(name, Verdict.HOLDS, f"{whole} / {told} {size}", right)
    if found and (whole % found == 0 or found % whole == 0):
        return e.claim(name, Verdict.WRONG, f"{whole} / {told} {size} is {right}", right)
    return None


def _whole(e: Entry, facts: Facts) -> tuple[int, str]:
    """What all GPUs of a group have together of what ``e`` counts, and by which size it is divided; (0, "") where
    that is not said."""
    s, n = e.statement, e.number
    if n.dim != COUNT or not n.whole:
        return 0, ""
    bare = s.kind == "cell" and s.value.strip() == n.text.strip()
    said = s.row if bare else e.behind[:24]
    attention, moe = facts.case.model.attention, facts.case.model.moe

    def tells(pattern: re.Pattern[str]) -> bool:
        return bool(pattern.search(said) if bare else pattern.match(said.lstrip(" -个")))

    if tells(_KV) and isinstance(attention, SoftmaxAttention):
        return attention.kv_heads, "tp"
    if tells(_QUERY):
        return attention.heads, "tp"
    if moe is not None and tells(_EXPERTS) and _LAYER.search(s.text) and not _CUT.search(s.text):
        return moe.experts, "ep"
    return 0, ""


def _tp_of(text: str) -> int:
    found = {int(x) for x in _ATTENTION_TP.findall(text)} or {int(x) for x in _TP.findall(text)}
    return found.pop() if len(found) == 1 else 0


def _ep_of(text: str) -> int:
    found = {int(x) for x in _EP.findall(text)}
    return found.pop() if len(found) == 1 else 0


def _sizes(ledger: Ledger, size_of: Callable[[str], int]) -> dict[str, int]:
    """The size of each label that has one alone."""
    found: dict[str, set[int]] = {}
    for s in ledger.statements:
        texts = {s.row, s.column} if s.kind == "cell" else {s.text}
        for text in texts:
            m = _LABEL.match(text)
            size = size_of(text) if m else 0
            if m and size:
                found.setdefault(m["label"].upper(), set()).add(size)
        for m in _PHASE_SIZES.finditer(s.text):
            if size := size_of(m["sizes"]):
                found.setdefault(_phase(m["phase"]), set()).add(size)
    return {label: sizes.pop() for label, sizes in found.items() if len(sizes) == 1}


_PHASES: Final = ("PREFILL", "DECODE")
_PHASE: Final = re.compile(r"^\W*(?:(?:the|die|der) )?(?P<phase>prefill|decod|预填充|解码)", re.IGNORECASE)
#: a phase, and behind it its sizes: prefill (DP8, EP8), decode uses EP16
_PHASE_SIZES: Final = re.compile(
    r"(?P<phase>prefill|decod\w*|预填充|解码)(?:(?!prefill|decod|预填充|解码)[^.;。；()]){0,24}"
    r"(?:[(（](?P<sizes>[^()（）]*\b[ET]P\s?=?\s?\d[^()（）]*)[)）])",
    re.IGNORECASE,
)


def _phase(word: str) -> str:
    return _PHASES[0] if word.lower().startswith(("prefill", "预")) else _PHASES[1]


def _label_of(s: Statement) -> str:
    """The letter of the option, or the phase, that a statement is of."""
    phase = _PHASE.match(s.key) if s.kind in ("prose", "item") else None
    if phase is not None:
        return _phase(phase["phase"])
    for text in (s.column, s.row) if s.kind == "cell" else (s.key,):
        m = _ONLY_LABEL.match(text) or (_LABEL.match(text) if s.kind == "cell" else None)
        if m:
            return m["label"].upper()
    return ""
