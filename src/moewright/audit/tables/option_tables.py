"""The figures of an option of a table against the sizes that the option has: GPUs, heads, experts and layers of a GPU,
bytes of the cache and of the weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, exactly, meet, of_bytes, ranges
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.nearby.sizes.element_sizes import ELEMENT_BYTES
from moewright.audit.quantities.readings import Facts
from moewright.audit.tables.table_options import Option, columns_of, options_of
from moewright.audit.text.numbers import BYTES, COUNT
from moewright.case.attention_kinds import SoftmaxAttention
from moewright.case.tensors.layer_tensors import total_parameters
from moewright.units import format_quantity

#: fields that the verdicts stand on
_NEEDS: Final = ("model.layers", "model.attention.heads", "model.experts.count")
_GPU: Final = r"(?:per|/|a|each|je|pro) ?(?:\w+ )?(?:GPU|card|device|rank|Karte|accelerator|NPU)\b"
_HEADS: Final = re.compile(
    rf"^(?!.*\b(?:KV|key)).*(?:query|\bQ\b|attention|Query-?)[ -]?(?:heads?|k(?:ö|oe)pfe).*{_GPU}|每卡查询头",
    re.IGNORECASE,
)
_KV_HEADS: Final = re.compile(rf"KV[ -]?(?:heads?|k(?:ö|oe)pfe).*{_GPU}|每卡\s?KV\s?头", re.IGNORECASE)
_OF_EXPERTS: Final = re.compile(
    rf"(?:experts?|Experten)\b.*{_GPU}|experts? / GPU|(?:每|单)卡.*专家|(?:experts?|Experten) on (?:each|a) GPU",
    re.IGNORECASE,
)
_SLOTS: Final = re.compile(
    rf"slots?\b.*{_GPU}|(?:physical|experts?)\b.*{_GPU}|slots? / GPU|每卡.*(?:槽|物理专家)", re.IGNORECASE
)
_LAYERS: Final = re.compile(
    rf"^(?:layers|Schichten) ?(?:{_GPU}|per (?:pipeline )?stage|je Stufe)|每(?:卡|级|阶段)层数", re.IGNORECASE
)
_TOKEN: Final = re.compile(
    rf"(?:KV|cache).*token.*{_GPU}|(?:KV|cache).*token (?:and|und) (?:GPU|card|Karte|rank)\b|(?:KV|"
    rf"cache).*{_GPU}.*token|每卡每\s?token.*(?:KV|缓存)|KV.*每卡每\s?token",
    re.IGNORECASE,
)
_WHOLE: Final = re.compile(
    r"^(?:whole|complete|full) model\b|(?:one|single|a) (?:full )?copy|^model weights?$|"
    r"^(?:all )?weights?,? (?:of the )?whole model|^Gesamtmodell|^Modell(?:gewichte)? insgesamt|"
    r"^整个模型|^模型权重(?:总量)?$|^weights? (?:per|of (?:a|one)) (?:replica|copy|instance)$|"
    r"^Gewichte je (?:Replik\w*|Instanz|Kopie)$",
    re.IGNORECASE,
)
_NOT_ALL: Final = re.compile(
    r"weight|GB|byte|instance|权重|redundan|slot|all layers|in all|replic|total|share|memory|冗余", re.IGNORECASE
)
_APART: Final = re.compile(r"redundan|replicas?\b|冗余|shared experts?|slots?|EPLB", re.IGNORECASE)
#: factors that a slip with the sizes of an option leaves
_FACTORS: Final = tuple(float(2**k) for k in range(1, 7))


def judge_option_tables(ledger: Ledger, facts_at: FactsAt, gpus_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on cells that follow from the sizes of the option they stand in. ``gpus_at``: the facts where the
    document tells how many GPUs there are."""
    for options in options_of(ledger):
        for option in options:
            if not option.sizes:
                continue
            alone = sum(1 for x in options if "DP" in x.sizes) == 1
            gpus = gpus_at(option.cells[0][1], ("cluster.gpus",)) if alone else None
            yield from _groups(option, gpus.case.cluster.gpus if gpus is not None else 0, facts_at)
            yield from _nodes(option)
            told = {(title, index) for title, index, _ in option.cells}
            for title, index, entries in columns_of(option):
                if len(entries) == 1 and (entries[0].figure.role == "lone" or (title, index) not in told):
                    kv = bool(_KV_HEADS.search(title) or _TOKEN.search(title))
                    facts = facts_at(index, (*_NEEDS, "model.attention.kv_heads") if kv else _NEEDS)
                    found = _of_gpu(entries[0], title, option, facts) if facts is not None else None
                    if found is not None:
                        yield entries[0], found


def _groups(option: Option, gpus: int, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """TP × PP × DP against the GPUs of the option, or of the document where the table has one option alone."""
    tp, dp, ep, cp = (option.size(x) for x in ("TP", "DP", "EP", "CP"))
    all_gpus, blamed = option.size("GPUs") or gpus, option.at("DP") or option.at("TP")
    if (
        not tp
        or not dp
        or not all_gpus
        or blamed is None
        or any(len({v for v, _ in x}) > 1 for x in option.sizes.values())
    ):
        return
    facts = facts_at(blamed.index, ("strategy.pp",))
    given = facts.setting.given.get("strategy.pp") if facts is not None else None
    pp = option.size("PP") or (given.value if given is not None else 1)
    product = tp * pp * dp * (cp or 1)
    usual = {product, tp * dp * (cp or 1), product * (ep or 1), dp * pp * (ep or 1)}
    if all_gpus in usual or option.size("nodes") * option.size("of a node") in usual:
        return
    if product % all_gpus or not all_gpus % product:
        return  # no slip of a factor, or whole copies
    told = " × ".join(f"{n} {v}" for n, v in (("TP", tp), ("PP", pp), ("DP", dp), ("CP", cp)) if v > 1)
    why = f"{told} is {product:,} GPUs; there are {all_gpus:,}"
    yield blamed, blamed.claim("strategy", Verdict.WRONG, why, None)


#: names of a mesh of ranks, and its sizes
_MESH: Final = re.compile(r"((?:(?:E?[TD]P|[EPC]P)\s?[×x*·]\s?){2,}(?:E?[TD]P|[EPC]P))\b", re.IGNORECASE)
_SIZES: Final = re.compile(r"^\W*((?:\d{1,4}\s?[×x*·]\s?)+\d{1,4})(?!\s?[×x*·/]|\d)")


def judge_meshes(ledger: Ledger, gpus_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the product of the sizes of a mesh of ranks, where it is no number of GPUs of the document and that
    of another mesh, or the cluster's, is."""
    meshes: list[tuple[Entry, str, int]] = []
    for index, s in enumerate(ledger.statements):
        named = _MESH.search(s.row or s.key)
        sizes = _SIZES.match(s.value) if named else None
        values = [int(x) for x in re.findall(r"\d+", sizes[1])] if sizes else []
        names = re.findall(r"[A-Z]+", named[1].upper().replace("X", " ")) if named else []
        spread = any(n in ("DP", "EDP") for n in names)
        if sizes and spread and len(values) == len(names) and all(values) and ledger.entries[index]:
            meshes.append((ledger.entries[index][-1], f"{named[1] if named else ''} = {sizes[1]}", prod(values)))
    for e, told, product in meshes:
        facts = gpus_at(e.index, ("cluster.gpus",))
        known = {p for _, _, p in meshes if p != product} & set(ledger.counts)
        known |= {facts.case.cluster.gpus} if facts is not None else set()
        if product in known or len(known) != 1:
            continue
        right = known.pop()
        if product % right == 0 or right % product == 0:
            yield e, e.claim("strategy", Verdict.WRONG, f"{told} is {product:,}; there are {right:,} GPUs", None)


def _nodes(option: Option) -> Iterator[tuple[Entry, Claim]]:
    """The GPUs of an option against its nodes."""
    nodes, each, gpus = (option.size(x) for x in ("nodes", "of a node", "GPUs"))
    at_nodes, at_gpus = option.at("nodes"), option.at("GPUs")
    if not nodes or not each or not gpus or at_nodes is None or at_gpus is None:
        return
    sizes = (option.size("EP"), option.size("DP"), prod(max(1, option.size(x)) for x in ("TP", "PP", "DP")))
    if nodes * each == gpus:
        yield at_gpus, at_gpus.claim("count.GPUs", Verdict.HOLDS, f"{nodes} × {each}", gpus)
    elif gpus in sizes and gpus % each == 0:
        why = f"{gpus:,} GPUs at {each} each are {gpus // each}"
        yield at_nodes, at_nodes.claim("count.nodes", Verdict.WRONG, why, gpus // each)
    else:
        why = f"{nodes} × {each} is {nodes * each:,}"
        yield at_gpus, at_gpus.claim("count.GPUs", Verdict.WRONG, why, nodes * each)


def _of_gpu(e: Entry, title: str, option: Option, facts: Facts) -> Claim | None:
    """What a GPU, or a copy of the model, has in an option."""
    n, model = e.number, facts.case.model
    attention, moe = model.attention, model.moe
    tp, pp, ep = (option.size(x) for x in ("TP", "PP", "EP"))
    if _WHOLE.search(title) and n.dim == BYTES and len(option.formats) == 1:
        return _copy(e, next(iter(option.formats)), facts)
    grouped = {"model.attention.kv_heads", "model.name"} & set(facts.setting.given)
    if not grouped and (_TOKEN.search(title) or _KV_HEADS.search(title)):
        return None
    if _TOKEN.search(title) and tp:
        return _token(e, tp, pp or 1, facts, option.cache_formats)
    slots = (moe.experts if moe is not None else 0) + option.size("redundant")
    if n.whole and option.size("redundant") and ep and slots % ep == 0 and _SLOTS.search(title):
        return _count(e, "expert slots", slots, ("ep", ep), 1)
    if n.dim != COUNT or not n.whole or _NOT_ALL.search(title) or _APART.search(f"{title} {option.name}"):
        return None
    if _OF_EXPERTS.search(title) and ep and moe is not None and moe.experts % ep == 0:
        return _count(e, "experts", moe.experts, ("ep", ep), len(model.moe_layers()) // (pp or 1))
    if _HEADS.search(title) and tp and attention.heads % tp == 0:
        return _count(e, "heads", attention.heads, ("tp", tp), 1)
    if _KV_HEADS.search(title) and tp and isinstance(attention, SoftmaxAttention):
        return _count(e, "KV heads", attention.kv_heads, ("tp", tp), 1)
    if _LAYERS.search(title) and pp and len(model.layers) % pp == 0:
        return _count(e, "layers", len(model.layers), ("pp", pp), 1)
    return None


def _count(e: Entry, of: str, whole: int, split: tuple[str, int], layers: int) -> Claim:
    """``whole`` things over a parallel size, of each of ``layers`` layers."""
    name, size = split
    said, right = int(e.number.value), max(1, whole // size)
    quantity = f"count.{of.split()[-1]} per GPU"
    if said in (right, right * layers):
        return e.claim(quantity, Verdict.HOLDS, f"{whole} / {size}", said)
    return e.claim(quantity, Verdict.WRONG, f"{whole} {of} over {name} {size} are {right}", right)


def _token(e: Entry, tp: int, pp: int, facts: Facts, formats: set[str]) -> Claim | None:
    """Bytes of a token's cache that a GPU keeps: those of the layers of its stage, its KV heads of them, in the one
    format that the table gives the cache, else in any."""
    model = facts.case.model
    attention = model.attention
    if not isinstance(attention, SoftmaxAttention) or e.number.slack > 0.02 or len(model.layers) % pp:
        return None
    if any(x.attention.token_bytes(1.0) != attention.token_bytes(1.0) for x in model.layers):
        return None
    shared = min(tp, attention.kv_heads)
    own = ELEMENT_BYTES.get(next(iter(formats))) if len(formats) == 1 else None
    sizes = (2.0, 1.0) if own is None else (own, own)
    right = [attention.token_bytes(b) * len(model.layers) / pp / shared for b in sizes]
    said = ranges(e.number)
    if any(meet(said, exactly(x)) for x in right):
        return None
    for x in _FACTORS:
        for told in (right[0] * x, right[0] / x):
            if meet(said, exactly(told)) and told not in right:
                over = f"{len(model.layers) // pp} layers, KV heads over tp {tp}"
                why = f"{over}, {format_quantity(right[0], 'bytes')} at {of_bytes(sizes[0])} each"
                return e.claim("memory.kv_cache per token per GPU", Verdict.WRONG, why, right[0])
    return None


def _copy(e: Entry, name: str, facts: Facts) -> Claim | None:
    """The bytes of one copy of a model in a format."""
    size = ELEMENT_BYTES.get(name)
    if size is None:
        return None
    parameters = total_parameters(facts.case.model)
    ratio = e.number.value / (parameters * size)
    if not any(abs(ratio / x - 1) < 0.01 for x in (0.25, 0.5, 2.0, 4.0, 1000.0, 0.001)):
        return None
    right = parameters * size
    why = f"{parameters:,} parameters at {of_bytes(size)} each take {format_quantity(right, 'bytes')}"
    return e.claim("memory", Verdict.WRONG, why, right)
