"""The ``workload`` section of kind ``serving`` → Serving, with its trace file read."""

from __future__ import annotations

from pathlib import Path
from re import fullmatch
from typing import Annotated, Any, Literal

from pydantic import Field

from moewright.case.file.records import (
    COUNT_SCHEMA,
    MOST_BATCH,
    MOST_SEQUENCE,
    Flag,
    Gpus,
    Record,
    Rule,
    StrategyRecord,
    Text,
    choice,
    counted,
    counts_in,
    fraction,
    shown,
    whole,
)
from moewright.case.file.sections import section
from moewright.case.file.strategy_section import section_of, strategy_of
from moewright.case.file.strategy_text import parse_strategy
from moewright.case.loads.trace import read_trace
from moewright.case.serving import (
    AUTO,
    ENGINES,
    Disaggregated,
    EngineSpec,
    Lengths,
    Pool,
    Serving,
    Speculative,
    Spread,
    Start,
)
from moewright.errors import SpecError

MOST_REQUESTS = 1_000_000
_LENGTH = {"type": "integer", "minimum": 1, "maximum": MOST_SEQUENCE}
_ONE = {"type": "integer", "minimum": 1, "maximum": MOST_BATCH}
_COUNT = {"anyOf": [_ONE, COUNT_SCHEMA]}


def _concurrency(value: Any) -> tuple[int, ...]:
    """Sizes in order; powers of two for ``auto``."""
    return AUTO if value == "auto" else counts_in(value)


def _sizes(value: Any) -> tuple[int, ...]:
    good = isinstance(value, list) and 0 < len(value) <= 4096
    if not good or not all(isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= MOST_BATCH for v in value):
        raise ValueError(f"got {shown(value)}; expected a list of whole numbers from 1 to {MOST_BATCH}")
    return tuple(sorted(set(value)))


def _version(value: Any) -> str:
    if not isinstance(value, str) or not fullmatch(r"v?\d{1,4}(\.\d{1,4}){0,3}\S{0,20}", value):
        raise ValueError(f"got {shown(value)}; expected a version in quotes, such as '0.11.1'")
    return value


Length = Annotated[int, counted(1, MOST_SEQUENCE)]
Concurrency = Annotated[
    tuple[int, ...],
    Rule(_concurrency, {"anyOf": [_COUNT, {"type": "array", "items": _COUNT, "minItems": 1}, {"const": "auto"}]}),
]
Unit = Annotated[float, fraction(0, 1)]


#: what tokens travel to their experts by, as far as it reserves memory
ALL_TO_ALL = ("auto", "none", "deepep_low_latency", "deepep_high_throughput")


class LengthsRecord(Record):
    """Lengths that are not all the same: uniform, lognormal, or a list."""

    mean: Length | None = Field(None, description="of a lognormal")
    sigma: Annotated[float, fraction(0, 3)] = Field(0.5, description="of a lognormal's logarithm")
    uniform: Length | None = Field(None, description="the nominal length; drawn from low to high times it")
    low: Annotated[float, fraction(0, 1, open_below=True)] = 0.8
    high: Annotated[float, fraction(0, 8, open_below=True)] = 1.0
    range_ratio: Annotated[float, fraction(0, 1)] | None = Field(
        None, description="of vllm bench serve: drawn from 1 − it to 1 + it times uniform"
    )
    list: Annotated[
        tuple[int, ...] | None, Rule(_sizes, {"type": "array", "items": _LENGTH, "minItems": 1, "maxItems": 4096})
    ] = None


def _lengths_rule(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    return counted(1, MOST_SEQUENCE).check(value)


LengthsOrOne = Annotated[
    Any, Rule(_lengths_rule, {"anyOf": [_LENGTH, COUNT_SCHEMA, {"$ref": "#/$defs/LengthsRecord"}]})
]


class SpeculativeRecord(Record):
    """Tokens guessed ahead (MTP, EAGLE), and the share of them that is right."""

    drafts: Annotated[int, whole(1, 16)]
    acceptance: Unit


class PoolRecord(Record):
    """Workers of one phase: the strategy of one, over ``gpus``; ``replicas`` of them."""

    gpus: Gpus | None = Field(None, description="of one worker")
    strategy: StrategyRecord | None = None
    replicas: Gpus | None = None


class DisaggregatedRecord(Record):
    """Prefill and decode apart; what is left out the planner chooses."""

    prefill: PoolRecord = PoolRecord()
    decode: PoolRecord = PoolRecord()


class EngineRecord(Record):
    """An engine with settings of its own."""

    name: Annotated[str, choice(*ENGINES)]
    version: Annotated[str | None, Rule(_version, {"type": "string"})] = Field(
        None, description="whose memory rule applies, such as '0.11.1'; the newest that is known where left out"
    )
    max_num_batched_tokens: Annotated[int, counted(1, 1 << 20)] | None = None
    max_num_seqs: Annotated[int, counted(1, 1 << 20)] | None = None
    kv_block: Annotated[int, whole(1, 4096)] | None = None
    gpu_memory_utilization: Annotated[float, fraction(0, 1, open_below=True)] | None = None
    chunked_prefill: Flag | None = None
    mixed: Flag | None = Field(None, description="prompts and decodes in one step")
    reserve: Unit | None = Field(None, description="share of an answer for which KV is kept free at admission")
    all_to_all: Annotated[str | None, choice(*ALL_TO_ALL)] = Field(
        None, description="whose buffers are reserved; auto: DeepEP's low-latency kernels between nodes"
    )
    dispatch_tokens: Annotated[int | None, whole(1, 1 << 16)] = Field(
        None, description="of a rank, that the low-latency kernels' buffers are made for"
    )
    cuda_graph_sizes: Annotated[
        tuple[int, ...] | None, Rule(_sizes, {"type": "array", "items": _ONE, "maxItems": 4096})
    ] = None


def _engine_rule(value: Any) -> Any:
    return value if isinstance(value, dict) else choice(*ENGINES).check(value)


class ServingRecord(Record):
    """Requests that an engine serves."""

    kind: Literal["serving"]
    input: LengthsOrOne | None = Field(None, description="tokens of a prompt")
    output: LengthsOrOne | None = Field(None, description="tokens of an answer")
    trace: Text | None = Field(None, description="a .csv or .jsonl file of arrival, input, output")
    concurrency: Concurrency | None = Field(None, description="requests in flight, closed loop; a list or auto to plan")
    rate: Annotated[float, fraction(0, 1e6, open_below=True)] | None = Field(None, description="requests a second")
    burstiness: Annotated[float, fraction(0, 1000, open_below=True)] = 1.0
    requests: Annotated[int, counted(1, MOST_REQUESTS)] | None = None
    seed: Annotated[int, whole(0, 1 << 31)] = 0
    prefix_cache_hit: Annotated[float, fraction(0, 1)] = 0.0
    speculative: SpeculativeRecord | None = None
    disaggregated: DisaggregatedRecord | None = None
    start: Annotated[str, choice(*Start)] = Field(
        Start.SPREAD, description="of a closed loop's clients: spread over a request's time, or together"
    )
    engine: Annotated[
        Any, Rule(_engine_rule, {"anyOf": [{"enum": list(ENGINES)}, {"$ref": "#/$defs/EngineRecord"}]})
    ] = "vllm"


def read_serving(value: dict[str, Any], file: str, folder: Path) -> Serving:
    """``value`` as Serving. Raises SpecError."""
    w = section(ServingRecord, _with_strategies(value, file), file, "workload")
    trace = None
    if w.trace is not None:
        for name in ("input", "output", "rate"):
            if getattr(w, name) is not None:
                raise SpecError("contradicts workload.trace, which has its own", file=file, field=f"workload.{name}")
        trace = read_trace(folder / w.trace, w.trace, file)
    elif w.input is None or w.output is None:
        missing = "input" if w.input is None else "output"
        raise SpecError("is missing; required are input and output, or trace", file=file, field=f"workload.{missing}")
    if w.rate is not None and w.concurrency is not None:
        raise SpecError("contradicts workload.rate; give one of the two", file=file, field="workload.concurrency")
    if trace is None and w.rate is None and w.concurrency is None:
        raise SpecError(
            "is missing; give concurrency (a closed loop) or rate (requests a second)",
            file=file,
            field="workload.concurrency",
        )
    s, d = w.speculative, w.disaggregated
    return Serving(
        _lengths(w.input, file, "input") if trace is None else _listed(trace.inputs),
        _lengths(w.output, file, "output") if trace is None else _listed(trace.outputs),
        w.concurrency or (),
        w.rate,
        w.burstiness,
        w.requests,
        w.seed,
        w.prefix_cache_hit,
        None if s is None else Speculative(s.drafts, s.acceptance),
        None if d is None else Disaggregated(_pool(d.prefill, file, "prefill"), _pool(d.decode, file, "decode")),
        _engine(w.engine, file),
        trace,
        Start(w.start),
    )


def _with_strategies(value: dict[str, Any], file: str) -> dict[str, Any]:
    """``value`` with pools' strategies of one line (``dp8 ep8``) written out."""
    pools = value.get("disaggregated")
    if not isinstance(pools, dict):
        return value
    written = dict(pools)
    for name, pool in pools.items():
        if isinstance(pool, dict) and isinstance(pool.get("strategy"), str):
            field = f"workload.disaggregated.{name}.strategy"
            try:
                spec = parse_strategy(pool["strategy"], field)
            except SpecError as error:
                raise error.inside(file=file) from None
            written[name] = {**pool, "strategy": section_of(spec)}
    return {**value, "disaggregated": written}


def _listed(values: tuple[int, ...]) -> Lengths:
    return Lengths(Spread.LIST, sum(values) / len(values), values=values)


def _lengths(value: Any, file: str, name: str) -> Lengths:
    if isinstance(value, int):
        return Lengths(Spread.FIXED, float(value))
    path = f"workload.{name}"
    r = section(LengthsRecord, value, file, path)
    given = [n for n in ("mean", "uniform", "list") if getattr(r, n) is not None]
    if len(given) != 1:
        raise SpecError(
            f"got {', '.join(given) or 'none of them'}; expected one of mean (lognormal), uniform, list",
            file=file,
            field=path,
        )
    if r.range_ratio is not None:
        return _ranged(r, value, file, path)
    if r.list is not None:
        return _listed(tuple(value["list"]))
    if r.uniform is not None:
        if r.low > r.high:
            raise SpecError(f"got {r.low:g}, above high {r.high:g}", file=file, field=f"{path}.low")
        return Lengths(Spread.UNIFORM, float(r.uniform), r.low, r.high)
    return Lengths(Spread.LOGNORMAL, float(r.mean or 1), sigma=r.sigma)


def _ranged(r: LengthsRecord, value: dict[str, Any], file: str, path: str) -> Lengths:
    """Lengths around ``uniform`` as ``vllm bench serve --random-range-ratio`` draws them."""
    assert r.range_ratio is not None
    for name in ("low", "high"):
        if name in value:
            raise SpecError("contradicts range_ratio; give one of the two", file=file, field=f"{path}.{name}")
    if r.uniform is None:
        raise SpecError("needs uniform, the nominal length", file=file, field=f"{path}.range_ratio")
    return Lengths(Spread.UNIFORM, float(r.uniform), max(0.0, 1 - r.range_ratio), 1 + r.range_ratio)


def _pool(record: PoolRecord, file: str, name: str) -> Pool:
    strategy = None
    if record.strategy is not None:
        raw = record.strategy.model_dump(exclude_unset=True)
        strategy = strategy_of(raw, file)
    return Pool(record.gpus, strategy, record.replicas)


def _engine(value: Any, file: str) -> EngineSpec:
    if isinstance(value, str):
        return EngineSpec(value)
    r = section(EngineRecord, value, file, "workload.engine")
    given = r.model_dump(exclude_none=True)
    name = given.pop("name")
    return EngineSpec(name, tuple(sorted(given.items())))
