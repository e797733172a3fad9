"""The records of a spec file, as pydantic reads them: the format of every section, strict, units included.

Each check says what it got and what it accepts; ``schema`` prints the same records as a JSON Schema.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import core_schema

from moewright.case.file.count_text import read_count
from moewright.case.precision import FORMATS, GROUPED_PATTERN, KNOWN_FORMATS, is_format
from moewright.case.spelling import did_you_mean
from moewright.errors import SpecError
from moewright.units import DIMENSIONS, parse

MOST_GPUS = 1 << 20
MOST_LAYERS = 1024
MOST_EXPERTS = 1 << 14
MOST_WIDTH = 1 << 24
MOST_BATCH = 1 << 24
MOST_SEQUENCE = 1 << 28
TENSOR_KINDS = ("attention", "experts", "shared_experts", "dense", "router", "vocabulary", "norm")
#: of a workload
KINDS = ("forward", "prefill", "decode", "serving", "train")
UNITS = ("fp4", "fp8", "int8", "bf16", "fp16", "fp32")
#: ``auto`` tries powers of two, and GPUs times powers of two, up to this many sequences (or 64 a GPU)
MOST_AUTO = 1 << 16


def shown(value: object) -> str:
    """A value as a message shows it, cut short."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a list in itself
        return "a value too large to show"
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True, eq=False)
class Rule:
    """Metadata of a field: ``check`` turns what was found into a value or raises ValueError; ``schema`` is
    its JSON Schema."""

    check: Callable[[Any], Any]
    schema: dict[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: Any) -> dict[str, Any]:
        return self.schema


def whole(least: int, most: int) -> Rule:
    """A whole number from ``least`` to ``most``."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"got {shown(value)}; expected a whole number from {least} to {most}")
        return value

    return Rule(check, {"type": "integer", "minimum": least, "maximum": most})


#: a count as a text: 8k, 128Ki
COUNT_SCHEMA: dict[str, Any] = {"type": "string", "pattern": r"^\s*[0-9][0-9_]*(\.[0-9]+)?\s*(k|K|M|G|T|Ki|Mi|Gi)?\s*$"}


def counted(least: int, most: int) -> Rule:
    """A whole number, or a text such as 8k or 128Ki."""
    plain = whole(least, most)

    def check(value: Any) -> int:
        return int(plain.check(count_in(value, least, most)))

    return Rule(check, {"anyOf": [plain.schema, COUNT_SCHEMA]})


def count_in(value: Any, least: int, most: int) -> Any:
    """``value``; the number where it is a text that stands for one. Raises ValueError."""
    if not isinstance(value, str) or not value[:1].isdigit():
        return value
    try:
        return read_count(value, "", least=least, most=most)
    except SpecError as error:
        raise ValueError(error.problem) from None


def fraction(least: float, most: float, *, open_below: bool = False) -> Rule:
    """A plain number from ``least`` (or above it) to ``most``."""
    words = f"a number above {least:g}, at most {most:g}" if open_below else f"a number from {least:g} to {most:g}"

    def check(value: Any) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not good or not least <= value <= most or (open_below and value == least):
            raise ValueError(f"got {shown(value)}; expected {words}")
        return float(value)

    lower = "exclusiveMinimum" if open_below else "minimum"
    return Rule(check, {"type": "number", lower: least, "maximum": most})


def quantity(dimension: str, *, zero: bool = False) -> Rule:
    """A number in SI or a text with a unit; above 0 (or from 0)."""
    words = f"{dimension} {'of 0 or more' if zero else 'above 0'}, such as {DIMENSIONS[dimension]}"

    def check(value: Any) -> float:
        number = parse(value, dimension)
        if number < 0 or (number == 0 and not zero):
            raise ValueError(f"got {shown(value)}; expected {words}")
        return number

    lower = "minimum" if zero else "exclusiveMinimum"
    number = {"type": "number", lower: 0, "description": f"in SI units ({dimension})"}
    text = {"type": "string", "pattern": r"^\s*\+?[0-9.]", "examples": DIMENSIONS[dimension].split(" or ")}
    return Rule(check, {"anyOf": [number, text]})


def choice(*names: str) -> Rule:
    """One of ``names``."""

    def check(value: Any) -> str:
        if value not in names or not isinstance(value, str):
            hint = did_you_mean(value, names) if isinstance(value, str) else ""
            raise ValueError(f"got {shown(value)}; {hint}expected one of {', '.join(names)}")
        return value

    return Rule(check, {"enum": list(names)})


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"got {shown(value)}; expected true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 4096:
        raise ValueError(f"got {shown(value)}; expected a text")
    return value


def _batch(value: Any) -> tuple[int, ...]:
    """Sizes in order; none for ``auto``, which depends on the cluster."""
    if value == "auto":
        return ()
    return counts_in(value)


def counts_in(value: Any) -> tuple[int, ...]:
    """Sizes in order, of one or of a list. Raises ValueError."""
    several = value if isinstance(value, list) else [value]
    sizes = [count_in(v, 1, MOST_BATCH) for v in several[:65]]
    good = all(isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= MOST_BATCH for v in sizes)
    if not good or not 0 < len(sizes) <= 64:
        raise ValueError(f"got {shown(value)}; expected a whole number from 1 to {MOST_BATCH}, a list of such, or auto")
    return tuple(sorted(set(sizes)))


def _weights(value: Any) -> str | dict[str, str]:
    kinds = value if isinstance(value, dict) else {"default": value}
    for kind, name in kinds.items():
        if kind not in (*TENSOR_KINDS, "default"):
            raise ValueError(f"got weights of {shown(kind)}; expected kinds among {', '.join(TENSOR_KINDS)}")
        if not is_format(name):
            raise ValueError(f"got {shown(name)}; expected one of {KNOWN_FORMATS}")
    return dict(kinds) if isinstance(value, dict) else str(value)


def _format(value: Any) -> str:
    if not is_format(value):
        hint = did_you_mean(value, FORMATS) if isinstance(value, str) else ""
        raise ValueError(f"got {shown(value)}; {hint}expected one of {KNOWN_FORMATS}")
    return str(value)


#: of a number format
FORMAT_SCHEMA: dict[str, Any] = {"anyOf": [{"enum": list(FORMATS)}, {"type": "string", "pattern": GROUPED_PATTERN}]}
_FORMAT = FORMAT_SCHEMA
_BY_KIND = {"type": "object", "properties": dict.fromkeys((*TENSOR_KINDS, "default"), _FORMAT)}
_WEIGHTS = {"anyOf": [_FORMAT, {**_BY_KIND, "additionalProperties": False}]}
_ONE_BATCH = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_BATCH}, COUNT_SCHEMA]}
_BATCHES = {"type": "array", "items": _ONE_BATCH, "minItems": 1, "maxItems": 64}

Flag = Annotated[bool, Rule(_flag, {"type": "boolean"})]
Text = Annotated[str, Rule(_text, {"type": "string", "minLength": 1})]
Format = Annotated[str, Rule(_format, FORMAT_SCHEMA)]
Width = Annotated[int, whole(1, MOST_WIDTH)]
WidthOrNone = Annotated[int, whole(0, MOST_WIDTH)]
Heads = Annotated[int, whole(1, 1 << 16)]
Experts = Annotated[int, whole(1, MOST_EXPERTS)]
Layers = Annotated[int, whole(1, MOST_LAYERS)]
Gpus = Annotated[int, whole(1, MOST_GPUS)]
Share = Annotated[float, fraction(0, 1, open_below=True)]
Reserve = Annotated[float, fraction(0, 0.95)]
Bytes = Annotated[float, quantity("bytes")]
Rate = Annotated[float, quantity("bytes/s")]
Flops = Annotated[float, quantity("FLOP/s")]
Seconds = Annotated[float, quantity("seconds")]
Delay = Annotated[float, quantity("seconds", zero=True)]
Price = Annotated[float, quantity("price", zero=True)]
Batch = Annotated[tuple[int, ...], Rule(_batch, {"anyOf": [_ONE_BATCH, _BATCHES, {"const": "auto"}]})]


def _nodes(value: Any) -> tuple[int, ...]:
    good = isinstance(value, list) and 0 < len(value) <= 1 << 16
    if not good or not all(isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= MOST_GPUS for v in value):
        raise ValueError(f"got {shown(value)}; expected a list of whole numbers of 1 or more, GPUs of each node")
    if sum(value) > MOST_GPUS:
        raise ValueError(f"got {sum(value)} GPUs in all; expected {MOST_GPUS} at most")
    return tuple(value)


_ONE_NODE = {"type": "integer", "minimum": 1, "maximum": MOST_GPUS}
Nodes = Annotated[tuple[int, ...], Rule(_nodes, {"type": "array", "items": _ONE_NODE, "minItems": 1})]
Links = Annotated[str, choice("switch", "mesh", "torus")]


class Record(BaseModel):
    """A section: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SoftmaxRecord(Record):
    """Softmax attention, multi-head (mha) or grouped-query (gqa)."""

    kind: Literal["mha", "gqa"]
    heads: Heads
    kv_heads: Heads | None = Field(None, description="heads of keys and values; the same as heads for mha")
    head_dim: Width
    value_dim: Width | None = None
    qkv_bias: Flag = False
    output_bias: Flag = False
    qk_norm: Annotated[str, choice("none", "head", "full")] = "none"
    output_gate: Flag = False
    sinks: Flag = False
    window: Width | None = Field(None, description="sliding window in tokens")
    chunk: Width | None = Field(None, description="attention inside chunks of so many tokens")


class IndexerRecord(Record):
    """The index of DeepSeek sparse attention."""

    heads: Heads
    dim: Width
    top_k: Width


class LatentRecord(Record):
    """Multi-head latent attention."""

    kind: Literal["mla"]
    heads: Heads
    q_rank: Width | None = None
    kv_rank: Width
    nope_dim: Width
    rope_dim: Width
    value_dim: Width
    bias: Flag = False
    indexer: IndexerRecord | None = None


class LinearRecord(Record):
    """Gated delta rule."""

    kind: Literal["linear"]
    key_heads: Heads
    value_heads: Heads
    key_dim: Width
    value_dim: Width
    conv_kernel: Annotated[int, whole(1, 64)] = 4


ATTENTIONS: dict[str, type[Record]] = {
    "mha": SoftmaxRecord,
    "gqa": SoftmaxRecord,
    "mla": LatentRecord,
    "linear": LinearRecord,
}


class ExpertsRecord(Record):
    """Routed experts, and the shared ones that every token passes."""

    count: Experts
    top_k: Experts
    intermediate_size: Width
    gated: Flag = True
    bias: Flag = False
    router_bias: Flag = False
    shared_intermediate_size: WidthOrNone = 0
    shared_gated: Flag = True
    shared_gate: Flag = False
    groups: Experts = 1
    top_groups: Experts | None = None


class PrecisionRecord(Record):
    """The format of each kind of number; ``weights`` one format, or one by kind of tensor."""

    weights: Annotated[str | dict[str, str] | None, Rule(_weights, _WEIGHTS)] = None
    activations: Format | None = None
    kv_cache: Format | None = None
    dispatch: Format | None = None
    combine: Format | None = None


class ModelRecord(Record):
    """A model written out."""

    name: Text = "model"
    layers: Layers
    hidden_size: Width
    attention: dict[str, Any] | list[dict[str, Any]]
    experts: ExpertsRecord | None = None
    intermediate_size: Width | None = Field(None, description="width of the dense layers")
    dense_layers: Annotated[int, whole(0, MOST_LAYERS)] = Field(0, description="first layers that are dense")
    gated: Flag = Field(True, description="of the dense layers: three matrices, else two")
    bias: Flag = Field(False, description="of the dense layers")
    norms: Annotated[int, whole(0, 8)] = Field(2, description="norm vectors of a layer")
    vocab_size: WidthOrNone = Field(description="0: no embedding and no head")
    tied_embeddings: Flag = False
    precision: Any = "bf16"


class NamedModelRecord(Record):
    """A model of the catalogue, or of a config.json, with another precision."""

    name: Text
    precision: Any = None


class DeviceRecord(Record):
    """A device; what is left out is the catalogue's of that name."""

    name: Text = "device"
    flops: dict[str, Flops] | None = None
    memory: Bytes | None = None
    memory_bandwidth: Rate | None = None
    mfu: Share | None = None
    bandwidth_utilization: Share | None = None
    launch: Delay | None = None
    price: Price | None = None


class TierRecord(Record):
    """One tier of network, per GPU and direction."""

    bandwidth: Rate
    latency: Delay
    exchange: Share = Field(1.0, description="what dispatch and combine reach of the bandwidth")
    start: Delay = Field(0.0, description="seconds before a collective's first message")
    sharp: Annotated[float, quantity("bytes/s", zero=True)] = Field(
        0.0, description="bus bandwidth of an all-reduce that the switch adds up (NVLink SHARP)"
    )


class NetworkRecord(Record):
    """``node`` inside a node, ``fabric`` across nodes."""

    node: TierRecord | None = None
    fabric: TierRecord | None = None


class ClusterRecord(Record):
    """A cluster written out."""

    name: Text = "cluster"
    gpus: Gpus | None = None
    gpus_per_node: Gpus | None = None
    nodes: Nodes | None = Field(None, description="sizes of the nodes, where they are not all the same")
    links: Links = Field("switch", description="between the devices of a node: switch, mesh or torus")
    board: Gpus | None = Field(None, description="devices of a whole mesh, where a node uses fewer")
    device: Any
    network: NetworkRecord = NetworkRecord()
    forwarding: Flag = False
    reserve: Reserve = 0.1


class ProfiledClusterRecord(Record):
    """The machine of a profile of `moewright measure`, with as many ranks as it measured, or fewer."""

    profile: Text
    gpus: Gpus | None = None
    reserve: Reserve = 0.1


class NamedClusterRecord(Record):
    """A cluster of the catalogue with a count; device and network may be overridden."""

    name: Text
    gpus: Gpus | None = None
    gpus_per_node: Gpus | None = Field(None, description="GPUs that each node uses, where not all")
    nodes: Nodes | None = None
    links: Links | None = None
    device: Any = None
    network: NetworkRecord = NetworkRecord()
    forwarding: Flag | None = None
    reserve: Reserve | None = None


class WorkloadRecord(Record):
    """What one step does."""

    kind: Annotated[str, choice(*KINDS)]
    batch: Batch = Field(description="sequences on the whole cluster; a list or auto: sizes to choose from")
    sequence: Annotated[int, counted(1, MOST_SEQUENCE)] = Field(
        description="tokens of a prompt; of the context for decode"
    )
    causal: Flag = True


class AttentionSizes(Record):
    """How attention is divided."""

    dp: Gpus | None = None
    cp: Gpus | None = None
    tp: Gpus | None = None
    repeated: Gpus | None = None
    dcp: Gpus | None = Field(None, description="of a tp group, ranks that keep 1/dcp of the cached tokens each")


class ExpertSizes(Record):
    """How the experts are divided."""

    ep: Gpus | None = None
    tp: Gpus | None = None
    redundant: Annotated[int, whole(0, MOST_EXPERTS)] | None = None
    dispatch: Annotated[str, choice("all_to_all", "replicated")] | None = None
    gate: Annotated[str, choice("each", "leader")] | None = Field(
        None, description="under dispatch replicated: routed by each rank of tp, or by one that tells the others"
    )


class StrategyRecord(Record):
    """Sizes left out follow from the others."""

    replicas: Gpus | None = None
    pp: Layers | None = None
    micro_batches: Annotated[int, whole(1, MOST_BATCH)] | None = None
    overlap: Annotated[str, choice("none", "two_batch")] | None = None
    attention: AttentionSizes = AttentionSizes()
    experts: ExpertSizes = ExpertSizes()


class LimitsRecord(Record):
    """Seconds to the first token, and per further one."""

    ttft: Seconds | None = None
    tpot: Seconds | None = None


class RoutingRecord(Record):
    """Zipf's law over the experts."""

    zipf: Annotated[float, fraction(0, 16)]
