"""Whether a layout fits the memory of its GPUs, and what its users would see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from moewright.case.case import Case
from moewright.case.cluster import Cluster
from moewright.case.model import ModelSpec
from moewright.case.serving import EngineSpec, Lengths, Serving, Spread
from moewright.case.workload import Kind, Workload
from moewright.doctor.semantics.engine_reading import EngineReading
from moewright.errors import MoewrightError
from moewright.serving.engines.engine import load_engine
from moewright.serving.step import StepModel
from moewright.units import format_bytes


@dataclass(frozen=True, slots=True)
class AskedWorkload:
    """Tokens of a prompt and of an answer, and requests in flight over all instances."""

    input: int
    output: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Fit:
    """``fits``: None where it cannot be told, ``why`` in words. ``memory``: of one GPU, in bytes."""

    fits: bool | None
    why: str
    memory: dict[str, Any] | None = None


def case_of_layout(
    r: EngineReading, model: ModelSpec, cluster: Cluster, version: str | None, asked: AskedWorkload | None
) -> Case:
    """The case that the command serves, on as many GPUs as it takes."""
    overrides = dict(r.overrides) | ({"version": version} if version else {})
    engine = EngineSpec(r.engine, tuple(sorted(overrides.items())))
    longest = r.longest or model.max_position or 4096
    inputs, outputs = (asked.input, asked.output) if asked else (max(1, longest - 1), 1)
    clients = asked.concurrency if asked else 1
    serving = Serving(
        Lengths(Spread.FIXED, float(inputs)), Lengths(Spread.FIXED, float(outputs)), (clients,), engine=engine
    )
    step = Workload(Kind.DECODE, (max(clients, 1),), max(1, round(serving.resident)))
    return Case(_in_cache_format(model, r), cluster, step, strategy=r.layout.spec, serving=serving)


def _in_cache_format(model: ModelSpec, r: EngineReading) -> ModelSpec:
    """``model`` with the KV format that the command sets."""
    kind = str(r.settings.get("kv_dtype") or "auto")
    if kind.startswith(("fp8", "mxfp8")):
        return replace(model, precision=replace(model.precision, kv_cache="fp8"))
    return model


def fit(r: EngineReading, model: ModelSpec, cluster: Cluster, version: str | None) -> Fit:
    """Whether weights, peak and cache of the layout fit ``cluster``'s GPUs, by the engine's own memory rule."""
    if r.layout.attn_cp > 1:
        return Fit(None, "context parallelism in a server is not weighed yet")
    try:
        case = case_of_layout(r, model, cluster, version, None)
        strategy = r.layout.spec.strategy  # whether the engine starts it is told apart
        engine = load_engine(case.serving.engine if case.serving else r.engine)
        c = StepModel.of(case, strategy, engine).capacity
    except MoewrightError as error:
        return Fit(None, str(error))
    memory = c.to_dict(engine.name)
    weights, usable = float(c.weights[0]), float(c.usable[0])
    kept = (
        f"weights of {format_bytes(weights)} a GPU; the engine takes {format_bytes(usable)} of {format_bytes(c.total)}"
    )
    if float(c.kv_cache[0]) <= 0:
        short = format_bytes(-float(c.kv_cache[0]))
        return Fit(False, f"{kept}: {short} are missing before the first token is cached", memory)
    tokens = int(c.tokens[0])  # of whole sequences: with dcp a GPU keeps 1/dcp of them
    longest = r.longest or model.max_position
    if r.engine == "vllm" and longest and tokens < 0.95 * longest:
        how = "" if r.longest else " (the model's own; give --max-model-len)"
        return Fit(False, f"{kept}: the cache holds {tokens} tokens, one sequence of {longest}{how} needs more", memory)
    return Fit(True, f"{kept}: the cache of a rank holds {tokens} tokens", memory)


def expected(case: Case) -> dict[str, Any]:
    """TTFT, TPOT and throughput of ``case``, simulated: seconds, with the range of 80 % of measured results. Raises
    MoewrightError where it cannot be served."""
    from moewright.serving.simulation.simulate import simulate
    from moewright.serving.validation.row_steps import default_folder

    o = simulate(case, tables=default_folder(None, False))
    return {
        "ttft": o.ttft.mean,
        "tpot": None if o.tpot is None else o.tpot.mean,
        "ranges": {name: list(ends) for name, ends in o.ranges.items()},
        "output_per_gpu": o.output_per_gpu,
        "binds": o.binds,
    }
