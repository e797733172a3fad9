"""Which quantity a figure is of: the field's wordings → a name and the scopes it may be meant in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from moewright.audit.quantities.readings import Scope
from moewright.audit.reading.word_lists import word_list, wording
from moewright.audit.text.clauses import Figure
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, FLOP_RATE, PER_SECOND, SECONDS, Number


@dataclass(frozen=True, slots=True)
class Meaning:
    """A quantity by name, and its scopes, the likeliest first. ``explicit``: the scope that its own words give;
    ``certain``: its own words or its key name it, not a heading or another part of the sentence."""

    name: str
    scopes: tuple[Scope, ...]
    explicit: Scope = frozenset()
    certain: bool = True


_LIST: Final = word_list("quantities")
_SCOPES: Final = {name: wording(entry) for name, entry in _LIST["scopes"].items()}
#: dimension → wordings in order of precedence inside a level of context → name
_TOPICS: Final[dict[str, tuple[tuple[re.Pattern[str], str], ...]]] = {
    kind: tuple((wording(entry), entry["quantity"]) for entry in entries) for kind, entries in _LIST["topics"].items()
}
_MARKS: Final = {name: wording(entry) for name, entry in _LIST["marks"].items()}
#: words behind a number that are what is counted, and not where
_NAMED: Final = _MARKS["named"]
#: what stands behind it is said of what is counted
_VERB: Final = re.compile(r"\b(?:have|has|holds?|hosts?|runs?|uses?|that|which|whose|are|is|haben|hat|sind)\b", re.I)
_BEHIND: Final = re.compile(r"\b(?:per|of|in|for|on|from|to|across|over|at|pro|je|von|auf)\b|/", re.I)
_BOUND: Final = _MARKS["bound"]
_TOTAL: Final = _MARKS["total"]
_SPLIT_OFF: Final = _MARKS["split_off"]
_PARTS_NAMED: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"attention|\battn\b|注意力",
        r"\bembed|\bemb\b|vocab|lm[ _]head|Einbettung|词嵌入|词表",
        r"router|gating",
        r"expert|专家",
        r"dense|shared|norm|稠密|共享",
    )
)


def _several_parts(key: str) -> bool:
    """Whether a key names several parts of a model, of which the figure is the sum."""
    return len([p for p in _PARTS_NAMED if p.search(key)]) > 1 and bool(
        re.search(r",|\+|&|\band\b|\bund\b|和|与|/", key)
    )


#: quantities of experts, and what is of those that every token passes
_OF_EXPERTS: Final = ("count.experts", "compute.experts", "memory.experts")
_SHARED: Final = re.compile(r"shared|共享|gemeinsam|geteilt|partagé|compartid", re.IGNORECASE)
_DENSE: Final = re.compile(
    r"\b(?:dense|non-?expert|shared) (?:weights|part|parameters|layers)|稠密部分|非专家", re.IGNORECASE
)
#: what experts get and give, and do not hold
_PASSED: Final = re.compile(r"\b(?:input|output|activation|token)s?\b|输入|输出|激活", re.IGNORECASE)
_STEPS: Final = re.compile(r"\W*(?:(?:number of )?steps|iterations|Schritte|步数|étapes|pas)\b", re.IGNORECASE)
_ROUTED: Final = re.compile(r"routed|路由|geroutet|routé|enrutad", re.IGNORECASE)
#: what has more bytes than are written without a prefix
_HEAVY: Final = ("memory.weights", "memory.total", "memory.experts", "memory.attention")
#: weights and cache, together
_BOTH: Final = re.compile(
    r"(?:weights?|权重|Gewichte?)\s*(?:\+|&|plus|and|und|与|和)\s*(?:the )?(?:KV|cache|缓存)|"
    r"(?:KV|cache|缓存)\S*\s*(?:\+|&|plus|and|und|与|和)\s*(?:the )?(?:weights?|权重|Gewichte?)",
    re.IGNORECASE,
)
_PART: Final = tuple((_MARKS[part], part) for part in ("attention", "experts"))


def meaning_of(figure: Figure, s: Statement) -> Meaning | None:
    """The quantity that ``figure``, of statement ``s``, is of; None where no wording is known."""
    kind = _kind(figure)
    if kind is None:
        return None
    own = figure.words
    levels = _levels(kind, figure, s)
    topic = _topic(kind, levels)
    if topic and topic.startswith(_WHOLE) and (not _is_whole(figure.number) or figure.number.value >= 1e6):
        topic = None  # 24.88 M are no experts
    if kind == "bytes" and topic and topic.startswith("memory.") and (_several_parts(s.key) or _several_parts(own)):
        topic = "memory.others"
    if (
        kind == "count"
        and figure.number.factor >= 1e6
        and re.search(r"activ|param|激活|参数", f"{own} {s.key}", re.IGNORECASE)
    ):
        topic = "count.parameters"
    if kind == "bytes" and topic in ("memory.weights", "memory.kv_cache") and _BOTH.search(f"{own} | {s.key}"):
        topic = "memory.total"
    if topic is None and kind in ("bytes", "flops") and _TOTAL.search(f"{own} {s.key}"):
        topic = {"bytes": "memory.total", "flops": "compute.total"}[kind]
    if topic is None or _is_other(topic, figure, s):
        return None
    if topic in ("time.total", "throughput.tokens") and _BOUND.search(f"{own} {s.key}"):
        topic = {"time.total": "time.bound"}.get(topic, "throughput.most")
    if topic == "memory.attention" and "token" in _explicit(own, topic):
        topic = "memory.kv_cache"  # a token adds nothing else to what attention holds
    if topic == "count.parameters" and not _explicit(own, topic) & {"active", "expert"}:
        part = next((part for p, part in _PART if p.search(own)), None)
        topic = f"count.parameters.{part}" if part else topic
    if topic == "communication":
        topic += "." + (next((part for level in levels[:2] for p, part in _PART if p.search(level)), "total"))
        if re.search(r"\btotal\b|总", " ".join(levels[:2]), re.IGNORECASE):
            topic = "communication.total"
    near = f"{own} | {s.key}" if s.key or _explicit(own, topic) else f"{own} | {_SCOPES['active'].sub('', s.text)}"
    nouns = " | ".join(n.noun for n in figure.formula)
    if _SCOPES["gpu"].search(nouns) and not re.search(r"\bgpus\b", nouns, re.IGNORECASE):
        near += " | per GPU"  # a factor per GPU that no number of GPUs cancels
    if kind == "count":
        first = not re.search(r"\d", s.value[: figure.number.at])
        certain = first or figure.role == "result" or bool(_NAMED.match(figure.number.noun))
    else:
        certain = _topic(kind, [own, s.key]) is not None
        certain = certain or (topic.endswith(".total") and bool(_TOTAL.search(f"{own} {s.key}")))
    return Meaning(topic, _scopes(topic, figure, s, near), _explicit(near, topic), certain)


#: parts of a model whose parameters are none of the quantities
_SMALL_PART: Final = re.compile(
    r"\b(?:router|gating|norms?|biases|indexer|MTP)\b[^.;:]{0,20}$|(?:路由器?|门控)[^。;]{0,8}$", re.IGNORECASE
)


def _is_other(topic: str, figure: Figure, s: Statement) -> bool:
    """Whether the words of a figure make it something else than ``topic``, which they name."""
    n, said = figure.number, f"{figure.words} {s.key}"
    if topic == "count.heads":
        return bool(re.search(r"\bKV\b|key[-/ ]value|embedding|\bLM[ _-]|output|unembed", said, re.IGNORECASE))
    if topic in _OF_EXPERTS and _SHARED.search(said) and not _ROUTED.search(said):
        return True
    if topic == "count.experts":  # experts of a token are no experts of anything else
        return "token" in _scopes_in(f"{said} {n.noun}")
    if topic == "count.tokens":
        return n.factor >= 1e9 or bool(_STEPS.match(s.key))  # of a training run; steps
    if topic == "memory.experts" and _PASSED.search(s.key):
        return True
    if topic == "memory.weights" and _DENSE.search(said):
        return True
    if topic == "count.parameters" and _SMALL_PART.search(f"{figure.words} {s.key} {s.value[: n.at]}"):
        return True
    if topic == "count.parameters":
        return n.value < 1e4 or (bool(figure.formula) and "FLOP" in s.text)
    return topic in _HEAVY and n.factor == 1 and n.value < 1e5  # total 671 B are no bytes


def _levels(kind: str, figure: Figure, s: Statement) -> list[str]:
    """The texts that may name what a figure is of, the nearest first."""
    own = figure.words
    if kind == "count":  # a bare number is what the words behind it say, else its key, or what it is the result of
        noun = _VERB.split(figure.number.noun)[0]
        key = [] if ";" in s.value[: figure.number.at] else [s.key]  # it is of the first of several
        head = _BEHIND.split(noun)[0]  # GPUs per expert are no experts
        noun = noun if _topic(kind, [head]) or not _NAMED.match(head) or "layer" in head else head
        return [noun] if _NAMED.match(noun) else [noun, *key, *([own] if figure.role == "result" else [])]
    if figure.role == "operand":
        return [own]
    return [own, s.key or s.text, *reversed(s.path[-3:])]  # without a key, what the whole sentence says


#: what is counted in whole things, and not by the million
_WHOLE: Final = ("count.experts", "count.heads", "count.sequences", "count.layers")


def _is_whole(n: Number) -> bool:
    return n.factor < 1e6


def scopes_named(text: str) -> Scope:
    """A GPU, a layer or an expert, where ``text`` speaks of one."""
    return frozenset(name for name in ("gpu", "layer", "expert") if _SCOPES[name].search(text))


def splits_off(figure: Figure, s: Statement) -> bool:
    """Whether a bracket behind ``figure`` tells what tensor parallelism leaves of it."""
    behind = s.value[figure.number.at + len(figure.number.text) :].lstrip()
    return behind.startswith("(") and bool(_SPLIT_OFF.search(behind.partition(")")[0]))


def topics_named(figure: Figure, s: Statement) -> list[str]:
    """Every quantity of the figure's dimension that its statement or the headings above name."""
    kind = _kind(figure)
    if kind is None:
        return []
    text = " | ".join((figure.words, s.text, *s.path[-2:]))
    names = [name for pattern, name in _TOPICS[kind] if pattern.search(text)]
    names += [f"{name}.{part}" for name in names for p, part in _PART if name == "count.parameters" and p.search(text)]
    return [name for name in names if "." in name and not name.startswith(("communication", "balance"))]


def _kind(figure: Figure) -> str | None:
    n = figure.number
    if n.percent:
        return "share"
    if n.dim == COUNT:
        return "count"
    return {
        BYTES: "bytes",
        FLOP: "flops",
        FLOP_RATE: "flops",
        SECONDS: "seconds",
        PER_SECOND: "rate",
        BYTE_RATE: None,
    }.get(n.dim)


def _topic(kind: str, levels: list[str]) -> str | None:
    for level in levels:
        for pattern, name in _TOPICS[kind]:
            if pattern.search(level):
                return name
    return None


@lru_cache(1024)
def _scopes_in(text: str) -> Scope:
    return frozenset(name for name, pattern in _SCOPES.items() if pattern.search(text))


def _explicit(text: str, topic: str) -> Scope:
    found = set(_scopes_in(text))
    if topic == "count.experts":
        found.discard("expert")
        found.discard("active")
    if topic != "count.parameters":
        found.discard("active")
    if "gpu" in found or "layer" in found or "token" in found:
        found.discard("all")
    return frozenset(found)


def _scopes(topic: str, figure: Figure, s: Statement, near: str) -> tuple[Scope, ...]:
    """Scopes in order of likelihood: what the figure's own words and key say; with what the headings add; one layer
    where a formula is given that counts no layers."""
    explicit = _explicit(near, topic)
    above = _explicit(" | ".join(s.path[-2:]), topic) & {"gpu", "layer", "token"}
    if not topic.startswith(("communication", "memory.kv", "compute")):
        above -= {"token"}
    whole = bool(_SPLIT_OFF.search(s.value)) and "gpu" not in explicit and not figure.remark
    if "expert" in explicit:
        above -= {"gpu"}
    if whole:  # a remark says what tensor parallelism leaves of it
        above -= {"gpu"}
    left = figure.remark and bool(_SPLIT_OFF.search(f"{figure.words} {s.value}"))
    if left:
        explicit |= {"gpu"}
    first = [explicit | above] if above - explicit else []
    found = [*first, explicit]
    if topic.startswith(("communication", "count")) or "all" in explicit or topic.startswith("time"):
        found.reverse()
    if "gpu" not in explicit and topic in ("memory.total", "memory.activations", "memory.buffers") and not whole:
        found.append(explicit | {"gpu"})
    if left and topic.startswith(("memory", "compute")):  # of a layer, where what the bracket stands behind is
        found.append(explicit | {"layer"})
    if figure.formula and topic.endswith(".experts") and not topic.startswith("count") and "expert" not in explicit:
        found.append((explicit - {"gpu", "all"}) | {"expert"})
    implied = figure.formula and topic.startswith(("memory", "compute")) and "all" not in explicit
    if (implied or whole) and "layer" not in explicit | above:
        found = [f | {"layer"} for f in found] + found if whole else found + [f | {"layer"} for f in found]
    return tuple(dict.fromkeys(frozenset(f) for f in found))
