"""What one operation of a layer does on the fullest rank, per chunk: no seconds in it.

``layer`` and ``ends`` list the work of a pass; a ``Price`` (``cost.prices``) turns each into seconds. Every path prices
the same list, so that nothing a strategy, a routing or an overlap says is left out of one and kept in another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from moewright.case.case import Case
from moewright.case.model import Attention, MoeFfn
from moewright.cost.arrays import Array, Bools
from moewright.cost.batch import Batch
from moewright.cost.network import Group, Groups
from moewright.cost.table import Table


@dataclass(frozen=True, slots=True)
class Matrix:
    """[rows, depth] · [depth, columns], one kernel: products of the same input count as one."""

    rows: Array
    columns: Array
    depth: Array


@dataclass(frozen=True, slots=True)
class Products:
    """Matrix products with weights of one ``kind`` (attention, dense, router, shared_experts, vocabulary)."""

    kind: str
    matrices: tuple[Matrix, ...]


@dataclass(frozen=True, slots=True)
class GroupedProducts:
    """The experts of the fullest rank. ``tokens``: those of the whole stage; ``copies``: routed ones on that rank;
    ``active``: its experts that have any; ``room``: copies that a fused kernel passes over; ``width``: of an expert on
    a rank; ``ups``: 2 where the first product is gated."""

    ffn: MoeFfn
    hidden: int
    ups: int
    tokens: Array
    copies: Array
    active: Array
    room: Array
    width: Array
    ep: Array
    etp: Array
    straggler: Array
    spanning: Bools  # tokens travel to their experts (all_to_all), by low-latency kernels where there is no prompt
    low_latency: Bools


@dataclass(frozen=True, slots=True)
class AttentionScores:
    """Scores and weighted values, or a linear state's update and read: of prompts, or of decoding sequences; of these
    under decode context parallelism ``tp`` counts the ranks with other heads, and contexts are a rank's part."""

    attention: Attention
    batch: Batch
    tp: Array
    cp: Array
    decodes: bool
    dcp: Array = field(default_factory=lambda: np.ones(1))


@dataclass(frozen=True, slots=True)
class Stream:
    """Element-wise kernels that read and write memory; ``norms`` of them are norms of the residual."""

    kernels: Array
    norms: int = 0


@dataclass(frozen=True, slots=True)
class Collective:
    """``collective`` in ``group``. ``buffer``: bytes of the whole buffer, and ``sent`` those that leave a rank. Of an
    all_to_all ``sent`` counts a mean rank's distinct copies, ``to_ranks`` and ``to_nodes`` the fullest's bytes to other
    ranks and to other nodes; ``tokens`` those of a rank; ``everyone``: bytes that an all-gather of all tokens of the
    stage would move instead; ``forwarding``: a token crosses the fabric once a node. ``counted``: the executor
    exchanges row counts first."""

    collective: str
    group: Group
    buffer: Array
    sent: Array
    to_ranks: Array = field(default_factory=lambda: np.zeros(1))
    to_nodes: Array = field(default_factory=lambda: np.zeros(1))
    tokens: Array = field(default_factory=lambda: np.zeros(1))
    everyone: Array = field(default_factory=lambda: np.zeros(1))
    forwarding: Bools = field(default_factory=lambda: np.zeros(1, dtype=np.bool_))
    counted: bool = False
    ffn: MoeFfn | None = None


Shape = Products | GroupedProducts | AttentionScores | Stream | Collective


@dataclass(frozen=True, slots=True)
class Work:
    """One operation: ``flops`` and ``traffic`` (memory bytes) of a rank; ``group``: what it is counted as (attention,
    experts, router, dense, elementwise, head, communication). ``happens``: where it is done at all; all figures are 0
    elsewhere. ``block``: operations that measured tables may hold as one."""

    name: str
    group: str
    shape: Shape
    flops: Array
    traffic: Array
    happens: Bools
    block: str = ""

    @property
    def collective(self) -> Collective | None:
        """The shape of a collective; None of what a rank does alone."""
        return self.shape if isinstance(self.shape, Collective) else None

    @property
    def sent(self) -> Array:
        """Bytes that leave a rank."""
        return self.shape.sent if isinstance(self.shape, Collective) else np.zeros(1)


@dataclass(frozen=True, slots=True)
class ExpertLoad:
    """What routing does to a stage: ``straggler`` ≥ 1, the fullest rank's copies over the mean; ``active``: experts
    with any token on the rank that has the most; ``ranks``, ``nodes``: distinct ones that hold any of a
    token's experts."""

    straggler: Array
    active: Array
    ranks: Array
    nodes: Array


@dataclass(frozen=True, slots=True)
class Pass:
    """One chunk's way through the layers, under every strategy of ``table``."""

    case: Case
    table: Table
    batch: Batch
    groups: Groups
    loads: dict[MoeFfn, ExpertLoad]
