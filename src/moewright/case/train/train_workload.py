"""A training workload: the batch of a step, its formats, and the tokens to be trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from moewright.case.train.recipe import OPTIMIZERS, RECIPES, Optimizer, Recipe
from moewright.case.train.train_strategy import TrainSizes
from moewright.case.train.tuning import Tuning


class Graphs(StrEnum):
    """How kernels are started: one by one by the host, which waits for the routing of each layer; attention and router
    as graphs; or the whole iteration as one."""

    NONE = "none"
    PARTIAL = "partial"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Training:
    """``global_batch`` sequences of ``sequence`` tokens a step; ``tokens`` to be trained on in all, or None.
    ``gradients``: bytes of an element of the gradients that are kept and reduced. ``capacity``: copies that an expert
    takes at most over the mean, with places for all of them (None: dropless). ``prediction_layers``: multi-token
    prediction layers that are trained. ``balanced``: routing is forced to be even, as in benchmarks.
    ``fragmentation``: the share of memory that the allocator cannot use. ``tuning``: what is trained."""

    global_batch: int
    sequence: int
    tokens: float | None = None
    recipe: Recipe = RECIPES["bf16"]
    optimizer: Optimizer = OPTIMIZERS["adam"]
    gradients: float = 4.0
    capacity: float | None = None
    prediction_layers: int = 0
    balanced: bool = False
    graphs: Graphs = Graphs.NONE
    fragmentation: float = 0.03
    tuning: Tuning = field(default_factory=Tuning)
    sizes: TrainSizes = field(default_factory=TrainSizes)
