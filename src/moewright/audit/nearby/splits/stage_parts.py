"""What a pipeline's stage has, and experts of all layers, from what a layer has: 48 layers in 4 stages are 12 each, and
4 experts of each of them 48."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.nearby.splits.split_counts import sizes_told

_STAGE: Final = re.compile(
    r"\b(?:per|each|every|a|an|one|the) (?:\w+ )?stages?\b|\b(?:je|pro|jede) (?:Pipeline-?)?Stufe|"
    r"每(?:个)?(?:流水线?|PP)?"
    r"\s?(?:级|段|阶段)|/\s?stage",
    re.IGNORECASE,
)
_LAYERS: Final = re.compile(
    r"\s*(?:\w+ ){0,2}?(?:layers?|(?:decoder|transformer) blocks?|Schichten|Lagen)\b|\s*层", re.IGNORECASE
)
_RANKS: Final = re.compile(r"\s*(?:\w+ )?(?:GPUs?|ranks?|cards?|devices?|Karten)\b|\s*(?:张|块)?卡", re.IGNORECASE)
#: layers or GPUs, and right behind them that they are a stage's
_NEXT: Final = re.compile(r"\s*\w+ (?:per|a|in each|in every|je|pro) (?:\w+ )?(?:stage|Stufe)\b", re.IGNORECASE)
#: stages that are not like the others, or counted otherwise
_UNLIKE: Final = re.compile(
    r"\b(?:first|last|uneven|virtual|chunks?|interleav\w*|embedding|middle|inner|if|would|could|instead|vs|"
    r"except|at most|"
    r"up to|erste|letzte|ungleich|virtuell\w*)\b|首|末|虚拟|不均|若",
    re.IGNORECASE,
)


def judge_stage_parts(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the layers, and on the ranks, that a stage of the pipeline is said to have."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        said = f"{s.key} {s.text}" if s.key not in s.text else s.text
        if not entries or s.kind == "heading" or not _STAGE.search(said) or _UNLIKE.search(s.text):
            continue
        facts = facts_at(index, ("strategy.pp",))
        given = facts.setting.given if facts is not None else {}
        pp = int(given["strategy.pp"].value) if "strategy.pp" in given else 0
        own = sizes_told(s.text, "PP")
        if pp < 2 or facts is None or (own and own != {pp}):
            continue
        layers = len(facts.case.model.layers) if facts_at(index, ("model.layers",)) is not None else 0
        gpus = int(given["cluster.gpus"].value) if "cluster.gpus" in given else 0
        for e in entries:
            n = e.number
            if not n.whole or n.percent or e.figure.role == "operand" or e.figure.formula or n.at < 0:
                continue
            for whole, pattern, name in ((layers, _LAYERS, "layers"), (gpus, _RANKS, "GPUs")):
                if not whole or whole % pp or not pattern.match(e.behind) or not _is_of_stage(s.value, n.at, e.behind):
                    continue
                right, found = whole // pp, int(n.value)
                if found == right:
                    yield e, e.claim(f"count.{name.lower()} per stage", Verdict.HOLDS, f"{whole} / pp {pp}", right)
                elif (found != whole or _NEXT.match(e.behind)) and (found % right == 0 or right % found == 0):
                    why = f"{whole} {name} / pp {pp} are {right}"
                    yield e, e.claim(f"count.{name.lower()} per stage", Verdict.WRONG, why, right)


def _is_of_stage(text: str, at: int, behind: str) -> bool:
    """Whether a figure stands behind a stage, or right before it, in its own clause."""
    before = re.split(r"[.;](?!\d)", text[:at])[-1]
    front = [m for m in _STAGE.finditer(before)]
    if front and len(before) - front[-1].end() <= 48:
        return not re.search(r"\b(?:group|replica|node|in all|total)\b", before[front[-1].end() :], re.IGNORECASE)
    return bool(_STAGE.search(re.split(r"[,.;](?!\d)", behind)[0][:40]))


_EVERY: Final = re.compile(
    r"(?P<n1>\d{1,3})\s*(?:个\s?)?(?:MoE\s?)?层(?:累计|合计|总计|总共|一共|共)\s*(?:有|为|是)?\s*(?P<a1>\d[\d,]*)\s*个|"
    r"(?P<a2>\d[\d,]*)(?: (?:routed |expert |of them )?(?:experts?|instances|copies|expert copies|expert instances))?,?"
    r"(?: \w+)? (?:in all|over|across|through|counting|altogether over|in) (?:all |the |its |these |those |all the )*"
    r"(?P<n2>\d{1,3}) (?:MoE |sparse |decoder )?layers|"
    r"(?P<a3>\d[\d,]*)(?: (?:routed |geroutete )?Experten)? (?:über|in|auf)(?: alle[nr]?| den| die)? (?P<n3>\d{1,3}) "
    r"(?:MoE-)?Schichten",
    re.IGNORECASE,
)
#: experts of all layers, told without their number
_DEPTH: Final = re.compile(
    r"[,;(]?\s*(?:or |and |so |hence |thus |which makes |that is |"
    r"i\.?e\.? )?(?P<all>\d[\d,]*)(?: (?:routed )?(?:experts|instances|"
    r"expert instances|of them))?,? (?:over|across|in|through|counting) (?:the |all |its )*(?:whole |entire |full )?"
    r"(?:depth|network|stack|model|layers)\b|"
    r"(?P<zh>\d[\d,]*)\s*个(?:专家)?[,，]?\s*(?:全部层|整网|全网)",
    re.IGNORECASE,
)


def judge_depth_totals(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the experts that a GPU has over the depth of a model, right behind those of a layer."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _DEPTH.search(s.value) if len(entries) > 1 and s.kind != "heading" else None
        facts = facts_at(index, ("model.layers",)) if m is not None and _EXPERT.search(s.text) else None
        if m is None or facts is None or _COPIES.search(s.text) or not _OF_EACH.search(s.text):
            continue
        at = m.start("all" if m["all"] else "zh")
        e = next((x for x in entries if x.number.at == at), None)
        if e is None or not e.number.whole or e.figure.formula or e.figure.role == "operand":
            continue
        per, found = _of_one(entries, e, facts_at), int(e.number.value)
        layers, sparse = len(facts.case.model.layers), len(facts.case.model.moe_layers())
        fewer = next((layers - d for d in range(1, MOST_DENSE + 1) if layers - d in ledger.counts), 0)
        right = per * (sparse if sparse < layers else fewer or layers)
        stages = facts.setting.given.get("strategy.pp")
        if not per or found == per or (stages is not None and stages.value > 1):
            continue
        yield from _of_all(e, per, right // per)


#: first layers without experts that a model may have
MOST_DENSE: Final = 4
#: behind the experts of a layer
_EXPERTS: Final = re.compile(
    r"\s*(?:个)?\s*(?:(?:routed|local|geroutete|whole) )?(?:experts?|Experten|(?:路由)?专家)\b|"
    r"\s*个(?:路由)?专家",
    re.IGNORECASE,
)


def _of_all(e: Entry, per: int, layers: int) -> Iterator[tuple[Entry, Claim]]:
    """The verdict on the experts of so many layers that have ``per`` each."""
    found, right = int(e.number.value), per * layers
    if found == right:
        yield e, e.claim("count.experts per GPU", Verdict.HOLDS, f"{per} × {layers}", right)
    elif found % per == 0 and right / 4 < found < right * 4:
        yield e, e.claim("count.experts per GPU", Verdict.WRONG, f"{per} × {layers} are {right:,}", right)


def _of_one(entries: list[Entry], e: Entry, facts_at: FactsAt) -> int:
    """The experts of a layer that a GPU has: what the same statement gives, or what the plan leaves; else 0."""
    before = [x for x in entries if x.number.whole and x.number.at < e.number.at and x.figure.role != "operand"]
    named = [x for x in before if _EXPERTS.match(x.behind)]
    if named and named[-1].figure.role == "result":
        return int(named[-1].number.value)
    facts = facts_at(e.index, ("model.experts.count", "strategy.ep"))
    moe = facts.case.model.moe if facts is not None else None
    if facts is None or moe is None or "strategy.ep" not in facts.setting.given:
        return 0
    ep = int(facts.setting.given["strategy.ep"].value)
    per = moe.experts // ep if moe.experts % ep == 0 else 0
    return per if per in {int(x.number.value) for x in before} else 0


_EXPERT: Final = re.compile(r"expert|Experte|专家", re.IGNORECASE)
_OF_EACH: Final = re.compile(
    r"\b(?:per|each|every|a|of the|of each|on a|on every|je|pro) (?:\w+ )?(?:card|GPU|chip|accelerator|"
    r"rank|device|layer|MoE|"
    r"Karte|Schicht)|"
    r"/\s?GPU|每(?:张)?卡|每层|单卡",
    re.IGNORECASE,
)
_COPIES: Final = re.compile(r"redundan|replica(?:s|ted)\b|shared|冗余|共享|slots?\b|geteilt", re.IGNORECASE)


def judge_layer_totals(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the experts that a GPU has in so many layers, by those of one: 8 a layer, 464 in 58 layers."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _EVERY.search(s.value) if entries and s.kind != "heading" else None
        if m is None or not _EXPERT.search(s.text) or not _OF_EACH.search(s.text):
            continue
        k = next(k for k in "123" if m[f"a{k}"])
        e = next((x for x in entries if x.number.at == m.start(f"a{k}")), None)
        layers = int(m[f"n{k}"])
        if e is None or e.figure.formula or e.figure.role == "operand" or layers < 2:
            continue
        around = re.split(r"[;.](?!\d)", s.value[: m.start()])[-1] + re.split(r"[;,.](?!\d)", s.value[m.start() :])[0]
        if _COPIES.search(around):
            continue
        per, found = _of_one(entries, e, facts_at), int(e.number.value)
        if not per or found in (per, layers):
            continue
        yield from _of_all(e, per, layers)
