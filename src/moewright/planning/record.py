"""The record of a plan: what ``plan --json`` prints. SI units throughout: bytes, seconds, FLOPs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moewright.case.case import Case
from moewright.case.strategy import Strategy


class Status(StrEnum):
    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: ``detail`` is its derivation, with the numbers in it."""

    name: str
    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class Proof:
    """The second derivation of a plan: how many of its figures a walk of ``ranks`` ranks derived again, and the paths
    of those that nothing does (``planning.proof.walk``)."""

    ranks: int
    figures: int
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of weights on the fullest GPU, by kind."""

    attention: float
    experts: float
    shared_experts: float
    router: float
    vocabulary: float
    other: float
    total: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the fullest GPU; ``usable`` is capacity less the reserve. ``activation_peaks``: what is alive at the end
    of the widest operations, of which the largest is ``activations``; ``buffer_parts``: what ``buffers`` holds."""

    weights: Weights
    kv_cache: float
    activations: float
    buffers: float
    total: float
    capacity: float
    usable: float
    activation_peaks: dict[str, float] = field(default_factory=dict)
    buffer_parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of operation that a rank does alone: FLOPs, memory bytes and seconds of one call, ``count`` calls a
    pass. ``origin``: how the seconds came to be (derived, interpolated, measured)."""

    name: str
    flops: float
    traffic: float
    seconds: float
    origin: str
    count: int


@dataclass(frozen=True, slots=True)
class Compute:
    """FLOPs of one pass over the whole batch (decode: one step): the model's own, and those the
    fullest GPU does, repeated attention and the routing's straggler included."""

    flops_total: float
    flops_per_gpu: float
    utilization: float  # flops_total over what all GPUs' peaks could do in the latency: the MFU reached
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectiveOperation:
    """One kind of collective of a rank: ``bytes`` and ``seconds`` of one call, ``count`` calls a pass.
    ``group``: the kind of group it runs in (tp, cp, ep, etp, stage, pp). Of an all_to_all also the bytes of the
    fullest rank by tier: over its node's links, and over the fabric."""

    name: str
    collective: str
    group: str
    group_size: int
    tier: str
    bytes: float
    seconds: float
    count: int
    origin: str = "derived"
    node_bytes: float | None = None
    fabric_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Communication:
    bytes_per_gpu: float
    operations: tuple[CollectiveOperation, ...]


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of one pass (decode: of one token, TPOT). ``breakdown`` adds up to ``seconds``; what
    overlap hides is a negative entry. ``ttft_seconds``, ``tpot_seconds``: what the limits are held against,
    where they are given (``planning.choosing.limits``). ``stage_seconds``: of one micro-batch in each stage;
    ``origins``: share of the operations' seconds that is measured, interpolated, derived."""

    seconds: float
    bound_seconds: float
    bound_reason: str
    per_layer_seconds: float
    breakdown: dict[str, float]
    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    stage_seconds: tuple[float, ...] = ()
    origins: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Throughput:
    """When batches follow each other without a gap: a pipeline is kept full, ``batches_in_flight`` in it."""

    tokens_per_second: float
    sequences_per_second: float
    tokens_per_second_per_gpu: float
    cost_per_million_tokens: float | None = None
    batches_in_flight: int = 1


@dataclass(frozen=True, slots=True)
class Spread:
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Balance:
    """``straggler``: expected tokens of the fullest rank's experts over the mean. The other spreads are
    taken over all ranks of the actual assignment, with one seeded sample of the routing: routed copies of
    a layer, bytes held (weights and KV cache), FLOPs and bytes sent in a pass."""

    experts_per_gpu: Spread
    straggler: float
    tokens_per_gpu_sampled: Spread | None = None
    memory_per_gpu: Spread | None = None
    flops_per_gpu: Spread | None = None
    bytes_per_gpu: Spread | None = None
    active_experts: float | None = None  # with any token, on the rank that has the most, in one chunk
    distinct_ranks: float | None = None  # that hold any of a token's experts, the mean
    distinct_nodes: float | None = None


@dataclass(frozen=True, slots=True)
class Modules:
    """Modules as the field counts them: one per expert and layer, one per attention and layer."""

    experts: int
    attention: int
    total: int
    per_gpu: float


@dataclass(frozen=True, slots=True)
class RankGroup:
    """One group of ranks as an example of its kind: ``kind`` tp, cp, ep …; ``ranks`` of the first group."""

    kind: str
    size: int
    count: int
    ranks: tuple[int, ...]
    tier: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Where everything lives in replica 0; rank r of replica i is rank ``i · ranks_per_replica + r``.

    ``ranks``: a row of ``columns`` per rank. ``stage_layers``: first layer of each stage, and the one after its
    last. ``experts``: expert ids by slot for each ep rank, one table for each distinct placement of a layer;
    ``table_of_layer``: which table each of ``moe_layers`` follows. etp rank i of n holds the i-th of n equal
    parts of an expert's width, tp rank i of n the i-th of n equal parts of the heads, widths and vocabulary."""

    ranks_per_replica: int
    columns: tuple[str, ...]
    ranks: tuple[tuple[int, ...], ...]
    stage_layers: tuple[tuple[int, int], ...]
    moe_layers: tuple[int, ...]
    table_of_layer: tuple[int, ...]
    experts: tuple[tuple[tuple[int, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A strategy with everything derived from it."""

    name: str
    strategy: Strategy
    gpus: int
    batch: int
    memory: Memory
    compute: Compute
    communication: Communication
    latency: Latency
    throughput: Throughput
    balance: Balance
    modules: Modules
    groups: tuple[RankGroup, ...] = ()
    checks: tuple[Check, ...] = ()
    placement: Placement | None = None  # of the best plan and of one that is asked for; alternatives carry none
    proof: Proof | None = None  # likewise

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "strategy": self.strategy.to_dict()}


@dataclass(frozen=True, slots=True)
class Crossing:
    """From which value of ``quantity`` on the compared strategy is no slower than the best. ``value``
    None: nowhere between ``low`` and ``high``. ``best_there`` is what the whole search picks at it."""

    quantity: str
    today: float
    value: float | None
    low: float
    high: float
    best_there: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Why ``plan`` loses to the best: seconds by term of both, ``per`` pass or (where throughput or cost is
    wanted) per sequence, decode per token, their differences, which add up, and crossings. ``ratio``: its seconds over
    the best's."""

    plan: Plan
    ratio: float
    per: str
    best_terms: dict[str, float]
    terms: dict[str, float]
    differences: dict[str, float]
    crossings: tuple[Crossing, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of the ``of`` strategies that fit and meet the limits, for a picture of all: the best by the objective, and
    others at even distances after them. ``sizes``: replicas, pp, attention dp (with repeats), cp, tp, expert ep, etp,
    each an array [strategies]; ``rates``: tokens/s of a GPU; ``memory``: bytes of the fullest GPU."""

    of: int
    names: tuple[str, ...]
    sizes: tuple[NDArray[np.int64], ...]
    seconds: NDArray[np.float64]
    rates: NDArray[np.float64]
    memory: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Result:
    """What a search found. ``rejected``: reason → strategies excluded for it. ``sample``: for pictures, not in JSON."""

    case: Case
    candidates: int
    rejected: dict[str, int]
    search_seconds: float
    best: Plan
    alternatives: tuple[Plan, ...] = ()
    frontier: tuple[Plan, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    sample: Sample | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The object that ``plan --json`` prints."""
        from moewright.planning.engine_layouts import by_engine
        from moewright.planning.naming import describe_case

        return {
            **describe_case(self.case),
            "spec": self.case.document,
            "spec_file": None if self.case.file is None else str(Path(self.case.file).resolve()),
            "candidates": self.candidates,
            "rejected": self.rejected,
            "search_seconds": self.search_seconds,
            "best": self.best.to_dict(),
            "engines": by_engine(self.best.strategy, self.case.model),
            "alternatives": [p.to_dict() for p in self.alternatives],
            "frontier": [p.to_dict() for p in self.frontier],
            "comparisons": [asdict(c) for c in self.comparisons],
        }
