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
    r"(?:\b(?:per|each|every|an?|one|pro|je|jede[rmsn]?)\s+(?:\w+[ -])?(?:GPU|card|device|rank|Karte)\b|"
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
    r"^(?:query|q|attention|query-|attention-)[ -]?(?:heads?|k(?:ö|oe)pfe?)|^个?\s?(?:查询|注意力)头", re.IGNORECASE
)
#: experts of a layer, and of all layers
_LAYER: Final = re.compile(
    r"(?P<one>\d[\d,]*)\s+(?:routed )?(?:experts?|Experten)\s+"
    r"(?:per|in each|in every|a|je|pro|of each|of every)\s+(?:MoE[- ])?(?:layer|Schicht)[^.;\d]{0,40}?[^\d.;]"
    r"(?P<all>\d[\d,]*)(?:\s+(?:experts?|Experten|instances))?\s*"
    r"(?:in all\b|over (?:all |the )?(?:\d+ )?layers|across|in total|overall|insgesamt)",
    re.IGNORECASE,
)
_OVER: Final = re.compile(
    r"(?P<one>\d[\d,]*)\s+(?:Experten|experts?)\s+(?:je|pro|per|a)\s+(?:Schicht|layer)[^.;\d]{0,20}"
    r"(?:über alle|in allen|over all|across all|in all)[^.;\d]{0,24}"
    r"(?P<all>\d[\d,]*)\s+(?:Experten|experts?)",
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
        yield from _experts(entries, facts)
        local = _local(s.text, "TP")
        given = facts.setting.given.get("strategy.tp")
        tp = local or (given.value if given is not None and facts_at(index, ("strategy.tp",)) is not None else 0)
        if not tp or not _GPU.search(scope) or _APART.search(s.text) or "->" in s.value or "→" in s.value:
            continue
        attention = facts.case.model.layers[0].attention
        for e in entries:
            if e.number.dim != COUNT or not e.number.whole or e.figure.role == "operand" or e.figure.formula:
                continue
            behind = s.value[e.number.at + len(e.number.text) :].lstrip(" -")
            whole = 0
            if _QUERY.match(behind):
                whole = attention.heads
            elif _KV.match(behind) and isinstance(attention, SoftmaxAttention):
                whole = attention.kv_heads
            if not whole:
                continue
            right = max(1, whole // tp)
            found = int(e.number.value)
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


def judge_groups(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the GPUs of a sentence beside a product of parallel sizes that is said to fill them."""
    for entries in ledger.entries:
        gpus = [e for e in entries if e.number.whole and _GPUS.match(e.number.noun)]
        products = list(_PRODUCT.finditer(entries[0].statement.value)) if entries else []
        if len(gpus) != 1 or len(products) != 1 or entries[0].statement.kind == "heading":
            continue
        e, s = gpus[0], gpus[0].statement
        product = prod(int(x) for x in re.findall(r"P\s?=?\s?(\d+)", products[0][1]))
        if not product or e.number.value % product == 0 or product % e.number.value or _APART.search(s.text):
            continue
        why = f"{products[0][1]} is {product:,}"
        yield e, e.claim("strategy", Verdict.WRONG, why, product)


def _local(text: str, name: str) -> int:
    """The size ``name`` that a text gives, 0 where it gives none or several."""
    found = {int(m[1]) for m in re.finditer(rf"(?<![\w/-]){name}\s*[=: ]?\s*(\d{{1,4}})\b", text)}
    return found.pop() if len(found) == 1 else 0


_OF_LAYER: Final = re.compile(
    r"(?P<count>\d+)\s*(?:routed )?experts?\s*(?:per|in each|in every|a|/)\s*(?:MoE )?layer\s*"
    r"(?:and|per|on each|on every|/)\s*(?:each |every |per )?(?:GPU|card|device|rank)|"
    r"(?P<other>\d+)\s*(?:routed )?experts?\s*(?:per|on each|on every|on a|/)\s*(?:GPU|card|device|rank)\s*"
    r"(?:and|per|in each|/)\s*(?:each |every )?(?:MoE )?layer|"
    r"每卡(?:每层)?\s*(?P<zh>\d+)\s*个?(?:路由)?专家|"
    r"(?P<de>\d+)\s*(?:geroutete )?Experten je (?:MoE-)?Schicht und (?:GPU|Karte)",
    re.IGNORECASE,
)


def _experts(entries: list[Entry], facts: Facts) -> Iterator[tuple[Entry, Claim]]:
    """Experts of a layer that a GPU has, where the same statement gives the expert-parallel size."""
    s, moe = entries[0].statement, facts.case.model.moe
    ep, m = _local(s.text, "EP"), _OF_LAYER.search(s.value)
    if moe is None or not ep or m is None or _APART_EXPERTS.search(s.text) or _local(s.text, "ETP") > 1:
        return
    at = next(m.start(g) for g in ("count", "other", "zh", "de") if m[g])
    e = next((x for x in entries if x.number.at == at), None)
    if e is None or e.figure.formula or moe.experts % ep:
        return
    right, found = moe.experts // ep, int(e.number.value)
    verdict = Verdict.HOLDS if right == found else Verdict.WRONG
    why = f"{moe.experts} / ep {ep}" + ("" if right == found else f" is {right}")
    yield e, e.claim("count.experts per layer per GPU", verdict, why, right)


_APART_EXPERTS: Final = re.compile(
    r"redundan|replicated experts|replicas|冗余|shared experts?|slots?|EPLB|TP\s*[=:]?\s*\d+ (?:inside|within|in) ",
    re.IGNORECASE,
)


_TITLES: Final = (
    (re.compile(r"experts?\b.*(?:per|/|on each|a) ?GPU|experts? / GPU|每卡.*专家", re.IGNORECASE), "EP"),
    (re.compile(r"^(?!.*KV).*(?:query|\bQ\b|attention) ?heads?.*(?:per|/|a) ?GPU|每卡查询头", re.IGNORECASE), "TP"),
    (re.compile(r"KV[ -]?heads?.*(?:per|/|a) ?GPU|每卡\s?KV\s?头", re.IGNORECASE), "KV"),
)
_TENSOR: Final = re.compile(r"^(?:(?:attention )?TP|tensor[- ]parallel\w*(?: \(\w+\))?|张量并行)$", re.IGNORECASE)
_EXPERT: Final = re.compile(r"^(?:EP|expert[- ]parallel\w*|专家并行)$", re.IGNORECASE)
_NOT_ALL: Final = re.compile(r"weight|GB|byte|instance|权重|redundan|slot|all layers|in all|replic", re.IGNORECASE)


def judge_split_tables(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on cells that tell the experts of a layer or the heads that a GPU has, where the table gives the size
    that they are split by for the same option: in a row or column of its own, or in the option's name."""
    tables: dict[int, list[Entry]] = {}
    for entries in ledger.entries:
        for e in entries:
            if e.statement.kind == "cell":
                tables.setdefault(e.statement.group, []).append(e)
    for cells in tables.values():
        for e in cells:
            s, n = e.statement, e.number
            for title, option, across in ((s.row, s.column, True), (s.column, s.row, False)):
                found = next(
                    (kind for pattern, kind in _TITLES if pattern.search(title) and not _NOT_ALL.search(title)), ""
                )
                whole = n.dim == COUNT and n.whole and e.figure.role == "lone" and s.value.strip() == n.text
                if not found or not whole or _APART_EXPERTS.search(f"{title} {option}"):
                    continue
                size = _size_of(cells, option, across, "EP" if found == "EP" else "TP")
                facts = facts_at(e.index, _OF_TABLE) if size else None
                claim = _of_cell(e, found, size, facts) if facts is not None else None
                if claim is not None:
                    yield e, claim


#: fields that the verdicts on a table stand on
_OF_TABLE: Final = ("model.layers", "model.attention.heads", "model.experts.count")


def _size_of(cells: list[Entry], option: str, across: bool, name: str) -> int:
    """The parallel size of an option of a table: its row or column, or what its name or layout says."""
    pattern = _EXPERT if name == "EP" else _TENSOR
    sizes: set[int] = set()
    for e in cells:
        s = e.statement
        mine, title = (s.column, s.row) if across else (s.row, s.column)
        if mine != option:
            continue
        if pattern.search(title) and e.number.whole and e.number.dim == COUNT and s.value.strip() == e.number.text:
            sizes.add(int(e.number.value))
        elif local := _local(s.value, name):
            sizes.add(local)
    if named := _local(option, name):
        sizes.add(named)
    return sizes.pop() if len(sizes) == 1 else 0


def _of_cell(e: Entry, kind: str, size: int, facts: Facts) -> Claim | None:
    attention, moe = facts.case.model.layers[0].attention, facts.case.model.moe
    said = int(e.number.value)
    if kind == "EP":
        whole, of = (moe.experts if moe is not None else 0), "experts"
    elif kind == "TP":
        whole, of = attention.heads, "heads"
    else:
        whole, of = (attention.kv_heads if isinstance(attention, SoftmaxAttention) else 0), "KV heads"
    layers = len(facts.case.model.moe_layers())
    if not whole or (whole % size and kind != "KV"):
        return None
    right = max(1, whole // size)
    if said == right or said == right * layers:
        return e.claim(f"count.{of.split()[-1]} per GPU", Verdict.HOLDS, f"{whole} / {size}", right)
    why = f"{whole} {of} over {'ep' if kind == 'EP' else 'tp'} {size} are {right}"
    return e.claim(f"count.{of.split()[-1]} per GPU", Verdict.WRONG, why, right)


def _layers(entries: list[Entry], facts: Facts) -> Iterator[tuple[Entry, Claim]]:
    """Experts of all layers beside those of one."""
    s = entries[0].statement
    m = _LAYER.search(s.value) or _OVER.search(s.value)
    given = facts.setting.given
    if m is None or not ({"model.layers", "model.name"} & set(given)):
        return
    model = facts.case.model
    one, said = int(m["one"].replace(",", "")), int(m["all"].replace(",", ""))
    e = next((x for x in entries if x.number.at == m.start("all")), None)
    numbers = {int(x.number.value) for x in entries if x.number.whole and x.number.dim == COUNT}
    layers = {len(model.moe_layers()), len(model.layers), *(n for n in numbers if n not in (one, said))}
    if e is None or any(one * n == said for n in layers if n):
        return
    stages = facts.setting.given.get("strategy.pp")
    if stages is not None and any(one * n == said * stages.value for n in layers):
        return
    right = one * len(model.moe_layers())
    why = f"{one} × {len(model.moe_layers())} layers is {right:,}"
    yield e, e.claim("count.experts", Verdict.WRONG, why, right)
