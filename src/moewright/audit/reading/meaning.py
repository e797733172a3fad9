"""Which quantity a figure is of: the field's wordings → a name and the scopes it may be meant in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from moewright.audit.quantities.readings import Scope
from moewright.audit.text.clauses import Figure
from moewright.audit.text.document import Statement
from moewright.audit.text.numbers import BYTE_RATE, BYTES, COUNT, FLOP, FLOP_RATE, PER_SECOND, SECONDS


@dataclass(frozen=True, slots=True)
class Meaning:
    """A quantity by name, and its scopes, the likeliest first. ``explicit``: the scope that its own words give;
    ``certain``: its own words or its key name it, not a heading or another part of the sentence."""

    name: str
    scopes: tuple[Scope, ...]
    explicit: Scope = frozenset()
    certain: bool = True


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


_SCOPES: Final = {
    "gpu": _words(
        r"(?:per|par|pro|je|/|each|an?|every|one|single)[- ]?(?:gpu|device|card|rank|accelerator)\b|gpu (?:holds|"
        r"handles|stores|has|sends|keeps|hosts|owns|serves|runs|processes|gets)"
        r"|每(?:个|张|块)?\s?(?:gpu|卡)|单卡|单\s?gpu|per-gpu|gpus? each|\bgpu\b.*\bon average"
    ),
    "layer": _words(
        r"(?:per|/|each|an?|every|one|single)[- ]?(?:moe |transformer |attention )?layer\b|"
        r"(?:par|je|pro) (?:couche|schicht)|"
        r"每(?:一)?(?:个)?(?:moe)?层|单层|layer-wise"
    ),
    "expert": _words(
        r"(?:per|/|each|an|every|one|single)[- ]?(?:routed )?expert\b(?!s)|per instance|每(?:个)?专家|单个?专家|"
        r"expert instance\b"
    ),
    "token": _words(r"(?:per|par|pro|je|/|each|every)[- ]?(?:token|jeton)\b|每(?:个)?\s?token"),
    "all": _words(r"in all\b|\btotal\b|all layers|whole|overall|forward pass|per pass|a pass\b|entire|整个|全部|总"),
    "active": _words(r"\bactive|activated|激活"),
}
_COMM: Final = (
    r"all-?reduce|all-?to-?all|all-?gather|reduce-?scatter|a2a\b|communicat|\bcomm\b|traffic|"
    r"transfer|exchang|\bsen[dt]s?\b|通信|聚合"
)
_ATTENTION: Final = r"attention|attn|\bmha\b|\bgqa\b|\bmla\b|qkv|注意力"
_EXPERTS: Final = r"expert|\bmoe\b|\bffn\b|feed-?forward|\bmlp\b|专家"
_ROUTER: Final = r"router|gating|\bgate\b(?! proj)|门控|路由"
_LATENCY: Final = r"latency|\btime\b|\bpass\b|step|ttft|tpot|duration|takes|耗时|延迟|时延|时间|\bstage\b"

#: dimension → wordings in order of precedence inside a level of context → name
_TOPICS: Final[dict[str, tuple[tuple[re.Pattern[str], str], ...]]] = {
    "bytes": (
        (_words(r"dispatch|派发|分发"), "communication.dispatch"),
        (_words(r"\bcombine|合并|汇聚"), "communication.combine"),
        (_words(_COMM), "communication"),
        (_words(r"buffer|缓冲"), "memory.buffers"),
        (_words(r"kv|key[- ]value|\bcache|缓存"), "memory.kv_cache"),
        (_words(r"activations?\b(?! weights)|激活(?!专家)"), "memory.activations"),
        (_words(r"headroom|\bfree\b|available|remain|余量|剩余|空闲"), "memory.free"),
        (_words(r"embedding|vocab|lm head|词表"), "memory.vocabulary"),
        (_words(_ROUTER), "memory.router"),
        (_words(_ATTENTION), "memory.attention"),
        (_words(_EXPERTS), "memory.experts"),
        (_words(r"weight|param|checkpoint|权重|参数"), "memory.weights"),
        (_words(r"memory|vram|\bhbm|footprint|显存|内存"), "memory.total"),
    ),
    "flops": (
        (_words(r"achiev|effective|deliver|sustain|usable|有效|实际"), "compute.delivered"),
        (_words(r"projection|qkv|投影"), "compute.projections"),
        (_words(r"\bscores?\b|softmax|注意力得分"), "compute.scores"),
        (_words(_ROUTER), "compute.router"),
        (_words(_ATTENTION), "compute.attention"),
        (_words(_EXPERTS), "compute.experts"),
        (_words(r"flop|comput|\bwork|计算"), "compute.total"),
    ),
    "seconds": (
        (_words(r"bubble|气泡"), "time.bubble"),
        (
            _words(
                r"bound|at (?:best|least)|\bideal|minimum (?:\w+ )?time|minimum possible|theoretical|floor|"
                r"roofline|下界|下限|理想"
            ),
            "time.bound",
        ),
        (_words(r"dispatch|派发|分发"), "time.dispatch"),
        (_words(r"\bcombine|合并"), "time.combine"),
        (_words(_COMM), "time.communication"),
        (_words(r"\bcompute\b|computation|计算"), "time.compute"),
        (_words(_ATTENTION), "time.attention"),
        (_words(_EXPERTS), "time.experts"),
        (_words(_LATENCY), "time.total"),
    ),
    "rate": (
        (_words(r"bound|at (?:best|most)|ideal|maximum possible|ceiling|上限"), "throughput.most"),
        (_words(r"tokens?|tok\b|tps"), "throughput.tokens"),
        (_words(r"seq|sample|prompt|request|batch|quer|序列|请求"), "throughput.sequences"),
    ),
    "share": (
        (_words(r"varian|deviat|偏差|方差"), "balance.variance"),
        (_words(r"straggler|imbalance|不均衡|失衡"), "share.straggler"),
        (_words(r"balanc|\beven|均衡|均匀"), "balance.even"),
        (_words(r"bubble|气泡"), "share.bubble"),
        (
            _words(
                r"(?:memory|vram|hbm|显存|内存).*(?:headroom|free|available|remain|余量|剩余|空闲)|(?:headroom|free|"
                r"available|余量|剩余).*(?:memory|vram|显存)"
            ),
            "memory.headroom",
        ),
        (
            _words(r"(?:comput|flop|gpu|算力).*(?:headroom|capacity available|idle|余量)|capacity available"),
            "compute.headroom",
        ),
        (_words(r"\bmfu\b|(?:comput|flops?|算力|计算).*(?:utili|利用)|utili.*comput"), "compute.utilization"),
        (
            _words(
                r"(?:memory|vram|hbm|显存|内存).*(?:utili|usage|used|occup|利用|占用)|of (?:the )?(?:capacity|\d+ ?GB)"
            ),
            "memory.utilization",
        ),
        (_words(_COMM), "share.communication"),
        (_words(r"headroom|available|余量"), "memory.headroom"),
    ),
    "count": (
        (_words(r"straggler|imbalance|fullest|times the (?:mean|average)|不均衡"), "share.straggler"),
        (_words(r"attention modules?|注意力模块"), "count.modules.attention"),
        (_words(r"expert modules?|专家模块"), "count.modules.experts"),
        (_words(r"modules?\b|模块"), "count.modules"),
        (_words(r"param|参数"), "count.parameters"),
        (_words(r"tokens? (?:per|/|each)|tokens?\b"), "count.tokens"),
        (_words(r"sequences?|prompts|序列"), "count.sequences"),
        (_words(r"(?<!kv )(?<!value )\bheads?\b|(?<!KV)头(?!寸)"), "count.heads"),
        (
            _words(
                r"experts?\b(?![- ](?:parallel|width|size|dim|hidden|weight|tensor|tp|inter|ffn))|instances?\b|"
                r"个(?:路由)?专家|专家(?:总)?数|专家实例"
            ),
            "count.experts",
        ),
        (_words(r"layers?\b.*(?:stage|per gpu)|每级"), "count.layers"),
    ),
}
#: words behind a number that are what is counted, and not where
_NAMED: Final = _words(
    r"(?!(?:per|in|on|of|at|for|and|or|with|each|total|a|an|the|by|to|is|are|from)\b)[a-z]{2,}|gpus?\b"
)
_BOUND: Final = _words(
    r"bound|at (?:best|least|most)|\bideal|minimum (?:\w+ )?time|theoretical|floor|ceiling|roofline|"
    r"下界|下限|上限|理想|理论"
)
_TOTAL: Final = _words(r"\btotal|in all\b|per gpu|\bpass\b|\bmodel\b|合计|总|模型")
_PART: Final = tuple((_words(p), part) for p, part in ((_ATTENTION, "attention"), (_EXPERTS, "experts")))
_SPLIT_OFF: Final = _words(
    r"\bE?TP\b.*(?:reduc|halv|split|→|\bto\b)|(?:after|with) (?:tp|tensor)|tp ?= ?\d+ (?:gives|leaves)|切分后"
)


def meaning_of(figure: Figure, s: Statement) -> Meaning | None:
    """The quantity that ``figure``, of statement ``s``, is of; None where no wording is known."""
    kind = _kind(figure)
    if kind is None:
        return None
    own = figure.words
    if kind == "count":  # a bare number is what the words behind it say, else its key, or what it is the result of
        noun = figure.number.noun
        levels = [noun] if _NAMED.match(noun) else [noun, s.key, *([own] if figure.role == "result" else [])]
    elif figure.role == "operand":
        levels = [own]
    else:  # without a key, what the whole sentence says
        levels = [own, s.key or s.text, *reversed(s.path[-3:])]
    topic = _topic(kind, levels)
    if kind == "count" and figure.number.factor >= 1e6 and re.search(r"activ|param|激活|参数", own, re.IGNORECASE):
        topic = "count.parameters"
    if topic is None and kind in ("bytes", "flops") and _TOTAL.search(f"{own} {s.key}"):
        topic = {"bytes": "memory.total", "flops": "compute.total"}[kind]
    if topic is None:
        return None
    if topic in ("time.total", "throughput.tokens") and _BOUND.search(f"{own} {s.key}"):
        topic = {"time.total": "time.bound"}.get(topic, "throughput.most")
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
        certain = _topic(kind, [own, s.key]) is not None or bool(_TOTAL.search(f"{own} {s.key}"))
    return Meaning(topic, _scopes(topic, figure, s, near), _explicit(near, topic), certain)


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
    above = _explicit(" | ".join(s.path[-2:]), topic) & {"gpu", "layer"}
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
