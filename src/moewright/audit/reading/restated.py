"""Premises that a document gives twice, or that a catalogue knows: they must agree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import prod
from typing import Any, Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.reading.document_case import Setting
from moewright.audit.reading.premises import Premise
from moewright.audit.text.clauses import Clauses
from moewright.audit.text.document import Statement
from moewright.audit.text.expressions import Node, Operation, numbers_in
from moewright.case.model import DenseFfn, Ffn, NoAttention, SoftmaxAttention

_REDUNDANT: Final = re.compile(r"redundan|replicated expert|\bEPLB\b|冗余", re.IGNORECASE)
_COMPARED: Final = (
    "cluster.gpus",
    "model.layers",
    "model.experts.count",
    "model.experts.top_k",
    "model.hidden_size",
    "model.experts.intermediate_size",
    "model.attention.heads",
    "model.attention.kv_heads",
    "workload.batch",
    "workload.sequence",
    "strategy.ep",
    "strategy.tp",
    "strategy.pp",
    "strategy.dp",
)


def is_of_another_model(premises: list[Premise], setting: Setting) -> bool:
    """Whether the model that is named is only mentioned: two sizes that the document gives by their names, or
    all those told in the line that names it, are not its."""
    if "model.name" not in setting.given or setting.from_spec:
        return False
    known = known_sizes(setting)
    told = {p.field: p.value for p in reversed(premises) if p.keyed and p.field in known}
    other = [f for f, value in told.items() if value != known[f]]
    line = setting.given["model.name"].line  # follows DeepSeek-V2: 50 layers, 144 experts of width 1408
    sizes = {p.field: p.value for p in premises if p.line == line and p.field in _OWN and p.field in known}
    return len(other) >= 2 or (len(sizes) >= MANY and all(value != known[f] for f, value in sizes.items()))


#: sizes by which a model that follows another is told from it, and how many of them must be
_OWN: Final = ("model.layers", "model.hidden_size", "model.experts.count", "model.experts.intermediate_size")
MANY: Final = 3


def judge_premises(premises: list[Premise], setting: Setting) -> Iterator[Claim]:
    """Premises that differ from where they were given first, and sizes that differ from a named model's."""
    known = known_sizes(setting) if "model.name" in setting.given or setting.from_spec else {}
    if setting.from_spec:
        w = setting.case.workload
        known |= {"cluster.gpus": setting.case.cluster.gpus, "workload.sequence": w.sequence}
        known |= {"workload.batch": w.batch[0]} if len(w.batch) == 1 else {}
    several = len({p.value for p in premises if p.field == "model.name"}) > 1
    seen: set[tuple[int, str]] = set()
    for p in premises:
        if p.field not in _COMPARED or (p.line, p.field) in seen:
            continue
        seen.add((p.line, p.field))
        first = setting.given.get(p.field)
        unit = "a plain number"
        if p.field in known:
            right = known[p.field]
            if p.value != right:
                source = setting.case.file if setting.from_spec else setting.case.model.name
                why = f"{source} has {right} ({p.field.rpartition('.')[2]})"
                sure = not several and (
                    _is_of_named(p, setting) if p.keyed else _says_of_named(p, setting.case.model.name, right)
                )
                sure |= not several and (_has_query_heads(p, known) or _among_right(p, premises, known))
                verdict = Verdict.WRONG if sure else Verdict.NOT_CHECKED
                why += "" if verdict is Verdict.WRONG else "; this may be of a part, or of another model"
                yield Claim(p.line, p.text, f"premise {p.field}", verdict, why, p.value, right, unit=unit)
        elif first is not None and p.value != first.value:
            why = f"line {first.line} gives {first.value} for {p.field}"
            alike = p.keyed and first.keyed and p.path == first.path and not p.field.startswith("strategy")
            alike = alike and p.where is not None and first.where is not None and p.where.group == first.where.group
            alike = alike and _key(p) == _key(first)  # token dimension and hidden size may be two things
            verdict = Verdict.CONTRADICTED if alike else Verdict.NOT_CHECKED
            why += "" if alike else "; this may be of a part, a phase or another configuration"
            yield Claim(p.line, p.text, f"premise {p.field}", verdict, why, p.value, first.value, unit=unit)


#: sizes that a part of a model does not have otherwise than the whole
_OF_WHOLE: Final = (
    "model.experts.top_k",
    "model.experts.count",
    "model.hidden_size",
    "model.experts.intermediate_size",
)
#: other sizes of the model that a text must give right
FEWEST: Final = 2


def _among_right(p: Premise, premises: list[Premise], known: dict[str, Any]) -> bool:
    """Whether a size stands among others of the named model that are right, in one text that speaks of no other."""
    if p.field not in _OF_WHOLE or (_PARTLY.search(p.text) and p.field != "model.experts.top_k"):
        return False
    if _CHANGED.search(p.text) or (p.where is not None and models_named(" | ".join(p.path[1:]))):
        return False
    beside = {q.field for q in premises if q.text == p.text and q.line == p.line and known.get(q.field) == q.value}
    same = any(q.text == p.text and q.field == p.field and q.value == known[p.field] for q in premises)
    return not same and len(beside - {p.field}) >= (1 if p.field == "model.experts.top_k" else FEWEST)


_CHANGED: Final = re.compile(
    r"\b(?:instead|reduced|pruned|variant|modified|would|could|if|than|vs|versus|compared|like|draft|MTP|statt)\b|剪枝|对比|改为",
    re.IGNORECASE,
)
_CACHE_PRODUCT: Final = re.compile(
    r"\b2\s*(?:\([^)]*\)\s*)?[×x*·]\s*(\d+)\s*(?:kv|key[/-]value)[ -_]?(?:heads?|h)\b\s*[×x*·]", re.IGNORECASE
)


def _has_query_heads(p: Premise, known: dict[str, Any]) -> bool:
    """Whether a product for the cache has the named model's query heads where it names those of keys and values."""
    m = _CACHE_PRODUCT.search(p.text) if p.field == "model.attention.kv_heads" else None
    return m is not None and int(m[1]) == p.value == known.get("model.attention.heads")


def _is_of_named(p: Premise, setting: Setting) -> bool:
    """Whether a size stands where the model is named: under its heading, or in the same list or table."""
    name = setting.given.get("model.name")
    above = models_named(" | ".join(p.path[1:])) if name is not None and not setting.from_spec else set()
    if above and not any(is_model(x, setting.case.model.name) for x in above):
        return False  # under the heading of another model
    counted = re.match(r"\D*(\d+)\s*\(([^()]*\d[^()]*\+[^()]*\d[^()]*)\)", p.text.partition(":")[2])
    if counted and sum(map(int, re.findall(r"(?<![\w-])\d+(?![\w-])", counted[2]))) == int(counted[1]):
        return False  # 108 (48 Mamba-2 + 48 MoE + 12 attention): layers are counted otherwise
    if setting.from_spec or name is None or name.where is None or p.where is None:
        return True
    return name.where.kind == "heading" or name.where.group == p.where.group or name.line <= _TITLE


#: a model that is named up to this line is what the document is about
_TITLE: Final = 12


def models_named(text: str) -> set[str]:
    """Names of public models that ``text`` speaks of."""
    return {m[0] for m in _MODEL_NAMES.finditer(text)}


def is_model(named: str, name: str) -> bool:
    """Whether a name as written is that of the model ``name``, or of the family that it is of."""
    a, b = (re.sub(r"[^a-z0-9]", "", x.lower()) for x in (named, name))
    return a.startswith(b) or b.startswith(a)


def _says_of_named(p: Premise, name: str, right: Any) -> bool:
    """Whether a sentence says of the model ``name``, and of no other, that it has so many of something, and not a part
    of them."""
    named = models_named(p.text)
    same = len(named) == 1 and is_model(next(iter(named)), name)
    if p.field not in _STATED or not same or not isinstance(p.value, int) or not isinstance(right, int):
        return False
    whole = right % p.value and p.value % right and right / 4 < p.value < right * 4
    return bool(whole) and not _PARTLY.search(p.text)


_STATED: Final = ("model.layers", "model.experts.count", "model.hidden_size", "model.attention.heads")
_MODEL_NAMES: Final = re.compile(
    r"\b(?:DeepSeek|Kimi|Mixtral|Qwen|GLM|gpt-oss|Llama|MiniMax|DBRX|Grok|Ernie|Hunyuan|Step|Nemotron)[ -]?[\w.]+"
    r"(?:[ -]\d[\w.]*)*",
    re.IGNORECASE,
)
_PARTLY: Final = re.compile(
    r"\b(?:first|last|sparse|dense|MoE layers|(?:per|each|every|on a) (?:GPU|chip|accelerator|"
    r"card|rank|device|stage|node)|"
    r"remaining|other|of the|like|vs|than|unlike|similar|replac\w+)\b|"
    r"redundan|每|前|后|类似|相比",
    re.IGNORECASE,
)


def _key(p: Premise) -> str:
    return "" if p.where is None else " ".join(re.findall(r"\w+", p.where.key.lower()))


def _of_experts(given: dict[str, Premise]) -> bool:
    """Whether data parallelism may be that of the experts alone: its ranks times those of the experts are the GPUs."""
    names = ("dp", "ep", "tp", "pp")
    dp, ep, tp, pp = (given[f"strategy.{n}"].value if f"strategy.{n}" in given else 1 for n in names)
    gpus = given.get("cluster.gpus")
    return gpus is not None and ep > 1 and bool(dp * ep * tp * pp == gpus.value)


def has_copies(lines: Sequence[str]) -> bool:
    """Whether a document speaks of redundant copies of experts."""
    return any(_REDUNDANT.search(line) for line in lines)


def judge_strategy(
    premises: list[Premise], setting: Setting, reason: str, priced: bool, copied: bool = False
) -> Iterator[Claim]:
    """A strategy whose sizes do not make the GPUs, or do not suit the model; nodes that the GPUs do not fill.
    ``copied``: the document speaks of redundant copies of experts."""
    given = setting.given
    if not priced:
        product = list(_product(premises, given))
        yield from product
        if product:
            return
    sizes = [given[f] for f in given if f.startswith("strategy.") and f != "strategy.broadcast"]
    if not priced and "ranks left" in reason and _of_experts(given):
        return
    if not priced and sizes and not any(f.startswith(("model.", "cluster.gpus")) for f in setting.missing):
        first = min(sizes, key=lambda p: p.line)
        contested = {p.field for p in premises if p.field in given and p.value != given[p.field].value}
        several = sorted(f for f in contested if f.startswith(("strategy.", "cluster.gpus", "model.")))
        why = f"no such strategy: {reason}"
        why += f"; but the document gives several values for {', '.join(several)}" if several else ""
        copies = "redundant" in reason and (copied or has_copies([p.text for p in premises]))
        why += "; but the document speaks of redundant experts" if copies else ""
        told = [p.where for p in sizes if not p.keyed and p.where is not None and p.where.kind != "cell"]
        loose = any(not _given(s.text) for s in told)
        why += "; but it may be put together from several" if loose else ""
        batch = "batch" in reason and "strategy" not in reason
        why += "; but the batch may be that of a GPU" if batch else ""
        other = "cluster.gpus" in given and _other_sizes(given["cluster.gpus"].text, given)
        why += "; but other sizes stand beside the GPUs" if other else ""
        open_ = several or copies or loose or batch or other
        verdict = Verdict.NOT_CHECKED if open_ else Verdict.CONTRADICTED
        yield Claim(first.line, first.text, "strategy", verdict, why)
    gpus, node = given.get("cluster.gpus"), given.get("cluster.gpus_per_node")
    if gpus and node and gpus.value > node.value and gpus.value % node.value:
        why = f"{gpus.value} GPUs (line {gpus.line}) fill no whole number of nodes of {node.value}"
        yield Claim(node.line, node.text, "premise cluster.gpus_per_node", Verdict.CONTRADICTED, why)
    seen = {f for f in given if f.endswith(("mfu", "utilization"))}
    for p in premises:
        if p.field == "share above 1" and p.field not in seen:
            yield Claim(
                p.line,
                p.text,
                "premise share",
                Verdict.IMPOSSIBLE,
                "a utilization is at most 100%",
                p.value,
                1.0,
                unit="share",
            )


_SIZE: Final = re.compile(r"(?<![A-Za-z])([TDPE]P)[ =-]?(\d{1,4})(?![\d.,]*\d)")


def _other_sizes(text: str, given: dict[str, Premise]) -> bool:
    """Whether ``text`` gives a parallel size another value than that which counts."""
    told = ((f"strategy.{m[1].lower()}", int(m[2])) for m in _SIZE.finditer(text))
    return any(f in given and given[f].value != value for f, value in told)


#: sizes that are named one after another, or multiplied, are one strategy
_TOGETHER: Final = re.compile(
    r"(?:\b[ETDPC]P\b\W{0,3}\d+\W{0,4}(?:[x×*·,+]|and\b|with\b)\s*){1,}(?:\w+[ -]){0,2}[ETDPC]P\b|--?[a-z-]+size|"
    r"\d\s*=\s*[ETDPC]P|-(?:way|fold)\b|parallel",
    re.IGNORECASE,
)
_CHOICE: Final = re.compile(r"\b(?:or|vs\.?|versus|same as|instead|either|both|compared)\b|相同|或者?|对比", re.I)


def _given(text: str) -> bool:
    """Whether the sizes in a running text are those of one strategy."""
    return bool(_TOGETHER.search(text)) and not _CHOICE.search(text)


def _product(premises: list[Premise], given: dict[str, Premise]) -> Iterator[Claim]:
    """Sizes whose product is no number of GPUs in any usual reckoning: experts inside data parallelism or as a factor
    of their own, some sizes over the same ranks, whole copies outside."""
    named = ("tp", "pp", "cp", "dp", "ep", "etp", "replicas")
    sizes = {name: given[f"strategy.{name}"] for name in named if f"strategy.{name}" in given}
    gpus = given.get("cluster.gpus")
    dense = {name: p.value for name, p in sizes.items() if name not in ("ep", "etp")}
    values = {
        f: {p.value for p in premises if p.field == f} for f in (*(p.field for p in sizes.values()), "cluster.gpus")
    }
    if gpus is None or len(dense) < 2 or any(len(v) > 1 for v in values.values()):
        return
    factors = [p.value for p in sizes.values() if p.value > 1]
    products = {prod(x) for count in range(len(factors) + 1) for x in combinations(factors, count)}
    whole = prod(dense.values())
    if gpus.value in products or gpus.value % whole == 0:
        return
    last = sizes.get("dp") or max(sizes.values(), key=lambda p: p.line)
    told = " × ".join(f"{name} {value}" for name, value in dense.items())
    why = f"{told} = {whole}, and line {gpus.line} gives {gpus.value} GPUs; no product of the sizes is that"
    yield Claim(last.line, last.text, "strategy", Verdict.CONTRADICTED, why, gpus.value, whole, unit="a plain number")


def _is_nothing(ffn: Ffn) -> bool:
    """Whether a layer has attention alone."""
    return isinstance(ffn, DenseFfn) and not ffn.width


def known_sizes(setting: Setting) -> dict[str, Any]:
    """Fields that the model of ``setting`` settles, with their values."""
    model = setting.case.model
    attention = model.attention
    found: dict[str, Any] = {"model.hidden_size": model.hidden_size}
    if not any(isinstance(x.attention, NoAttention) or _is_nothing(x.ffn) for x in model.layers):
        found["model.layers"] = len(model.layers)  # else of blocks, which are counted in several ways
    found["model.attention.heads"] = attention.heads
    if isinstance(attention, SoftmaxAttention):
        found["model.attention.kv_heads"] = attention.kv_heads
    if model.moe is not None:
        found["model.experts.count"] = model.moe.experts
        found["model.experts.top_k"] = model.moe.top_k
        found["model.experts.intermediate_size"] = model.moe.width
    return found


def inferred(said: list[tuple[Statement, Clauses]], premises: list[Premise]) -> list[Premise]:
    """Whether experts are gated, from the document's own product for an expert's weights, where it says it in no words:
    a sum of two or three products of hidden size and expert width, or one with a factor 3."""
    values = {p.field: p.value for p in reversed(premises)}
    hidden, width = values.get("model.hidden_size"), values.get("model.experts.intermediate_size")
    if hidden is not None and width is None and "model.name" not in values:
        return _widths(said, hidden)
    if "model.experts.gated" in values or "model.name" in values or hidden is None or width is None:
        return []
    for s, clauses in said:
        if not re.search(r"expert|moe|ffn|专家", f"{s.key} {s.text[:80]}", re.IGNORECASE):
            continue
        for e in clauses.equalities:
            matrices = _matrices(e.left, hidden, width)
            if matrices in (2, 3):
                return [Premise("model.experts.gated", matrices == 3, s.line, s.text)]
    return []


_PROJECTIONS: Final = re.compile(
    r"(?:\b(?P<count>3|2)\s*[×x*·]\s*|\b(?P<word>three|two|drei|zwei) (?:matrices|Matrizen) (?:of|mit|von|zu) )"
    r"(?P<a>\d[\d,]*)\s*(?:[×x*·]|times|mal)\s*(?P<b>\d[\d,]*)(?!\s*[×x*·/]\s*\d)",
    re.IGNORECASE,
)


def _widths(said: list[tuple[Statement, Clauses]], hidden: int) -> list[Premise]:
    """The width of an expert, and whether it is gated, from the product for its weights: three matrices of 5120 x 1536,
    or 3 * 5120 * 1536, where 5120 is the hidden size."""
    for s, _ in said:
        if not re.search(r"\bexpert|Experte\b|专家", f"{s.key} {s.text[:80]}", re.IGNORECASE):
            continue
        for m in _PROJECTIONS.finditer(s.text):
            sizes = [int(m[g].strip(",").replace(",", "")) for g in "ab"]
            other = [x for x in sizes if x != hidden]
            if hidden in sizes and len(other) == 1 and 64 <= other[0] <= 8 * hidden:
                three = (m["count"] or m["word"].lower()) in ("3", "three", "drei")
                return [
                    Premise("model.experts.intermediate_size", other[0], s.line, s.text),
                    Premise("model.experts.gated", three, s.line, s.text),
                ]
    return []


def _matrices(node: Node, hidden: int, width: int) -> int:
    terms: list[Node] = []

    def walk(part: Node) -> None:
        if isinstance(part, Operation) and part.sign == "+":
            walk(part.left)
            walk(part.right)
        else:
            terms.append(part)

    walk(node)
    both = [t for t in terms if {hidden, width} <= {n.value for n in numbers_in(t)}]
    if len(both) != len(terms) or not both:
        return 0
    if len(both) > 1:
        return len(both)
    values = [n.value for n in numbers_in(both[0])]
    return 3 if 3.0 in values else 0
