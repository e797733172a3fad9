"""Numbers of experts and heads that a GPU has, against the model's and the sizes that they are divided by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.quantities.readings import Facts
from moewright.audit.text.numbers import COUNT
from moewright.case.attention_kinds import SoftmaxAttention

#: fields that the verdicts stand on
_NEEDS: Final = ("model.layers", "model.attention.heads", "model.attention.kv_heads", "model.experts.count")
_GPU: Final = re.compile(
    r"(?:\b(?:per|each|every|an?|one|pro|je|jede[rmsn]?|einer|auf der)\s+(?:\w+[ -])?(?:GPU|chip|accelerator|"
    r"card|device|rank|Karte)\b|"
    r"/\s?GPU|每(?:张|个)?\s?(?:卡|GPU)|单卡)",
    re.IGNORECASE,
)
#: another number of heads or experts than that of a GPU
_APART: Final = re.compile(
    r"\bvs\b|instead|if |would|could|redundan|shared|冗余|共享|stage|node|group|box|server|节点|geteilt|TP[ =]?1\b",
    re.IGNORECASE,
)
_KV: Final = re.compile(r"^(?:kv|key[- /]+value|KV-)[ -]?(?:heads?|k(?:ö|oe)pfe?)|^个?\s?KV\s?头", re.IGNORECASE)
_QUERY: Final = re.compile(
    r"^(?:(?:query|q|attention|query-|attention-)[ -]?(?:heads?|k(?:ö|oe)pfe?)|Abfragek(?:ö|oe)pfe?)|"
    r"^个?\s?(?:查询|注意力|Q)\s?头",
    re.IGNORECASE,
)
_SIZES_NAMED: Final = re.compile(r"(?<![A-Za-z])[DEP]P\s?=?\s?\d")
#: the same in a row, or under a key, that is of heads
_HEADS: Final = re.compile(r"\bheads?\b|Köpfe|têtes|头", re.IGNORECASE)
_KV_ALONE: Final = re.compile(r"^(?:KV|key[- /]value)\b", re.IGNORECASE)
_QUERY_ALONE: Final = re.compile(r"^(?:query|queries|Q)\b", re.IGNORECASE)
#: experts of a layer, and of all layers
_LAYER: Final = re.compile(
    r"(?P<one>\d[\d,]*)\s+(?:routed )?(?:experts?|Experten)\s+"
    r"(?:per|in each|in every|a|je|pro|of each|of every)\s+(?:MoE[- ])?(?:layer|Schicht)[^.;\d]{0,40}?[^\d.;]"
    r"(?P<all>\d[\d,]*)(?:\s+(?:experts?|Experten|instances))?\s*"
    r"(?:in all\b|over (?:all |the )?(?:\d+ )?layers|across|in total|overall|insgesamt)",
    re.IGNORECASE,
)
_OVER: Final = re.compile(
    r"(?P<one>\d[\d,]*)\s+(?:(?:geroutete|lokale|routed|local) )?(?:Experten|experts?)\s+"
    r"(?:je|pro|per|a|in each|in every|in jeder)\s+(?:MoE[- ])?(?:Schicht|layer)[^.;\d]{0,30}"
    r"(?:(?:über|in|over|across|for) (?:alle[nr]?|die|den|all|the|its)\b(?: the)?(?: (?P<layers>\d{1,3}))?|"
    r"insgesamt|in all\b|in total|altogether)[^.;\d]{0,24}"
    r"(?P<all>\d[\d,]*)(?!\s*(?:layers|Schichten|GB|GPUs|MB))(?![\d.]|\s?[×x*%])",
    re.IGNORECASE,
)
_OVER_ZH: Final = re.compile(
    r"每层(?:每卡)?[^。;；]{0,24}?(?P<one>\d[\d,]*)\s*个(?:路由)?专家[^。;；\d]{0,16}"
    r"(?:(?P<layers>\d{1,3})\s*(?:个\s?)?(?:MoE\s?)?层)?[^。;；\d]{0,8}共[^\d。;；]{0,6}(?P<all>\d[\d,]*)\s*个"
)


#: what makes a number of heads that of all of them
_ALL_OF: Final = re.compile(
    r"\b(?:splits?|divides?|shards?|of|all|teilt|alle|aller|der) (?:the |its |die |the model's )?$|(?:切分|全部|所有)$",
    re.IGNORECASE,
)


def judge_split_counts(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on every number of heads of a GPU, which tensor parallelism must leave of the model's, and on experts
    of all layers beside those of one."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        facts = facts_at(index, _NEEDS) if entries else None
        if facts is None or s.kind == "heading":
            continue
        yield from _layers(entries, facts)
        scope = " | ".join((s.text, *s.path[-1:]))
        last = ledger.statements[index - 1] if index else s
        near = last.path == s.path and last.group == s.group and not re.search(r"(?<![A-Za-z])EP[\s=]*\d", s.text)
        yield from _experts(entries, facts, last.text if near and s.kind != "cell" else "")
        yield from _some_of(entries, facts)
        local = _local(s.text, "TP")
        if not local and s.kind == "cell" and _SIZES_NAMED.search(s.column):
            continue  # of an option without tensor parallelism
        given = facts.setting.given.get("strategy.tp")
        tp = local or (given.value if given is not None and facts_at(index, ("strategy.tp",)) is not None else 0)
        if not tp or not _GPU.search(scope) or _APART.search(s.text) or "->" in s.value or "→" in s.value:
            continue
        attention = facts.case.model.attention
        for e in entries:
            if e.number.dim != COUNT or not e.number.whole or e.figure.role == "operand" or e.figure.formula:
                continue
            behind = e.behind.lstrip(" -")
            if _ALL_OF.search(s.value[: e.number.at]) or _ONLY.search(s.value[: e.number.at]):
                continue
            named = behind if behind or len(entries) > 1 else s.row if s.kind == "cell" else s.key
            listed = bool(_HEADS.search(f"{s.key} | {s.column}"))  # heads on a GPU: 8 query, 2 KV
            whole = 0
            if _KV.match(named) or (listed and _KV_ALONE.match(behind)):
                told = {"model.attention.kv_heads", "model.name"} & set(facts.setting.given)
                whole = attention.kv_heads if told and isinstance(attention, SoftmaxAttention) else 0
            elif _QUERY.match(named) or (listed and _QUERY_ALONE.match(behind)):
                whole = attention.heads
            if not whole:
                continue
            right = max(1, whole // tp)
            found = int(e.number.value)
            if any(x is not e and x.number.whole and x.number.value == right != found for x in entries):
                continue  # 8 KV heads, after TP 4 each has 2
            if found == right:
                verdict, why = Verdict.HOLDS, f"{whole} / tp {tp}"
            elif found in (whole, whole * 2, right * 2, right // 2) or whole % found == 0:
                verdict, why = Verdict.WRONG, f"{whole} / tp {tp} is {right}"
            else:
                continue
            yield e, e.claim("count.heads per GPU", verdict, why, right)


_PRODUCT: Final = re.compile(
    r"(?<![\w×x*·/]\s)(?<![\w/-])((?:(?:[TDPC]P|EDP|ETP)\s?=?\s?\d{1,4}\s*[×x*·]\s*)+"
    r"(?:[TDPC]P|EDP|ETP)\s?=?\s?\d{1,4})\b(?!\s*[=×x*·/])"
)


_GPUS: Final = re.compile(r"(?:\w+ )?(?:GPUs|cards|Karten)\b|张|卡")
#: GPUs of a part of those that there are, or that there might be
_PART: Final = re.compile(
    r"\bvs\b|instead|if |would|could|per (?:\w+ )?(?:stage|node|group|box|server)|"
    r"(?:in|within|inside|of|on) (?:an?|each|one|every|the) (?:\w+ )?(?:stage|node|group|box|server)|innerhalb|节点内",
    re.IGNORECASE,
)
#: so many groups of so many GPUs each
_GROUPS: Final = re.compile(
    r"(?P<count>\d{1,4})\s*(?:个)?\s*(?:\w+ )?"
    r"(?:instances?|replicas?|groups?|pools?|islands?|Instanzen|Gruppen|实例|副本|组)"
    r"(?:\s+(?:of|with|mit(?: je)?|zu je|à|von je)\s+|[,，、 ]*(?:每个|每组|各)\s*(?:占|用|使用)?\s*)"
    r"(?P<each>\d{1,4})\s*(?:张)?\s*(?:GPUs?|cards?|Karten|卡)(?: each)?",
    re.IGNORECASE,
)


def judge_groups(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the GPUs of a sentence beside a product of parallel sizes that is said to fill them."""
    for entries in ledger.entries:
        gpus = [e for e in entries if e.number.whole and _GPUS.match(e.number.noun)]
        products = list(_PRODUCT.finditer(entries[0].statement.value)) if entries else []
        if len(gpus) != 1 or len(products) != 1 or entries[0].statement.kind == "heading":
            continue
        e, s = gpus[0], gpus[0].statement
        product = prod(int(x) for x in re.findall(r"P\s?=?\s?(\d+)", products[0][1]))
        if not product or e.number.value % product == 0 or product % e.number.value or _PART.search(s.text):
            continue
        why = f"{products[0][1]} is {product:,}"
        yield e, e.claim("strategy", Verdict.WRONG, why, product)


_EXPERT_GRID: Final = re.compile(
    r"(?:expert|routed|MoE|EP|EDP|Experten|专家)[^.;]{0,40}?"
    r"(?P<sizes>(?:(?:EDP|ETP|EP|PP|expert[- ]?DP|expert[- ]data[- ]parallel)"
    r"\s?=?\s?\d{1,4}(?:\s?[,×x*·]\s?|\s+and\s+|$)){2,}(?:(?:EDP|ETP|EP|PP|expert[- ]?DP)\s?=?\s?\d{1,4})?)",
    re.IGNORECASE,
)


def judge_expert_grids(ledger: Ledger, gpus_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the sizes of the experts' grid of ranks with their own data parallelism, whose product is the GPUs:
    EP 8, PP 2, expert-DP 32."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _EXPERT_GRID.search(s.text) if entries and s.kind != "heading" else None
        if m is None or not re.search(r"EDP|expert[- ]?D", m["sizes"], re.IGNORECASE) or "EP" not in m["sizes"]:
            continue
        facts = gpus_at(index, ("cluster.gpus",))
        sizes = {k.upper(): int(v) for k, v in re.findall(r"([A-Za-z][A-Za-z -]*?)\s?=?\s?(\d+)", m["sizes"])}
        if facts is None or len(sizes) < 3:
            continue
        product, gpus = prod(sizes.values()), facts.case.cluster.gpus
        if product in {int(x.number.value) for x in entries if x.number.whole}:
            continue
        if product and product != gpus and (product % gpus == 0 or gpus % product == 0):
            e = entries[-1]
            yield e, e.claim("strategy", Verdict.WRONG, f"{m['sizes']} is {product:,}; there are {gpus:,} GPUs", None)


def judge_groups_of(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on a number of groups with so many GPUs each, which are more than the sentence or the one before says
    that there are."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _GROUPS.search(s.value) if entries and s.kind != "heading" else None
        if m is None or _PART.search(s.text):
            continue
        e = next((x for x in entries if x.number.at == m.start("count")), None)
        said = [x for x in (*entries, *ledger.before(index, 1)) if x.number.whole and _GPUS.match(x.number.noun)]
        every = [int(x.number.value) for x in said if x.index != index or not m.start() <= x.number.at < m.end()]
        product = int(m["count"]) * int(m["each"])
        if e is None or not every or not product or product in every:
            continue
        if product % max(every) == 0:
            why = f"{m['count']} × {m['each']} is {product:,}; there are {max(every):,} GPUs"
            yield e, e.claim("strategy", Verdict.WRONG, why, max(every) // int(m["each"]) or None)


def _local(text: str, name: str) -> int:
    """The size ``name`` that a text gives, 0 where it gives none or several."""
    found = sizes_told(text, name)
    return found.pop() if len(found) == 1 else 0


def sizes_told(text: str, name: str) -> set[int]:
    """The sizes ``name`` that a text gives."""
    return {int(m[1]) for m in re.finditer(rf"(?<![\w/-]){name}\s*[=: ]?\s*(\d{{1,4}})\b", text)}


_OF_LAYER: Final = re.compile(
    r"(?P<count>\d+)\s*(?:routed )?experts?\s*(?:per|in each|in every|a|/)\s*(?:MoE )?layer\s*"
    r"(?:and|per|on each|on every|/)\s*(?:each |every |per )?(?:GPU|chip|accelerator|card|device|rank)|"
    r"(?P<other>\d+)\s*(?:routed )?experts?\s*(?:per|on each|on every|on a|/)\s*(?:GPU|chip|accelerator|"
    r"card|device|rank)\s*"
    r"(?:and|per|in each|/)\s*(?:each |every )?(?:MoE )?layer|"
    r"每(?:张)?卡(?:每层)?\s*(?:只|仅|各)?(?:放|有|持有|为|存|承载)?\s*(?P<zh>\d+)\s*个?(?:路由)?专家(?!\s*(?:总|共|合计))|"
    r"(?:each|every|an?|one) (?:GPU|chip|accelerator|"
    r"card|device|rank) (?:\w+ )?(?:owns|has|holds|hosts|keeps|gets|stores|serves) "
    r"(?P<owns>\d+) (?:routed )?experts?\s*(?:per|in each|of each|in every|a|each)\s*(?:MoE )?layer|"
    r"jede (?:GPU|Karte) (?:hält|hat|trägt|bekommt) (?:\w+ )?je (?:MoE-)?Schicht (?P<je>\d+) (?:geroutete )?Experten|"
    r"jede (?:GPU|Karte) (?:hält|hat|trägt|bekommt|speichert) (?P<hat>\d+) (?:geroutete )?Experten (?:je|pro) Schicht|"
    r"(?P<de>\d+)\s*(?:geroutete )?Experten je (?:MoE-)?Schicht und (?:GPU|Karte)",
    re.IGNORECASE,
)


#: so many of all experts, on each GPU
_OF_EVERY: Final = re.compile(
    r"(?P<some>\d+) (?:of|der|von|des) (?:the |its |all )?(?P<every>\d+) "
    r"(?:routed |geroutete[nr]? )?(?:experts|Experten)\b|"
    r"(?P<all>\d+)\s?个(?:路由)?专家(?:中|里)的?\s?(?P<few>\d+)\s?个",
    re.IGNORECASE,
)


def _some_of(entries: list[Entry], facts: Facts) -> Iterator[tuple[Entry, Claim]]:
    """Experts that a GPU is said to have of all that a layer has: 16 of the 128 experts, at EP 8."""
    s, moe, m = entries[0].statement, facts.case.model.moe, _OF_EVERY.search(entries[0].statement.value)
    if m is None or moe is None or not _GPU.search(s.text) or _APART_EXPERTS.search(s.text):
        return
    given = facts.setting.given.get("strategy.ep")
    ep = _local(s.text, "EP") or (given.value if given is not None else 0)
    some, every = int(m["some"] or m["few"]), int(m["every"] or m["all"])
    e = next((x for x in entries if x.number.at == m.start("some" if m["some"] else "few")), None)
    if e is None or not ep or every != moe.experts or every % ep or ep == 1:
        return
    verdict = Verdict.HOLDS if some * ep == every else Verdict.WRONG
    why = f"{every} / ep {ep}" + ("" if verdict is Verdict.HOLDS else f" is {every // ep}")
    yield e, e.claim("count.experts per layer per GPU", verdict, why, every // ep)


_SIZES: Final = re.compile(r"(?<![A-Za-z])E?[ETDP]P[\s=]*\d")


def _experts(entries: list[Entry], facts: Facts, before: str) -> Iterator[tuple[Entry, Claim]]:
    """Experts of a layer that a GPU has, where the same statement, or the one ``before``, gives the expert-parallel
    size."""
    s, moe = entries[0].statement, facts.case.model.moe
    above = s.path[-1] if s.path and not re.search(r"(?<![A-Za-z])[ET]P[\s=]*\d", s.text) else ""
    ep, m = _local(s.text, "EP") or _local(above, "EP") or _local(before, "EP"), _OF_LAYER.search(s.value)
    given = facts.setting.given.get("strategy.ep")
    ep = ep or (given.value if given is not None and m is not None and not _SIZES.search(s.text) else 0)
    if moe is None or not ep or m is None or _APART_EXPERTS.search(s.text) or _local(s.text, "ETP") > 1:
        return
    at = next(m.start(g) for g in ("count", "other", "zh", "owns", "je", "hat", "de") if m[g])
    e = next((x for x in entries if x.number.at == at), None)
    if e is None or e.figure.formula or moe.experts % ep:
        return
    right, found = moe.experts // ep, int(e.number.value)
    if right != found and re.search(rf"(?<!\d){found * ep:,}(?!\d)|(?<!\d){found * ep}(?!\d)", f"{before} {s.text}"):
        return  # 288 with the redundant ones
    if right != found and any(int(x) * found == moe.experts for x in SPREAD.findall(s.text)):
        return  # two instances of 36 GPUs, 8 experts each
    verdict = Verdict.HOLDS if right == found else Verdict.WRONG
    why = f"{moe.experts} / ep {ep}" + ("" if right == found else f" is {right}")
    yield e, e.claim("count.experts per layer per GPU", verdict, why, right)


#: before heads that are all that there are
_ONLY: Final = re.compile(r"\bthere are(?: only| just)? $|\bes gibt(?: nur)? $", re.IGNORECASE)
#: GPUs that a sentence speaks of
SPREAD: Final = re.compile(r"(?<![\d.,])(\d{1,4})\s?(?:GPUs|chips|cards|ranks|Karten|张|卡)")
#: layers without experts before those that have them, at most
MOST_DENSE: Final = 4
_APART_EXPERTS: Final = re.compile(
    r"\bmov(?:e|es|ed|ing)\b|up to|rebalanc|redundan|\bpools?\b|"
    r"replicated experts|replicas|冗余|shared experts?|slots?|EPLB|TP\s*[=:]?\s*\d+ (?:inside|within|in) ",
    re.IGNORECASE,
)


def _layers(entries: list[Entry], facts: Facts) -> Iterator[tuple[Entry, Claim]]:
    """Experts of all layers beside those of one."""
    s = entries[0].statement
    m = _LAYER.search(s.value) or _OVER.search(s.value) or _OVER_ZH.search(s.value)
    given = facts.setting.given
    if m is None or not ({"model.layers", "model.name"} & set(given)):
        return
    model = facts.case.model
    one, said = int(m["one"].replace(",", "")), int(m["all"].replace(",", ""))
    e = next((x for x in entries if x.number.at == m.start("all")), None)
    numbers = {int(x.number.value) for x in entries if x.number.whole and x.number.dim == COUNT}
    counted = len(model.moe_layers()) if "model.name" in given else len(model.layers)  # dense ones have none
    layers = {len(model.moe_layers()), counted, *(n for n in numbers if n not in (one, said))}
    told = m.groupdict().get("layers")
    layers = {int(told)} if told else layers
    if e is None or any(one * n == said for n in layers if n):
        return
    if not told and said % one == 0 and 0 < len(model.layers) - said // one <= MOST_DENSE:
        return  # the first layers may have none
    stages = facts.setting.given.get("strategy.pp")
    if stages is not None and any(one * n == said * stages.value for n in layers):
        return
    many = int(told) if told else len(model.moe_layers())
    right = one * many
    why = f"{one} × {many} layers is {right:,}"
    yield e, e.claim("count.experts", Verdict.WRONG, why, right)
