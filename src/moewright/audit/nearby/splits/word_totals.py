"""Totals that words give: the GPUs of so many nodes, the ranks that parallel sizes make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger, span_between
from moewright.audit.reading.cluster_sizes import gpus_of_nodes

_GPUS: Final = re.compile(
    r"\s*(?:[A-Z]\w*\d\w* |NVIDIA )?(?:GPUs?|cards?|ranks?|devices?|accelerators?|chips?|workers?|Karten|Beschleuniger|"
    r"[ABHL]\d{2,3}s?|GB?[23]00s?|MI3\d\dX?s?)\b|\s*(?:张|块|卡)",
    re.IGNORECASE,
)
_IN_ALL: Final = re.compile(
    r"\s*(?:\w+ )?(?:in all|in total|altogether|all told|together|overall|insgesamt|zusammen)\b", re.IGNORECASE
)
#: the name of a GPU, with its digits
_DEVICE: Final = re.compile(
    r"^\s*(?:张|块)?\s*(?:Intel |NVIDIA |AMD |Huawei |华为)?(?:Gaudi|Ascend|昇腾|Instinct|TPU|H|A|B|MI)\s?v?\d+\w*"
    r"(?=\s*[,，;(])|"
    r"^\s*(?:张|块)?\s*(?:昇腾|Ascend)\s*\d+\w*|^\s*(?:[x×]\s*)?(?:NVIDIA |AMD )?[A-Z]\w*\d\w*(?:[- ]\d+ ?GB)?"
    r"(?: (?:SXM\d?|PCIe|GPUs?|cards?))*"
)
#: before the number of a device
_NAME: Final = re.compile(r"(?:昇腾|Ascend|Gaudi|Instinct|TPU v?)\s*$", re.IGNORECASE)
_EACH: Final = re.compile(r"^\s*(?:each|apiece|je)\b|^\s*(?:per|pro) (?:node|server|box|Knoten)\b", re.IGNORECASE)
#: what leads to all of them, from how many each has
_LEADS: Final = re.compile(
    r"[^.;\d]{0,40}?(?:[,;:(=→]|\b(?:so|hence|thus|i\.?e\.?|that is|makes?|giving|gives|for|are|also|zusammen|"
    r"macht)\b|共)"
    r"[^.;\d]{0,24}",
    re.IGNORECASE,
)
#: another number of GPUs than all
_PART: Final = re.compile(
    r"\b(?:vs|instead|if|would|could|per|each|every|of (?:which|them|these|those)|spare|reserved?|prefill|decode|free|"
    r"davon|je|pro|only|use[ds]?|first|other)\b|每|其中|备用|预填充|解码",
    re.IGNORECASE,
)


def judge_node_totals(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the GPUs that stand right behind so many nodes of so many each: 4 nodes of 8 H200, 32 cards in
    all."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        if len(entries) < 2 or s.kind == "heading":
            continue
        told = gpus_of_nodes(s.value)
        if told is None:
            continue
        gpus, start = told
        counts = [e for e in entries if e.number.whole and e.number.at >= start and not e.number.percent]
        counts = [e for e in counts if not _NAME.search(s.value[: e.number.at])]
        if len(counts) < 3 or counts[0].number.value * counts[1].number.value != gpus:
            continue
        each, e = counts[1:3]
        between = _EACH.sub("", _DEVICE.sub("", span_between(s, each.number, e.number)))
        named = _GPUS.match(e.behind) or _IN_ALL.match(e.behind)
        behind = re.split(r"[,;.]", e.behind)[0][:24]
        if e.figure.formula or not named or not _LEADS.fullmatch(between) or _PART.search(f"{between} {behind}"):
            continue
        found = int(e.number.value)
        if found == gpus:
            yield e, e.claim("split", Verdict.HOLDS, f"{gpus} by the nodes and GPUs of each", gpus)
        elif found % gpus == 0 or gpus % found == 0 or found % each.number.value == 0:
            yield e, e.claim("split", Verdict.WRONG, f"the nodes have {gpus:,} GPUs", gpus)


_SIZE: Final = r"(?:TP|PP|DP|CP|EP|ETP|EDP)\s?=?\s?\d{1,4}"
_SIZES: Final = re.compile(
    rf"(?<![\w×x*·/-])(?P<sizes>{_SIZE}(?:\s?(?:[×x*·,、+]|and|und|mal|times)\s?{_SIZE})+)"
    r"(?P<leads>[^.;\d]{0,36}?)(?P<all>\d{1,5})(?![\d.,]*\d|\s?[×x*·%])(?P<what>[^.;,\d]{0,16})"
)
#: what says that the sizes make a number of ranks
_MAKES: Final = re.compile(
    r"→|->|\b(?:makes?|gives?|fills?|covers?|occup\w+|yields?|spans?|uses?|comes? to|for a total of|on|over|across|"
    r"in all|together|zusammen|ergibt|ergeben|macht|insgesamt|belegt|füllt|soit)\b|相乘|乘积|共|合计|总共|占满",
    re.IGNORECASE,
)


def judge_size_products(ledger: Ledger) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on the ranks that parallel sizes are said to make: TP 8, DP 2, together 16."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _SIZES.search(s.value) if entries and s.kind != "heading" else None
        if m is None or not _MAKES.search(m["leads"]) or _PART.search(f"{m['leads']} {m['what']}"):
            continue
        if "=" in m["leads"]:
            continue  # an equality, or the next of the sizes
        if not (_GPUS.match(m["what"]) or re.match(r"\s*(?:$|[).,;])", m["what"] or s.value[m.end() :])):
            continue
        sizes = {k.upper(): int(v) for k, v in re.findall(r"([A-Za-z]+)\s?=?\s?(\d+)", m["sizes"])}
        e = next((x for x in entries if x.number.at == m.start("all")), None)
        experts = [v for k, v in sizes.items() if k in ("EP", "ETP", "EDP")]
        dense = prod(v for k, v in sizes.items() if k not in ("EP", "ETP", "EDP"))
        every = prod(sizes.values())
        if e is None or not every or (experts and len(sizes) < 3 and "DP" not in sizes):
            continue
        found = int(m["all"])
        possible = {dense, every} if experts else {dense}
        listed = not re.search(r"[×x*·]|mal|times", m["sizes"])  # others may go unnamed
        if found in possible or (found % dense == 0 and (experts or listed)):
            continue
        if max(found, dense) % min(found, dense) == 0:
            why = f"{m['sizes']} make {dense:,}"
            yield e, e.claim("split", Verdict.WRONG, why, dense)
