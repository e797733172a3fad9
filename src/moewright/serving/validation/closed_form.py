"""TTFT and TPOT of an engine at a steady concurrency, in closed form, from the seconds of its steps.

A rank that decodes b sequences takes D(b) a step. Each sequence's answer of o tokens sees the b − 1 others' prompts
pass once in that time, P seconds each, so without speculation

    TPOT = s · (D(b) + i · (b − 1) · P / o · dp^x)

``s`` is what the engine's steps take over the sum of their kernels, ``i`` how much of a prompt's time decoding waits
(chunks share steps with decodes), ``x`` how much the attention-dp ranks' prompts, which all ranks wait for, fall into
different steps. D weighs two of its parts: collectives inside a step against alone, and small kernels. Drafted tokens
divide D by the tokens accepted a step. Prefill and decode apart: the prompts' term falls away.

    TTFT = h + p · max(P, l · layers) + w · D + q · (b − 1) · P · dp^y + waiting for KV

``h`` host seconds of a request, ``l`` of launching a layer of a prompt one kernel at a time, ``w`` steps until the
scheduler looks at its queue, ``q`` the share of the other sequences' prompts that stand before it. Where KV holds
only some of the clients, or prefill workers finish prompts slower than decode could answer them, the rest wait for
their first token: by Little's law c/rate − o · TPOT (closed loop of c clients).

The few constants are fitted by cross-validation (``benchmarks/serving.py``): those of an engine stand in its own file
(``engines/NAME.yaml``), the others in ``fitted.yaml``. None is of a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from moewright.cost.arrays import Array, Bools
from moewright.serving.validation.row_steps import PARTS, Facts


@dataclass(frozen=True, slots=True)
class EngineConstants:
    """The fitted constants of one engine."""

    speed: float  # s
    accepted: float  # tokens a step of models that ship draft layers
    apart_accepted: float  # the same where prefill and decode are apart, workers not stated
    host: float  # h, seconds
    launch: float  # l, seconds
    poll: float  # w
    queue: float  # q
    apart_host: float  # h where prefill and decode are apart (KV moved, another server)


@dataclass(frozen=True, slots=True)
class SharedConstants:
    """The fitted constants that all engines share."""

    communication: float
    small: float
    interference: float  # i
    spread: float  # x
    accepted_growth: float  # at b sequences a rank the accepted · b^-this (drafts are switched off for large batches)
    apart_growth: float  # the same where prefill and decode are apart
    prompt: float  # p
    queue_spread: float  # y
    apart_queue: float  # q there, of (concurrency)^ the next
    apart_queue_growth: float
    stated_queue: float  # share of one prompt of every client that stands before one, at full prefill load


@dataclass(frozen=True, slots=True)
class Constants:
    """All of them; an engine's by its name."""

    shared: SharedConstants
    engines: Mapping[str, EngineConstants]


@dataclass(frozen=True, slots=True)
class Batch:
    """Facts of many rows as arrays [rows] (``decode`` [rows, halvings, parts], ``running`` [rows, halvings])."""

    engine: NDArray[np.str_]
    apart: Bools
    workers: Array  # decode workers; 0: not stated
    prefill: Array  # prompts a second that all prefill workers finish; inf: their number is not stated
    worker: Array  # prompts a second of one of them
    drafts: Bools
    decode: Array
    running: Array
    prompt: Array
    packed: Array
    asked: Array
    held: Array
    dp: Array
    layers: Array
    output: Array
    concurrency: Array

    @staticmethod
    def of(facts: Sequence[Facts]) -> Batch:
        """The facts of every row."""
        return Batch(
            engine=np.array([f.row.engine for f in facts]),
            apart=np.array([f.row.apart for f in facts]),
            workers=np.array([float(f.row.decode.workers or 0) for f in facts]),
            prefill=np.array([_prompts(f) for f in facts]),
            worker=np.array([f.prefill_layout.dp / f.packed for f in facts]),
            drafts=np.array([f.drafts for f in facts]),
            decode=np.stack([f.decode for f in facts]),
            running=np.stack([f.running for f in facts]),
            prompt=np.array([f.prompt for f in facts]),
            packed=np.array([f.packed for f in facts]),
            asked=np.array([f.asked for f in facts]),
            held=np.array([f.held for f in facts]),
            dp=np.array([float(f.layout.dp) for f in facts]),
            layers=np.array([float(f.layers) for f in facts]),
            output=np.array([f.output for f in facts]),
            concurrency=np.array([f.row.concurrency for f in facts]),
        )

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Batch:
        """The rows picked."""
        return Batch(*(getattr(self, f.name)[rows] for f in fields(self)))


def _prompts(f: Facts) -> float:
    """Prompts a second of a row's prefill workers."""
    workers = f.row.prefill.workers if f.row.apart else None
    return workers * f.prefill_layout.dp / f.packed if workers else float("inf")


def _of(c: Constants, x: Batch, name: str) -> Array:
    """An engine's constant for every row."""
    names, where = np.unique(x.engine, return_inverse=True)
    return np.array([float(getattr(c.engines[n], name)) for n in names.tolist()])[where]


def tpot_ttft(x: Batch, c: Constants) -> tuple[Array, Array]:
    """Seconds of each output token after the first, and of the first; arrays [rows]."""
    shared = c.shared
    weights = np.ones(len(PARTS))
    weights[PARTS.index("communication")] = shared.communication
    weights[PARTS.index("elementwise")] = weights[PARTS.index("router")] = shared.small
    speed = _of(c, x, "speed")
    first = np.where(x.apart, _of(c, x, "apart_accepted"), _of(c, x, "accepted"))
    growth = np.where(x.apart, shared.apart_growth, shared.accepted_growth)
    drafted = first[:, None] * x.running ** -growth[:, None]
    # a row that states its workers states all that it ran with
    drafting = x.drafts & (~x.apart | (x.workers == 0))
    drafted = np.where(drafting[:, None], np.maximum(drafted, 1.0), 1.0)
    steps = (x.decode @ weights) * speed[:, None]  # [rows, halvings]
    waits = shared.interference * np.maximum(x.running - 1, 0.0) * (x.packed / x.output * x.dp**shared.spread)[:, None]
    every = steps / drafted + np.where(x.apart, 0.0, 1.0)[:, None] * waits * speed[:, None]
    workers = np.maximum(x.workers, 1.0)
    at = _prefill_bound(x, every, workers)
    tpot, running = _between(every, at), _between(x.running, at)
    return tpot, _ttft(x, c, _between(steps, at), tpot, running, workers)


def _prefill_bound(x: Batch, each: Array, workers: Array) -> Array:
    """Halvings of the running batch until prompts come as fast as answers go: b · dp · workers / (o · TPOT(b)) answers
    a second against the prefill workers' prompts; 0 where these are enough or not stated."""
    rate = x.running * (x.dp * workers / x.output)[:, None] / each
    over = np.log2(np.maximum(rate / x.prefill[:, None], 1e-9))
    # rates fall from halving to halving: the first place at or under the limit, linear between
    reached = over <= 0
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), over.shape[1] - 1)
    rows, before = np.arange(len(over)), np.maximum(first - 1, 0)
    high, low = over[rows, before], over[rows, first]
    share = np.where(first > 0, high / np.maximum(high - low, 1e-9), 0.0)
    return np.where(first > 0, before + np.clip(share, 0.0, 1.0), 0.0)


def _ttft(x: Batch, c: Constants, step: Array, tpot: Array, running: Array, workers: Array) -> Array:
    s = c.shared
    prompt = s.prompt * np.maximum(x.prompt, _of(c, x, "launch") * x.layers)
    others = np.maximum(running - 1, 0.0)
    shared = _of(c, x, "host") + _of(c, x, "poll") * step
    shared = shared + _of(c, x, "queue") * others * x.packed * x.dp**s.queue_spread
    waiters = s.apart_queue * x.concurrency**s.apart_queue_growth
    moved = _of(c, x, "apart_host") + waiters / x.worker
    stated = np.isfinite(x.prefill)
    served = np.where(stated, x.prefill, 1.0)
    load = running * x.dp * workers / (x.output * tpot) / served
    queue = _of(c, x, "apart_host") + s.stated_queue * np.minimum(load, 1.0) * x.concurrency / served
    moved = np.where(stated, queue, moved)
    # Little's law, closed loop: whoever does not decode waits for the first token
    waiting = np.maximum(x.concurrency * x.output * tpot / (running * x.dp * workers) - x.output * tpot, 0.0)
    alone = prompt + np.where(x.apart, moved, shared)
    return np.asarray(np.maximum(alone, np.where(x.apart & ~stated, 0.0, waiting)))


def _between(values: Array, at: Array) -> Array:
    """``values`` [rows, halvings] at fractional places ``at`` [rows], linear in the logarithm."""
    at = np.clip(at, 0.0, values.shape[1] - 1.0)
    low = np.minimum(at.astype(int), values.shape[1] - 2)
    w = at - low
    rows = np.arange(len(values))
    a, b = np.log(values[rows, low]), np.log(values[rows, low + 1])
    return np.asarray(np.exp(a * (1 - w) + b * w))
