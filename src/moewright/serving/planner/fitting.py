"""Does it fit, with how much room for the cache, and how many GPUs does it take: every sensible layout of an engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from moewright.case.case import Case
from moewright.case.model import ModelSpec
from moewright.case.precision import Precision, plain_format
from moewright.case.strategy import Strategy
from moewright.case.tensors.layer_tensors import all_tensors
from moewright.cost.arrays import Array
from moewright.cost.block_cuts import block_cuts
from moewright.cost.table import Table
from moewright.errors import InfeasibleError
from moewright.planning.choosing.gpu_sizes import resized, sizes
from moewright.planning.engine_layouts import inexpressible
from moewright.planning.naming import strategy_name
from moewright.serving.engines.capacity import Capacity, capacity
from moewright.serving.engines.engine import Engine
from moewright.serving.engines.gpu_counts import fewest_gpus, held, usual
from moewright.serving.engines.strategies import step_table
from moewright.units import format_bytes

GIB: Final = float(1 << 30)
DOES_NOT_LOAD: Final = "does not load: "
#: sizes shown beyond the fewest that does
BEYOND: Final = 2
#: formats of the weights that are set beside a model's own
ALTERNATIVES: Final = ("bf16", "fp8_block", "int4_g128", "nvfp4")


@dataclass(frozen=True, slots=True)
class Layout:
    """A model on ``gpus`` GPUs. Bytes of the fullest GPU: ``weights``, ``kv_cache`` (below 0: what is
    missing) and what else the engine needs (``rest``). ``kv_tokens``: of one attention-dp rank. ``requests``: of
    ``context`` tokens, held by all ranks. ``why_not``: empty where it fits."""

    gpus: int
    strategy: Strategy
    name: str
    weights: float
    kv_cache: float
    rest: float
    token_bytes: float
    kv_tokens: int
    requests: int
    why_not: str

    @property
    def fits(self) -> bool:
        """Whether the engine loads it and it holds the requests asked for."""
        return not self.why_not

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; GiB of one GPU, tokens of one attention-dp rank."""
        a = self.strategy.attention
        return {
            "gpus": self.gpus,
            "strategy": self.name,
            "sizes": self.strategy.to_dict(),
            "weights_gib": self.weights / GIB,
            "kv_gib": max(0.0, self.kv_cache) / GIB,
            "other_gib": self.rest / GIB,
            "kv_tokens": self.kv_tokens,
            "kv_tokens_total": self.kv_tokens * a.dp * self.strategy.replicas,
            "requests": self.requests,
            "fits": self.fits,
            "why_not": self.why_not or None,
        }


@dataclass(frozen=True, slots=True)
class Precisions:
    """A model with weights or cache in another format: bytes of all weights, of a token's cache, and the fewest GPUs
    with the strategy that holds most there (None: 64 nodes do not)."""

    name: str
    weights: float
    fewest: tuple[int, Strategy] | None


@dataclass(frozen=True, slots=True)
class Fit:
    """Layouts by GPUs, those that fit first and of these the one that holds most; the fewest GPUs; other formats."""

    case: Case
    engine: Engine
    context: int
    concurrency: int
    layouts: tuple[Layout, ...]
    fewest: int | None
    precisions: tuple[Precisions, ...]

    @property
    def device(self) -> str:
        return self.case.cluster.device.name

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "model": self.case.model.name,
            "cluster": self.case.cluster.name,
            "device": self.device,
            "engine": self.engine.name,
            "memory_rule": f"{self.engine.name} from {self.engine.memory.since} on: {self.engine.memory.kind}",
            "context": self.context,
            "concurrency": self.concurrency,
            "layouts": [layout.to_dict() for layout in self.layouts],
            "fewest_gpus": self.fewest,
            "precisions": [
                {
                    "format": p.name,
                    "weights_gib": p.weights / GIB,
                    "fewest_gpus": p.fewest[0] if p.fewest else None,
                    "strategy": strategy_name(p.fewest[1], self.case.model) if p.fewest else None,
                }
                for p in self.precisions
            ],
        }


def fit(case: Case, engine: Engine, context: int, concurrency: int = 1, most: int | None = None) -> Fit:
    """How ``case``'s model fits on its kind of GPU under ``engine``, for requests of ``context`` tokens, prompt and
    answer together. ``most``: no more GPUs than these; else as many as it takes and two sizes more."""
    layouts: list[Layout] = []
    enough: list[int] = []
    for gpus in sizes(case.cluster, most):
        if len(enough) > BEYOND and most is None:
            break
        every = sorted(_layouts(resized(case, gpus), engine, context, concurrency), key=_order)
        # more stages than nodes, or tp across nodes, only where nothing else does
        here = [x for x in every if _usual(resized(case, gpus), x.strategy)]
        here = here if any(x.fits for x in here) else sorted([*here, *(x for x in every if x.fits)], key=_order)
        layouts += here
        if any(x.fits for x in here):
            enough.append(gpus)
    fewest = fewest_gpus(case, engine, context, concurrency) if not enough else (enough[0], layouts[0].strategy)
    return Fit(
        case,
        engine,
        context,
        concurrency,
        tuple(layouts),
        fewest[0] if fewest else None,
        tuple(_precisions(case, engine, context, concurrency)),
    )


def _usual(case: Case, strategy: Strategy) -> bool:
    return bool(usual(case, Table.one(strategy, strategy.replicas * strategy.attention.dp))[0])


def _order(layout: Layout) -> tuple[float, ...]:
    """Those that fit first, then those that load, then what holds most."""
    return (not layout.fits, layout.why_not.startswith(DOES_NOT_LOAD), -layout.requests, -layout.kv_cache)


def _layouts(case: Case, engine: Engine, context: int, concurrency: int) -> Iterator[Layout]:
    """All GPUs of ``case`` in every layout that the engine's options can say, its replicas counted."""
    try:
        table, _ = step_table(case)
    except InfeasibleError:
        return
    found = capacity(case, table, engine, context)
    many = held(found, table, context)
    blocked = block_cuts(case.model, table)
    unsaid = inexpressible(engine.name, engine.layouts, case.model, table, searched=True)
    for row in range(len(table)):
        if any(mask[row] for mask, _ in unsaid):
            continue
        reasons = [reason for mask, reason in blocked if mask[row]]
        strategy = table.row(row)[0]
        weights, cache, token = (_at(x, row, table) for x in (found.weights, found.kv_cache, found.token_bytes))
        yield Layout(
            case.cluster.gpus,
            strategy,
            strategy_name(strategy, case.model),
            weights,
            cache,
            _at(found.activations + found.buffers + found.other + found.graphs, row, table),
            token,
            max(0, int(_at(found.tokens, row, table))),
            int(many[row]),
            _why_not(reasons, found, table, row, int(many[row]), context, concurrency),
        )


def _why_not(
    reasons: list[str], found: Capacity, table: Table, row: int, requests: int, context: int, concurrency: int
) -> str:
    """Why the engine does not run a row, or what it misses."""
    if reasons:
        return DOES_NOT_LOAD + "; ".join(reasons)
    if requests >= concurrency:
        return ""
    cache, token = _at(found.kv_cache, row, table), _at(found.token_bytes, row, table)
    if cache <= 0:
        return f"weights and buffers exceed the memory by {format_bytes(-cache)} a GPU"
    ranks = int(table.dp[row]) * int(table.replicas[row])
    missing = -(-concurrency // ranks) * context * token - cache
    if requests == 0:
        return f"does not hold one request: {format_bytes(context * token - cache)} a GPU are missing"
    return f"holds {requests} of {concurrency} requests: {format_bytes(missing)} a GPU are missing"


def _at(values: Array, row: int, table: Table) -> float:
    return float(np.broadcast_to(values, (len(table),))[row])


def _precisions(case: Case, engine: Engine, context: int, concurrency: int) -> Iterator[Precisions]:
    """The model as it is, its matrices in other formats, and its cache in 8 bits."""
    model, own = case.model, case.model.precision
    shipped = {plain_format(own.weight(kind)) for kind in ("experts", "attention", "dense")}
    options = [("as it is", model)]
    options += [
        (f"weights {name}", _with_weights(model, name)) for name in ALTERNATIVES if plain_format(name) not in shipped
    ]
    if own.kv_cache in ("bf16", "fp16"):
        options.append(("cache fp8", replace(model, precision=replace(own, kv_cache="fp8"))))
    for name, other in options:
        weights = sum(other.precision.tensor_bytes(tensor) * layers for tensor, layers in all_tensors(other))
        here = replace(case, model=other)
        yield Precisions(name, weights, fewest_gpus(here, engine, context, concurrency))


def _with_weights(model: ModelSpec, name: str) -> ModelSpec:
    """``model`` with the matrices of attention, experts and dense layers in format ``name``."""
    own = model.precision
    weights = {kind: name for kind in ("attention", "experts", "shared_experts", "dense")}
    precision = Precision("bf16", weights, own.activations, own.kv_cache, own.dispatch, own.combine)
    layers = tuple(replace(layer, formats=()) for layer in model.layers)
    return replace(model, precision=precision, layers=layers)
