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

What an engine's implementation of a model takes over that (fused kernels, or a path that is not captured) is one factor
of TPOT and one of TTFT for each engine and model, drawn to 1 where there are few rows (``with_implementations``).

The few constants are fitted (``fitted.yaml``, ``benchmarks/serving.py``) by cross-validation over layouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from moewright.cost.silicon import ENGINES
from moewright.serving.validation.row_steps import PARTS, Facts

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Constants:
    """The fitted constants; tuples are of ``ENGINES``: vllm, sglang, trtllm."""

    speed: tuple[float, float, float]  # s
    communication: float
    small: float
    interference: float  # i
    spread: float  # x
    accepted: tuple[float, float, float]  # tokens a step of models that ship draft layers
    accepted_growth: float  # at b sequences a rank these · b^-this (drafts are switched off for large batches)
    apart_accepted: tuple[float, float, float]  # the same where prefill and decode are apart, workers not stated
    apart_growth: float  # the same of these
    host: tuple[float, float, float]  # h, seconds
    prompt: float  # p
    launch: tuple[float, float, float]  # l, seconds
    poll: tuple[float, float, float]  # w
    queue: tuple[float, float, float]  # q
    queue_spread: float  # y
    apart_host: tuple[float, float, float]  # h where prefill and decode are apart (KV moved, another server)
    apart_queue: float  # q there, of (concurrency)^ the next
    apart_queue_growth: float
    stated_queue: float  # share of one prompt of every client that stands before one, at full prefill load


@dataclass(frozen=True, slots=True)
class Batch:
    """Facts of many rows as arrays [rows] (``decode`` [rows, halvings, parts], ``running`` [rows, halvings])."""

    engine: Array
    apart: Array
    workers: Array  # decode workers; 0: not stated
    prefill: Array  # prompts a second that all prefill workers finish; inf: their number is not stated
    worker: Array  # prompts a second of one of them
    drafts: Array
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
    pair: Array  # engine and model, "vllm gpt-oss-120b"

    @staticmethod
    def of(facts: Sequence[Facts]) -> Batch:
        return Batch(
            engine=np.array([ENGINES.index(f.row.engine) for f in facts]),
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
            pair=np.array([f"{f.row.engine} {f.row.model}" for f in facts]),
        )

    def take(self, rows: Array) -> Batch:
        """The rows picked."""
        return Batch(*(getattr(self, f.name)[rows] for f in fields(self)))


def _prompts(f: Facts) -> float:
    """Prompts a second of a row's prefill workers."""
    workers = f.row.prefill.workers if f.row.apart else None
    return workers * f.prefill_layout.dp / f.packed if workers else np.inf


def with_implementations(
    x: Batch, both: tuple[Array, Array], factors: Mapping[str, tuple[float, float]]
) -> tuple[Array, Array]:
    """TPOT and TTFT times what each engine's implementation of its model takes over the closed form (1 where that is
    not known). Rows with prefill and decode apart stay: what they leave unstated weighs more than an implementation."""
    f = np.array([factors.get(pair, (1.0, 1.0)) for pair in x.pair.tolist()]).reshape(-1, 2)
    f = np.where(x.apart[:, None], 1.0, f)
    return both[0] * f[:, 0], both[1] * f[:, 1]


def tpot_ttft(x: Batch, c: Constants) -> tuple[Array, Array]:
    """Seconds of each output token after the first, and of the first; arrays [rows]."""
    weights = np.ones(len(PARTS))
    weights[PARTS.index("communication")] = c.communication
    weights[PARTS.index("small")] = weights[PARTS.index("router")] = c.small
    speed = np.array(c.speed)[x.engine]
    first = np.where(x.apart, np.array(c.apart_accepted)[x.engine], np.array(c.accepted)[x.engine])
    growth = np.where(x.apart, c.apart_growth, c.accepted_growth)
    drafted = first[:, None] * x.running ** -growth[:, None]
    # a row that states its workers states all that it ran with
    drafting = x.drafts & (~x.apart | (x.workers == 0))
    drafted = np.where(drafting[:, None], np.maximum(drafted, 1.0), 1.0)
    steps = (x.decode @ weights) * speed[:, None]  # [rows, halvings]
    waits = c.interference * np.maximum(x.running - 1, 0.0) * (x.packed / x.output * x.dp**c.spread)[:, None]
    each = steps / drafted + np.where(x.apart, 0.0, 1.0)[:, None] * waits * speed[:, None]
    workers = np.maximum(x.workers, 1.0)
    at = _prefill_bound(x, each, workers)
    tpot, running = _between(each, at), _between(x.running, at)
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
    prompt = c.prompt * np.maximum(x.prompt, np.array(c.launch)[x.engine] * x.layers)
    others = np.maximum(running - 1, 0.0)
    shared = np.array(c.host)[x.engine] + np.array(c.poll)[x.engine] * step
    shared = shared + np.array(c.queue)[x.engine] * others * x.packed * x.dp**c.queue_spread
    waiters = c.apart_queue * x.concurrency**c.apart_queue_growth
    moved = np.array(c.apart_host)[x.engine] + waiters / x.worker
    stated = np.isfinite(x.prefill)
    served = np.where(stated, x.prefill, 1.0)
    load = running * x.dp * workers / (x.output * tpot) / served
    queue = np.array(c.apart_host)[x.engine] + c.stated_queue * np.minimum(load, 1.0) * x.concurrency / served
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
