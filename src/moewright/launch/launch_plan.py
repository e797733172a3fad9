"""What is to be started: a plan's workers, and what an engine must be told so that it runs as planned."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import ceil
from typing import Any

from moewright.case.case import Case
from moewright.case.model import LinearAttention, ModelSpec
from moewright.case.serving import Speculative
from moewright.case.strategy import Strategy
from moewright.launch.layout import Layout, strategy_layout
from moewright.training.training_record import TrainingPlan

#: tokens that a chat template and special tokens may add to the longest request
TEMPLATE = 64


class Role(StrEnum):
    SERVE = "serve"  # prompts and answers on the same GPUs
    PREFILL = "prefill"
    DECODE = "decode"
    TRAIN = "train"  # one job on all GPUs


@dataclass(frozen=True, slots=True)
class Pool:
    """``count`` instances of an engine that run alike. ``strategy``: of one instance (replicas 1 of a server; a
    training job is one instance with all of them). ``requests``: decoding at once on an attention-dp rank, as planned.
    ``memory_fraction``: by the engine's own rule; ``memory``: bytes of a GPU by part, where known."""

    role: Role
    strategy: Strategy
    count: int
    requests: int
    memory_fraction: float
    memory: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def dcp(self) -> int:
        """Ranks of an attention tp group that share the cache of a decoding sequence."""
        return self.strategy.attention.dcp

    @property
    def gpus(self) -> int:
        """Of one instance."""
        return self.strategy.gpus

    @property
    def layout(self) -> Layout:
        """The layout meant, over all instances."""
        return strategy_layout(self.strategy).replicated(self.count)

    def nodes(self, gpus_per_node: int) -> int:
        """Nodes of one instance."""
        return ceil(self.gpus / gpus_per_node)


@dataclass(frozen=True, slots=True)
class Settings:
    """What all instances are told. ``checkpoint``: a Hugging Face id, a path, or the variable ``${MODEL}`` where the
    model names none. ``context``: tokens of the longest request. ``max_tokens``: of a step, ``max_sequences``: in it,
    both of one attention-dp rank. ``drafts``: tokens guessed in a step, by the model's own prediction layers where
    ``own_drafts``, else by ``draft_model``. ``placement``: expert of each slot, by layer of the model, where that has
    experts."""

    checkpoint: str
    served_name: str
    context: int
    max_tokens: int
    max_sequences: int
    kv_format: str
    kv_block: int
    prefix_caching: bool
    chunked_prefill: bool
    mixed: bool
    graph_sizes: tuple[int, ...]
    drafts: int = 0
    own_drafts: bool = True
    draft_model: str = "${DRAFT_MODEL}"
    placement: dict[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Tokens of a sequence in a decode step."""
        return 1 + self.drafts


@dataclass(frozen=True, slots=True)
class Expectation:
    """A figure that the plan predicts. ``low`` and ``high``: what 80 % of measured results lay between; None where no
    results say."""

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """``name``: as printed. ``expected``: with ``concurrency`` requests in flight, or ``rate`` arriving a second.
    ``image``: of the container, where it is not the engine's own. ``training``: the plan of a training
    step, where that is what is launched."""

    case: Case
    engine: str
    version: str
    name: str
    pools: tuple[Pool, ...]
    settings: Settings
    expected: tuple[Expectation, ...] = ()
    notes: tuple[str, ...] = ()
    concurrency: int | None = None
    rate: float | None = None
    image: str = ""
    training: TrainingPlan | None = None

    @property
    def apart(self) -> bool:
        """Whether prompts and answers have GPUs of their own."""
        return len(self.pools) > 1

    @property
    def gpus(self) -> int:
        return sum(p.gpus * p.count for p in self.pools)

    @property
    def redundant(self) -> int:
        return max(p.strategy.experts.redundant for p in self.pools)

    def with_strategies(self, *strategies: Strategy) -> LaunchPlan:
        """The same with other strategies (of one instance each)."""
        pools = tuple(replace(p, strategy=s) for p, s in zip(self.pools, strategies, strict=True))
        return replace(self, pools=pools)


def checkpoint_of(model: ModelSpec) -> str:
    """The Hugging Face id that the model's config came from; ``${MODEL}`` where none is known."""
    parts = model.source.removeprefix("https://huggingface.co/").split("/")
    return "/".join(parts[:2]) if model.source.startswith("https://huggingface.co/") and len(parts) > 1 else "${MODEL}"


def context_length(longest: int, model: ModelSpec) -> int:
    """Tokens that a request may have: the longest planned with a template's, in whole 256s, within the model's."""
    wanted = ceil((longest + TEMPLATE) / 256) * 256
    return min(wanted, model.max_position) if model.max_position and model.max_position >= longest else wanted


def caches_prefixes(model: ModelSpec, hit: float) -> bool:
    """Whether prompts are looked up in the cache: always, but for models with states that engines do not share by
    prefix unless they are told to."""
    return hit > 0 or not any(isinstance(layer.attention, LinearAttention) for layer in model.layers)


def draft_tokens(speculative: Speculative | None) -> int:
    return speculative.drafts if speculative else 0
