"""Who is walked: ranks with their places in the groups and nodes, and the tokens that each has in a chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from moewright.case.case import Case
from moewright.case.strategy import Dispatch, Overlap, Strategy
from moewright.case.workload import Kind

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

#: ranks that are walked at most
MOST_RANKS = 1024


@dataclass(frozen=True, slots=True)
class Circle:
    """A group as each walked rank sees it: its ``size``, its members on the rank's own node (itself among them), and
    over how many nodes it lies, the last two arrays [ranks]. ``members``: rank numbers [ranks, size]; ``nodes`` theirs.
    """

    size: int
    near: Ints
    spans: Ints
    members: Ints
    node_of: Ints


@dataclass(frozen=True, slots=True)
class Scene:
    """``ranks``: the numbers of those that are walked; ``tp``, ``ep`` their places, arrays [ranks]. ``slots``: expert
    ids [MoE layers, ep, slots]; ``loads`` [layers or 1, experts], or None where all are alike."""

    case: Case
    strategy: Strategy
    batch: int
    slots: Ints
    loads: Floats | None
    ranks: Ints
    tp: Ints
    ep: Ints

    @property
    def decoding(self) -> bool:
        return self.case.workload.kind is Kind.DECODE

    @property
    def replicated(self) -> bool:
        return self.strategy.experts.dispatch is Dispatch.REPLICATED

    @property
    def halves(self) -> int:
        return 2 if self.strategy.overlap is Overlap.TWO_BATCH else 1

    def nodes(self) -> Ints:
        """The node of every rank of the cluster (of as many as the strategy has)."""
        sizes = self.case.cluster.sizes
        return np.repeat(np.arange(len(sizes)), sizes)

    def circle(self, kind: str) -> Circle:
        """The group of ``kind`` that each walked rank is in; ranks count replica, stage, then dp, cp, tp (ep, etp)."""
        a, e = self.strategy.attention, self.strategy.experts
        stage = a.repeated * a.dp * a.cp * a.tp
        size, stride = {
            "tp": (a.tp, 1),
            "dcp": (a.dcp, 1),
            "cp": (a.cp, a.tp),
            "ep": (e.ep, e.tp),
            "etp": (e.tp, 1),
            "stage": (stage, 1),
            "pp": (self.strategy.pp, stage),
        }[kind]
        first = self.ranks - self.ranks // stride % size * stride
        members = first[:, None] + stride * np.arange(size)
        node = self.nodes()
        of_member = node[members]
        near = (of_member == node[self.ranks][:, None]).sum(axis=1)
        spans = 1 + (np.diff(np.sort(of_member, axis=1), axis=1) > 0).sum(axis=1)
        return Circle(size, near, spans, members, of_member)


def scene_of(case: Case, s: Strategy, batch: int, slots: Ints, loads: Floats | None) -> Scene:
    """The scene of a plan: all ranks, or of more than ``MOST_RANKS`` the first and the last half of so many."""
    gpus = s.replicas * s.pp * s.attention.repeated * s.attention.dp * s.attention.cp * s.attention.tp
    ranks = np.arange(gpus)
    if gpus > MOST_RANKS:
        ranks = np.concatenate([ranks[: MOST_RANKS // 2], ranks[-MOST_RANKS // 2 :]])
    inside = ranks % (gpus // s.replicas // s.pp)
    return Scene(case, s, batch, slots, loads, ranks, inside % s.attention.tp, inside // s.experts.tp)


@dataclass(frozen=True, slots=True)
class Share:
    """What one chunk is to a rank. ``sequences`` of its attention group; ``tokens`` that its attention works on;
    ``own``: those that it keeps between attention and experts, rows that fill up the last rank of tp counted;
    ``stage``: tokens whose experts are in a stage; ``wanted``: tokens of which logits are wanted."""

    sequences: int
    tokens: float
    own: float
    stage: float
    wanted: float


def share_of(scene: Scene, parts: int) -> Share:
    """The share of one of ``parts`` equal parts of a rank's batch."""
    s, w = scene.strategy, scene.case.workload
    a = s.attention
    sequences = scene.batch // (s.replicas * a.dp) // parts
    tokens = sequences * (1.0 if scene.decoding else w.sequence / a.cp)
    if scene.replicated:
        own = stage = tokens
    else:
        own, stage = float(-(-tokens // a.tp)), tokens * a.dp * a.cp
    return Share(sequences, tokens, own, stage, tokens if w.kind is Kind.FORWARD else float(sequences))
