"""Workload: what the model must do in one step, and what the user wants of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    FORWARD = "forward"  # all tokens of all sequences, logits of all of them
    PREFILL = "prefill"  # all tokens of the prompts, logits of the last ones
    DECODE = "decode"  # one token of each sequence, against ``sequence`` tokens of context


class Objective(StrEnum):
    LATENCY = "latency"
    THROUGHPUT = "throughput"
    COST = "cost"


@dataclass(frozen=True, slots=True)
class Workload:
    """``batch`` sequences over the whole cluster (several: sizes to choose from), each of ``sequence``
    tokens: the prompt's for forward and prefill, the context's for decode. ``automatic``: any batch may be chosen, and
    ``batch`` is a grid of them."""

    kind: Kind
    batch: tuple[int, ...]
    sequence: int
    causal: bool = True
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that the first token (forward, prefill) and each further one (decode) may take."""

    ttft: float | None = None
    tpot: float | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """How tokens choose experts: uniform; ``zipf`` exponent; ``loads``, a row of expert loads per MoE layer (any
    scale; one row serves all layers); or ``typical``: the straggler that models show without balancing
    (``cost.routing.typical_straggler``), which redundant experts balance."""

    zipf: float | None = None
    loads: tuple[tuple[float, ...], ...] | None = None
    source: str = "uniform"
    typical: bool = False

    @property
    def uniform(self) -> bool:
        """Whether all experts are loaded alike, as far as a placement by load can tell."""
        return self.loads is None and not self.zipf


@dataclass(frozen=True, slots=True)
class Goal:
    objective: Objective = Objective.LATENCY
    limits: Limits = field(default_factory=Limits)
