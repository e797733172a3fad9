"""The ``workload`` section of kind ``train``, and the ``strategy`` section beside it → Training."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from re import fullmatch
from typing import Annotated, Any, Literal

from pydantic import Field

from moewright.case.file.records import (
    MOST_BATCH,
    MOST_LAYERS,
    MOST_SEQUENCE,
    Flag,
    Gpus,
    Layers,
    Record,
    Rule,
    choice,
    fraction,
    shown,
    whole,
)
from moewright.case.file.sections import section
from moewright.case.model import ModelSpec
from moewright.case.spelling import did_you_mean
from moewright.case.train.recipe import OPTIMIZERS, RECIPES
from moewright.case.train.train_strategy import MODULES, ContextExchange, Dispatcher, Schedule, Sharding, TrainSizes
from moewright.case.train.train_workload import Graphs, Training
from moewright.case.train.tuning_section import LoraRecord, Parts, tuning_of
from moewright.errors import SpecError

#: more tokens than any model is trained on
MOST_TOKENS = 1e18
_PREFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
_GRADIENTS = {"fp32": 4.0, "bf16": 2.0}


def _counted(value: Any, noun: str) -> float:
    """A number, or a text such as ``15 T`` or ``512 sequences``."""
    if isinstance(value, str):
        match = fullmatch(rf"\s*(\d+(?:\.\d+)?)\s*([kKMBGT]?)\s*(?:{noun})?\s*", value)
        if match:
            return float(match[1]) * _PREFIXES[match[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"got {shown(value)}; expected a number of {noun}, such as 512 or '15 T'")


def _batch(value: Any) -> int:
    number = _counted(value, "sequences")
    if not number.is_integer() or not 1 <= number <= MOST_BATCH:
        raise ValueError(f"got {shown(value)}; expected a whole number of sequences from 1 to {MOST_BATCH}")
    return int(number)


def _tokens(value: Any) -> float:
    number = _counted(value, "tokens")
    if not 0 < number <= MOST_TOKENS:
        raise ValueError(f"got {shown(value)}; expected a number of tokens above 0, such as '15 T'")
    return number


def _micro_batch(value: Any) -> int | None:
    return None if value == "auto" else whole(1, MOST_BATCH).check(value)


def _recompute(value: Any) -> tuple[str, ...] | None:
    if value == "auto":
        return None
    names = value if isinstance(value, list) else [value]
    if names in (["none"], []):
        return ()
    for name in names:
        if name not in MODULES:
            hint = did_you_mean(name, MODULES) if isinstance(name, str) else ""
            known = ", ".join(MODULES)
            raise ValueError(f"got {shown(name)}; {hint}expected auto, none, or a list of {known}")
    return tuple(m for m in MODULES if m in names)


def _layers(value: Any) -> tuple[int, ...]:
    good = isinstance(value, list) and 0 < len(value) <= MOST_LAYERS
    if not good or not all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= MOST_LAYERS for v in value):
        raise ValueError(f"got {shown(value)}; expected a list of whole numbers, layers of each chunk")
    return tuple(value)


_NUMBER_OR_TEXT: dict[str, Any] = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}
_MODULES: dict[str, Any] = {"type": "array", "items": {"enum": list(MODULES)}}
RecomputeModules = Annotated[
    tuple[str, ...] | None,
    Rule(_recompute, {"anyOf": [{"enum": ["auto", "none", *MODULES]}, _MODULES]}),
]
MicroBatch = Annotated[
    int | None, Rule(_micro_batch, {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]})
]


class TrainRecord(Record):
    """What one training step does."""

    kind: Literal["train"]
    global_batch: Annotated[int, Rule(_batch, _NUMBER_OR_TEXT)] = Field(description="sequences of a step")
    sequence: Annotated[int, whole(1, MOST_SEQUENCE)]
    micro_batch: MicroBatch = Field(None, description="sequences of a rank that pass together, or auto")
    tokens: Annotated[float, Rule(_tokens, _NUMBER_OR_TEXT)] | None = Field(None, description="to be trained on in all")
    precision: Annotated[str, choice(*RECIPES)] = "bf16"
    optimizer: Annotated[str, choice(*OPTIMIZERS)] = "adam"
    gradients: Annotated[str, choice(*_GRADIENTS)] = "fp32"
    recompute: RecomputeModules = Field(None, description="auto, none, full, or a list of modules")
    capacity_factor: Annotated[float, fraction(0, 64, open_below=True)] | None = Field(
        None, description="places of an expert over the mean; dropless where left out"
    )
    prediction_layers: Annotated[int, whole(0, 16)] | None = Field(None, description="the model's where left out")
    balanced: Flag = Field(False, description="routing is forced to be even")
    graphs: Annotated[str, choice(*Graphs)] = Field("none", description="full: whole iterations are graphs")
    fragmentation: Annotated[float, fraction(0, 0.5)] = Field(0.03, description="memory the allocator cannot use")
    trainable: Parts = Field(None, description="all, none, or a list of parts; all where there is no lora, else none")
    frozen_layers: Annotated[int, whole(0, MOST_LAYERS)] = Field(0, description="the first ones, with the embedding")
    lora: LoraRecord | None = None


class TrainAttentionSizes(Record):
    """How attention is divided."""

    dp: Gpus | None = None
    cp: Gpus | None = None
    tp: Gpus | None = None
    cp_comm_type: Annotated[str, choice(*ContextExchange)] | None = Field(None, description="fastest where left out")


class TrainExpertSizes(Record):
    """How the experts are divided: apart from attention; tp 1 where it is left out."""

    ep: Gpus | None = None
    tp: Gpus | None = None
    dp: Gpus | None = Field(None, description="ranks that hold the same experts")
    dispatcher: Annotated[str, choice(*Dispatcher)] | None = Field(None, description="deepep where left out")


class TrainStrategyRecord(Record):
    """How a training step is divided; what is left out is searched."""

    attention: TrainAttentionSizes = TrainAttentionSizes()
    experts: TrainExpertSizes = TrainExpertSizes()
    pp: Layers | None = None
    virtual_stages: Layers | None = Field(None, description="chunks of layers on each stage")
    layers: (
        Annotated[tuple[int, ...], Rule(_layers, {"type": "array", "items": {"type": "integer", "minimum": 0}})] | None
    ) = Field(None, description="layers of each chunk, multi-token-prediction layers last")
    schedule: Annotated[str, choice(*Schedule)] | None = None
    sharding: Annotated[str, choice(*Sharding)] | None = None
    overlap_experts: Flag | None = None
    overlap_tp: Flag | None = Field(None, description="gathers and reductions beside products; off where left out")
    overlap_grad_reduce: Flag | None = Field(None, description="behind the last backward pass; on where left out")
    overlap_param_gather: Flag | None = Field(None, description="behind the first forward pass; on where left out")


def read_training(value: Any, strategy: Any, model: ModelSpec, file: str) -> Training:
    """The workload of kind ``train`` with its strategy. Raises SpecError."""
    w = section(TrainRecord, value, file, "workload")
    if model.moe is None:
        raise SpecError(
            f"{model.name} has no experts; training is planned for models that have", file=file, field="model"
        )
    tuning = tuning_of(model, w.trainable, w.frozen_layers, w.lora, file)
    if not tuning.whole and w.prediction_layers:
        raise SpecError(
            f"got {w.prediction_layers}; where parts are frozen, multi-token prediction is not trained: expected 0",
            file=file,
            field="workload.prediction_layers",
        )
    predicted = model.prediction_layers if w.prediction_layers is None else w.prediction_layers
    return Training(
        w.global_batch,
        w.sequence,
        w.tokens,
        RECIPES[w.precision],
        OPTIMIZERS[w.optimizer],
        _GRADIENTS[w.gradients],
        w.capacity_factor,
        predicted if tuning.whole else 0,
        w.balanced,
        Graphs(w.graphs),
        w.fragmentation,
        tuning,
        replace(train_sizes(strategy, file), micro_batch=w.micro_batch, recompute=w.recompute),
    )


def train_sizes(value: Any, file: str | None) -> TrainSizes:
    """The ``strategy`` section beside a training workload."""
    if value is None:
        return TrainSizes()
    s = section(TrainStrategyRecord, value, file, "strategy")
    return TrainSizes(
        s.attention.dp,
        s.attention.cp,
        s.attention.tp,
        s.pp,
        s.virtual_stages,
        s.experts.ep,
        s.experts.tp,
        s.experts.dp,
        schedule=None if s.schedule is None else Schedule(s.schedule),
        sharding=None if s.sharding is None else Sharding(s.sharding),
        overlap_experts=s.overlap_experts,
        layers=s.layers,
        cp_comm_type=None if s.attention.cp_comm_type is None else ContextExchange(s.attention.cp_comm_type),
        dispatcher=None if s.experts.dispatcher is None else Dispatcher(s.experts.dispatcher),
        overlap_tp=s.overlap_tp,
        overlap_grad_reduce=s.overlap_grad_reduce,
        overlap_param_gather=s.overlap_param_gather,
    )


#: sizes that ``--compare`` takes as words
_WORDS: dict[str, type[StrEnum]] = {
    "schedule": Schedule,
    "sharding": Sharding,
    "cp_comm_type": ContextExchange,
    "dispatcher": Dispatcher,
}
_FLAGS = ("overlap_experts", "overlap_tp", "overlap_grad_reduce", "overlap_param_gather")


def parse_train_sizes(text: str) -> TrainSizes:
    """A strategy in one line: ``pp=8,virtual=4,tp=2,ep=32,schedule=interleaved,overlap_tp=true``. Raises SpecError."""
    numbers = ("dp", "cp", "tp", "pp", "virtual", "ep", "etp", "expert_dp", "micro_batch")
    names = (*numbers, *_WORDS, *_FLAGS)
    sizes: dict[str, Any] = {}
    for part in filter(None, text.replace(" ", ",").split(",")):
        name, _, value = part.partition("=")
        if name in sizes:
            raise SpecError(f"gives {name} twice", field="--compare")
        if name in numbers and value.isdigit() and 0 < int(value) < 1 << 31:
            sizes[name] = int(value)
        elif name in _WORDS and value in tuple(_WORDS[name]):
            sizes[name] = _WORDS[name](value)
        elif name in _FLAGS and value in ("true", "false"):
            sizes[name] = value == "true"
        else:
            raise SpecError(_not_a_size(part, name, names), field="--compare")
    if not sizes:
        raise SpecError(f"got {text[:40]!r}, which names no size", field="--compare")
    return replace(TrainSizes(), **sizes)


def _not_a_size(part: str, name: str, names: tuple[str, ...]) -> str:
    if name in _WORDS:
        return f"got {part[:40]!r}; expected one of {', '.join(_WORDS[name])}"
    if name in _FLAGS:
        return f"got {part[:40]!r}; expected true or false"
    hint = did_you_mean(name, names)
    return f"got {part[:40]!r}; {hint}expected sizes such as pp=8,virtual=4,tp=2,ep=32, of {', '.join(names)}"
