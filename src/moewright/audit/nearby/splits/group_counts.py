"""Numbers of groups of ranks against the ranks that a group has: 64 GPUs in EP groups of 16 are 4."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from math import prod
from typing import Final

from moewright.audit.audit_record import Claim, Verdict
from moewright.audit.nearby.ledger import Entry, Ledger
from moewright.audit.nearby.model_slips import FactsAt
from moewright.audit.text.numbers import COUNT

_AXES: Final = ("tp", "pp", "dp", "ep", "cp")
_NAMED: Final = re.compile(
    r"^\s*(?:independent |separate |disjoint )?(?P<axis>[TPDEC]P)[ -]?(?:groups?|Gruppen|groupes?|组)\b", re.IGNORECASE
)
_KEY: Final = re.compile(
    r"^(?:number of )?(?P<axis>[TPDEC]P)[ -]?(?:groups|Gruppen|组数)(?: in all| in total)?$", re.IGNORECASE
)
#: groups of a part of the GPUs
_PART: Final = re.compile(
    r"\b(?:per|each|every|an?|one|je|pro|in the) (?:\w+ )?"
    r"(?:node|box|stage|server|rack|replica|instance|pod|Knoten|Stufe)|"
    r"in (?:an?|each|one|every) (?:node|stage)|节点内|每(?:个)?(?:节点|级)|would|could|instead",
    re.IGNORECASE,
)


def judge_group_counts(ledger: Ledger, facts_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on how many groups of one axis there are: all GPUs, or those that other axes leave, over the size of a
    group."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        keyed = _KEY.match((s.row if s.kind == "cell" else s.key).strip())
        for e in entries:
            named = _NAMED.match(e.behind) or (keyed if e is entries[0] else None)
            n = e.number
            if named is None or s.kind == "heading" or not n.whole or n.dim != COUNT or e.figure.role == "operand":
                continue
            around = s.value[max(0, n.at - 40) : n.at + len(n.text) + 60].split(";")[0]
            clause = next((c for c in re.split(r"[,;.](?!\d)", around) if n.text in c), around)
            facts = facts_at(index, ("strategy." + named["axis"].lower(),)) if not _PART.search(clause) else None
            given = facts.setting.given if facts is not None else {}
            sizes = {a: given[f"strategy.{a}"].value for a in _AXES if f"strategy.{a}" in given}
            gpus = given["cluster.gpus"].value if "cluster.gpus" in given else prod(sizes.get(a, 1) for a in _AXES[:3])
            size = sizes.pop(named["axis"].lower(), 0)
            if size < 2 or gpus % size or not sizes:
                continue
            others = [v for v in sizes.values() if v > 1]
            apart = {prod(c) for k in range(len(others) + 1) for c in combinations(others, k)}
            usual = {gpus // size // x for x in apart if gpus // size % x == 0} | {1}
            node = given.get("cluster.gpus_per_node")
            usual |= {node.value // size} if node is not None else {8 // size, 4 // size}
            usual |= {size} if named["axis"].upper() == "DP" else set()  # the copies themselves
            if n.value in usual:
                continue
            right = gpus // size
            if n.value % right == 0 or right % n.value == 0:
                why = f"{gpus:,} GPUs in groups of {size} are {right:,}"
                yield e, e.claim("count.groups", Verdict.WRONG, why, right)


_NODES: Final = re.compile(
    r"(?<![\w.×])(?P<nodes>\d{1,4}) (?:\w+ )?(?:nodes|servers|Knoten|Server|n(?:œ|oe)uds)\s?[,=(]\s?"
    r"(?P<gpus>\d{1,5}) (?:\w+ )?(?:GPUs|cards|Karten|NPUs|cartes)\b|"
    r"(?P<g3>\d{1,5}) (?:GPUs|cards|Karten|NPUs) \((?P<n3>\d{1,4}) (?:nodes|servers|boxes|hosts|Knoten|Server)\)|"
    r"(?P<n2>\d{1,4})\s?(?:个?节点|台)[,，(]\s?(?:共\s?)?(?P<g2>\d{1,5})\s?(?:张|块)?\s?(?:卡|GPU)",
    re.IGNORECASE,
)


def judge_node_counts(ledger: Ledger, gpus_at: FactsAt) -> Iterator[tuple[Entry, Claim]]:
    """A verdict on nodes that stand beside their GPUs: 4 nodes, 32 GPUs, where a node has 8 as the document says."""
    for index, entries in enumerate(ledger.entries):
        s = ledger.statements[index]
        m = _NODES.search(s.value)
        facts = gpus_at(index, ("cluster.gpus_per_node",)) if m is not None and s.kind != "heading" else None
        if m is None or facts is None:
            continue
        nodes, gpus = int(m["nodes"] or m["n2"] or m["n3"]), int(m["gpus"] or m["g2"] or m["g3"])
        each = int(facts.setting.given["cluster.gpus_per_node"].value)
        e = next(
            (x for x in entries if x.number.at == m.start("nodes" if m["nodes"] else "n2" if m["n2"] else "g3")), None
        )
        if e is None or not nodes or gpus % each or gpus in (each, nodes * each):
            continue
        if gpus % nodes == 0 and max(gpus // nodes, each) % min(gpus // nodes, each) == 0:
            right = gpus // each
            yield e, e.claim("count.nodes", Verdict.WRONG, f"{gpus:,} GPUs at {each} each are {right}", right)
